import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/testing/TestClock"
import * as Prune from "../../src/host/Prune.ts"

const day = 24 * 60 * 60 * 1000
const now = 100 * day

const one = (id: string, lastUsed: number, bytes = 10) => ({ id, bytes, lastUsed: lastUsed * day })

/** What goes, in this order; `old` are expendable, `fixed` cannot be removed. */
const gone = (
  candidates: ReadonlyArray<Prune.Candidate>,
  options: Partial<Prune.PruneOptions> & { readonly old?: ReadonlyArray<string>; readonly fixed?: string } = {}
) =>
  Effect.gen(function* () {
    yield* TestClock.setTime(now)
    const { removed } = yield* Prune.prune({
      candidates,
      expendable: ({ id }) => options.old?.includes(id) === true,
      olderThan: options.olderThan,
      maxBytes: options.maxBytes ?? 1000,
      remove: ({ id }) => Effect.succeed(id !== options.fixed)
    })
    return removed.map(({ id }) => id)
  })

const Candidates = Schema.Array(
  Schema.Struct({
    bytes: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 100 }))),
    lastUsed: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 100 }))),
    expendable: Schema.Boolean
  })
)

describe("pruning", () => {
  it.effect("keeps what is young and small", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* gone([one("a", 90), one("b", 95)]), [])
    })
  )

  it.effect("takes what was not used for too long, by default for 30 days", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* gone([one("a", 90), one("b", 10)]), ["b"])
      assert.deepStrictEqual(yield* gone([one("a", 90), one("b", 10)], { olderThan: "95 days" }), [])
    })
  )

  it.effect("takes the least recently used until the rest is small enough", () =>
    Effect.gen(function* () {
      const all = [one("a", 90), one("b", 95), one("c", 80), one("d", 99)]
      assert.deepStrictEqual(yield* gone(all, { maxBytes: 20 }), ["c", "a"])
      assert.deepStrictEqual(yield* gone(all, { maxBytes: 0 }), ["c", "a", "b", "d"])
    })
  )

  it.effect("takes others in the place of what cannot be removed", () =>
    Effect.gen(function* () {
      const all = [one("a", 90), one("b", 95), one("c", 80), one("d", 99)]
      assert.deepStrictEqual(yield* gone(all, { maxBytes: 20, fixed: "c" }), ["a", "b"])
    })
  )

  it.effect("takes first what is expendable, however recently it was used", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* gone([one("old", 99), one("new", 90)], { old: ["old"] }), ["old"])
      assert.deepStrictEqual(yield* gone([one("old", 99), one("a", 90)], { old: ["old"], maxBytes: 10 }), ["old"])
    })
  )

  it.effect.prop("never leaves more than allowed, and takes none twice", { given: Candidates }, ({ given }) =>
    Effect.gen(function* () {
      const candidates = given.map((fields, index) => ({ ...fields, id: `i${index}` }))
      const { removed } = yield* Prune.prune({
        candidates,
        expendable: ({ expendable }) => expendable,
        maxBytes: 120,
        remove: () => Effect.succeed(true)
      })
      const left = candidates.filter((candidate) => !removed.includes(candidate))
      assert.isAtMost(
        left.reduce((sum, { bytes }) => sum + bytes, 0),
        120
      )
      assert.isFalse(left.some(({ expendable }) => expendable))
      assert.strictEqual(new Set(removed).size, removed.length)
    })
  )
})
