import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as PythonLoader from "../../src/cli/PythonLoader.ts"

const machines = `import { Image } from "vmtest"
export default { web: { image: Image.tiny() }, "db-1": { image: Image.tiny(), autoStart: true } }
`

/** Loads a script with the machines of a module, both in a folder of their own. */
const load = (script: string, module: string | undefined = machines) =>
  Effect.gen(function* () {
    const folder = mkdtempSync(join(tmpdir(), "vmtest-python-"))
    yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true, force: true })))
    writeFileSync(join(folder, "test.py"), script)
    writeFileSync(join(folder, "machines.ts"), module)
    return yield* PythonLoader.load(join(folder, "test.py"), module === "" ? undefined : join(folder, "machines.ts"))
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

describe("a Python script of the command", () => {
  it.live("is a test with its name and the declared machines, which it starts itself", () =>
    Effect.gen(function* () {
      const [test, ...others] = yield* load("start_all()\n")
      assert.deepStrictEqual(others, [])
      assert.strictEqual(test?.name, "test.py")
      assert.deepStrictEqual(
        Object.entries(test?.machines ?? {}).map(([name, { allowReboot, autoStart }]) => [
          name,
          autoStart,
          allowReboot
        ]),
        [
          ["web", false, true],
          ["db-1", true, true]
        ]
      )
    })
  )

  it.live("that is not valid Python is refused with its line, before its machines are read", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(load("start_all()\nif True\n    pass\n", "nonsense ("))
      assert.strictEqual(error._tag, "ScriptSyntaxError")
      assert.match(error.message, /test\.py:2:8: syntax error: .*\n {2}2 │ if True\n/)
    })
  )

  it.live("needs a module that declares its machines", () =>
    Effect.gen(function* () {
      const missing = yield* Effect.flip(load("start_all()\n", ""))
      assert.strictEqual(missing._tag, "MachinesMissing")
      assert.include(missing.message, "needs --machines FILE")
      const wrong = yield* Effect.flip(load("start_all()\n", "export default [1]"))
      assert.strictEqual(wrong._tag, "NoMachines")
      assert.include(wrong.message, "must be an object of names and declarations")
      const folder = mkdtempSync(join(tmpdir(), "vmtest-"))
      const script = join(folder, "machines.py")
      writeFileSync(script, "start_all()\n")
      const python = yield* Effect.flip(Effect.provide(PythonLoader.load(script, script), NodeServices.layer))
      rmSync(folder, { recursive: true })
      assert.strictEqual(python._tag, "NoMachines")
      assert.include(python.message, "got a Python script; machines are declared in TypeScript")
    })
  )

  it.live("says what a module exports instead of declarations, and what to do", () =>
    Effect.gen(function* () {
      const imports = `import { Image, test } from "vmtest"\nimport { Effect } from "effect"\n`
      const aTest = `test("x", { machines: { web: { image: Image.tiny() } } }, () => Effect.void)`
      for (const [module, said] of [
        [`export default ${aTest}`, "got a test; export the machines instead: the Python script is the test"],
        [`export default [${aTest}, ${aTest}]`, "got 2 tests; export the machines instead"],
        ["export default () => ({})", "got a function; export the object that it returns"],
        ["export default { machines: { web: {} } }", "got { machines: … }; export what is in machines"],
        ["export default Effect.succeed({})", "got an object"],
        ["export const machines = {}", "machines.ts: no default export; write: export default { machine:"]
      ] as const) {
        const error = yield* Effect.flip(load("start_all()\n", `${imports}${module}`))
        assert.strictEqual(error._tag, "NoMachines")
        assert.include(error.message, said)
      }
    })
  )

  it.live("has wrong declarations refused with the file and the line of the machine's name", () =>
    Effect.gen(function* () {
      const imports = `import { Image } from "vmtest"\n`
      for (const [module, said] of [
        [
          `const image = Image.tiny()\nexport default {\n  client: { image },\n  "web": { image, memroy: 1 }\n}`,
          /machines\.ts:5:3: web: unknown option "memroy"; did you mean "memory"\?\n {2}5 │ {3}"web": \{ image, memroy: 1 \}\n {4}│ {3}\^$/
        ],
        [
          `export default { a: Image.tiny() }`,
          /machines\.ts:2:18: a: the declaration must be .*, got only the image\n/
        ],
        [`export default { "my web": { image: Image.tiny() } }`, /machines\.ts:2:18: my web: name must be a host name/],
        [
          `const web = { image: Image.tiny(), cpus: 0 }\nexport default { web }`,
          /machines\.ts: web: cpus must be a whole number/
        ]
      ] as const) {
        const error = yield* Effect.flip(load("start_all()\n", `${imports}${module}`))
        assert.strictEqual(error._tag, "WrongMachine")
        assert.match(error.message, said)
      }
    })
  )

  it.live("without python3 says what to install", () =>
    Effect.gen(function* () {
      const { PATH } = process.env
      const error = yield* Effect.acquireUseRelease(
        Effect.sync(() => {
          process.env.PATH = "/nowhere"
        }),
        () => Effect.flip(load("start_all()\n")),
        () =>
          Effect.sync(() => {
            process.env.PATH = PATH
          })
      )
      assert.strictEqual(error._tag, "PythonUnusable")
      assert.include(error.message, "python3 is not installed: apt-get install python3")
    })
  )
})
