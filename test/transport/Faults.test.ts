/** Recorded sessions with faults. A sample; `npm run proof -- mutations` runs all of it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { closeAfter, closings, cutAt, digits, Mutation, mutate, under } from "./faults.ts"
import { layout, recordings } from "./recording.ts"

/** Of the bytes at which a session can be cut, the tests take one in so many; the proof takes all. */
const every = 13

for (const recording of recordings()) {
  const { total } = layout(recording)

  describe(`the recorded session with ${recording.peer}`, () => {
    it.live("comes to what it came to when it was recorded", () =>
      Effect.gen(function* () {
        const outcomes = yield* under(recording)
        assert.deepStrictEqual(
          JSON.parse(JSON.stringify(outcomes.map(({ outcome }) => outcome))),
          JSON.parse(JSON.stringify(recording.outcomes))
        )
      })
    )

    it.live("comes to the same byte by byte", () =>
      Effect.gen(function* () {
        const outcomes = yield* under(recording, (bytes) => ({ pieces: [...bytes].map((byte) => Buffer.of(byte)) }))
        assert.strictEqual(JSON.stringify(outcomes.map(({ outcome }) => outcome)), JSON.stringify(recording.outcomes))
      })
    )

    for (const how of ["dies", "freezes"] as const) {
      it.live(
        `ends in answers and typed errors when the peer ${how}, wherever it does`,
        () =>
          Effect.gen(function* () {
            for (let at = 0; at <= total; at += every) yield* under(recording, cutAt(recording, at, how))
          }),
        120_000
      )
    }

    it.live(
      "ends in answers and typed errors when a connection closes, at every step",
      () =>
        Effect.forEach(closings(recording), ([index, name]) => under(recording, closeAfter(index, name)), {
          discard: true
        }),
      120_000
    )

    it.live(
      "ends in answers and typed errors whichever digit is another",
      () => Effect.forEach(digits(recording), (fault) => under(recording, fault), { discard: true }),
      120_000
    )

    it.live.prop(
      "ends in answers and typed errors whatever is damaged",
      [Schema.Array(Mutation)],
      ([mutations]) => Effect.asVoid(under(recording, mutate(recording, mutations))),
      { timeout: 120_000, arbitrary: { runs: 200 } }
    )

    if (recording.peer === "QEMU") return
    it.live("is judged by something that finds a lie", () =>
      Effect.gen(function* () {
        // The same lie on both outputs, which no channel could find.
        const wrong = yield* Effect.flip(
          under(recording, (bytes) => ({
            pieces: [Buffer.from(bytes.toString("latin1").replace(" 7 248\n", " 8 247\n"), "latin1")]
          }))
        )
        assert.deepInclude(wrong, { step: 0, problem: "another exit code" })
      })
    )
  })
}
