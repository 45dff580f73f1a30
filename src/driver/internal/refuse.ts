/**
 * Arguments of the driver that are not what their types say: no compiler need have checked a script. What its types rule out is a defect, and no
 * failure of theirs.
 */
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { InvalidArgument } from "../../machine/MachineError.ts"
import { short } from "../../transport/ShellError.ts"

const refuse = (argument: string, value: unknown, reason: string): Effect.Effect<never> =>
  Effect.die(new InvalidArgument({ machine: "", argument, value: short(String(value)), reason }))

const isGenerator = (value: unknown): boolean =>
  Predicate.isFunction(value) && value.constructor.name === "GeneratorFunction"

const noEffect = (given: unknown): string => {
  if (isGenerator(given)) return "is a generator function, not an Effect; Effect.gen makes one of it"
  return Predicate.isFunction(given) ? "is a function, not an Effect; give what it gives" : "is not an Effect"
}

/** Goes on only if an Effect was given. */
export const mustBeEffect = (argument: string, given: unknown): Effect.Effect<void> =>
  Effect.isEffect(given) ? Effect.void : refuse(argument, given, noEffect(given))
