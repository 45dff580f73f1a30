/**
 * A run with a bridge that cards are plugged into in each way there is. It tells its processes, then waits to be killed; with `probe` it tells instead what cannot be
 * done here.
 */
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Bridge from "../../src/network/Bridge.ts"

const [, , directory = "", what] = process.argv
const tell = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`)

/** The processes in a network namespace or that name a folder, besides this one. */
const processes = (namespace: string) =>
  Fs.readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      const read = (file: string) => Fs.existsSync(`/proc/${pid}/${file}`)
      if (!read("cmdline") || !read("ns/net")) return false
      return (
        Fs.readlinkSync(`/proc/${pid}/ns/net`) === namespace ||
        Fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(directory)
      )
    })
    .map(Number)

const main = Effect.gen(function* () {
  const bridges = yield* Bridge.make
  const vlan = yield* bridges.vlan({ vlan: 1, directory })
  const [socket, vde, opened] = yield* Effect.forEach(["a eth1", "b eth1", "c eth1"], vlan.port)
  const path = Path.join(directory, "card")
  Net.createServer(() => {}).listen(path)
  yield* socket!.plugIn(path)
  yield* vde!.vde
  yield* opened!.tap!.device
  yield* Effect.forkScoped(Effect.ignore(Stream.runDrain(vlan.capture)))
  yield* Effect.sleep("500 millis")
  const holder = Number(/--target (\d+)/.exec(socket!.tap!.netdev)?.[1])
  const namespace = Fs.readlinkSync(`/proc/${holder}/ns/net`)
  tell({ namespace, unprivileged: bridges.unprivileged, pids: processes(namespace) })
  yield* Effect.never
}).pipe(
  Effect.scoped,
  Effect.catch((error) => Effect.sync(() => tell({ failed: error.message })))
)

const probe = Effect.match(Bridge.probe, {
  onSuccess: ({ unprivileged }) => tell({ unprivileged }),
  onFailure: ({ message }) => tell({ failed: message })
})

const fiber = Effect.runFork(what === "probe" ? probe : main)
process.on("SIGTERM", () => fiber.interruptUnsafe())
fiber.addObserver(() => process.exit(3))
