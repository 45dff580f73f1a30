import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Digest from "../../src/host/Digest.ts"
import { temporaryFolder } from "../driver/storeSupport.ts"

const sha256 = (data: string | Uint8Array) => createHash("sha256").update(data).digest("hex")

describe("the digest of a value", () => {
  it("does not depend on the order of fields, however deep, but on that of lists", () => {
    const one = Digest.ofValue({ a: 1, b: { c: [1, 2], d: "x" } })
    assert.strictEqual(Digest.ofValue({ b: { d: "x", c: [1, 2] }, a: 1 }), one)
    assert.notStrictEqual(Digest.ofValue({ a: 1, b: { c: [2, 1], d: "x" } }), one)
  })

  it.prop(
    "is that of text which gives the value back",
    { value: Schema.Record(Schema.String, Schema.String) },
    ({ value }) => {
      assert.deepEqual(JSON.parse(Digest.canonical(value)), { ...value })
      assert.strictEqual(Digest.ofValue(value), sha256(Digest.canonical(value)))
    }
  )
})

describe("the digest of a file", () => {
  it.live("is what sha256sum says, whatever the size", () =>
    Effect.gen(function* () {
      const path = Path.join(yield* temporaryFolder, "file")
      for (const size of [0, 1, 65_536, 65_537, 4 * 1024 * 1024, 5_000_001]) {
        const content = Buffer.alloc(size, "content")
        Fs.writeFileSync(path, content)
        assert.strictEqual(yield* Digest.ofFile(path), sha256(content))
      }
    })
  )

  it.live("fails with what the system says where there is none", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      for (const digest of [Digest.ofFile, Digest.ofSparseFile]) {
        assert.match(yield* Effect.flip(digest(Path.join(folder, "none"))), /ENOENT/)
        assert.match(yield* Effect.flip(digest(folder)), /EISDIR/)
      }
    })
  )
})

describe("the digest of a sparse file", () => {
  it.live("is that of the content, whether zeros are holes or not, and of the size", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const digest = (name: string, size: number, filled: boolean, at = 3_000_000) => {
        const path = Path.join(folder, name)
        const file = Fs.openSync(path, "w")
        if (filled) Fs.writeSync(file, Buffer.alloc(size))
        else Fs.ftruncateSync(file, size)
        Fs.writeSync(file, "data", at)
        Fs.closeSync(file)
        return Digest.ofSparseFile(path)
      }
      const size = 5_000_001
      const one = yield* digest("a", size, true)
      assert.strictEqual(yield* digest("b", size, false), one)
      assert.notStrictEqual(yield* digest("c", size, false, 3_000_001), one)
      assert.notStrictEqual(yield* digest("d", size + 1, false), one)
    })
  )

  it.live("is the same for a large one, of which only the data is read", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const size = 100 * 1024 * 1024 + 1
      const places = [0, 70_000, 5 * 1024 * 1024 - 2, 90 * 1024 * 1024, size - 4]
      const digest = (name: string, at: ReadonlyArray<number>, filled = false) => {
        const path = Path.join(folder, name)
        const file = Fs.openSync(path, "w")
        if (filled) Fs.writeSync(file, Buffer.alloc(size))
        else Fs.ftruncateSync(file, size)
        for (const place of at) Fs.writeSync(file, "data", place)
        Fs.closeSync(file)
        return Digest.ofSparseFile(path)
      }
      const one = yield* digest("filled", places, true)
      assert.strictEqual(yield* digest("sparse", places), one)
      // One byte in what was a hole.
      assert.notStrictEqual(yield* digest("flipped", [...places, 50 * 1024 * 1024]), one)
      assert.strictEqual(yield* digest("empty", []), yield* digest("zeros", [], true))
      const before = process.env.PATH
      process.env.PATH = folder
      const withoutPerl = yield* Effect.ensuring(
        digest("no perl", places),
        Effect.sync(() => {
          process.env.PATH = before
        })
      )
      assert.strictEqual(withoutPerl, one)
    })
  )
})
