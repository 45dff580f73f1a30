import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, relative } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Scripts from "../../src/cli/Scripts.ts"

const folderWith = (...files: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "vmtest-"))
      for (const file of files) {
        mkdirSync(dirname(join(folder, file)), { recursive: true })
        writeFileSync(join(folder, file), "")
      }
      return folder
    }),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )

/** From the folder, for comparison. */
const found = (base: string, ...given: ReadonlyArray<string>) =>
  Effect.map(Scripts.find(given, { base, output: join(base, "vmtest-output") }), (scripts) =>
    scripts.map((script) => relative(base, join(script)))
  )

describe("the scripts of a run", () => {
  it.effect(
    "are by default all *.vmtest.ts in order, but not those of packages, of hidden folders and of the output",
    () =>
      Effect.gen(function* () {
        const base = yield* folderWith(
          "b.vmtest.ts",
          "a.vmtest.ts",
          "helper.ts",
          "deep/er/c.vmtest.ts",
          "node_modules/x/d.vmtest.ts",
          "deep/node_modules/x/e.vmtest.ts",
          ".hidden/f.vmtest.ts",
          "vmtest-output/g.vmtest.ts"
        )
        assert.deepStrictEqual(yield* found(base), ["a.vmtest.ts", "b.vmtest.ts", "deep/er/c.vmtest.ts"])
      }).pipe(Effect.scoped)
  )

  it.effect("are those of folders and patterns, each once, in the order of the arguments", () =>
    Effect.gen(function* () {
      const base = yield* folderWith("one/a.vmtest.ts", "one/b.vmtest.ts", "two/c.vmtest.ts", "two/d.ts", "[x].ts")
      assert.deepStrictEqual(yield* found(base, "two", "one"), [
        "two/c.vmtest.ts",
        "one/a.vmtest.ts",
        "one/b.vmtest.ts"
      ])
      assert.deepStrictEqual(yield* found(base, "one/b.vmtest.ts", "one"), ["one/b.vmtest.ts", "one/a.vmtest.ts"])
      assert.deepStrictEqual(yield* found(base, "two/*.ts"), ["two/c.vmtest.ts", "two/d.ts"])
      assert.deepStrictEqual(yield* found(base, "{one,two}/[ac].vmtest.ts"), ["one/a.vmtest.ts", "two/c.vmtest.ts"])
      assert.deepStrictEqual(yield* found(base, "[x].ts"), ["[x].ts"])
      assert.deepStrictEqual(yield* found(base, "missing.ts"), ["missing.ts"])
      assert.deepStrictEqual(yield* found(base, join(base, "one")), ["one/a.vmtest.ts", "one/b.vmtest.ts"])
    }).pipe(Effect.scoped)
  )

  it.effect("are looked for in an output folder or among packages if that is what was asked for", () =>
    Effect.gen(function* () {
      const base = yield* folderWith("node_modules/x/d.vmtest.ts", ".hidden/f.vmtest.ts", "one/a.vmtest.ts")
      assert.deepStrictEqual(yield* found(base, "node_modules/x/d.vmtest.ts"), ["node_modules/x/d.vmtest.ts"])
      assert.deepStrictEqual(yield* found(base, ".hidden"), [".hidden/f.vmtest.ts"])
    }).pipe(Effect.scoped)
  )

  it.effect("cannot be none", () =>
    Effect.gen(function* () {
      const base = yield* folderWith("helper.ts", "empty/x")
      const says = (...given: Array<string>) => Effect.map(Effect.flip(found(base, ...given)), ({ message }) => message)
      assert.strictEqual(
        yield* says(),
        `no script matches "**/*.vmtest.ts" in ${base}; name a script, a folder or another pattern`
      )
      assert.strictEqual(
        yield* says("nope/*.ts"),
        `no script matches "nope/*.ts" in ${base}; name a script, a folder or another pattern`
      )
      assert.strictEqual(yield* says(""), `no script matches "" in ${base}; name a script, a folder or another pattern`)
      assert.strictEqual(yield* says("empty"), "no script in the folder empty: it has no file named *.vmtest.ts")
    }).pipe(Effect.scoped)
  )

  it.effect("may be in folders that a link leads back to", () =>
    Effect.gen(function* () {
      const base = yield* folderWith("one/a.vmtest.ts")
      symlinkSync("..", join(base, "one", "loop"))
      assert.deepStrictEqual(yield* found(base), ["one/a.vmtest.ts"])
    }).pipe(Effect.scoped)
  )

  it.effect("cannot be in a folder that may not be read", () =>
    Effect.gen(function* () {
      const base = yield* folderWith("a.vmtest.ts", "locked/b.vmtest.ts")
      chmodSync(base, 0o755)
      chmodSync(join(base, "locked"), 0)
      // Root may read everything.
      const isRoot = process.getuid?.() === 0
      if (isRoot) process.seteuid?.(65534)
      const error = yield* Effect.flip(found(base)).pipe(
        Effect.ensuring(Effect.sync(() => isRoot && process.seteuid?.(0)))
      )
      chmodSync(join(base, "locked"), 0o700)
      assert.match(error.message, /^could not look for scripts in .*locked\/?: permission denied$/)
    }).pipe(Effect.scoped)
  )
})
