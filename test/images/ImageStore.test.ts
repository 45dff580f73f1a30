import DefaultFs, * as Fs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HostProcess from "../../src/host/HostProcess.ts"
import * as Lock from "../../src/host/Lock.ts"
import * as Store from "../../src/host/Store.ts"
import * as Image from "../../src/images/Image.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import type { Building } from "../../src/images/internal/building.ts"
import * as Entries from "../../src/images/internal/entries.ts"
import * as Plan from "../../src/images/internal/plan.ts"
import * as Scratch from "../../src/images/internal/scratch.ts"
import { needsMount, readOnly } from "../host/readOnly.ts"
import { collectSpans } from "../spans.ts"

const before = { cache: process.env.XDG_CACHE_HOME, path: process.env.PATH }
let base = ""

/** A host with an empty cache that can lock but not build, so that whatever comes back came from the store. */
beforeEach(() => {
  base = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-store-"))
  const bin = Path.join(base, "bin")
  Fs.mkdirSync(bin)
  for (const tool of ["setpriv", "flock", "sh", "cat"]) {
    Fs.symlinkSync(Effect.runSync(HostProcess.locate(tool)), Path.join(bin, tool))
  }
  process.env.XDG_CACHE_HOME = Path.join(base, "cache")
  process.env.PATH = bin
})

afterEach(() => {
  process.env.PATH = before.path
  if (before.cache === undefined) delete process.env.XDG_CACHE_HOME
  else process.env.XDG_CACHE_HOME = before.cache
  Fs.rmSync(base, { recursive: true, force: true })
})

const root = () => Path.join(base, "cache", "vmtest", "images")
const quiet: Building = {
  image: "tiny",
  log: "",
  refresh: false,
  progress: () => Effect.void,
  workspace: Effect.die("not needed")
}
/** The store itself, as images have it. */
const opened = Effect.flatten(Store.make(Effect.sync(root), { removeTree: Scratch.remove }))

/** Stores what looks like a build of a description. */
const store = Effect.fnUntraced(function* (image: Image.TinyImage, kernel = "a kernel") {
  const plan = yield* Plan.tiny(image)
  const out = Path.join(base, "out")
  Fs.mkdirSync(out)
  Fs.writeFileSync(Path.join(out, "kernel"), kernel)
  Fs.writeFileSync(Path.join(out, "initrd"), "an initrd")
  return yield* Entries.publish(quiet, yield* opened, out, {
    kind: "tiny",
    name: plan.name,
    key: plan.key,
    suite: plan.suite,
    cmdline: plan.cmdline,
    packages: []
  })
}, Effect.scoped)

const fresh = <A, E>(effect: Effect.Effect<A, E, ImageStore>) => Effect.provide(effect, ImageStore.layer)
const resolve = (image: Image.Image) => fresh(ImageStore.use((one) => one.resolve(image)))

