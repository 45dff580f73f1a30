import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as RunDirectory from "../../src/host/RunDirectory.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-test-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
)

const ownerOf = (path: string) => JSON.parse(Fs.readFileSync(Path.join(path, "owner.json"), "utf8"))

/** A folder as another run would have left it. */
const leave = (base: string, name: string, change: (owner: Record<string, unknown>) => Record<string, unknown>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const { path } = yield* RunDirectory.make({ base: yield* temporary })
      const left = Path.join(base, name)
      Fs.mkdirSync(left)
      Fs.writeFileSync(Path.join(left, "owner.json"), JSON.stringify(change(ownerOf(path))))
      return left
    })
  )

describe("a run's folder", () => {
  it.effect("is private, and gone with its scope", () =>
    Effect.gen(function* () {
      const base = yield* temporary
      const path = yield* Effect.scoped(
        Effect.gen(function* () {
          const run = yield* RunDirectory.make({ base })
          assert.strictEqual(Fs.statSync(run.path).mode & 0o777, 0o700)
          const folder = yield* run.folder("web")
          assert.strictEqual(Fs.statSync(folder).mode & 0o777, 0o700)
          assert.strictEqual(yield* run.folder("web"), folder)
          return run.path
        })
      )
      assert.isFalse(Fs.existsSync(path))
    })
  )

  it.effect("stays where it is kept, through sweeps too", () =>
    Effect.gen(function* () {
      const base = yield* temporary
      const path = yield* Effect.scoped(Effect.map(RunDirectory.make({ base, keep: true }), ({ path }) => path))
      Fs.writeFileSync(Path.join(path, "owner.json"), JSON.stringify({ ...ownerOf(path), boot: "another" }))
      assert.deepStrictEqual(yield* RunDirectory.sweep(base), [])
      assert.isTrue(Fs.existsSync(path))
    })
  )

  it.effect("keeps a socket's path within the kernel's limit, whatever the machine is called", () =>
    Effect.gen(function* () {
      const { folder, path } = yield* RunDirectory.make()
      assert.isAtMost(Buffer.byteLength(path), 60)
      for (const name of ["a".repeat(63), "ünïcödé".repeat(20), "../../etc", "a/b", "."]) {
        const made = yield* folder(name)
        assert.strictEqual(Path.dirname(made), path)
        assert.isAtMost(Buffer.byteLength(`${made}/p30`), 107)
      }
      assert.notStrictEqual(yield* folder("a".repeat(63)), yield* folder("a".repeat(62)))
    })
  )

  it("goes elsewhere when the temporary folder's path is long", () => {
    assert.notInclude(RunDirectory.bases({ XDG_RUNTIME_DIR: `/run/${"long/".repeat(20)}` }).join(), "long")
    assert.include(RunDirectory.bases({ XDG_RUNTIME_DIR: "/run/user/7" })[0], "/run/user/7/vmtest")
    for (const odd of ["a%2Fb", "it's", 'a"b', "a[1]", "a\\b", "a\nb"]) {
      assert.notInclude(RunDirectory.bases({ XDG_RUNTIME_DIR: `/run/${odd}` }).join("\0"), odd)
    }
    for (const fine of ["a b", "a,b", "ü", "a:b", "a#b", "a$b"]) {
      assert.include(RunDirectory.bases({ XDG_RUNTIME_DIR: `/run/${fine}` })[0], fine)
    }
    assert.notInclude(RunDirectory.bases({ XDG_RUNTIME_DIR: "relative" }).join(), "relative")
  })

  it.effect("is refused where something else is in the way, or a link leads away", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      Fs.writeFileSync(Path.join(folder, "file"), "")
      Fs.symlinkSync(Os.tmpdir(), Path.join(folder, "link"))
      for (const base of [Path.join(folder, "file"), Path.join(folder, "link"), "/proc/nonexistent/vmtest"]) {
        const error = yield* Effect.flip(Effect.scoped(RunDirectory.make({ base })))
        assert.strictEqual(error._tag, "RunDirectoryError")
        assert.include(error.message, base)
      }
    })
  )
})

describe("the sweep", () => {
  it.effect("removes what dead runs left", () =>
    Effect.gen(function* () {
      const base = yield* temporary
      const gone = yield* leave(base, "gone", (owner) => ({ ...owner, pid: 2 ** 22 + 1 }))
      const reused = yield* leave(base, "reused", (owner) => ({ ...owner, started: "1" }))
      const rebooted = yield* leave(base, "rebooted", (owner) => ({ ...owner, boot: "another", namespace: "another" }))
      assert.sameMembers([...(yield* RunDirectory.sweep(base))], [gone, reused, rebooted])
      assert.deepStrictEqual(Fs.readdirSync(base), [])
    })
  )

  it.effect("leaves alone what lives or cannot be judged", () =>
    Effect.gen(function* () {
      const base = yield* temporary
      const alive = yield* RunDirectory.make({ base })
      yield* leave(base, "container", (owner) => ({ ...owner, pid: 2 ** 22 + 1, namespace: "pid:[1]" }))
      Fs.mkdirSync(Path.join(base, "unknown"))
      Fs.mkdirSync(Path.join(base, ".unready"))
      Fs.mkdirSync(Path.join(base, "damaged"))
      Fs.writeFileSync(Path.join(base, "damaged", "owner.json"), "{")
      assert.deepStrictEqual(yield* RunDirectory.sweep(base), [])
      assert.isTrue(Fs.existsSync(alive.path))
    })
  )

  it.effect("is part of the next run's start", () =>
    Effect.gen(function* () {
      const base = yield* temporary
      const left = yield* leave(base, "gone", (owner) => ({ ...owner, pid: 2 ** 22 + 1 }))
      yield* RunDirectory.make({ base })
      assert.isFalse(Fs.existsSync(left))
    })
  )
})
