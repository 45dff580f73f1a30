import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Entries from "../../src/driver/internal/snapshotEntries.ts"
import type * as Store from "../../src/driver/SnapshotStore.ts"
import * as Manifest from "../../src/host/Manifest.ts"
import { needsMount, readOnly } from "../host/readOnly.ts"
import { collectSpans } from "../spans.ts"
import { build, collecting, getOrBuild, keyOf, randomOf, run, save, spoil, temporaryFolder } from "./storeSupport.ts"

const child = fileURLToPath(new URL("./fixtures/storeBuilder.ts", import.meta.url))

/** Another process that builds an entry: waits in the middle of it for a line, or for ever. */
const builder = (folder: string, image: string) =>
  Effect.acquireRelease(
    Effect.sync(() =>
      ChildProcess.spawn(process.execPath, [child, folder, image], { stdio: ["pipe", "pipe", "inherit"] })
    ),
    (started) => Effect.sync(() => started.kill("SIGKILL"))
  ).pipe(
    Effect.map((started) => {
      let said = ""
      started.stdout.on("data", (data) => {
        said += String(data)
      })
      return {
        hears: (word: string) =>
          Effect.callback<void>((resume) => {
            const look = () => (said.includes(word) ? resume(Effect.void) : undefined)
            started.stdout.on("data", look)
            started.once("exit", look)
            look()
          }).pipe(Effect.timeout("20 seconds"), Effect.orDie),
        finish: Effect.sync(() => void started.stdin.end("go\n")),
        kill: Effect.callback<void>((resume) => {
          started.once("exit", () => resume(Effect.void))
          started.kill("SIGKILL")
        }),
        count: () => said.split("building").length - 1
      }
    })
  )

const entries = (folder: string) => Fs.readdirSync(Path.join(folder, "entries"))
const idOf = (image: string) => Entries.idOf(keyOf(image).subject, keyOf(image).host)
const temporaries = (folder: string) => Fs.readdirSync(Path.join(folder, "tmp"))
const never = () => Effect.die("it is stored")

