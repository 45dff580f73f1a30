import type * as Net from "node:net"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Qmp from "../../../src/transport/qmp/Qmp.ts"
import { reader } from "../../../src/transport/qmp/wire.ts"
import { folder, lines, serve } from "../peer.ts"

const greeting = { QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 }, package: "" }, capabilities: ["oob"] } }
const event = (name: string, data: unknown = {}) => ({
  timestamp: { seconds: 1700000000, microseconds: 250000 },
  event: name,
  data
})
type Command = { readonly execute: string; readonly id: string; readonly arguments?: Record<string, unknown> }
type Say = (...messages: ReadonlyArray<unknown>) => void

/** A QEMU that answers as it is told; `undefined` is no answer. */
const qemu = (answer: (command: Command, say: Say, socket: Net.Socket) => void) =>
  Effect.gen(function* () {
    const path = join(yield* folder, "qmp")
    yield* serve(path, (socket) => {
      const say: Say = (...messages) => socket.write(messages.map((one) => JSON.stringify(one) + "\r\n").join(""))
      say(greeting)
      lines(socket, (line) => {
        const command = JSON.parse(line) as Command
        if (command.execute === "qmp_capabilities") say({ return: {}, id: command.id })
        else answer(command, say, socket)
      })
    })
    return path
  })

