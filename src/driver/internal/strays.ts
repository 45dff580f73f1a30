/**
 * What goes wrong in a test beside its body: errors in callbacks and promises that nothing waits for, forked fibers that fail and that nobody joins,
 * and finalizers that fail when the body is interrupted.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as UncaughtErrors from "../UncaughtError.ts"
import { UncaughtError } from "../UncaughtError.ts"
import { UnrunEffect } from "../UnrunEffect.ts"
import { scriptFrame } from "./scriptLocation.ts"
import * as TestContext from "./testContext.ts"

export interface Stray {
  /** What was thrown, or failed. */
  readonly error: unknown
  /** It as a failure of the test. */
  readonly cause: Cause.Cause<unknown>
}

/** The errors and defects of a cause. */
export const errorsOf = (cause: Cause.Cause<unknown>): ReadonlyArray<unknown> =>
  cause.reasons.flatMap((reason) =>
    Cause.isFailReason(reason) ? [reason.error] : Cause.isDieReason(reason) ? [reason.defect] : []
  )

export interface Strays {
  /** Runs the test's program, and fails with the first error in it that nothing caught. */
  readonly watch: <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E | UncaughtError, R>
  /** Whether something went wrong so far. */
  readonly failed: () => boolean
  /** The Effects and Streams that the test made, and that nobody ran; for the end of one that has passed. */
  readonly unrun: () => ReadonlyArray<UnrunEffect>
  /** What else went wrong, once the test is over; from then on nothing counts for it. */
  readonly end: () => ReadonlyArray<Stray>
}

/** How long somebody has to look at the end of a fiber that fails when its test is over. */
const lookTime = "100 millis"

/** What goes wrong in a test; `run` runs what warns of fibers that failed after its body had ended. */
export const make = (test: string, label: string, run: (effect: Effect.Effect<void>) => void): Strays => {
  const warn = (line: string) => run(Effect.logWarning(line))
  const later = (effect: Effect.Effect<void>) => run(Effect.delay(effect, lookTime))
  const first = Deferred.makeUnsafe<never, UncaughtError>()
  const errors: Array<UncaughtError> = []
  const ofFinalizers: Array<Cause.Reason<unknown>> = []
  let over = false
  /** The race that interrupts a body, at its timeout for example, does not say how that ended. */
  const noteFinalizers = (exit: Exit.Exit<unknown, unknown>) =>
    Effect.sync(() => {
      if (Exit.isSuccess(exit) || !Cause.hasInterrupts(exit.cause)) return
      ofFinalizers.push(...exit.cause.reasons.filter((reason) => !Cause.isInterruptReason(reason)))
    })
  const context: TestContext.TestContext = {
    test,
    label,
    thrown: (thrown) => {
      if (over) return false
      const error = new UncaughtError({ test, cause: thrown })
      if (errors.push(error) === 1) Deferred.doneUnsafe(first, Effect.fail(error))
      return true
    },
    unseen: new Map(),
    late: undefined,
    made: new Set()
  }
  /** Fibers that failed when the body had ended: the machines end then, and often they have only met that. */
  const late = new Set<object>()
  /** Warns of those that nothing has looked at by now. */
  const warnOf = (fibers: Iterable<object>) => {
    for (const fiber of fibers) {
      const cause = context.unseen.get(fiber)
      context.unseen.delete(fiber)
      if (cause === undefined) continue
      const [first = ""] = UncaughtErrors.described(Cause.squash(cause)).split("\n")
      warn(`a fiber that the test ${JSON.stringify(test)} forked failed after the test had ended: ${first}`)
    }
  }
  const close = Effect.sync(() => {
    context.late = (fiber) => {
      if (over) later(Effect.sync(() => warnOf([fiber])))
      else late.add(fiber)
    }
  })
  const inTime = () => [...context.unseen].filter(([fiber]) => !late.has(fiber))
  return {
    watch: (program) =>
      Effect.raceFirst(TestContext.within(context)(Effect.onExit(program, noteFinalizers)), Deferred.await(first)).pipe(
        Effect.ensuring(close)
      ),
    unrun: () =>
      [...context.made].flatMap(({ gives, stack = "", what }) =>
        // What the library makes for a script is not for the script to run.
        scriptFrame(stack) === undefined ? [] : [Object.assign(new UnrunEffect({ call: what, gives }), { stack })]
      ),
    failed: () => errors.length + inTime().length > 0,
    end: () => {
      over = true
      warnOf(late)
      const fibers = inTime().map(([, cause]) => UncaughtErrors.ofFiber(test, cause))
      // The first of the errors is what the program failed with.
      return [
        ...[...errors.slice(1), ...fibers].map((error) => ({ error: error.cause, cause: Cause.fail(error) })),
        ...ofFinalizers.map((reason) => ({
          error: Cause.squash(Cause.fromReasons([reason])),
          cause: Cause.fromReasons([reason])
        }))
      ]
    }
  }
}
