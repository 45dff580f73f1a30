import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { FrameMemory } from "../../src/network/internal/frameMemory.ts"
import { longest, withHeader } from "../../src/network/internal/frames.ts"

/** Writes bytes as a socket does, in pieces of these sizes, and gives the frames that were handed over; `keep` tells which of them may not change. */
const feed = (memory: FrameMemory, bytes: Buffer, sizes: ReadonlyArray<number>, keep: (index: number) => boolean) => {
  const got: Array<{ readonly frames: Buffer; readonly copy: Buffer }> = []
  for (let at = 0, piece = 0; at < bytes.length; piece++) {
    const { space } = memory
    const count = Math.min(sizes[piece % sizes.length] ?? 1, space.length, bytes.length - at)
    assert.isAbove(count, 0)
    bytes.copy(space, 0, at, at + count)
    at += count
    const reason = memory.push(count, (frames) => {
      const kept = keep(got.length)
      got.push({ frames: kept ? frames : Buffer.from(frames), copy: Buffer.from(frames) })
      return kept
    })
    assert.isUndefined(reason)
  }
  return got
}

describe("the memory that frames are read into", () => {
  it.prop(
    "hands over all frames, whole and in order, and leaves those alone that are kept",
    [
      Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 14, maximum: longest }))),
      Schema.NonEmptyArray(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 300000 }))),
      Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 4 }))
    ],
    ([lengths, sizes, every]) => {
      const frames = lengths.slice(0, 12).map((length, index) => withHeader(Buffer.alloc(length, index + 1)))
      const bytes = Buffer.concat(frames)
      // A piece of few bytes makes a long frame slow.
      const pieces = bytes.length > 5000 ? sizes.map((size) => size + 500) : sizes
      const got = feed(new FrameMemory(), bytes, pieces, (index) => index % every === 0)
      assert.isTrue(Buffer.concat(got.map(({ copy }) => copy)).equals(bytes))
      for (const { frames, copy } of got) assert.isTrue(frames.equals(copy))
      for (const { copy } of got) {
        let at = 0
        while (at < copy.length) at += 4 + copy.readUInt32BE(at)
        assert.strictEqual(at, copy.length)
      }
    },
    { arbitrary: { runs: 100 } }
  )

  it("has room for the longest frame, and refuses a longer one", () => {
    const memory = new FrameMemory()
    const got = feed(memory, withHeader(Buffer.alloc(longest, 7)), [1000], () => false)
    assert.strictEqual(got[0]?.copy.length, 4 + longest)
    memory.space.writeUInt32BE(longest + 1, 0)
    assert.match(memory.push(4, () => false) ?? "", /^a frame of \d+ bytes arrived/)
  })
})
