import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { splitImports } from "../../src/cli/internal/program.ts"
import * as ScriptLoader from "../../src/cli/ScriptLoader.ts"
import { Driver, type DriverService } from "../../src/driver/Driver.ts"

const scripts = (files: Record<string, string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "vmtest-scripts-"))
      for (const [name, text] of Object.entries(files)) {
        mkdirSync(dirname(join(folder, name)), { recursive: true })
        writeFileSync(join(folder, name), text)
      }
      return folder
    }),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )

const loadIn = (folder: string, name: string) =>
  ScriptLoader.load(join(folder, name)).pipe(Effect.provide(NodeServices.layer))

const load = (files: Record<string, string>, name = "script.ts") =>
  Effect.flatMap(scripts(files), (folder) => loadIn(folder, name))

const failure = (text: string) => Effect.flip(load({ "script.ts": text }))

const oneTest = `import { test } from "vmtest"\nimport { Effect } from "effect"\n`

describe("loading a script", () => {
  it.effect("gives the test of its default export", () =>
    Effect.gen(function* () {
      const tests = yield* load({ "script.ts": `${oneTest}export default test("a", {}, () => Effect.void)` })
      assert.deepStrictEqual(
        tests.map(({ name }) => name),
        ["a"]
      )
    })
  )

  it.effect("gives the tests of an array, in their order", () =>
    Effect.gen(function* () {
      const make = (name: string) => `test("${name}", {}, () => Effect.void)`
      const tests = yield* load({ "script.ts": `${oneTest}export default [${make("b")}, ${make("a")}]` })
      assert.deepStrictEqual(
        tests.map(({ name }) => name),
        ["b", "a"]
      )
    })
  )

  it.effect("takes CommonJS, which shares vmtest and effect with other scripts", () =>
    Effect.gen(function* () {
      const text = `const { EOL } = require("node:os")
const { Effect } = require("effect")
const { test } = require("vmtest")
const { name } = require("./lib.cjs")
module.exports = test(name + EOL, {}, () => Effect.void)`
      const tests = yield* load({ "script.cjs": text, "lib.cjs": `exports.name = "a"` }, "script.cjs")
      assert.deepStrictEqual(
        tests.map(({ name }) => name),
        ["a\n"]
      )
      const mixed = `import { createRequire } from "node:module"
${oneTest}import { name } from "./lib.cjs"
const require = createRequire(import.meta.url)
export default test(name + require("node:os").EOL, {}, () => Effect.void)`
      const [one] = yield* load({ "script.ts": mixed, "lib.cjs": `exports.name = require("node:path").sep` })
      assert.strictEqual(one?.name, "/\n")
    })
  )

  it.effect("names the test of a plain Effect after the script", () =>
    Effect.gen(function* () {
      const tests = yield* load({ "script.ts": `import { Effect } from "effect"\nexport default Effect.void` })
      assert.deepStrictEqual(
        tests.map(({ name }) => name),
        ["script.ts"]
      )
    })
  )

  it.effect(
    "runs TypeScript that Node alone would not: enums, imports without an extension, import.meta of each file",
    () =>
      Effect.gen(function* () {
        const tests = yield* load({
          "script.ts": `#!/usr/bin/env -S vmtest run
${oneTest}import { here } from "./lib/here"
enum Colour { Red = "red" }
export default test([Colour.Red, here.endsWith("/lib"), import.meta.filename.endsWith("/script.ts")].join(), {}, () => Effect.void)`,
          "lib/here.ts": `export const here: string = import.meta.dirname`
        })
        assert.strictEqual(tests[0]?.name, "red,true,true")
      })
  )

  it.effect("finds other packages from the script's folder, and effect here", () =>
    Effect.gen(function* () {
      const tests = yield* load({
        "script.ts": `${oneTest}import { colour } from "their-package"
export default test(colour, {}, () => Effect.void)`,
        "node_modules/their-package/package.json": `{ "name": "their-package", "type": "module", "exports": "./index.js" }`,
        "node_modules/their-package/index.js": `export const colour = "theirs"`,
        "node_modules/effect/package.json": `{ "name": "effect", "exports": "./index.js" }`,
        "node_modules/effect/index.js": `throw new Error("the wrong effect")`
      })
      assert.strictEqual(tests[0]?.name, "theirs")
    })
  )

  it.effect("takes a linked package that is TypeScript into the bundle", () =>
    Effect.gen(function* () {
      const folder = yield* scripts({
        "script.ts": `${oneTest}import { kind } from "ours"\nexport default test(kind, {}, () => Effect.void)`,
        "packages/ours/package.json": `{ "name": "ours", "type": "module", "exports": "./index.ts" }`,
        "packages/ours/index.ts": `enum Kind { Ours = "ours" }\nexport const kind = Kind.Ours`,
        "node_modules/.keep": ""
      })
      symlinkSync(join(folder, "packages", "ours"), join(folder, "node_modules", "ours"))
      const tests = yield* loadIn(folder, "script.ts")
      assert.strictEqual(tests[0]?.name, "ours")
    })
  )

  it.effect("writes nothing into the script's folder", () =>
    Effect.gen(function* () {
      const folder = yield* scripts({ "script.ts": `import { Effect } from "effect"\nexport default Effect.void` })
      chmodSync(folder, 0o555)
      yield* loadIn(folder, "script.ts")
      assert.deepStrictEqual(readdirSync(folder), ["script.ts"])
      chmodSync(folder, 0o755)
    })
  )
})

