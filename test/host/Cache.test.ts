import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Cache from "../../src/host/Cache.ts"

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

  it.effect("says which folder it cannot write to", () =>
    Effect.gen(function* () {
      Fs.writeFileSync(Path.join(base, "vmtest"), "a file in the way")
      const error = yield* Effect.flip(Cache.folder("images"))
      assert.strictEqual(error._tag, "CacheUnwritable")
      assert.include(error.message, Path.join(base, "vmtest", "images"))
      assert.include(error.message, "XDG_CACHE_HOME")
    })
  )

  it.effect("does not hang where the file system is one that takes no folders", () =>
    Effect.gen(function* () {
      process.env.XDG_CACHE_HOME = "/proc/nowhere"
      const error = yield* Effect.flip(Cache.folder("images"))
      assert.strictEqual(error._tag, "CacheUnwritable")
    })
  )
})