describe("the snapshot store", () => {
  it.live("makes an entry once, and gives it to this run and the next", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const first = yield* run({ folder }, (store) =>
        Effect.gen(function* () {
          const made = yield* getOrBuild(store, keyOf("a"), build())
          assert.deepStrictEqual(yield* getOrBuild(store, keyOf("a"), never), made)
          return made
        })
      )
      assert.deepStrictEqual(Fs.readdirSync(first.directory), ["memory", "state"])
      const second = yield* run({ folder }, (store) => getOrBuild(store, keyOf("a"), never))
      assert.deepStrictEqual(second, first)
      assert.deepStrictEqual(temporaries(folder), [])
    })
  )

  it.live("gives a run any number of folders under one lock, each gone with its scope and all with the run", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const locks = () => Fs.readdirSync(Path.join(folder, "locks"))
      yield* run({ folder }, (store) =>
        Effect.gen(function* () {
          const use = Effect.tap(store.temporary, (path) =>
            Effect.sync(() => Fs.writeFileSync(Path.join(path, "file"), ""))
          )
          const paths = yield* Effect.all([use, use, use], { concurrency: "unbounded" })
          assert.strictEqual(new Set(paths).size, 3)
          assert.lengthOf(locks(), 1)
          const short = yield* Effect.scoped(use)
          assert.isFalse(Fs.existsSync(short))
          assert.isTrue(paths.every((path) => Fs.existsSync(Path.join(path, "file"))))
        }).pipe(
          Effect.scoped,
          Effect.andThen(Effect.sync(() => assert.deepStrictEqual(temporaries(folder), []))),
          Effect.andThen(Effect.scoped(store.temporary)),
          Effect.andThen(Effect.sync(() => assert.lengthOf(locks(), 1)))
        )
      )
      assert.deepStrictEqual([temporaries(folder), locks()], [[], []])
    })
  )

  it.live("keeps entries of other images, shapes and hosts apart", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const keys = [keyOf("a"), keyOf("b"), keyOf("a", { accelerator: "kvm" })]
      yield* run({ folder }, (store) => Effect.forEach(keys, (key) => getOrBuild(store, key, build(key.name))))
      yield* run({ folder }, (store) => Effect.forEach(keys, (key) => getOrBuild(store, key, never)))
      assert.lengthOf(entries(folder), 3)
    })
  )

  it.live("makes it once when several machines of a run ask at the same time", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      let builds = 0
      const waits: Array<string> = []
      yield* run({ folder }, (store) =>
        Effect.forEach(
          [1, 2, 3, 4],
          () =>
            Effect.scoped(
              Effect.gen(function* () {
                const found = yield* store.lookup(keyOf("a"), (holder) => Effect.sync(() => void waits.push(holder)))
                if (found._tag === "Hit") return
                builds++
                yield* Effect.sleep("50 millis")
                save(found.folder)
                yield* found.publish
                // Those who wait need not wait for the end of the builder.
                yield* Effect.sleep("1 second")
              })
            ),
          { concurrency: "unbounded" }
        )
      )
      assert.strictEqual(builds, 1)
      assert.deepStrictEqual(
        waits,
        Array.from({ length: 3 }, () => "another machine of this run")
      )
    })
  )

  it.live("tells nobody to wait while it is only read", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* run({ folder }, (store) => getOrBuild(store, keyOf("a"), build()))
      const waits: Array<string> = []
      const lookup = (store: Store.SnapshotStore) =>
        Effect.scoped(store.lookup(keyOf("a"), (holder) => Effect.sync(() => void waits.push(holder))))
      const found = yield* run({ folder }, (store) =>
        Effect.forEach([1, 2, 3, 4], () => lookup(store), { concurrency: "unbounded" })
      )
      assert.deepStrictEqual([found.map(({ _tag }) => _tag), waits], [["Hit", "Hit", "Hit", "Hit"], []])
    })
  )

  it.live("lets the next one build when a build fails, and keeps nothing of it", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* run({ folder }, (store) =>
        Effect.gen(function* () {
          const failing = getOrBuild(store, keyOf("a"), (path) => {
            save(path)
            return Effect.fail("no")
          })
          assert.strictEqual(yield* Effect.flip(failing), "no")
          assert.deepStrictEqual(entries(folder), [])
          assert.deepStrictEqual(temporaries(folder), [])
          const waiting = yield* Effect.forkChild(getOrBuild(store, keyOf("a"), () => Effect.never))
          yield* Effect.sleep("200 millis")
          const next = yield* Effect.forkChild(getOrBuild(store, keyOf("a"), build()))
          yield* Fiber.interrupt(waiting)
          yield* Fiber.join(next)
        })
      )
      assert.deepStrictEqual(temporaries(folder), [])
    })
  )

  it.live("waits for another process that builds it, says so, and takes what it made", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const other = yield* builder(folder, "a")
      yield* other.hears("building")
      const waits: Array<string> = []
      const looking = yield* Effect.forkChild(
        run({ folder }, (store) =>
          Effect.scoped(store.lookup(keyOf("a"), (holder) => Effect.sync(() => void waits.push(holder))))
        )
      )
      yield* Effect.sleep("600 millis")
      assert.isUndefined(looking.pollUnsafe())
      yield* other.finish
      assert.strictEqual((yield* Fiber.join(looking))._tag, "Hit")
      assert.lengthOf(waits, 1)
      assert.match(waits[0]!, /^process \d+$/)
    })
  )

  it.live("gives up waiting after a time, so that the machine can boot", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const other = yield* builder(folder, "a")
      yield* other.hears("building")
      const lookup = run({ folder, lockTimeout: "300 millis" }, (store) => Effect.scoped(store.lookup(keyOf("a"))))
      assert.strictEqual((yield* Effect.flip(lookup))._tag, "LockTimeout")
    })
  )

  it.live("is whole when a builder is killed, and removes what that one left", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const other = yield* builder(folder, "a")
      yield* other.hears("building")
      assert.lengthOf(temporaries(folder), 1)
      yield* other.kill
      assert.deepStrictEqual(entries(folder), [])
      yield* run({ folder }, (store) => getOrBuild(store, keyOf("a"), build()))
      assert.deepStrictEqual(temporaries(folder), [])
    })
  )
})

describe("a trace of the snapshot store", () => {
  it.live("has a span for each lookup, hit or miss, and for what is published", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const { collect, seen } = collectSpans()
      const { id } = yield* run({ folder }, (store) =>
        collect(Effect.andThen(getOrBuild(store, keyOf("a"), build()), getOrBuild(store, keyOf("a"), never)))
      )
      const common = { "vmtest.snapshot.id": id, "vmtest.snapshot.name": "machine of a" }
      assert.deepStrictEqual(seen(), [
        ["vmtest.snapshot.lookup", { ...common, "vmtest.store.hit": false }],
        ["vmtest.store.lock", { "vmtest.store": folder, "vmtest.store.name": id }],
        ["vmtest.snapshot.publish", common],
        ["vmtest.snapshot.lookup", { ...common, "vmtest.store.hit": true }]
      ])
    })
  )
})

