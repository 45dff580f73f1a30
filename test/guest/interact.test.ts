import { PassThrough } from "node:stream"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { Line } from "../../src/guest/internal/line.ts"
import * as Terminal from "../../src/host/Terminal.ts"
import { driverOf, offline } from "../driver/support.ts"

/** A pair of streams that say they are a terminal, and what was done to it. */
const terminal = () => {
  const modes: Array<boolean> = []
  const input = Object.assign(new PassThrough(), {
    isTTY: true,
    isRaw: false,
    setRawMode: (mode: boolean) => void modes.push(mode)
  })
  const output = Object.assign(new PassThrough(), { isTTY: true, columns: 80, rows: 24 })
  const open = Terminal.of(input, output)
  return { modes, input, output, open, shown: () => String(output.read() ?? "") }
}

const noTerminal = Effect.fail(new Terminal.TerminalUnavailable({ reason: "standard input is not a terminal" }))

describe("interaction", () => {
  it.effect("is refused where standard input is not a terminal, and the machine goes on", () =>
    Effect.gen(function* () {
      const { machines } = yield* driverOf({ a: offline() })
      const refused = <E>(interact: Effect.Effect<void, E>) =>
        Effect.provideService(Effect.flip(interact), Terminal.UserTerminal, noTerminal)
      const errors = [yield* refused(machines.a!.shellInteract()), yield* refused(machines.a!.consoleInteract())]
      for (const error of errors) {
        assert.strictEqual(error._tag, "NoTerminal")
        assert.strictEqual(error.message, "a: could not connect a terminal: standard input is not a terminal")
      }
      yield* machines.a!.succeed("true")
    })
  )

  it.effect("types keys into the console until Ctrl-], and gives the terminal back", () =>
    Effect.gen(function* () {
      const user = terminal()
      const { machines, mock } = yield* driverOf({ a: offline() }, { guests: { a: { console: "login: " } } })
      yield* machines.a!.start()
      const machine = yield* mock.machine("a")
      const talk = yield* Effect.forkChild(
        machines.a!.consoleInteract().pipe(Effect.provideService(Terminal.UserTerminal, user.open)),
        { startImmediately: true }
      )
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(user.modes, [true])
      user.input.write("root\r\x03")
      user.input.write("x\x1dnot this")
      yield* Fiber.join(talk)
      assert.strictEqual(yield* machine.typed, "root\r\x03x")
      assert.include(user.shown(), "login: ")
      assert.deepStrictEqual(user.modes, [true, false])
    })
  )

  it.effect("gives the terminal back when the machine dies", () =>
    Effect.gen(function* () {
      const user = terminal()
      const { machines, mock } = yield* driverOf(
        { a: offline() },
        { guests: { a: { commands: [[/script/, { delay: "1 hour" }]] } } }
      )
      yield* machines.a!.start()
      const talk = yield* Effect.forkChild(
        Effect.flip(machines.a!.shellInteract()).pipe(Effect.provideService(Terminal.UserTerminal, user.open)),
        { startImmediately: true }
      )
      yield* TestClock.adjust(0)
      yield* (yield* mock.machine("a")).exit({ exitCode: 3 })
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(talk)
      assert.strictEqual(error._tag, "MachineDied")
      assert.include(error.message, "while the test was connected to the terminal")
      assert.deepStrictEqual(user.modes, [true, false])
    })
  )

  it.effect("is one at a time", () =>
    Effect.gen(function* () {
      const user = terminal()
      yield* user.open
      const error = yield* Effect.flip(user.open)
      assert.strictEqual(error.reason, "the terminal is already in use")
    })
  )

  it.effect("ends when nobody is at the terminal any more", () =>
    Effect.gen(function* () {
      const user = terminal()
      const { events } = yield* user.open
      user.input.end("bye")
      const all = yield* Stream.runCollect(events)
      assert.deepStrictEqual(
        all.map((event) => (event._tag === "Input" ? String(event.bytes) : event._tag)),
        ["bye"]
      )
    })
  )

  it("edits lines for a shell without a terminal", () => {
    const line = new Line()
    const acts = (text: string) => line.take(Buffer.from(text))
    assert.deepStrictEqual(
      acts("lx\x7fs ü\x1b[A\r").filter(({ _tag }) => _tag === "Send"),
      [{ _tag: "Send", text: "ls ü\n" }]
    )
    assert.deepStrictEqual(acts("\x04"), [{ _tag: "End" }])
    assert.deepStrictEqual(acts("a\x04").at(-1), { _tag: "Echo", text: "a" })
    assert.deepStrictEqual(acts("\x15"), [{ _tag: "Echo", text: "\b \b" }])
    assert.deepStrictEqual(acts("\x03"), [{ _tag: "Echo", text: "^C\r\n" }, { _tag: "Interrupt" }])
    assert.deepStrictEqual(acts("\x7f"), [])
  })
})
