/** A run with a switch and a guest on it, that tells their processes and its folder, and then waits to be killed. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Backend, openShell } from "../../src/backends/Backend.ts"
import * as Qemu from "../../src/backends/qemu/Qemu.ts"
import * as Cache from "../../src/host/Cache.ts"
import * as RunDirectory from "../../src/host/RunDirectory.ts"
import * as Image from "../../src/images/Image.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import * as Vlan from "../../src/network/Vlan.ts"

const main = Effect.scoped(
  Effect.gen(function* () {
    const run = yield* RunDirectory.make({ base: process.argv[2] })
    const image = yield* (yield* ImageStore).resolve(Image.tiny())
    const vlan = yield* Vlan.make({ vlan: 1, directory: run.path })
    const machine = yield* (yield* Backend).start({
      name: "web",
      image,
      memory: 256 * 1024 * 1024,
      cpus: 1,
      networks: [{ vlan: 1, mac: "52:54:00:12:01:01", socket: vlan.socket }],
      internet: false,
      forwards: [],
      allowReboot: false,
      directory: yield* run.folder("web")
    })
    if (process.argv[3] === "ready") yield* openShell(machine)
    process.stdout.write(`${JSON.stringify({ path: run.path, pids: [vlan.pid, machine.pid] })}\n`)
    yield* Effect.never
  })
).pipe(
  Effect.provide([ImageStore.layer, Layer.unwrap(Effect.map(Cache.folder("host"), (folder) => Qemu.layer({ folder })))])
)

const fiber = Effect.runFork(main)
process.on("SIGTERM", () => fiber.interruptUnsafe())
fiber.addObserver(() => process.exit(3))