describe("an entry of the snapshot store that is not as it should be", () => {
  it.live("is discarded with one warning, and made again", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const random = randomOf(7)
      yield* run({ folder }, (store) => getOrBuild(store, keyOf("a"), build()))
      for (let round = 0; round < 25; round++) {
        const done = spoil(Path.join(folder, "entries", entries(folder)[0]!), random)
        const { layer, lines } = collecting()
        const found = yield* run({ folder }, (store) =>
          Effect.scoped(
            Effect.gen(function* () {
              const found = yield* store.lookup(keyOf("a"))
              if (found._tag === "Hit") return "Hit"
              save(found.folder)
              yield* found.publish
              return "Miss"
            })
          )
        ).pipe(Effect.provide(layer))
        assert.strictEqual(found, "Miss", done)
        assert.lengthOf(lines, 1, done)
        assert.match(lines[0]!, /^discarding the snapshot of machine of a \(.*\); booting instead$/)
      }
    })
  )

  it.live("lacks a file, or holds another's", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* run({ folder }, (store) =>
        Effect.andThen(getOrBuild(store, keyOf("a"), build("a")), getOrBuild(store, keyOf("b"), build("b")))
      )
      const lookedUp = (image: string) => {
        const { layer, lines } = collecting()
        return run({ folder }, (store) => Effect.scoped(store.lookup(keyOf(image)))).pipe(
          Effect.provide(layer),
          Effect.map(({ _tag }) => ({ _tag, lines }))
        )
      }
      const id = (image: string) =>
        entries(folder).find((name) =>
          Fs.readFileSync(Path.join(folder, "entries", name, "manifest.json"), "utf8").includes(`machine of ${image}`)
        )!
      const [a, b] = [id("a"), id("b")].map((name) => Path.join(folder, "entries", name))
      Fs.rmSync(a!, { recursive: true })
      Fs.cpSync(b!, a!, { recursive: true })
      const copied = yield* lookedUp("a")
      assert.strictEqual(copied._tag, "Miss")
      assert.match(copied.lines.join(), /its image is b, not a/)
      Fs.rmSync(Path.join(b!, "machine", "state"), { force: true })
      const lacking = yield* lookedUp("b")
      assert.strictEqual(lacking._tag, "Miss")
      assert.match(lacking.lines.join(), /state is missing/)
    })
  )

  it.live("is read whole once in a run, and again in the next", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const one = yield* run({ folder }, (store) => getOrBuild(store, keyOf("a"), build()))
      const path = Path.join(one.directory, "memory")
      const { layer, lines } = collecting()
      yield* run({ folder }, (store) =>
        Effect.gen(function* () {
          yield* getOrBuild(store, keyOf("a"), never)
          Fs.chmodSync(path, 0o600)
          const file = Fs.openSync(path, "r+")
          Fs.writeSync(file, "other", 0)
          Fs.closeSync(file)
          yield* getOrBuild(store, keyOf("a"), never)
        })
      )
      const next = yield* Effect.provide(
        run({ folder }, (store) => Effect.scoped(store.lookup(keyOf("a")))),
        layer
      )
      assert.strictEqual(next._tag, "Miss")
      assert.lengthOf(lines, 1)
    })
  )

  for (const fact of ["guest", "hardware", "format", "vmtest"]) {
    it.live(`is of a version of vmtest with another ${fact}, which keeps what it stored`, () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder
        const { layer, lines } = collecting()
        const [one, other] = [keyOf("a", { [fact]: "c7bd412a7d4ab30b" }), keyOf("a", { [fact]: "32144187af0984af" })]
        yield* Effect.gen(function* () {
          yield* run({ folder }, (store) => getOrBuild(store, one, build()))
          yield* run({ folder }, (store) => Effect.andThen(getOrBuild(store, other, build()), store.prune()))
          yield* run({ folder }, (store) => getOrBuild(store, one, never))
          yield* run({ folder }, (store) => getOrBuild(store, other, never))
        }).pipe(Effect.provide(layer))
        assert.deepStrictEqual(lines, [])
        assert.lengthOf(entries(folder), 2)
      })
    )
  }

  it.live("is of a version of vmtest with another store format, which prunes it by age and size only", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* run({ folder }, (store) => getOrBuild(store, keyOf("a"), build()))
      const foreign = Path.join(folder, "entries", "0123456789abcdef-fedcba9876543210")
      Fs.mkdirSync(foreign)
      Manifest.write(foreign, { format: 99, whatever: true })
      yield* run({ folder }, (store) =>
        Effect.gen(function* () {
          const listed = (yield* store.list).find(({ id }) => id === Path.basename(foreign))
          assert.deepInclude(listed, { name: "a snapshot of another version of vmtest", problem: undefined })
          assert.deepStrictEqual((yield* store.prune()).removed, [])
        })
      )
      yield* run({ folder }, (store) => store.prune({ maxBytes: 0 }))
      assert.deepStrictEqual(entries(folder), [])
    })
  )

  it.live("is of another hypervisor: discarded with one warning, unless it is for another accelerator", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const kvm = keyOf("a", { accelerator: "kvm" })
      yield* run({ folder }, (store) =>
        Effect.andThen(getOrBuild(store, keyOf("a"), build()), getOrBuild(store, kvm, build()))
      )
      const { layer, lines } = collecting()
      const upgraded = keyOf("a", { hypervisor: "QEMU 2.0.0" })
      yield* Effect.provide(
        run({ folder }, (store) => getOrBuild(store, upgraded, build())),
        layer
      )
      assert.lengthOf(lines, 1)
      assert.match(lines[0]!, /its hypervisor is QEMU 1.2.3, not QEMU 2.0.0/)
      assert.lengthOf(entries(folder), 2)
      yield* run({ folder }, (store) => getOrBuild(store, kvm, never))
    })
  )

  it.live("is discarded when whoever used it says so, but not what another run has made of it since", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const { layer, lines } = collecting()
      yield* run({ folder }, (store) =>
        Effect.gen(function* () {
          const one = yield* getOrBuild(store, keyOf("a"), build())
          yield* store.discard(one, "it does not load")
          assert.deepStrictEqual(entries(folder), [])
          yield* store.discard(one, "it does not load")
          assert.lengthOf(lines, 1)
          assert.match(lines[0]!, /it does not load/)
          yield* getOrBuild(store, keyOf("a"), build())
          yield* store.discard(one, "it does not load")
          assert.lengthOf(entries(folder), 1)
          assert.lengthOf(lines, 1)
        })
      ).pipe(Effect.provide(layer))
    })
  )
})