describe("QMP", () => {
  it.live("tells the version, and what a command returned", () =>
    Effect.gen(function* () {
      const socket = yield* qemu(({ arguments: args, execute, id }, say) => say({ return: { execute, args }, id }))
      const qmp = yield* Qmp.make({ machine: "vm", socket })
      assert.strictEqual(qmp.version, "7.2.22")
      assert.deepStrictEqual(yield* qmp.execute("a", { b: 1 }), { execute: "a", args: { b: 1 } })
      const Reply = Schema.Struct({ execute: Schema.String })
      assert.deepStrictEqual(yield* qmp.execute("a", undefined, Reply), { execute: "a" })
    })
  )

  it.live("matches answers by id, whatever comes between and in whatever order", () =>
    Effect.gen(function* () {
      const asked: Array<Command> = []
      const socket = yield* qemu((command, say) => {
        asked.push(command)
        if (asked.length < 20) return
        say(event("RESUME"), ...asked.reverse().flatMap(({ execute, id }) => [{ return: execute, id }, event("STOP")]))
      })
      const qmp = yield* Qmp.make({ machine: "vm", socket })
      const names = Array.from({ length: 20 }, (_, i) => `command-${i}`)
      const got = yield* Effect.forEach(names, (name) => qmp.execute(name), { concurrency: "unbounded" })
      assert.deepStrictEqual(got, names)
    })
  )

  it.live("reads answers that arrive byte by byte", () =>
    Effect.gen(function* () {
      const socket = yield* qemu(({ id }, _, peer) => {
        for (const byte of Buffer.from(JSON.stringify({ return: "grüße 世界", id }) + "\n")) peer.write(Buffer.of(byte))
      })
      const qmp = yield* Qmp.make({ machine: "vm", socket })
      assert.strictEqual(yield* qmp.execute("a"), "grüße 世界")
    })
  )

  it.live("gives QEMU's errors with class, words and command", () =>
    Effect.gen(function* () {
      const socket = yield* qemu(({ id }, say) => say({ error: { class: "CommandNotFound", desc: "no such" }, id }))
      const qmp = yield* Qmp.make({ machine: "vm", socket })
      const error = yield* Effect.flip(qmp.execute("nonsense"))
      assert(error._tag === "QmpError")
      assert.deepInclude(error, { machine: "vm", command: "nonsense", class: "CommandNotFound", desc: "no such" })
    })
  )

  it.live("refuses arguments that JSON cannot hold", () =>
    Effect.gen(function* () {
      const socket = yield* qemu(({ id }, say) => say({ return: {}, id }))
      const qmp = yield* Qmp.make({ machine: "vm", socket })
      const error = yield* Effect.flip(qmp.execute("a", { size: 1n }))
      assert.deepInclude(error, { _tag: "QmpError", machine: "vm", command: "a", class: "BadRequest" })
      assert.deepStrictEqual(yield* qmp.execute("a", { size: 1 }), {})
    })
  )

  it.live("refuses timeouts that make no sense, whoever gives them", () =>
    Effect.gen(function* () {
      const socket = yield* qemu(({ id }, say) => say({ return: {}, id }))
      const qmp = yield* Qmp.make({ machine: "vm", socket })
      for (const timeout of [Number.NaN, -1, 0, JSON.parse('"soon"')]) {
        for (const refused of [
          qmp.waitForEvent(Schema.Unknown, { timeout }),
          Qmp.make({ machine: "vm", socket, connectTimeout: timeout }),
          Qmp.make({ machine: "vm", socket, commandTimeout: timeout })
        ]) {
          const error = yield* Effect.flip(
            Effect.scoped(refused as Effect.Effect<unknown, Qmp.QmpFailure, Scope.Scope>)
          )
          assert.deepInclude(error, { _tag: "QmpError", machine: "vm", class: "BadRequest" })
          assert.include(error.message, `timeout must be longer than zero, got ${timeout}`)
        }
      }
    })
  )

  it.live("fails on a reply of another shape, and in time on none", () =>
    Effect.gen(function* () {
      const socket = yield* qemu(({ execute, id }, say) => (execute === "silent" ? undefined : say({ return: 1, id })))
      const qmp = yield* Qmp.make({ machine: "vm", socket, commandTimeout: "50 millis" })
      assert.deepInclude(yield* Effect.flip(qmp.execute("a", {}, Schema.String)), { class: "BadReply" })
      assert.deepInclude(yield* Effect.flip(qmp.execute("silent")), { class: "Timeout", command: "silent" })
    })
  )

  it.live("hands events to every reader, and to those who wait for one of a shape", () =>
    Effect.gen(function* () {
      const socket = yield* qemu(({ id }, say) =>
        say(event("DEVICE_DELETED", { device: "a" }), event("DEVICE_DELETED", { device: "b" }), { return: {}, id })
      )
      const qmp = yield* Qmp.make({ machine: "vm", socket })
      const seen = yield* Effect.forkChild(qmp.events.pipe(Stream.take(2), Stream.runCollect), {
        startImmediately: true
      })
      const Deleted = Schema.Struct({
        event: Schema.Literal("DEVICE_DELETED"),
        data: Schema.Struct({ device: Schema.Literal("b") }),
        timestamp: Schema.Number
      })
      const waiting = yield* Effect.forkChild(qmp.waitForEvent(Deleted), { startImmediately: true })
      yield* qmp.execute("device_del")
      assert.deepStrictEqual(yield* Fiber.join(waiting), {
        event: "DEVICE_DELETED",
        data: { device: "b" },
        timestamp: 1700000000250
      })
      assert.deepStrictEqual(
        (yield* Fiber.join(seen)).map(({ data }) => data),
        [{ device: "a" }, { device: "b" }]
      )
      const error = yield* Effect.flip(qmp.waitForEvent(Deleted, { timeout: "50 millis" }))
      assert.deepInclude(error, { class: "Timeout", command: "waitForEvent" })
    })
  )

  it.live("takes what the human monitor prints about a mistake as an error", () =>
    Effect.gen(function* () {
      const printed: Record<string, string> = {
        "info version": "7.2.22\r\n",
        // What is told in the form of a mistake, and is none.
        "xp /1wx 0x1000": "0000000000001000: 0x00000000\r\n",
        "info balloon": "balloon: actual=64\r\n",
        "info status": "VM status: paused (prelaunch)\r\n",
        "info kvm": "kvm support: disabled\r\n",
        "i /b 0x60": "portb[0x0060] = 0x00\r\n",
        "hostfwd_remove tcp::1": "host forwarding rule for tcp::1 removed\r\n",
        "balloon 64": ""
      }
      // As QEMU 7.2 says them.
      const mistakes: Record<string, string> = {
        "hostfwd_add tcp::22-:22": "Could not set up host forwarding rule 'tcp::22-:22'\r\n",
        "hostfwd_add tcp::99999-:1": "Invalid host forwarding rule 'tcp::99999-:1' (Bad host port)\r\n",
        "hostfwd_add nonet nonsense": "unrecognized netdev id 'nonet'\r\n",
        "hostfwd_remove x": "invalid format\r\n",
        "cpu 77": "invalid CPU index\r\n",
        "commit zz": "Device 'zz' not found\r\n",
        "commit d0": "'commit' error for 'd0': Operation not supported\r\n",
        "mouse_set 9": "Mouse at index '9' not found\r\n",
        "info nonsense": "unknown command: 'info nonsense'\r\n",
        "trace-event nosuch on": 'unknown event "nosuch"\r\n',
        "x 0xffffffff00000000": "ffffffff00000000: Cannot access memory\r\n",
        "gpa2hva 0xfffffffffff0": "No memory is mapped at address 0xfffffffffff0\r\n",
        "boot_set zz": "Invalid boot device 'z'\r\n",
        "print 1+": 'unexpected end of expression\r\nTry "help print" for more information\r\n',
        "info registers -z": 'registers: unsupported option -z\r\nTry "help info registers" for more information\r\n',
        "gdbserver nowhere:x":
          "'nowhere:x' is not a valid char driver\r\nCould not open gdbserver on device 'nowhere:x'\r\n",
        "logfile /nowhere/x": "Error opening logfile /nowhere/x: No such file or directory\r\n",
        nonsense: "unknown command: 'nonsense'\r\n",
        "sendkey foo": "invalid parameter: foo\r\n",
        "set_link x off": "Error: Device 'x' not found\r\n",
        screendump: 'screendump: filename expected\r\nTry "help screendump" for more information\r\n'
      }
      const socket = yield* qemu(({ arguments: args, id }, say) =>
        say({ return: { ...printed, ...mistakes }[String(args?.["command-line"])], id })
      )
      const qmp = yield* Qmp.make({ machine: "vm", socket })
      for (const [line, said] of Object.entries(printed)) assert.strictEqual(yield* qmp.hmp(line), said)
      for (const line of Object.keys(mistakes)) {
        assert.deepInclude(yield* Effect.flip(qmp.hmp(line)), { class: "HumanMonitor", command: line })
      }
    })
  )

  it.live("waits for a socket that is not there yet, for as long as it is told", () =>
    Effect.gen(function* () {
      const path = join(yield* folder, "qmp")
      const early = yield* Effect.forkChild(Qmp.make({ machine: "vm", socket: path }), { startImmediately: true })
      yield* Effect.sleep("100 millis")
      yield* serve(path, (socket) => {
        socket.write(JSON.stringify(greeting) + "\n")
        lines(socket, (line) =>
          socket.write(JSON.stringify({ return: {}, id: (JSON.parse(line) as Command).id }) + "\n")
        )
      })
      assert.strictEqual((yield* Fiber.join(early)).version, "7.2.22")
      const [took, error] = yield* Effect.timed(
        Effect.flip(Qmp.make({ machine: "vm", socket: join(yield* folder, "none"), connectTimeout: "100 millis" }))
      )
      assert.strictEqual(error._tag, "TransportError")
      assert.isBelow(Duration.toMillis(took), 2000)
    })
  )

  it.live("fails everything under way at once when QEMU closes the socket", () =>
    Effect.gen(function* () {
      const socket = yield* qemu((_, __, peer) => peer.destroy())
      const qmp = yield* Qmp.make({ machine: "vm", socket })
      const ended = yield* Effect.forkChild(Stream.runDrain(qmp.events), { startImmediately: true })
      const waiting = yield* Effect.forkChild(Effect.flip(qmp.waitForEvent(Schema.String)), { startImmediately: true })
      const error = yield* Effect.timeout(Effect.flip(qmp.execute("quit")), "2 seconds")
      assert.deepInclude(error, { _tag: "TransportError", machine: "vm" })
      assert.strictEqual((yield* Effect.timeout(Fiber.join(waiting), "2 seconds"))._tag, "TransportError")
      yield* Effect.timeout(Fiber.await(ended), "2 seconds")
      assert.strictEqual((yield* Effect.timeout(Effect.flip(qmp.execute("again")), "2 seconds"))._tag, "TransportError")
    })
  )

  it.live("closed or stuck at any step of the opening, ends in a typed error", () =>
    Effect.gen(function* () {
      for (const close of [true, false]) {
        for (const steps of [0, 1]) {
          const path = join(yield* folder, "qmp")
          yield* serve(path, (socket) => {
            if (steps > 0) socket.write(JSON.stringify(greeting) + "\n")
            if (close) socket.end()
          })
          const options = {
            machine: "vm",
            socket: path,
            connectTimeout: "100 millis",
            commandTimeout: "100 millis"
          } as const
          const error = yield* Effect.timeout(Effect.flip(Qmp.make(options)), "2 seconds")
          assert.strictEqual(error._tag, close ? "TransportError" : "QmpError")
        }
      }
    })
  )
})

