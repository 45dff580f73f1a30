/**
 * Refusing arguments of the driver that do not have their declared types, because a script may not have been type-checked. They are defects, not
 * typed failures.
 */
import { isNativeError, isPromise } from "node:util/types"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import { InvalidArgument } from "../../guest/MachineError.ts"
import { shown } from "../../host/Decode.ts"
import type { Machine } from "../../machine/Machine.ts"
import { short } from "../../transport/ShellError.ts"

const refuse = (argument: string, value: unknown, reason: string): Effect.Effect<never> =>
  Effect.die(
    new InvalidArgument({
      machine: "",
      method: "",
      argument,
      value: short(String(value)),
      reason: `${argument} ${JSON.stringify(short(String(value)))} ${reason}`
    })
  )

/** Whether a value is written as `function*`, or as `async`. */
export const isGenerator = (value: unknown): boolean =>
  Predicate.isFunction(value) && value.constructor.name === "GeneratorFunction"
export const isAsync = (value: unknown): boolean =>
  Predicate.isFunction(value) && /^Async(Generator)?Function$/.test(value.constructor.name)

const noEffect = (given: unknown): string => {
  if (isGenerator(given)) return "is a generator function, not an Effect; wrap it in Effect.gen"
  if (isPromise(given))
    return "is a Promise, not an Effect; write Effect.gen(function* () { … }) and use yield* instead of await"
  return Predicate.isFunction(given)
    ? "is a function, not an Effect; pass the Effect that it returns"
    : "is not an Effect"
}

/** Dies if the value is not an Effect; `hint` says what to write instead. */
export const mustBeEffect = (argument: string, given: unknown, hint = ""): Effect.Effect<void> =>
  Effect.isEffect(given) ? Effect.void : refuse(argument, given, `${noEffect(given)}${hint}`)

/** Why a value is probably an Effect with a missing `yield*`; undefined if it is not. */
const unrun = (value: unknown): string | undefined => {
  // Tagged errors are Effects too, and `Effect.flip` gives them as values.
  if (!Effect.isEffect(value) || isNativeError(value)) return undefined
  if (!Exit.isExit(value)) return "is an Effect that was never run; write return yield* …"
  // `Effect.fail("no")` is itself an Exit, so it cannot be distinguished from an intended one.
  return Exit.isSuccess(value)
    ? undefined
    : "is a failure that was returned, not raised; write return yield* Effect.fail(…)"
}

/** How messages call an Effect that a script gives, and its value. */
interface Place {
  readonly argument: string
  readonly value: string
  /** What to write instead. */
  readonly hint?: string
  /** Whether its value is not used, so that a failed Exit must be a mistake. */
  readonly last?: boolean
}

/** Runs a value that must be an Effect, and whose own value must not be an Effect, which would never run. */
export const run = <A, E, R>(
  { argument, hint, last = false, value }: Place,
  given: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.andThen(
    mustBeEffect(argument, given, hint),
    Effect.tap(given, (result) => {
      const reason = Exit.isExit(result) && !last ? undefined : unrun(result)
      return reason === undefined ? Effect.void : refuse(value, Exit.isExit(result) ? result : "Effect", reason)
    })
  )

/** What to write for a function of machines that gives an Effect. */
export const bodyExample = "({ web }) => Effect.gen(function* () { … })"

/** What is wrong with a test's body, before it is run. */
export const bodyProblem = (body: unknown): string | undefined => {
  if (isAsync(body))
    return `the body must return an Effect, got an async function; write ${bodyExample}, with yield* in place of await`
  if (isGenerator(body)) return `the body must return an Effect, got a generator function; write ${bodyExample}`
  if (Predicate.isFunction(body)) return undefined
  const must = "the body must be a function that returns an Effect"
  if (Effect.isEffect(body)) return `${must}, got an Effect; put () => in front of it`
  return `${must}, got ${shown(body)}; write ${bodyExample}`
}

/** Runs what a body returns; `whose` is its name in messages, `example` what to write instead; the value of a `last` one is not used. */
export const runBody = <A, E, R>(
  whose: string,
  given: Effect.Effect<A, E, R>,
  { example = bodyExample, last = false }: { readonly example?: string; readonly last?: boolean } = {}
): Effect.Effect<A, E, R> => {
  const hint = `; write ${example}`
  return run({ argument: `what ${whose} returns,`, value: `the value of ${whose},`, hint, last }, given)
}

/** Calls a function of the script that must return an Effect, and runs that. */
export const givingEffects =
  <A, B, E, R>(method: string, body: (of: A) => Effect.Effect<B, E, R>) =>
  (of: A): Effect.Effect<B, E, R> =>
    Effect.suspend(() => {
      const argument = `${method}: the function`
      if (isGenerator(body))
        return refuse(
          argument,
          body,
          "is a generator function, not a function that returns an Effect; wrap it in Effect.fn"
        )
      if (Effect.isEffect(body)) return refuse(argument, body, "is an Effect, not a function that returns one")
      if (!Predicate.isFunction(body)) return refuse(argument, body, "is not a function that returns an Effect")
      const effect = body(of)
      return Effect.andThen(mustBeEffect(`${method}: what the function returns,`, effect), effect)
    })

const isMachine = (value: unknown): value is Machine => Predicate.hasProperty(value, "waitForShutdown")

const partsOf = (given: unknown): ReadonlyArray<unknown> => {
  if (Predicate.isIterable(given)) return [...given]
  return typeof given === "object" && given !== null ? Object.values(given) : [given]
}

/** The machines in an array or a record. */
export const machinesOf = (
  argument: string,
  given: Iterable<Machine> | Readonly<Record<string, Machine>>
): Effect.Effect<ReadonlyArray<Machine>> =>
  Effect.suspend(() => {
    if (isMachine(given))
      return refuse(
        argument,
        given.name,
        "is a single machine; pass an array or a record of machines, or call the wait on it directly"
      )
    const all = partsOf(given)
    if (all.every(isMachine)) return Effect.succeed(all)
    const stranger = all.find((one) => !isMachine(one))
    return refuse(argument, stranger, "is not a machine")
  })
