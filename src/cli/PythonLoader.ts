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
import * as Predicate from "effect/Predicate"
import type * as MachineFile from "../driver/MachineFile.ts"
import * as TestCase from "../driver/TestCase.ts"
import type { MachineOptions } from "../machine/MachineSpec.ts"
import * as MachineSpecs from "../machine/MachineSpec.ts"
import * as Python from "../python/Python.ts"
import * as GivenMachines from "./GivenMachines.ts"
import * as ScriptError from "./ScriptError.ts"
import * as ScriptLoader from "./ScriptLoader.ts"

/** Whether a script is a Python script. */
export const isPython = (script: string): boolean => script.endsWith(".py")

/** What a module exports that is not an object of declarations, and how to make it one. */
const misfit = (exported: unknown): string | undefined => {
  const tests = TestCase.fromExport("", exported)
  if (tests !== undefined && tests.length > 0 && !Effect.isEffect(exported))
    return `${tests.length === 1 ? "a test" : `${tests.length} tests`}; export the machines instead: the Python script is the test`
  if (Predicate.isFunction(exported)) return "a function; export the object that it returns"
  if (!Predicate.isObject(exported) || Array.isArray(exported) || Effect.isEffect(exported))
    return ScriptLoader.describeExport(exported)
  const { machines, ...others } = exported as Readonly<Record<string, unknown>>
  const isWrapped = Predicate.isObject(machines) && !("image" in machines) && Object.keys(others).length === 0
  return isWrapped ? "{ machines: … }; export what is in machines" : undefined
}

/** Where a module declares a machine: the first line on which its name is a key. */
const placeOf = (script: string, text: string, machine: string): typeof ScriptError.Place.Type | undefined => {
  const name = machine.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")
  const key = new RegExp(`^(.*?[\\s{,(]|)(["'\`]?)${name}\\2\\s*:`)
  const lines = text.split("\n")
  const index = lines.findIndex((line) => key.test(line))
  const line = lines[index]
  return line === undefined
    ? undefined
    : { file: script, line: index + 1, column: key.exec(line)?.[1]?.length ?? 0, text: line }
}

/** The declarations that a module exports, checked. */
const machinesOf = Effect.fnUntraced(function* (script: string) {
  const { text } = yield* ScriptLoader.readable(script)
  if (isPython(script)) {
    return yield* new ScriptError.NoMachines({ script, found: "a Python script; machines are declared in TypeScript" })
  }
  const exported = yield* Effect.catchTag(ScriptLoader.loadDefault(script), "NoDefaultExport", () =>
    Effect.fail(new ScriptError.NoMachines({ script, found: "" }))
  )
  const found = misfit(exported)
  if (found !== undefined) return yield* new ScriptError.NoMachines({ script, found })
  const declared = exported as Readonly<Record<string, MachineOptions>>
  yield* MachineSpecs.checkAll(declared).pipe(
    Effect.mapError(
      ({ machine, message }) =>
        new ScriptError.WrongMachine({ script, place: placeOf(script, text, machine), problem: message })
    )
  )
  return declared
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
  if (module === undefined && given === undefined) return yield* new ScriptError.MachinesMissing({ script })
  const declared = module === undefined ? {} : yield* machinesOf(module)
  const machines = yield* GivenMachines.together(module ?? script, given?.machines ?? {}, declared)
  const test: TestCase.TestCase = Python.python(path.basename(script), { machines, timeout: given?.timeout }, { file })
  return [{ ...test, file: script }]
})
