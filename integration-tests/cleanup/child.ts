/** A run with a switch and a guest on it, that tells their processes and its folder, and then waits to be killed. */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Backend, openShell } from "../../src/backends/Backend.ts"
import * as Qemu from "../../src/backends/qemu/Qemu.ts"
import * as Cache from "../../src/host/Cache.ts"
import * as RunDirectory from "../../src/host/RunDirectory.ts"
import * as Image from "../../src/images/Image.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import * as Vlan from "../../src/network/Vlan.ts"

/** The processes of the `vde_switch` of a folder and of what plugs into it. */
const switchesOf = (folder: string): ReadonlyArray<number> =>
  Fs.readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      const words = Fs.existsSync(`/proc/${pid}/cmdline`) ? Fs.readFileSync(`/proc/${pid}/cmdline`, "utf8") : ""
      return words.startsWith("vde_") || words.includes(`/vde_`) ? words.includes(folder) : false
    })
    .map(Number)

const main = Effect.scoped(
  Effect.gen(function* () {
    const run = yield* RunDirectory.make({ base: process.argv[2] })
    const image = yield* (yield* ImageStore).resolve(Image.tiny())
    const vlan = yield* Vlan.make({ vlan: 1, directory: run.path })
    const port = yield* vlan.port("web eth1")
    const { vde } = yield* vlan.port(Vlan.otherPrograms)
    const folder = yield* vde
    const machine = yield* (yield* Backend).start({
      name: "web",
      image,
      memory: 256 * 1024 * 1024,
      cpus: 1,
      networks: [{ vlan: 1, mac: "52:54:00:12:01:01", port, device: "eth1" }],
      internet: false,
      forwards: [],
      allowReboot: false,
      directory: yield* run.folder("web")
    })
    if (process.argv[3] === "ready") yield* openShell(machine)
    process.stdout.write(`${JSON.stringify({ path: run.path, pids: [...switchesOf(folder), machine.pid] })}\n`)
    yield* Effect.never
  })
).pipe(
  Effect.provide([ImageStore.layer, Layer.unwrap(Effect.map(Cache.folder("host"), (folder) => Qemu.layer({ folder })))])
)

const fiber = Effect.runFork(main)
process.on("SIGTERM", () => fiber.interruptUnsafe())
fiber.addObserver(() => process.exit(3))
