import { PassThrough } from "node:stream"
import type { ReadStream, WriteStream } from "node:tty"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Terminal from "../../src/host/Terminal.ts"

/** A terminal that a test types at; what it says of its mode is kept. */
const fake = () => {
  const modes: Array<boolean> = []
  const input: ReadStream = Object.assign(new PassThrough(), {
    isTTY: true,
    isRaw: true,
    setRawMode: (raw: boolean) => {
      modes.push(raw)
      return input
    }
  }) as PassThrough & ReadStream
  const output = Object.assign(new PassThrough(), { isTTY: true, columns: 80, rows: 24 }) as PassThrough & WriteStream
  return { input, output, modes }
}

describe("the user's terminal", () => {
  it.live("is that of the prompt again when it is given back, which hears nothing meanwhile", () =>
    Effect.gen(function* () {
      const { input, modes, output } = fake()
      let prompt = ""
      input.on("data", (bytes: Buffer) => {
        prompt += bytes
      })
      input.push("one ")
      yield* Effect.sleep("5 millis")
      const keys = yield* Effect.scoped(
        Effect.gen(function* () {
          const terminal = yield* Terminal.of(input, output)
          const first = yield* Effect.forkChild(Stream.runHead(terminal.events), { startImmediately: true })
          input.push("for the guest")
          return yield* Fiber.join(first)
        })
      )
      assert.strictEqual(
        keys._tag === "Some" && keys.value._tag === "Input" ? String(keys.value.bytes) : "",
        "for the guest"
      )
      input.push("two")
      yield* Effect.sleep("5 millis")
      assert.strictEqual(prompt, "one two")
      assert.deepStrictEqual(modes, [true, true])
    })
  )

  it.live("is left alone by what nobody reads: it does not begin to flow", () =>
    Effect.gen(function* () {
      const { input, output } = fake()
      yield* Effect.scoped(Terminal.of(input, output))
      assert.isTrue(input.isPaused())
    })
  )
})
