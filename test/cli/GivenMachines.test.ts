import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as CommandLine from "../../src/cli/CommandLine.ts"
import * as ExitCode from "../../src/cli/ExitCode.ts"
import * as GivenMachines from "../../src/cli/GivenMachines.ts"
import * as PythonLoader from "../../src/cli/PythonLoader.ts"
import * as Run from "../../src/cli/Run.ts"
import * as ScriptLoader from "../../src/cli/ScriptLoader.ts"
import type { Machines } from "../../src/driver/MachineFile.ts"
import * as Image from "../../src/images/Image.ts"

const given: Machines = {
  machines: { web: { image: Image.startScript("/run-web-vm"), vlans: [1] } },
  timeout: Duration.minutes(10)
}

/** A folder with these files. */
const folderWith = (files: Readonly<Record<string, string>>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "vmtest-given-"))
      for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
      return folder
    }),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )

const load = (text: string) =>
  Effect.flatMap(folderWith({ "test.ts": text }), (folder) => GivenMachines.load(join(folder, "test.ts"), given)).pipe(
    Effect.scoped,
    Effect.provide(NodeServices.layer)
  )

const head = 'import { Effect } from "effect"\nimport { Image, test } from "vmtest"\n'

describe("the machines of a file", () => {
  it.live("are those of a script that exports a function", () =>
    Effect.gen(function* () {
      const [test, ...others] = yield* load(`${head}export default ({ web }) => web.succeed("true")\n`)
      assert.deepStrictEqual(others, [])
      assert.strictEqual(test?.name, "test.ts")
      assert.deepStrictEqual(Object.keys(test?.machines ?? {}), ["web"])
      assert.strictEqual(test?.timeout && Duration.toMinutes(test.timeout), 10)
      const { column, file, line } = test?.declaredAt() ?? {}
      assert.deepStrictEqual([basename(file ?? ""), line, column], ["test.ts", 3, 1])
    })
  )

  it.live("are what a script that exports a function needs", () =>
    Effect.gen(function* () {
      const folder = yield* folderWith({ "test.ts": `${head}export default ({ web }) => web.start\n` })
      const error = yield* Effect.flip(ScriptLoader.load(join(folder, "test.ts")))
      assert.match(error.message, /got a function, which only vmtest run --machine-config FILE takes$/)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("are there besides those that tests declare, with the shorter of both timeouts", () =>
    Effect.gen(function* () {
      const tests = yield* load(`${head}const body = () => Effect.void
export default [
  test("short", { machines: { db: { image: Image.tiny() } }, timeout: "5 minutes" }, body),
  test("long", { timeout: "1 hour" }, body)
]\n`)
      assert.deepStrictEqual(
        tests.map(({ machines, name, timeout = 0 }) => [name, Object.keys(machines), Duration.toMinutes(timeout)]),
        [
          ["short", ["web", "db"], 5],
          ["long", ["web"], 10]
        ]
      )
      const error = yield* Effect.flip(
        load(`${head}export default test("twice", { machines: { web: { image: Image.tiny() } } }, () => Effect.void)\n`)
      )
      assert.strictEqual(error._tag, "MachineGivenTwice")
      assert.include(error.message, 'declares the machine "web", which is given already')
    })
  )

  it.live("are those of a script in Python, besides those of its module", () =>
    Effect.gen(function* () {
      const files = {
        "test.py": "start_all()\n",
        "machines.ts": `${head}export default { db: { image: Image.tiny() } }\n`,
        "twice.ts": `${head}export default { web: { image: Image.tiny() } }\n`
      }
      const folder = yield* folderWith(files)
      const [script, module, twice] = [join(folder, "test.py"), join(folder, "machines.ts"), join(folder, "twice.ts")]
      const [alone] = yield* PythonLoader.load(script, undefined, given)
      assert.deepStrictEqual(alone?.machines.web, { ...given.machines.web!, autoStart: false, allowReboot: true })
      assert.strictEqual(alone?.timeout && Duration.toMinutes(alone.timeout), 10)
      const [both] = yield* PythonLoader.load(script, module, given)
      assert.deepStrictEqual(Object.keys(both?.machines ?? {}), ["web", "db"])
      const error = yield* Effect.flip(PythonLoader.load(script, twice, given))
      assert.strictEqual(error._tag, "MachineGivenTwice")
      assert.include(error.message, "twice.ts: declares the machine")
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )

  it.live("of a file that cannot be read make the run unusable", () =>
    Effect.gen(function* () {
      const folder = yield* folderWith({ "test.py": "start_all()\n", "machines.json": "{" })
      const words = ["run", "-q", join(folder, "test.py"), "--machine-config", join(folder, "machines.json")]
      const invocation = yield* CommandLine.parse(words)
      assert(typeof invocation !== "number" && invocation._tag === "Run")
      const code = yield* Run.run(invocation)
      assert.strictEqual(code, ExitCode.unusable)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
  )
})
