import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Lock from "../../src/host/Lock.ts"
import * as Manifest from "../../src/host/Manifest.ts"
import * as Store from "../../src/host/Store.ts"
import { temporaryFolder } from "../driver/storeSupport.ts"
import { collectSpans } from "../spans.ts"
import { needsMount, readOnly } from "./readOnly.ts"

const Toy = Schema.Struct({ color: Schema.String })

/** The store of a folder, as a process of its own has it. */
const opened = (folder: string) => Effect.flatten(Store.make(Effect.succeed(folder)))

const make = Effect.fnUntraced(function* (store: Store.Store, id: string) {
  yield* Store.reserve(store, id)
  const folder = yield* Store.workspace(store, id)
  Fs.writeFileSync(Path.join(folder, "paint"), id)
  Manifest.write(folder, { color: id })
  return yield* Store.publish(store, folder, id)
}, Effect.scoped)

const temporaries = (folder: string) => Fs.readdirSync(Path.join(folder, "tmp"))

describe("a store", () => {
  it.live("makes nothing on disk before it is used", () =>
    Effect.gen(function* () {
      const folder = Path.join(yield* temporaryFolder, "store")
      const opening = yield* Store.make(Effect.succeed(folder))
      const store = yield* opening
      assert.deepStrictEqual(Store.ids(store), [])
      assert.isFalse(Fs.existsSync(folder))
      assert.strictEqual(yield* opening, store)
    })
  )

  it.live("opens again after it could not be opened", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      let asked = 0
      const opening = yield* Store.make(
        Effect.suspend(() => (asked++ === 0 ? Effect.fail("no") : Effect.succeed(folder)))
      )
      assert.strictEqual(yield* Effect.flip(opening), "no")
      assert.strictEqual((yield* opening).root, folder)
    })
  )

  it.live("has an entry whole, with its manifest, or not at all", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const store = yield* opened(folder)
      assert.isUndefined(Store.read(store, "red", Toy))
      const failed = Effect.gen(function* () {
        yield* Store.reserve(store, "red")
        Fs.writeFileSync(Path.join(yield* Store.workspace(store, "red"), "paint"), "half")
        return yield* Effect.fail("no paint")
      })
      assert.strictEqual(yield* Effect.flip(Effect.scoped(failed)), "no paint")
      assert.isUndefined(Store.read(store, "red", Toy))
      const place = yield* make(store, "red")
      assert.deepStrictEqual(Store.read(store, "red", Toy), { id: "red", folder: place, manifest: { color: "red" } })
      assert.deepStrictEqual(Fs.readdirSync(place).sort(), ["manifest.json", "manifest.sha256", "paint"])
      assert.deepStrictEqual(temporaries(folder), [])
    })
  )

  it.live("gives a folder of its own for each use of a workspace, gone with its scope", () =>
    Effect.gen(function* () {
      const store = yield* opened(yield* temporaryFolder)
      const workspace = Store.workspace(store, "red")
      yield* Effect.scoped(
        Effect.gen(function* () {
          const outer = yield* workspace
          const inner = yield* Effect.scoped(workspace)
          assert.notStrictEqual(inner, outer)
          assert.isFalse(Fs.existsSync(inner))
          assert.isTrue(Fs.existsSync(outer))
        })
      )
    })
  )

  it.live("finds out a manifest that was changed, cut or lost, and one of another form", () =>
    Effect.gen(function* () {
      const store = yield* opened(yield* temporaryFolder)
      const manifest = Path.join(yield* make(store, "red"), "manifest.json")
      const problemAfter = (damage: () => void, schema: Schema.Decoder<unknown> = Toy) => {
        damage()
        const found = Store.read(store, "red", schema)
        return found !== undefined && "problem" in found ? found.problem : found
      }
      const Other = Schema.Struct({ size: Schema.Number })
      assert.strictEqual(
        problemAfter(() => {}, Other),
        "manifest.json is not valid"
      )
      const seal = Path.join(Path.dirname(manifest), "manifest.sha256")
      const good = Fs.readFileSync(seal)
      assert.strictEqual(
        problemAfter(() => Fs.rmSync(seal)),
        "manifest.json was changed"
      )
      Fs.writeFileSync(seal, good)
      const text = Fs.readFileSync(manifest, "utf8")
      assert.strictEqual(
        problemAfter(() => Fs.writeFileSync(manifest, text.replace("red", "rad"))),
        "manifest.json was changed"
      )
      assert.strictEqual(
        problemAfter(() => Fs.truncateSync(manifest, 3)),
        "manifest.json was changed"
      )
      assert.strictEqual(
        problemAfter(() => Fs.rmSync(manifest)),
        "manifest.json cannot be read"
      )
      // A new one replaces it.
      yield* make(store, "red")
      const again = Store.read(store, "red", Toy)
      assert.isTrue(again !== undefined && "manifest" in again)
    })
  )

  it.live("gives a reservation to one at a time, and says who holds it", () =>
    Effect.gen(function* () {
      const store = yield* opened(yield* temporaryFolder)
      const holder = yield* Scope.make()
      yield* Scope.provide(Store.reserve(store, "red"), holder)
      const refused = yield* Effect.flip(Effect.scoped(Store.reserve(store, "red", { timeout: 0 })))
      assert.deepInclude(refused, { _tag: "LockTimeout", holder: `process ${process.pid}` })
      yield* Effect.scoped(Store.reserve(store, "blue", { timeout: 0 }))
      yield* Scope.close(holder, Exit.void)
      yield* Effect.scoped(Store.reserve(store, "red", { timeout: 0 }))
    })
  )

  it.live("keeps an entry that is pinned, here or elsewhere, from being pruned", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const store = yield* opened(folder)
      yield* make(store, "red")
      const user = yield* Scope.make()
      const other = yield* Scope.provide(opened(folder), user)
      yield* Store.pin(other, "red")
      assert.isFalse(yield* Store.removeUnpinned(store, "red"))
      assert.isFalse(yield* Store.removeUnpinned(other, "red"))
      yield* Scope.close(user, Exit.void)
      assert.isTrue(yield* Store.removeUnpinned(store, "red"))
      assert.deepStrictEqual([Store.ids(store), temporaries(folder)], [[], []])
    })
  )

  it.live("leaves the files of a removed entry to those who have them open", () =>
    Effect.gen(function* () {
      const store = yield* opened(yield* temporaryFolder)
      const file = Fs.openSync(Path.join(yield* make(store, "red"), "paint"), "r")
      assert.isTrue(yield* Store.remove(store, "red"))
      assert.strictEqual(Fs.readFileSync(file, "utf8"), "red")
      Fs.closeSync(file)
      assert.isFalse(yield* Store.remove(store, "red"))
    })
  )

  it.live("removes what killed processes left, when it is opened and when the same is made again", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const leave = (name: string) => {
        Fs.mkdirSync(Path.join(folder, "tmp", name, "deep"), { recursive: true })
        Fs.mkdirSync(Path.join(folder, "locks"), { recursive: true })
        Fs.writeFileSync(Path.join(folder, "locks", `${name.replace(/\.[^.]*$/, "")}.build`), "")
      }
      for (const name of ["red.1", "going.2", "3.run"]) leave(name)
      const store = yield* opened(folder)
      assert.deepStrictEqual(temporaries(folder), [])
      assert.notInclude(Fs.readdirSync(Path.join(folder, "locks")), "3.build")
      yield* Effect.gen(function* () {
        yield* Store.reserve(store, "blue")
        leave("blue.4")
        leave("red.5")
        yield* opened(folder)
        assert.deepStrictEqual(temporaries(folder), ["blue.4"])
      }).pipe(Effect.scoped)
      yield* make(store, "blue")
      assert.deepStrictEqual(temporaries(folder), [])
    })
  )

  it.live("leaves alone what another version of vmtest makes, whose locks it does not know, for a week", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      // Names of an earlier version: a build's folder and its lock.
      const build = Path.join(folder, "tmp", "build-3f0c8f7e-6a2b-4c1d-9d6e-2f1a7b8c9d0e")
      Fs.mkdirSync(build, { recursive: true })
      yield* Lock.acquire(Path.join(folder, "locks", `${Path.basename(build)}.lock`))
      Fs.mkdirSync(Path.join(folder, "tmp", "blue.of-a-later-version"))
      yield* opened(folder)
      assert.strictEqual(temporaries(folder).length, 2)
      const weekAgo = Date.now() / 1000 - 8 * 24 * 60 * 60
      Fs.utimesSync(build, weekAgo, weekAgo)
      yield* opened(folder)
      assert.deepStrictEqual(temporaries(folder), ["blue.of-a-later-version"])
    })
  )

  it.live("has names on disk that every version of vmtest keeps to", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const store = yield* opened(folder)
      yield* Store.pin(store, "red")
      yield* Effect.gen(function* () {
        yield* Store.reserve(store, "red")
        const workspace = yield* Store.workspace(store, "red")
        assert.match(Path.relative(folder, workspace), /^tmp\/red\.[-0-9a-f]{36}$/)
      }).pipe(Effect.scoped)
      yield* make(store, "red")
      assert.deepStrictEqual(Fs.readdirSync(Path.join(folder, "locks")).sort(), ["red.build", "red.use"])
      assert.deepStrictEqual(Fs.readdirSync(Path.join(folder, "entries")), ["red"])
      assert.match(Path.relative(folder, yield* store.privateFolder), /^tmp\/[-0-9a-f]{36}\.run\/1$/)
    })
  )

  describe("that may only be read", () => {
    needsMount()

    it.live("gives what is in it, and refuses to make or remove anything", () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder
        yield* make(yield* opened(folder), "red")
        const view = yield* readOnly(folder)
        const store = yield* opened(view)
        assert.strictEqual(store.unwritable?._tag, "CacheUnwritable")
        yield* Store.pin(store, "red")
        yield* Store.pin(store, "blue")
        yield* Store.markUsed(store, "red")
        const place = Path.join(view, "entries", "red")
        assert.deepStrictEqual(Store.read(store, "red", Toy), { id: "red", folder: place, manifest: { color: "red" } })
        for (const refused of [make(store, "blue"), make(store, "red"), store.privateFolder]) {
          assert.deepInclude(yield* Effect.flip(refused), { _tag: "CacheUnwritable", path: view })
        }
        assert.isFalse(yield* Store.remove(store, "red"))
        assert.isFalse(yield* Store.removeUnpinned(store, "red"))
        assert.deepStrictEqual(Store.ids(store), ["red"])
      })
    )

    it.live("keeps those that may write from pruning what is used there", () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder
        yield* make(yield* opened(folder), "red")
        // Whoever makes an entry has pinned it.
        yield* Effect.scoped(Effect.flatMap(opened(folder), (store) => Store.pin(store, "red")))
        const writer = yield* opened(folder)
        const reading = Effect.gen(function* () {
          yield* Store.pin(yield* opened(yield* readOnly(folder)), "red")
          assert.isFalse(yield* Store.removeUnpinned(writer, "red"))
        })
        yield* Effect.scoped(reading)
        assert.isTrue(yield* Store.removeUnpinned(writer, "red"))
      })
    )
  })

  it.live("knows when an entry was used last", () =>
    Effect.gen(function* () {
      const store = yield* opened(yield* temporaryFolder)
      yield* make(store, "red")
      const made = Store.lastUsed(store, "red")
      assert.isAbove(made, 0)
      yield* Effect.sleep("20 millis")
      yield* Store.markUsed(store, "red")
      assert.isAbove(Store.lastUsed(store, "red"), made)
      assert.strictEqual(Store.lastUsed(store, "blue"), 0)
      yield* Store.markUsed(store, "blue")
    })
  )

  it.live("fails with what the system says where nothing can be written", () =>
    Effect.gen(function* () {
      const store = yield* opened("/proc/vmtest")
      const error = yield* Effect.flip(Effect.scoped(Store.workspace(store, "red")))
      assert.deepInclude(error, { _tag: "StoreFailed" })
      assert.match(error.message, /^could not use \/proc\/vmtest\/tmp\/red\.[-0-9a-f]+: ENOENT/)
    })
  )

  it.live("traces how long a reservation took", () =>
    Effect.gen(function* () {
      const { collect, seen } = collectSpans()
      const folder = yield* temporaryFolder
      const store = yield* opened(folder)
      yield* collect(make(store, "red"))
      assert.deepStrictEqual(seen(), [["vmtest.store.lock", { "vmtest.store": folder, "vmtest.store.name": "red" }]])
    })
  )
})
