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
