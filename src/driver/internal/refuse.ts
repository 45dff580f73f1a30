/**
 * Arguments of the driver that are not what their types say: no compiler need have checked a script. What its types rule out is a defect, and no
 * failure of theirs.
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

/** Goes on only if an Effect was given; `hint` says what to write instead. */
export const mustBeEffect = (argument: string, given: unknown, hint = ""): Effect.Effect<void> =>
  Effect.isEffect(given) ? Effect.void : refuse(argument, given, `${noEffect(given)}${hint}`)

/** Why a value is an Effect that somebody forgot to yield, as far as that can be told. */
const unrun = (value: unknown): string | undefined => {
  // Errors are Effects, too: `Effect.flip` gives them as values.
  if (!Effect.isEffect(value) || isNativeError(value)) return undefined
  if (!Exit.isExit(value)) return "is an Effect that was never run; write return yield* …"
  // `Effect.fail("no")` is an Exit itself, and so not to be told from one that is meant.
  return Exit.isSuccess(value)
    ? undefined
    : "is a failure that was returned, not raised; write return yield* Effect.fail(…)"
}

/** What runs an Effect that a script gives, and how messages name it and its value. */
interface Place {
  readonly argument: string
  readonly value: string
  /** What to write instead. */
  readonly hint?: string
  /** Nobody looks at its value: an Exit that failed was meant to fail it. */
  readonly last?: boolean
}

/** Runs what must be an Effect, and whose value must be no Effect that nobody ran: it would be passed over in silence. */
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

/** Runs what a body gives; `whose` is its name in messages, `example` what to write instead. Of one that is `last` nobody looks at the value. */
export const runBody = <A, E, R>(
  whose: string,
  given: Effect.Effect<A, E, R>,
  { example = bodyExample, last = false }: { readonly example?: string; readonly last?: boolean } = {}
): Effect.Effect<A, E, R> => {
  const hint = `; write ${example}`
  return run({ argument: `what ${whose} returns,`, value: `the value of ${whose},`, hint, last }, given)
}

/** A function of the script's whose value for something is an Effect, or else refused as it is. */
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

/** What was given as machines, or as a record of them. */
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
