/**
 * Tests in TypeScript on machines that the command was given: of a file, besides those that they declare.
 *
 * A script for such machines can export a function of the machines and the driver by default, because it has nothing to declare.
 *
 * **Example** (A script for the machine `web` of a file)
 *
 * ```ts
 * import { Effect } from "effect"
 * import type { Machine } from "vmtest"
 *
 * export default ({ web }: Record<"web", Machine>) =>
 *   Effect.gen(function* () {
 *     yield* web.succeed("echo hello")
 *   })
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { Machines } from "../driver/MachineFile.ts"
import * as TestCase from "../driver/TestCase.ts"
import type { Location } from "../host/Location.ts"
import type { MachineOptions } from "../machine/MachineSpec.ts"
import * as ScriptError from "./ScriptError.ts"
import * as ScriptLoader from "./ScriptLoader.ts"

type Declared = Readonly<Record<string, MachineOptions>>

/** All machines of a script. Fails if it declares one that is given. */
export const together = (
  script: string,
  given: Declared,
  declared: Declared
): Effect.Effect<Declared, ScriptError.MachineGivenTwice> => {
  const machine = Object.keys(declared).find((name) => Object.hasOwn(given, name))
  return machine === undefined
    ? Effect.succeed({ ...given, ...declared })
    : Effect.fail(new ScriptError.MachineGivenTwice({ script, machine }))
}

type Body = Parameters<typeof TestCase.test<Declared>>[2]

/** Where a script exports its default; undefined if it does so in another way. */
const exportIn = (file: string, text: string): Location | undefined => {
  const line = text.split("\n").findIndex((one) => /^export\s+default\b/.test(one)) + 1
  return line === 0 ? undefined : { file, line, column: 1 }
}

/** A function is the body of a test; what it gives is looked at when it is run. */
const read =
  (declaredAt: Location | undefined) =>
  (name: string, exported: unknown): unknown =>
    Predicate.isFunction(exported) && !Effect.isEffect(exported)
      ? { ...TestCase.test(name, {}, exported as Body), declaredAt: () => declaredAt }
      : exported

const limited = (own: Duration.Input | undefined, limit: Duration.Duration | undefined) =>
  own === undefined || limit === undefined ? (own ?? limit) : Duration.min(Duration.fromInputUnsafe(own), limit)

/** The tests of a script, each with the machines that are given. */
export const load = Effect.fnUntraced(function* (script: string, { machines, timeout }: Machines) {
  const { file, text } = yield* ScriptLoader.readable(script)
  const tests = yield* ScriptLoader.load(script, read(exportIn(file, text)))
  return yield* Effect.forEach(tests, (test) =>
    Effect.map(
      together(script, machines, test.machines),
      (all): TestCase.TestCase => ({ ...test, machines: all, timeout: limited(test.timeout, timeout) })
    )
  )
})
