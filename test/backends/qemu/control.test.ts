import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as control from "../../../src/backends/qemu/control.ts"

const greeting = { QMP: { version: { qemu: { major: 9, minor: 0, micro: 0 }, package: "" }, capabilities: [] } }

/** A QEMU that answers every command with the number of its connection, and can hang up. */
const qemu = Effect.acquireRelease(
  Effect.callback<{ socket: string; hangUp: () => void; say: (message: unknown) => void; close: () => void }>(
    (resume) => {
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
            client.write(`${JSON.stringify({ return: execute === "qmp_capabilities" ? {} : number, id })}\n`)
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
            say: (message) => all((client) => client.write(`${JSON.stringify(message)}\n`))(),
            close: () => {
              server.close()
              hangUp()
            }
          })
        )
      )
    }
  ),
  ({ close, socket }) =>
    Effect.sync(() => {
      close()
      Fs.rmSync(Path.dirname(socket), { recursive: true })
    })
)

describe("a control channel", () => {
  it.live("is made anew when it breaks, and commands wait for it", () =>
    Effect.gen(function* () {
      const { hangUp, socket } = yield* qemu
      const qmp = yield* control.make({ machine: "web", socket }, Effect.never)
      assert.strictEqual(yield* qmp.execute("which"), 1)
      hangUp()
      yield* Effect.sleep("50 millis")
      assert.strictEqual(yield* qmp.execute("which"), 2)
    })
  )

  it.live("goes on with its events", () =>
    Effect.gen(function* () {
      const { hangUp, say, socket } = yield* qemu
      const qmp = yield* control.make({ machine: "web", socket }, Effect.never)
      const event = { event: "STOP", timestamp: { seconds: 1, microseconds: 0 } }
      const heard = yield* Effect.forkChild(Stream.runHead(qmp.events), { startImmediately: true })
      yield* Effect.sleep("20 millis")
      hangUp()
      yield* Effect.sleep("50 millis")
      yield* qmp.execute("which")
      yield* Effect.sleep("20 millis")
      say(event)
      assert.strictEqual(Option.getOrThrow(yield* Fiber.join(heard)).event, "STOP")
    }).pipe(Effect.timeout("10 seconds"))
  )

  it.live("ends for good with QEMU, and says so at once", () =>
    Effect.gen(function* () {
      const { close, socket } = yield* qemu
      const ended = yield* Deferred.make<void>()
      const qmp = yield* control.make({ machine: "web", socket }, Deferred.await(ended))
      const events = yield* Effect.forkChild(Stream.runDrain(qmp.events), { startImmediately: true })
      close()
      yield* Deferred.succeed(ended, undefined)
      yield* qmp.closed
      const error = yield* Effect.flip(qmp.execute("which")).pipe(Effect.timeout("2 seconds"))
      assert.include(error.message, "QEMU ended")
      yield* Fiber.join(events)
      assert.strictEqual(yield* qmp.closed, "QEMU ended")
    })
  )
})
