import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Cache from "../../src/host/Cache.ts"
import { needsMount, readOnly } from "./readOnly.ts"

const before = process.env.XDG_CACHE_HOME
let base = ""

beforeEach(() => {
  base = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-cache-"))
  process.env.XDG_CACHE_HOME = base
})

afterEach(() => {
  Fs.rmSync(base, { recursive: true, force: true })
  if (before === undefined) delete process.env.XDG_CACHE_HOME
  else process.env.XDG_CACHE_HOME = before
})

describe("Cache", () => {
  it.effect("makes a folder of its own below the user's cache", () =>
    Effect.gen(function* () {
      const path = yield* Cache.folder("images")
      assert.strictEqual(path, Path.join(base, "vmtest", "images"))
      assert.strictEqual(Fs.statSync(path).mode & 0o777, 0o700)
      assert.deepStrictEqual(Fs.readdirSync(path), [])
      assert.strictEqual(yield* Cache.folder("images"), path)
    })
  )

  it.effect("takes no notice of a relative XDG_CACHE_HOME", () =>
    Effect.gen(function* () {
      process.env.XDG_CACHE_HOME = "cache"
      assert.strictEqual(yield* Cache.root, Path.join(Os.homedir(), ".cache", "vmtest"))
    })
  )

  it.effect("is refused in a folder with a control character in its path, for which apt would wait for ever", () =>
    Effect.gen(function* () {
      process.env.XDG_CACHE_HOME = Path.join(base, "two\nlines")
      Fs.mkdirSync(Path.join(process.env.XDG_CACHE_HOME, "vmtest", "images"), { recursive: true })
      for (const asked of [Cache.folder("images"), Cache.open("images")]) {
        const { message } = yield* Effect.flip(asked)
        assert.include(message, 'two\\nlines/vmtest": its path has a control character')
        assert.include(message, "set XDG_CACHE_HOME")
      }
    })
  )

  it.effect("says which folder it cannot write to", () =>
    Effect.gen(function* () {
      Fs.writeFileSync(Path.join(base, "vmtest"), "a file in the way")
      const error = yield* Effect.flip(Cache.folder("images"))
      assert.strictEqual(error._tag, "CacheUnwritable")
      assert.include(error.message, Path.join(base, "vmtest", "images"))
      assert.include(error.message, "XDG_CACHE_HOME")
    })
  )

  it.effect("opens a folder that is there, or can be made, and says why nothing can be written", () =>
    Effect.gen(function* () {
      const path = yield* Cache.open("images")
      assert.isTrue(Fs.existsSync(path))
      assert.isUndefined(yield* Cache.unwritable(path))
      assert.isUndefined(yield* Cache.unwritable(Path.join(base, "not", "yet")))
      assert.isFalse(Fs.existsSync(Path.join(base, "not")))
      Fs.writeFileSync(Path.join(base, "file"), "")
      assert.strictEqual((yield* Cache.unwritable(Path.join(base, "file", "below")))?._tag, "CacheUnwritable")
      process.env.XDG_CACHE_HOME = Path.join(base, "file")
      assert.strictEqual((yield* Effect.flip(Cache.open("images")))._tag, "CacheUnwritable")
    })
  )

  describe("behind a read-only mount", () => {
    needsMount()

    it.effect("opens a cache that may only be read, also for a kind that it does not have", () =>
      Effect.gen(function* () {
        yield* Cache.folder("images")
        const view = yield* readOnly(base)
        process.env.XDG_CACHE_HOME = view
        assert.strictEqual((yield* Effect.flip(Cache.folder("images")))._tag, "CacheUnwritable")
        for (const kind of ["images", "snapshots"]) {
          const path = yield* Cache.open(kind)
          assert.strictEqual(path, Path.join(view, "vmtest", kind))
          assert.include((yield* Cache.unwritable(path))?.message, `could not write to the cache folder ${path}`)
        }
      })
    )
  })

  it.effect("does not hang where the file system is one that takes no folders", () =>
    Effect.gen(function* () {
      process.env.XDG_CACHE_HOME = "/proc/nowhere"
      const error = yield* Effect.flip(Cache.folder("images"))
      assert.strictEqual(error._tag, "CacheUnwritable")
    })
  )
})