const recorded = [
  greeting,
  { return: {}, id: "1" },
  event("STOP"),
  { return: { running: true }, id: "2" },
  event("RESUME")
]
  .concat([{ error: { class: "GenericError", desc: "grüße" }, id: "3" }] as never)
  .map((message) => JSON.stringify(message) + "\r\n")
  .join("")
const bytes = Buffer.from(recorded)

const read = (chunks: ReadonlyArray<Buffer>) => {
  const messages: Array<unknown> = []
  const push = reader((message) => messages.push(message))
  for (const chunk of chunks) push(chunk)
  return messages
}
const whole = read([bytes])

describe("the lines of QMP", () => {
  it("are passed over to their ends when they are too long", () => {
    const piece = Buffer.alloc(33 * 1024 * 1024, "x")
    assert.deepStrictEqual(read([piece, piece, piece, bytes, bytes]), [...whole.slice(1), ...whole])
  })

  it("are the same wherever reads cut them", () => {
    assert.lengthOf(whole, 6)
    for (let i = 0; i <= bytes.length; i++) {
      assert.deepStrictEqual(read([bytes.subarray(0, i), bytes.subarray(i)]), whole)
      const partial = read([bytes.subarray(0, i)])
      assert.deepStrictEqual(partial, whole.slice(0, partial.length))
    }
  })

  it.prop(
    "with garbage between them are still read",
    [Schema.Array(Schema.String)],
    ([garbage]) => {
      const junk = garbage.map((line) => `x${line.replaceAll("\n", "")}\n`)
      const mixed = recorded
        .split("\r\n")
        .slice(0, -1)
        .flatMap((line, i) => [...(junk[i] ?? ""), `${line}\r\n`])
      assert.deepStrictEqual(read([Buffer.from(mixed.join(""))]), whole)
    },
    { arbitrary: { runs: 300 } }
  )

  it.prop(
    "with any bytes changed give only messages of QMP's shapes",
    [Schema.Array(Schema.Tuple([Schema.Int, Schema.Int]))],
    ([mutations]) => {
      const mutated = Buffer.from(bytes)
      for (const [at, byte] of mutations) mutated[Math.abs(at) % mutated.length] = byte & 0xff
      for (const message of read([mutated])) {
        assert.include(["Greeting", "Event", "Return", "Error"], (message as { readonly _tag: string })._tag)
      }
    },
    { arbitrary: { runs: 500 } }
  )
})
