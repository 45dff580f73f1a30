import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Control, type EndCause, type MachineShape } from "../../../src/backends/Backend.ts"
import { makeTurn } from "../../../src/backends/internal/runState.ts"
import * as control from "../../../src/backends/qemu/control.ts"
import { save } from "../../../src/backends/qemu/save.ts"

const greeting = { QMP: { version: { qemu: { major: 9, minor: 0, micro: 0 }, package: "" }, capabilities: [] } }

/** A QEMU that answers every command with the number of its connection, and can hang up. */
const qemu = Effect.acquireRelease(
  Effect.callback<{
    socket: string
    hangUp: () => void
    say: (message: unknown) => void
    close: () => void
    executed: ReadonlyArray<string>
    status: { now: string }
  }>((resume) => {
    const executed: Array<string> = []
    const status = { now: "" }
    const socket = Path.join(Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-test-")), "qmp")
    const clients = new Set<Net.Socket>()
    let connections = 0
    const server = Net.createServer((client) => {
      const number = ++connections
      clients.add(client)
      client.on("close", () => clients.delete(client))
      client.on("error", () => {})
      client.write(`${JSON.stringify(greeting)}\n`)
      client.on("data", (data) => {
        for (const line of data.toString().trim().split("\n")) {
          const { execute, id } = JSON.parse(line)
          executed.push(execute)
          const answer =
            execute === "query-status" && status.now !== "" ? { status: status.now, running: false } : undefined
          client.write(`${JSON.stringify({ return: execute === "qmp_capabilities" ? {} : (answer ?? number), id })}\n`)
        }
      })
    })
    const all = (act: (client: Net.Socket) => void) => () => {
      for (const client of clients) act(client)
    }
    const hangUp = all((client) => client.destroy())
    server.listen(socket, () =>
      resume(
        Effect.succeed({
          socket,
          hangUp,
          executed,
          status,
          say: (message) => all((client) => client.write(`${JSON.stringify(message)}\n`))(),
          close: () => {
            server.close()
            hangUp()
          }
        })
      )
    )
  }),
  ({ close, socket }) =>
    Effect.sync(() => {
      close()
      Fs.rmSync(Path.dirname(socket), { recursive: true })
    })
)

const channel = (
  socket: string,
  note: (cause: EndCause | undefined) => void = () => {},
  printed = "",
  ended: (because: string) => void = () => {}
) =>
  Effect.map(
    Layer.build(
      control.layer({
        shape: { name: "web" } as MachineShape,
        sockets: { qmp: socket, load: "", save: "", tpm: "", cards: [], ports: [] },
        connectTimeout: Duration.seconds(2),
        console: { log: Effect.succeed(""), tail: () => Effect.succeed(printed) },
        timeScale: 1,
        turn: makeTurn(),
        note,
        end: (because) => Effect.sync(() => ended(because)),
        save,
        setLink: () => Effect.void
      })
    ),
    (services) => Context.get(services, Control)
  )

describe("a control channel", () => {
  it.live("says that it was lost, fails what is asked of it then, and can be made again", () =>
    Effect.gen(function* () {
      const { hangUp, socket } = yield* qemu
      const first = yield* channel(socket)
      assert.strictEqual(yield* first.qmp!.execute("which"), 1)
      hangUp()
      assert.include(yield* first.closed, "closed")
      assert.strictEqual((yield* Effect.flip(first.qmp!.execute("which")))._tag, "TransportError")
      const second = yield* channel(socket)
      assert.strictEqual(yield* second.qmp!.execute("which"), 2)
    }).pipe(Effect.timeout("10 seconds"))
  )

  it.live("hears when the guest resets itself, and why the machine ends", () =>
    Effect.gen(function* () {
      const { say, socket } = yield* qemu
      const causes: Array<EndCause | undefined> = []
      const { resets } = yield* channel(socket, (cause) => causes.push(cause))
      const heard = yield* Effect.forkChild(Stream.runCollect(Stream.take(resets!, 2)), { startImmediately: true })
      yield* Effect.sleep("20 millis")
      const timestamp = { seconds: 1, microseconds: 0 }
      say({ event: "RESET", data: { guest: true, reason: "guest-reset" }, timestamp })
      say({ event: "RESET", data: { guest: false, reason: "host-qmp-system-reset" }, timestamp })
      say({ event: "SHUTDOWN", data: { guest: true, reason: "guest-shutdown" }, timestamp })
      say({ event: "RESET", data: { guest: true, reason: "guest-reset" }, timestamp })
      assert.lengthOf(yield* Fiber.join(heard), 2)
      assert.deepStrictEqual(causes, ["power-off"])
    }).pipe(Effect.timeout("10 seconds"))
  )

  it.live("takes no panic for a reboot: one that is on the console, or that the guest's driver reports", () =>
    Effect.gen(function* () {
      const timestamp = { seconds: 1, microseconds: 0 }
      const reset = { event: "RESET", data: { guest: true, reason: "guest-reset" }, timestamp }
      const panicked = { event: "GUEST_PANICKED", data: { action: "run" }, timestamp }
      const cases = [
        { printed: "[    1.5] Kernel panic - not syncing: sysrq triggered crash\n", events: [reset] },
        { printed: "", events: [panicked, reset] },
        // One that stands still.
        { printed: "", events: [panicked] }
      ]
      for (const { events, printed } of cases) {
        const { executed, say, socket } = yield* qemu
        const causes: Array<EndCause | undefined> = []
        const { resets } = yield* channel(socket, (cause) => causes.push(cause), printed)
        const heard = yield* Effect.forkChild(Stream.runDrain(Stream.take(resets!, 1)), { startImmediately: true })
        yield* Effect.sleep("20 millis")
        for (const event of events) say(event)
        yield* Effect.sleep("10 millis").pipe(Effect.repeat({ until: () => executed.includes("quit") }))
        assert.strictEqual(causes[0], "panic")
        assert.isUndefined(heard.pollUnsafe())
      }
    }).pipe(Effect.timeout("10 seconds"))
  )

  it.live("ends a machine whose guest QEMU stopped for good, also before it was connected, and no other", () =>
    Effect.gen(function* () {
      const { say, socket, status } = yield* qemu
      const reasons: Array<string> = []
      const connect = channel(socket, undefined, undefined, (because) => reasons.push(because))
      const stop = { event: "STOP", timestamp: { seconds: 1, microseconds: 0 } }
      const heard = (count: number) =>
        Effect.sleep("10 millis").pipe(Effect.repeat({ until: () => reasons.length === count }))
      yield* connect
      status.now = "paused"
      say(stop)
      yield* Effect.sleep("100 millis")
      assert.deepStrictEqual(reasons, [])
      status.now = "internal-error"
      say(stop)
      yield* heard(1)
      assert.include(reasons[0], "KVM could not run the guest")
      status.now = "io-error"
      yield* connect
      yield* heard(2)
      assert.include(reasons[1], "could not write the machine's disk")
    }).pipe(Effect.scoped, Effect.timeout("10 seconds"))
  )
})
