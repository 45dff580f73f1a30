import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HostInputs from "../../src/driver/internal/hostInputs.ts"
import { build, getOrBuild, keyOf, run, temporaryFolder } from "./storeSupport.ts"

const machine = { copyFromHost: (_from: string, _to: string) => Effect.void }

const copied = Effect.fnUntraced(function* (...sources: ReadonlyArray<string>) {
  const into = new Map<string, string>()
  const { copyFromHost } = HostInputs.recording(machine, into)
  for (const source of sources) yield* copyFromHost(source, "/srv")
  return Object.fromEntries(into)
})

describe("what a warm-up copied", () => {
  it.live("is known by its whole path, for another run may have another working folder", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      Fs.writeFileSync(Path.join(folder, "file"), "1")
      const there = Path.relative(process.cwd(), Path.join(folder, "file"))
      assert.deepStrictEqual(Object.keys(yield* copied(there)), [Path.join(folder, "file")])
    })
  )

  it.live("has changed with a content, a mode, a name, a link's target or an entry of it", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const [tree, file] = [Path.join(folder, "tree"), Path.join(folder, "tree", "sub", "file")]
      Fs.mkdirSync(Path.dirname(file), { recursive: true })
      Fs.writeFileSync(file, "1".repeat(200_000))
      Fs.symlinkSync("nowhere", Path.join(tree, "link"))
      const changes: ReadonlyArray<() => void> = [
        () => Fs.writeFileSync(file, `${"1".repeat(199_999)}2`),
        () => Fs.appendFileSync(file, "\0"),
        () => Fs.chmodSync(file, 0o755),
        () => Fs.renameSync(file, `${file}2`),
        () => Fs.rmSync(Path.join(tree, "link")),
        () => Fs.symlinkSync("elsewhere", Path.join(tree, "link")),
        () => Fs.rmSync(tree, { recursive: true })
      ]
      for (const [index, change] of changes.entries()) {
        const inputs = yield* copied(tree)
        assert.isUndefined(yield* HostInputs.changed(inputs), String(index))
        change()
        assert.strictEqual(yield* HostInputs.changed(inputs), tree, String(index))
      }
    })
  )

  it.live("is read beside everything else that runs", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const file = Path.join(folder, "large")
      Fs.writeFileSync(file, "")
      Fs.truncateSync(file, 64 * 2 ** 20)
      let turns = 0
      const turning = yield* Effect.forkChild(
        Effect.forever(
          Effect.andThen(
            Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void))),
            Effect.sync(() => turns++)
          )
        ),
        { startImmediately: true }
      )
      yield* copied(file)
      assert.isAbove(turns, 3)
      yield* Fiber.interrupt(turning)
    })
  )

  it.live("is looked at once in a run, and again in the next", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const file = Path.join(folder, "file")
      Fs.writeFileSync(file, "1")
      const key = { ...keyOf("a"), inputs: new Map(Object.entries(yield* copied(file))) }
      const twice = run({ folder: Path.join(folder, "store") }, (store) =>
        Effect.gen(function* () {
          const { instance } = yield* getOrBuild(store, key, build())
          Fs.writeFileSync(file, "2")
          assert.strictEqual((yield* getOrBuild(store, key, build())).instance, instance)
          return instance
        })
      )
      assert.notStrictEqual(yield* twice, yield* twice)
    })
  )
})