describe("ImageStore", () => {
  it.live("gives a stored image without apt, network or any tool of a build", () =>
    Effect.gen(function* () {
      const entry = yield* store(Image.tiny())
      const image = yield* resolve(Image.tiny())
      assert.strictEqual(image.digest, entry.manifest.digest)
      assert.strictEqual(Fs.readFileSync(image.kernel, "utf8"), "a kernel")
      assert.strictEqual(Fs.readFileSync(image.initrd, "utf8"), "an initrd")
      assert.strictEqual(image.guest, "tiny")
      assert.isUndefined(image.root)
      assert.strictEqual(image.builtAt, entry.manifest.builtAt)
    })
  )

  it.live("traces what it was asked for, and whether that was stored", () =>
    Effect.gen(function* () {
      const { manifest } = yield* store(Image.tiny())
      const { collect, seen } = collectSpans()
      yield* collect(resolve(Image.tiny()))
      const attributes = { "vmtest.image": "tiny", "vmtest.image.digest": manifest.digest, "vmtest.store.hit": true }
      assert.deepStrictEqual(seen(), [["vmtest.image.resolve", attributes]])
    })
  )

  it.live("names the missing tool and its package before it builds anything", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(resolve(Image.debian({ packages: ["curl"] })))
      assert.strictEqual(error._tag, "ToolMissing")
      assert.match(error.message, /is not installed: apt-get install/)
      assert.isFalse(Fs.existsSync(Path.join(root(), "tmp")))
    })
  )

  const damages: Readonly<Record<string, (folder: string) => void>> = {
    "a file is gone": (folder) => Fs.rmSync(Path.join(folder, "initrd")),
    "a file is shorter": (folder) => {
      Fs.chmodSync(Path.join(folder, "kernel"), 0o644)
      Fs.truncateSync(Path.join(folder, "kernel"), 3)
    },
    "a byte is another, with size and time as before": (folder) => {
      const path = Path.join(folder, "kernel")
      const { atime, mtime } = Fs.statSync(path)
      Fs.chmodSync(path, 0o644)
      Fs.writeFileSync(path, "b kernel")
      Fs.utimesSync(path, atime, mtime)
    },
    "the manifest is cut off": (folder) => Fs.truncateSync(Path.join(folder, "manifest.json"), 20)
  }
  for (const [what, damage] of Object.entries(damages)) {
    it.live(`does not use a stored image when ${what}`, () =>
      Effect.gen(function* () {
        const { folder } = yield* store(Image.tiny())
        yield* resolve(Image.tiny())
        damage(folder)
        // It would be built again, which this host cannot.
        const error = yield* Effect.flip(resolve(Image.tiny()))
        assert.strictEqual(error._tag, "ToolMissing")
      })
    )
  }

  it.live("prefers the newest build, lists by last use, and prunes what was replaced", () =>
    Effect.gen(function* () {
      const old = yield* store(Image.tiny())
      yield* Effect.sleep("5 millis")
      const renewed = yield* store(Image.tiny(), "a newer kernel")
      const other = yield* store(Image.tiny({ kernelParameters: "nosmp" }))
      assert.strictEqual((yield* resolve(Image.tiny())).digest, renewed.manifest.digest)
      yield* fresh(
        Effect.gen(function* () {
          const images = yield* ImageStore
          const listed = yield* images.list
          assert.deepStrictEqual(
            listed.map(({ id, kind, name }) => [id, kind, name]),
            [
              [renewed.id, "tiny", "tiny"],
              [other.id, "tiny", Image.describe(Image.tiny({ kernelParameters: "nosmp" }))],
              [old.id, "tiny", "tiny"]
            ]
          )
          const pruned = yield* images.prune({ olderThan: Duration.infinity })
          assert.deepStrictEqual(
            pruned.removed.map(({ id }) => id),
            [old.id]
          )
          assert.strictEqual((yield* images.list).length, 2)
        })
      )
    })
  )

  it.live("does not prune an image that a run is using", () =>
    Effect.gen(function* () {
      yield* store(Image.tiny())
      const prune = fresh(ImageStore.use((one) => one.prune({ maxBytes: 0 })))
      yield* fresh(
        Effect.gen(function* () {
          yield* ImageStore.use((one) => one.resolve(Image.tiny()))
          assert.deepStrictEqual((yield* prune).removed, [])
        })
      )
      assert.strictEqual((yield* prune).removed.length, 1)
      assert.deepStrictEqual(Fs.readdirSync(Path.join(root(), "entries")), [])
    })
  )

  it.live("does not say that it removed what is still there", () =>
    Effect.gen(function* () {
      const { folder } = yield* store(Image.tiny())
      const { renameSync } = DefaultFs
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          DefaultFs.renameSync = renameSync
          syncBuiltinESMExports()
        })
      )
      // As root, nothing but a busy folder cannot be removed.
      DefaultFs.renameSync = (from, to) => {
        if (from === folder) throw new Error("EBUSY: resource busy or locked")
        renameSync(from, to)
      }
      syncBuiltinESMExports()
      const pruned = yield* fresh(ImageStore.use((one) => one.prune({ maxBytes: 0 })))
      assert.deepStrictEqual(pruned, { removed: [], bytes: 0 })
    })
  )

  describe("behind a read-only mount", () => {
    needsMount()

    it.live("gives what a cache has that may only be read, and says so of what it does not have", () =>
      Effect.gen(function* () {
        const { manifest } = yield* store(Image.tiny())
        process.env.XDG_CACHE_HOME = yield* readOnly(Path.join(base, "cache"))
        yield* fresh(
          Effect.gen(function* () {
            const images = yield* ImageStore
            assert.strictEqual((yield* images.resolve(Image.tiny())).digest, manifest.digest)
            assert.lengthOf(yield* images.list, 1)
            // Before any tool of a build is looked for.
            const missing = yield* Effect.flip(images.resolve(Image.tiny({ kernelParameters: "nosmp" })))
            assert.strictEqual(missing._tag, "CacheUnwritable")
            assert.strictEqual((yield* Effect.flip(images.prune({ maxBytes: 0 })))._tag, "CacheUnwritable")
          })
        )
      })
    )
  })

  it.live("says that the cache cannot be written to before anything else", () =>
    Effect.gen(function* () {
      Fs.writeFileSync(Path.join(base, "cache"), "a file in the way")
      const error = yield* Effect.flip(resolve(Image.tiny()))
      assert.strictEqual(error._tag, "CacheUnwritable")
    })
  )

  it.live("boots a disk where it is, by its format, and says when it is not there", () =>
    Effect.gen(function* () {
      const path = Path.join(base, "disk.img")
      const missing = yield* Effect.flip(resolve(Image.disk({ path })))
      assert.strictEqual(missing._tag, "BadImage")
      assert.include(missing.message, `path must be a file, but ${path} does not exist`)
      const empty = Path.join(base, "empty.img")
      Fs.writeFileSync(empty, "")
      for (const [options, words] of [
        [{ path: base }, "path must be a file, but"],
        [{ path: base }, "is a folder"],
        [{ path: "/dev/null" }, "path must be a file, but /dev/null is something else"],
        [{ path: empty }, "is empty"],
        [{ path: Path.join(empty, "disk.img") }, "does not exist"],
        [{ path, comandline: "quiet" }, 'unknown option "comandline"'],
        [{}, "image disk: path is missing: it must be a string"]
      ] as const) {
        assert.include((yield* Effect.flip(resolve(Image.disk(options as never)))).message, words)
      }
      Fs.writeFileSync(path, Buffer.from("514649fb00000003", "hex"))
      const image = yield* resolve(Image.disk({ path }))
      assert.deepStrictEqual(image.disk, { path, format: "qcow2" })
      assert.strictEqual(image.guest, "disk")
      Fs.writeFileSync(path, "raw bytes")
      const changed = yield* resolve(Image.disk({ path }))
      assert.strictEqual(changed.disk?.format, "raw")
      assert.notStrictEqual(changed.digest, image.digest)
    })
  )
})

