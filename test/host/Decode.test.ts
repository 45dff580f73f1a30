import { runInNewContext } from "node:vm"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Decode from "../../src/host/Decode.ts"
import * as Fields from "../../src/host/Fields.ts"

const Options = Schema.Struct({
  timeout: Schema.optional(Fields.time()),
  retries: Schema.optional(Fields.whole(0, 5)),
  reader: Schema.optional(Schema.Literals(["auto", "tesseract"])),
  masks: Schema.optional(Schema.Array(Schema.Struct({ x: Schema.Number }))),
  warmUp: Schema.optional(
    Schema.Union([Fields.callback(), Schema.Struct({ run: Fields.callback() })]).annotate({ expected: "a function" })
  ),
  env: Schema.optional(Fields.Texts),
  input: Schema.optional(Fields.Content)
}).annotate({ expected: "an object of options", aliases: { deadline: "timeout" } })

describe("the sentence that refuses a value", () => {
  const check = Decode.checker(Options, { whole: "the options" })
  const reason = (value: unknown) => check(value)?.reason

  for (const [given, sentence] of [
    [{ timeuot: 5 }, 'unknown option "timeuot"; did you mean "timeout"?'],
    [{ deadline: 5 }, 'unknown option "deadline"; did you mean "timeout"?'],
    [{ foo: 5 }, 'unknown option "foo"; the options are timeout, retries, reader, masks, warmUp, env, input'],
    [{ masks: [{ x: 1, why: 2 }] }, 'unknown option "why" of masks[0]; the options are x'],
    [{ retries: 6 }, "retries must be a whole number from 0 to 5, got 6"],
    [{ retries: "5" }, 'retries must be a whole number from 0 to 5, got "5"'],
    [{ reader: "ocr" }, 'reader must be "auto" or "tesseract", got "ocr"'],
    [{ masks: [{ x: 1 }, {}] }, "masks[1].x is missing: it must be a number"],
    [{ masks: {} }, "masks must be an array, each an object, got {}"],
    [{ warmUp: 5 }, "warmUp must be a function, got 5"],
    [{ warmUp: { run: 5 } }, "warmUp.run must be a function, got 5"],
    [
      { timeout: "soon" },
      'timeout must be a duration above zero that ends, such as "5 seconds" or 5000 (milliseconds), got "soon"'
    ],
    [
      { env: Effect.succeed("x") },
      'env must be an object of strings, such as { LANG: "C" }, got an Effect; yield* it first'
    ],
    [{ warmUp: Effect.void }, "warmUp must be a function, got an Effect; yield* it first"],
    [{ input: [1] }, "input must be a string or a Uint8Array, got [ 1 ]"],
    [{ input: new Map() }, "input must be a string or a Uint8Array, got an object of the class Map"],
    [{ input: () => 1 }, "input must be a string or a Uint8Array, got the function input"],
    [{ reader: "x".repeat(100) }, `reader must be "auto" or "tesseract", got "${"x".repeat(60)}…"`],
    [Effect.void, "the options must be an object of options, got an Effect; yield* it first"],
    [Effect.succeed({ timeout: 5 }), "the options must be an object of options, got an Effect; yield* it first"],
    [null, "the options must be an object of options, got null"],
    [[], "the options must be an object of options, got []"],
    [5, "the options must be an object of options, got 5"]
  ] as const) {
    it(sentence, () => assert.strictEqual(reason(given), sentence))
  }

  it("is none for what fits, of this realm or of another", () => {
    for (const fits of [
      {},
      { timeout: undefined },
      { timeout: "5 seconds", retries: 0, reader: "auto", masks: [], warmUp: () => 1, env: {}, input: "" },
      runInNewContext('({ timeout: 5, masks: [{ x: 1 }], env: { A: "1" }, input: new Uint8Array(1), warmUp: () => 1 })')
    ]) {
      assert.isUndefined(reason(fits))
    }
  })

  it("costs a few microseconds at most", () => {
    const given = { timeout: "5 seconds", retries: 1, masks: [{ x: 1 }] }
    for (let turn = 0; turn < 2000; turn++) check(given)
    const started = process.cpuUsage()
    for (let turn = 0; turn < 1000; turn++) check(given)
    // Microseconds each: some three.
    assert.isBelow(process.cpuUsage(started).user / 1000, 50)
  })
})
