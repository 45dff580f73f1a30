/**
 * Modules that declare machines and no tests, as `--machines` takes them: `export default { web: { image: Image.tiny() } }`.
 *
 * **Example** (The declarations of a module)
 *
 * ```ts
 * const machines = MachineModule.load("machines.ts")
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as TestCase from "../driver/TestCase.ts"
import * as MachineChecks from "../machine/MachineChecks.ts"
import type { MachineOptions } from "../machine/MachineSpec.ts"
import * as ScriptError from "./ScriptError.ts"
import * as ScriptLoader from "./ScriptLoader.ts"

type Declared = Readonly<Record<string, MachineOptions>>

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
export const placeOf = (script: string, text: string, machine: string): typeof ScriptError.Place.Type | undefined => {
  const name = machine.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")
  const key = new RegExp(`^(.*?[\\s{,(]|)(["'\`]?)${name}\\2\\s*:`)
  const lines = text.split("\n")
  const index = lines.findIndex((line) => key.test(line))
  const line = lines[index]
  return line === undefined
    ? undefined
    : { file: script, line: index + 1, column: key.exec(line)?.[1]?.length ?? 0, text: line }
}

/** Fails with the line of a declaration that is wrong. */
const checked = Effect.fnUntraced(function* (script: string, declared: Declared) {
  const { text } = yield* ScriptLoader.readable(script)
  yield* Effect.mapError(
    MachineChecks.checkAll(declared),
    ({ machine, message }) =>
      new ScriptError.WrongMachine({ script, place: placeOf(script, text, machine), problem: message })
  )
  return declared
})

/** The declarations that a module exports, checked. */
export const load = Effect.fnUntraced(function* (script: string) {
  const exported = yield* Effect.catchTag(ScriptLoader.loadDefault(script), "NoDefaultExport", () =>
    Effect.fail(new ScriptError.NoMachines({ script, found: "" }))
  )
  const found = misfit(exported)
  if (found !== undefined) return yield* new ScriptError.NoMachines({ script, found })
  return yield* checked(script, exported as Declared)
})

const declaresMachines = (exported: unknown): exported is Declared => {
  if (misfit(exported) !== undefined || !Predicate.isObject(exported)) return false
  const declarations = Object.values(exported)
  return declarations.length > 0 && declarations.every((one) => Predicate.hasProperty(one, "image"))
}

/** The tests of a script, or one that does nothing and has the machines that a module declares: for what only looks at the machines. */
export const testsOrMachines = Effect.fnUntraced(function* (script: string) {
  let machines: Declared = {}
  const tests = yield* ScriptLoader.load(script, (name: string, exported: unknown) => {
    if (!declaresMachines(exported)) return exported
    machines = exported
    return TestCase.test(name, { machines }, () => Effect.void)
  })
  yield* checked(script, machines)
  return tests
})
