import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { choose } from "../../src/images/internal/prune.ts"

const image = (id: string, lastUsed: number, bytes = 10, key = id, builtAt = 0) => ({
  id,
  key,
  bytes,
  builtAt,
  lastUsed
})
const keepAll = { now: 100, olderThan: 1000, maxBytes: 1000 }

const Candidates = Schema.Array(
  Schema.Struct({
    key: Schema.Literals(["a", "b", "c"]),
    bytes: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 100 }))),
    builtAt: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 50 }))),
    lastUsed: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 100 })))
  })
)

describe("pruning", () => {
  it("keeps what is young and small", () => {
    assert.deepStrictEqual(choose([image("a", 90), image("b", 95)], keepAll), [])
  })

  it("takes what was not used for too long", () => {
    assert.deepStrictEqual(choose([image("a", 90), image("b", 10)], { ...keepAll, olderThan: 50 }), ["b"])
  })

  it("takes the least recently used until the rest is small enough", () => {
    const images = [image("a", 90), image("b", 95), image("c", 80), image("d", 99)]
    assert.deepStrictEqual(choose(images, { ...keepAll, maxBytes: 20 }), ["c", "a"])
    assert.deepStrictEqual(choose(images, { ...keepAll, maxBytes: 0 }), ["c", "a", "b", "d"])
  })

  it("takes what a newer build of the same image replaced, however recently it was used", () => {
    const images = [image("old", 99, 10, "k", 1), image("new", 50, 10, "k", 2)]
    assert.deepStrictEqual(choose(images, keepAll), ["old"])
  })

  it.prop("never leaves more than allowed, and takes none twice", { images: Candidates }, ({ images }) => {
    const candidates = images.map((one, index) => ({ ...one, id: `i${index}` }))
    const gone = choose(candidates, { ...keepAll, maxBytes: 120 })
    const left = candidates.filter(({ id }) => !gone.includes(id)).reduce((sum, { bytes }) => sum + bytes, 0)
    assert.isAtMost(left, 120)
    assert.strictEqual(new Set(gone).size, gone.length)
  })
})