describe("a script that cannot be used", () => {
  it.effect("is not there", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(load({}, "nope.ts"))
      assert.strictEqual(error._tag, "NoSuchScript")
      assert.match(error.message, /nope\.ts: no such script$/)
    })
  )

  it.effect("is a folder", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(load({ "script.ts/x": "" }))
      assert.strictEqual(error._tag, "NoSuchScript")
    })
  )

  it.effect("has a syntax error: its own line is shown", () =>
    Effect.gen(function* () {
      const error = yield* failure(`const a = 1\nconst x = (1 + }\nexport default import.meta.url`)
      assert.strictEqual(error._tag, "ScriptSyntaxError")
      assert.match(error.message, /script\.ts:2:16: syntax error: Unexpected "}"/)
      assert.include(error.message, "2 │ const x = (1 + }")
    })
  )

  it.effect("has a syntax error on the line that import.meta is prepared on: the column is the script's own", () =>
    Effect.gen(function* () {
      const error = yield* failure(`const x = [import.meta.url, }`)
      assert.match(error.message, /script\.ts:1:29: syntax error/)
      assert.notInclude(error.message, "__vmtest")
    })
  )

  it.effect("throws on the line that import.meta is prepared on: the column is the script's own", () =>
    Effect.gen(function* () {
      const error = yield* failure(`const url = import.meta.url; throw new Error("here")`)
      assert.match(error.message, /script\.ts:1:36/)
    })
  )

  it.effect("imports a file with a syntax error: that file's line is shown", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        load({ "script.ts": `import "./lib.ts"\nexport default 1`, "lib.ts": "\nlet = = 1" })
      )
      assert.strictEqual(error._tag, "ScriptSyntaxError")
      assert.match(error.message, /lib\.ts:2:\d+: syntax error/)
    })
  )

  it.effect("imports a package that is not there: says which, and where", () =>
    Effect.gen(function* () {
      const error = yield* failure(`\nimport x from "nothing-of-that-name"\nexport default x`)
      assert.strictEqual(error._tag, "UnresolvedImport")
      assert.match(error.message, /script\.ts:2:15: Could not resolve "nothing-of-that-name"/)
    })
  )

  it.effect("imports two things that are not there: says both", () =>
    Effect.gen(function* () {
      const error = yield* failure(
        `import x from "nothing-of-that-name"\nimport y from "./nope.ts"\nexport default [x, y]`
      )
      assert.match(error.message, /script\.ts:1:15: Could not resolve "nothing-of-that-name"/)
      assert.match(error.message, /script\.ts:2:15: Could not resolve "\.\/nope\.ts"/)
    })
  )

  it.effect("imports names that a file of its own does not export: says all", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        load({
          "lib.ts": "export const there = 1",
          "script.ts": `import { there, gone } from "./lib.ts"\nimport Lib from "./lib.ts"\nexport default [there, gone, Lib]`
        })
      )
      assert.match(error.message, /script\.ts:1:17: "\S*lib\.ts" does not export "gone"/)
      assert.match(error.message, /script\.ts:2:8: "\S*lib\.ts" does not export "default"/)
    })
  )

  it.effect("may be CommonJS with a default export, as tsc writes it", () =>
    Effect.gen(function* () {
      const text = `"use strict"; Object.defineProperty(exports, "__esModule", { value: true })
const { test } = require("vmtest"); const { Effect } = require("effect")
exports.default = test("compiled", {}, () => Effect.void)`
      const tests = yield* load({ "script.cjs": text }, "script.cjs")
      assert.deepStrictEqual(
        tests.map(({ name }) => name),
        ["compiled"]
      )
    })
  )

  it.effect("has no default export", () =>
    Effect.gen(function* () {
      const error = yield* failure(`export const x = 1`)
      assert.strictEqual(error._tag, "NoDefaultExport")
    })
  )

  it.effect("throws while it is imported: says what, and its own line", () =>
    Effect.gen(function* () {
      const error = yield* failure(
        `type T = number\nconst f = () => {\n  throw new TypeError("no luck")\n}\nexport default f()`
      )
      assert.strictEqual(error._tag, "ScriptThrew")
      assert.match(error.message, /TypeError: no luck\n\s+at f \(.*script\.ts:3:\d+\)/)
    })
  )

  it.effect("is a suite of vitest: says what runs it", () =>
    Effect.gen(function* () {
      const error = yield* failure(`import { machines } from "vmtest/vitest"\nmachines()("alone", () => {})`)
      assert.strictEqual(error._tag, "ScriptThrew")
      assert.match(error.message, /if it is a suite, run: npx vitest run .*script\.ts$/)
    })
  )

  it.effect("throws something that is no error", () =>
    Effect.gen(function* () {
      const error = yield* failure(`throw { odd: true }`)
      assert.include(error.message, "{ odd: true }")
    })
  )

  for (const [exported, found] of [
    ["[]", "an empty array"],
    ["42", "a number"],
    ["null", "null"],
    ["undefined", "undefined"],
    ["{ machines: {} }", "an object"],
    ["[1]", "an array with items that are not tests"]
  ] as const) {
    it.effect(`declares no test: its default export is ${exported}`, () =>
      Effect.gen(function* () {
        const error = yield* failure(`export default ${exported}`)
        assert.strictEqual(error._tag, "NoTests")
        assert.include(error.message, found)
      })
    )
  }
})

