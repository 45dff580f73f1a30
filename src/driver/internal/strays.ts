/**
 * What goes wrong in a test beside its body: errors in callbacks and promises that nothing waits for, and forked fibers that fail and that nobody joins.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as UncaughtErrors from "../UncaughtError.ts"
import { type ForkedFiberFailed, UncaughtError } from "../UncaughtError.ts"
import { UnrunEffect } from "../UnrunEffect.ts"
import { scriptFrame } from "./scriptLocation.ts"
import * as TestContext from "./testContext.ts"

export interface Stray {
  readonly error: UncaughtError | ForkedFiberFailed
  readonly cause: Cause.Cause<UncaughtError | ForkedFiberFailed>
}

export interface Strays {
  /** Runs the test's program, and fails with the first error in it that nothing caught. */
  readonly watch: <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E | UncaughtError, R>
  /** Whether something went wrong so far. */
  readonly failed: () => boolean
  /** The Effects that the test made, and that nobody ran; for the end of one that has passed. */
  readonly unrun: () => ReadonlyArray<UnrunEffect>
  /** What else went wrong, once the test is over; from then on nothing counts for it. */
  readonly end: () => ReadonlyArray<Stray>
}

export const make = (test: string): Strays => {
  const first = Deferred.makeUnsafe<never, UncaughtError>()
  const errors: Array<UncaughtError> = []
  let over = false
  const context: TestContext.TestContext = {
    test,
    thrown: (thrown) => {
      if (over) return false
      const error = new UncaughtError({ test, cause: thrown })
      if (errors.push(error) === 1) Deferred.doneUnsafe(first, Effect.fail(error))
      return true
    },
    unseen: new Map(),
    made: new Set()
  }
  return {
    watch: (program) => Effect.raceFirst(TestContext.within(context)(program), Deferred.await(first)),
    unrun: () =>
      [...context.made].flatMap(({ stack = "", what }) =>
        // What the library makes for a script is not for the script to run.
        scriptFrame(stack) === undefined ? [] : [Object.assign(new UnrunEffect({ call: what }), { stack })]
      ),
    failed: () => errors.length + context.unseen.size > 0,
    end: () => {
      over = true
      const fibers = [...context.unseen.values()].map((cause) => UncaughtErrors.ofFiber(test, cause))
      // The first of the errors is what the program failed with.
      return [...errors.slice(1), ...fibers].map((error) => ({ error, cause: Cause.fail(error) }))
    }
  }
}
