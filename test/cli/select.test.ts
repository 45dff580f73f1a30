/** Which of the tests of scripts are run. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, relative } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as CommandLine from "../../src/cli/CommandLine.ts"
import * as Select from "../../src/cli/internal/select.ts"
import * as Settings from "../../src/cli/internal/settings.ts"
import * as Run from "../../src/cli/Run.ts"
import * as ScriptLoader from "../../src/cli/ScriptLoader.ts"

/** Loads a script, and selects of its tests with the options of a command line. */
const selecting = (lines: ReadonlyArray<string>, ...words: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "vmtest-"))),
      (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
    )
    const script = join(folder, "a.vmtest.ts")
    writeFileSync(script, `${lines.join("\n")}\n`)
    const invocation = yield* CommandLine.parse(["run", ...words])
    assert(typeof invocation !== "number" && invocation._tag === "Run")
    const read = { file: undefined, folder, digest: "", inputs: [], config: {} }
    const tests = yield* ScriptLoader.load(script)
    const selected = yield* Effect.result(Select.select(tests, Settings.decide(invocation, read)))
    // As the command shows them: from the working folder.
    const problem = selected._tag === "Failure" ? Run.described(selected.failure) : undefined
    return {
      selected,
      problem: problem?.replaceAll(relative(process.cwd(), folder), "FOLDER").replaceAll(folder, "FOLDER")
    }
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

describe("--forbid-only", () => {
  it.live("shows the lines of the marks", () =>
    Effect.gen(function* () {
      const script = [
        'import { Effect } from "effect"',
        'import { suite, test } from "vmtest"',
        "export default [",
        '  test.only("one", {}, () => Effect.void),',
        '  test("two", {}, () => Effect.void),',
        '  ...suite.only("s", {}, (test) => {',
        '    test("three", () => Effect.void)',
        '    test("four", () => Effect.void)',
        "  })",
        "]"
      ]
      const { problem } = yield* selecting(script, "--forbid-only")
      assert.strictEqual(
        problem,
        [
          'FOLDER/a.vmtest.ts:4:8: the test "one" is declared with test.only, which --forbid-only refuses (by default where CI is set); write test instead',
          '  4 │   test.only("one", {}, () => Effect.void),',
          "    │        ^",
          'FOLDER/a.vmtest.ts:6:12: the suite "s" is declared with suite.only',
          '  6 │   ...suite.only("s", {}, (test) => {',
          "    │            ^"
        ].join("\n")
      )
      const { selected } = yield* selecting(script, "--no-forbid-only")
      assert.deepStrictEqual(
        selected._tag === "Success" && selected.success._tag === "Some"
          ? selected.success.wanted.map(({ test }) => test.name)
          : [],
        ["one", "s › three", "s › four"]
      )
    })
  )

  it.live("shows five of many", () =>
    Effect.gen(function* () {
      const { problem } = yield* selecting(
        [
          'import { Effect } from "effect"',
          'import { test } from "vmtest"',
          "export default [1, 2, 3, 4, 5, 6, 7].map((one) => test.only(`t${one}`, {}, () => Effect.void))"
        ],
        "--forbid-only"
      )
      assert.match(problem ?? "", /"t5" is declared with test\.only\n.*\n.*\nand 2 more$/)
      assert.notInclude(problem, "t6")
    })
  )
})

describe("two tests of one name", () => {
  it.live("are refused with both lines, whichever of them are wanted", () =>
    Effect.gen(function* () {
      const script = [
        'import { Effect } from "effect"',
        'import { test } from "vmtest"',
        "export default [",
        '  test("boots", {}, () => Effect.void),',
        '  test("boots", { tags: ["slow"] }, () => Effect.void),',
        '  test("ends", {}, () => Effect.void)',
        "]"
      ]
      const { problem } = yield* selecting(script, "-t", "ends")
      assert.strictEqual(
        problem,
        [
          'FOLDER/a.vmtest.ts:5:3: test "boots": another test of the script has this name, at line 4; give each a name of its own, or declare them with test.each',
          '  5 │   test("boots", { tags: ["slow"] }, () => Effect.void),',
          "    │   ^",
          "FOLDER/a.vmtest.ts:4:3: the other test",
          '  4 │   test("boots", {}, () => Effect.void),',
          "    │   ^"
        ].join("\n")
      )
    })
  )
})