describe("the size of the snapshot store", () => {
  const listed = (folder: string) =>
    run({ folder }, (store) => Effect.map(store.list, (all) => all.map(({ name }) => name)))

  it.live("is kept by removing the least recently used", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      for (const image of ["a", "b", "c", "a", "d"]) {
        yield* run({ folder }, (store) => getOrBuild(store, keyOf(image), build(image)))
        yield* Effect.sleep("20 millis")
      }
      assert.deepStrictEqual(
        yield* listed(folder),
        ["d", "a", "c", "b"].map((image) => `machine of ${image}`)
      )
      const one = (yield* run({ folder }, (store) => store.list))[0]!.bytes
      assert.isAtLeast(one, 200_000)
      assert.isBelow(one, 1_000_000)
      const { removed } = yield* run({ folder }, (store) => store.prune({ maxBytes: 2 * one + 10 }))
      assert.deepStrictEqual(
        removed.map(({ name }) => name),
        ["machine of b", "machine of c"]
      )
      yield* run({ folder, maxBytes: one + 10 }, (store) => getOrBuild(store, keyOf("e"), build("e")))
      assert.deepStrictEqual(yield* listed(folder), ["machine of e"])
    })
  )

  it.live("is not kept at the cost of what a run uses, this one or another", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* run({ folder, maxBytes: 0 }, (store) =>
        Effect.gen(function* () {
          yield* getOrBuild(store, keyOf("a"), build())
          yield* getOrBuild(store, keyOf("b"), build())
          assert.lengthOf((yield* store.prune()).removed, 0)
          yield* run({ folder }, (other) =>
            Effect.map(other.prune({ maxBytes: 0 }), ({ removed }) => assert.lengthOf(removed, 0))
          )
        })
      )
      const { bytes, removed } = yield* run({ folder }, (store) => store.prune({ maxBytes: 0 }))
      assert.lengthOf(removed, 2)
      assert.isAbove(bytes, 0)
      assert.deepStrictEqual(entries(folder), [])
    })
  )

  it.live("removes what was not used for long, and what is damaged", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* run({ folder }, (store) =>
        Effect.andThen(getOrBuild(store, keyOf("a"), build()), getOrBuild(store, keyOf("b"), build()))
      )
      const list = yield* run({ folder }, (store) => store.list)
      const a = list.find(({ name }) => name.endsWith("a"))!
      Fs.truncateSync(Path.join(folder, "entries", a.id, "manifest.json"), 10)
      const { removed } = yield* run({ folder }, (store) => store.prune())
      assert.deepStrictEqual(
        removed.map(({ id, problem }) => [id, problem]),
        [[a.id, "manifest.json was changed"]]
      )
      assert.lengthOf((yield* run({ folder }, (store) => store.prune({ olderThan: 0 }))).removed, 1)
    })
  )

  it.live("does not count folders of a run, which are gone with it or with the next", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const path = yield* run({ folder }, (store) =>
        Effect.scoped(
          Effect.gen(function* () {
            const path = yield* store.temporary
            Fs.writeFileSync(Path.join(path, "memory"), "x")
            yield* run({ folder }, (other) => other.prune())
            assert.isTrue(Fs.existsSync(path))
            return path
          })
        )
      )
      assert.isFalse(Fs.existsSync(path))
      Fs.mkdirSync(path, { recursive: true })
      const [name = ""] = Path.relative(Path.join(folder, "tmp"), path).split(".")
      Fs.writeFileSync(Path.join(folder, "locks", `${name}.build`), "")
      yield* run({ folder }, (store) => store.prune())
      assert.isFalse(Fs.existsSync(path))
    })
  )

  it.live("is rid of what killed runs left by the next run, also by one that finds all that it wants", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      yield* run({ folder }, (store) => getOrBuild(store, keyOf("a"), build()))
      Fs.mkdirSync(Path.join(folder, "tmp", "of-a-killed-one.run", "1"), { recursive: true })
      Fs.writeFileSync(Path.join(folder, "locks", "of-a-killed-one.build"), "")
      yield* run({ folder }, (store) => getOrBuild(store, keyOf("a"), never))
      assert.deepStrictEqual(temporaries(folder), [])
      assert.notInclude(Fs.readdirSync(Path.join(folder, "locks")), "of-a-killed-one.build")
    })
  )

  describe("behind a read-only mount", () => {
    needsMount()

    it.live("gives what it has where it may only be read, and says once what it cannot do", () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder
        yield* run({ folder }, (store) =>
          Effect.andThen(getOrBuild(store, keyOf("a"), build()), getOrBuild(store, keyOf("b"), build()))
        )
        const damaged = entries(folder).find((id) => id !== idOf("a"))!
        Fs.truncateSync(Path.join(folder, "entries", damaged, "machine", "state"), 1)
        const view = yield* readOnly(folder)
        const { layer, lines } = collecting()
        yield* run({ folder: view }, (store) =>
          Effect.gen(function* () {
            const one = yield* getOrBuild(store, keyOf("a"), never)
            assert.strictEqual(one.directory, Path.join(view, "entries", idOf("a"), "machine"))
            for (const key of ["b", "c"]) {
              const error = yield* Effect.flip(Effect.scoped(store.lookup(keyOf(key))))
              assert.strictEqual(error._tag, "CacheUnwritable")
            }
            assert.strictEqual((yield* Effect.flip(Effect.scoped(store.temporary)))._tag, "CacheUnwritable")
            assert.lengthOf(yield* store.list, 2)
            assert.isTrue(yield* store.discard(one, "it does not load"))
          })
        ).pipe(Effect.provide(layer))
        assert.lengthOf(lines, 2)
        assert.match(
          lines[0]!,
          /^could not use the snapshot of machine of b: state has 1 bytes instead of 7; booting instead$/
        )
        assert.match(lines[1]!, /^could not use the snapshot of machine of a: it does not load; booting instead$/)
        assert.lengthOf(entries(folder), 2)
      })
    )
  })

  it.live("fails, rather than crashes, where nothing can be written", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(
        run({ folder: "/proc/vmtest" }, (store) => getOrBuild(store, keyOf("a"), build()))
      )
      assert.isTrue(Exit.isFailure(exit))
      assert.isFalse(Exit.hasDies(exit))
    })
  )
})