describe("a program to evaluate", () => {
  const program = (text: string) =>
    ScriptLoader.loadExpression(text).pipe(Effect.provide(NodeServices.layer), Effect.asVoid, Effect.scoped)

  for (const text of [
    "1 + 1",
    "Effect.succeed(Image.tiny());",
    `(yield* driver.machine("m", { image: Image.tiny() })).succeed("true")`,
    "const a = yield* Effect.succeed(1)\nreturn a + 1",
    `import { readFileSync } from "node:fs"\nexport default Effect.sync(() => readFileSync("/etc/hostname"))`,
    "export default driver.startAll()"
  ]) {
    it.effect(`may be: ${text}`, () => program(text))
  }

  it.effect("with a syntax error shows the line as it was written", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(program("1 +\n(2 * }"))
      assert.match(error.message, /2 │ \(2 \* }/)
      assert.notInclude(error.message, "vmtestRun")
    })
  )

  it.effect("that ends too early is shown to its end", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(program("const a = 1\nfoo(a, ("))
      assert.match(error.message, /^eval:2:9: syntax error: Unexpected end of file\n {2}2 │ foo\(a, \(\n/)
    })
  )

  it.effect("may start with imports, and then be the body of a generator", () =>
    Effect.gen(function* () {
      const text = `// a comment\nimport { readFileSync } from "node:fs"\nimport "node:os"
const n = yield* Effect.succeed(readFileSync("/etc/hostname").length)\nreturn n`
      yield* program(text)
      const error = yield* Effect.flip(program(`import { x } from "node:fs"\nconst y = (yield* 1) }`))
      assert.match(error.message, /2 │ const y = \(yield\* 1\) }/)
    })
  )

  it("keeps its imports apart", () => {
    for (const [text, imports] of [
      [`import a from "a"\nreturn a`, `import a from "a"`],
      [
        `/* x */ import type { A,\n B } from 'a'; import "b";yield* b`,
        `/* x */ import type { A,\n B } from 'a'; import "b";`
      ],
      [`// import a from "a"\nreturn 1`, ""],
      [`import("a")`, ""],
      [`import.meta.url`, ""],
      [`yield* x\nimport a from "a"`, ""]
    ] as const) {
      assert.deepStrictEqual(splitImports(text), [imports, text.slice(imports.length)])
    }
  })

  it.effect("has its own lines and columns in stack traces", () =>
    Effect.gen(function* () {
      for (const [text, place] of [
        [`(() => { throw new Error("here") })()`, /eval:1:16\)?$/m],
        [`import "node:fs"\nconst a = 1\n  throw new Error("here")`, /eval:3:9\)?$/m],
        [`(() => { throw new Error(import.meta.url) })()`, /eval:1:16\)?$/m],
        [`import "node:fs"; throw new Error(import.meta.filename)`, /eval:1:25\)?$/m],
        [`export default Effect.suspend(() => { throw new Error(import.meta.url) })`, /eval:1:45\)?$/m]
      ] as const) {
        const test = yield* ScriptLoader.loadExpression(text).pipe(Effect.provide(NodeServices.layer))
        const driver = {} as DriverService
        const body = test.body({}, driver) as Effect.Effect<unknown, unknown, Driver>
        const cause = yield* body.pipe(Effect.provideService(Driver, driver), Effect.sandbox, Effect.flip)
        assert.match((Cause.squash(cause) as Error).stack ?? "", place)
      }
    })
  )

  it.effect("must not be empty", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(program(" \n"))
      assert.strictEqual(error._tag, "NoTests")
    })
  )
})
