/**
 * Arguments of the driver that are not what their types say: no compiler need have checked a script. What its types rule out is a defect, and no
 * failure of theirs.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import type { Machine } from "../../machine/Machine.ts"
import { InvalidArgument } from "../../machine/MachineError.ts"
import { short } from "../../transport/ShellError.ts"

const refuse = (argument: string, value: unknown, reason: string): Effect.Effect<never> =>
  Effect.die(new InvalidArgument({ machine: "", argument, value: short(String(value)), reason }))

const isGenerator = (value: unknown): boolean =>
  Predicate.isFunction(value) && value.constructor.name === "GeneratorFunction"

const noEffect = (given: unknown): string => {
  if (isGenerator(given)) return "is a generator function, not an Effect; Effect.gen makes one of it"
  return Predicate.isFunction(given)
    ? "is a function, not an Effect; give the Effect that it returns"
    : "is not an Effect"
}

/** Goes on only if an Effect was given. */
export const mustBeEffect = (argument: string, given: unknown): Effect.Effect<void> =>
  Effect.isEffect(given) ? Effect.void : refuse(argument, given, noEffect(given))

const isMachine = (value: unknown): value is Machine => Predicate.hasProperty(value, "waitForShutdown")

const partsOf = (given: unknown): ReadonlyArray<unknown> => {
  if (Predicate.isIterable(given)) return [...given]
  return typeof given === "object" && given !== null ? Object.values(given) : [given]
}

/** What was given as machines, or as a record of them. */
export const machinesOf = (
  argument: string,
  given: Iterable<Machine> | Readonly<Record<string, Machine>>
): Effect.Effect<ReadonlyArray<Machine>> =>
  Effect.suspend(() => {
    if (isMachine(given)) return refuse(argument, given.name, "is one machine, not several; wait on it alone")
    const all = partsOf(given)
    if (all.every(isMachine)) return Effect.succeed(all)
    const stranger = all.find((one) => !isMachine(one))
    return refuse(argument, stranger, "is not a machine")
  })
