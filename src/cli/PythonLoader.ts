/**
 * Loading a Python script as a test: its machines are declared by a TypeScript module, and its syntax is checked before anything starts.
 *
 * **Example** (The test of a script)
 *
 * ```ts
 * const tests = PythonLoader.load("test.py", "machines.ts")
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Path from "effect/Path"
import type * as MachineFile from "../driver/MachineFile.ts"
import type * as TestCase from "../driver/TestCase.ts"
import * as Python from "../python/Python.ts"
import * as GivenMachines from "./GivenMachines.ts"
import * as MachineModule from "./MachineModule.ts"
import * as ScriptError from "./ScriptError.ts"
import * as ScriptLoader from "./ScriptLoader.ts"

/** Whether a script is a Python script. */
export const isPython = (script: string): boolean => script.endsWith(".py")

/** The declarations of a module, which must not be a Python script itself. */
const machinesOf = Effect.fnUntraced(function* (module: string) {
  yield* ScriptLoader.readable(module, "module of --machines")
  if (!isPython(module)) return yield* MachineModule.load(module)
  return yield* new ScriptError.NoMachines({
    script: module,
    found: "a Python script; machines are declared in TypeScript"
  })
})

/** Fails with the line on which the script is not valid Python. */
const checked = Effect.fnUntraced(function* (script: string, file: string, text: string) {
  const problem = yield* Effect.mapError(
    Python.check(file),
    ({ message }) => new ScriptError.PythonUnusable({ script, reason: message })
  )
  if (problem === undefined) return
  const { column, line } = problem
  const place = { file: script, line, column: column - 1, text: text.split("\n")[line - 1] ?? "" }
  return yield* new ScriptError.ScriptSyntaxError({ script, place, problem: problem.message })
})

/** The test of a script, with the machines that the module `module` declares, and with those of a file. */
export const load = Effect.fnUntraced(function* (
  script: string,
  module: string | undefined,
  given?: MachineFile.Machines | undefined
) {
  const path = yield* Path.Path
  const { file, text } = yield* ScriptLoader.readable(script)
  yield* checked(script, file, text)
  if (module === undefined && given === undefined)
    return yield* new ScriptError.MachinesMissing({ script, builds: false })
  const declared = module === undefined ? {} : yield* machinesOf(module)
  const machines = yield* GivenMachines.together(module ?? script, given?.machines ?? {}, declared)
  const test: TestCase.TestCase = Python.python(path.basename(script), { machines, timeout: given?.timeout }, { file })
  return [{ ...test, file: script }]
})