describe("what killed builds leave", () => {
  const temporary = () => Path.join(root(), "tmp")
  const leaveLock = ({ locks }: Store.Store, name: string) => {
    Fs.mkdirSync(locks, { recursive: true })
    Fs.writeFileSync(Path.join(locks, `${name}.build`), "")
  }

  it.live("is swept, with the tree it had elsewhere; what a live build has stays", () =>
    Effect.gen(function* () {
      const place = yield* opened
      const tree = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-tree-"))
      for (const name of ["dead.1", "live.2"]) {
        Fs.mkdirSync(Path.join(temporary(), name), { recursive: true })
        Fs.writeFileSync(Path.join(temporary(), name, "half"), "x")
      }
      Fs.writeFileSync(Path.join(temporary(), "dead.1", "scratch"), tree)
      leaveLock(place, "dead")
      yield* Lock.acquire(Path.join(place.locks, "live.build"))
      yield* opened
      assert.deepStrictEqual(Fs.readdirSync(temporary()), ["live.2"])
      assert.isFalse(Fs.existsSync(tree))
    }).pipe(Effect.scoped)
  )

  it.live("never takes a folder that is not a build's for its tree", () =>
    Effect.gen(function* () {
      const precious = Path.join(base, "precious")
      Fs.mkdirSync(precious)
      Fs.mkdirSync(Path.join(temporary(), "dead.1"), { recursive: true })
      Fs.writeFileSync(Path.join(temporary(), "dead.1", "scratch"), precious)
      leaveLock(yield* opened, "dead")
      yield* opened
      assert.deepStrictEqual(Fs.readdirSync(temporary()), [])
      assert.isTrue(Fs.existsSync(precious))
    }).pipe(Effect.scoped)
  )
})
