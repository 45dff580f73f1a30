/**
 * Conditions that must hold the whole time a test waits.
 *
 * A condition is checked on a schedule while any wait or command of the test runs, and only then. The first one that fails ends
 * whatever is being waited for, with `PollingConditionFailed`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"

/** A condition did not hold; `reason` is the message of what its check failed with. */
export class PollingConditionFailed extends Schema.TaggedError<PollingConditionFailed>()("PollingConditionFailed", {
  condition: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `the polling condition ${JSON.stringify(this.condition)} no longer holds${this.reason === "" ? "" : `: ${this.reason}`}`
  }
}

/** How a condition is checked. */
export interface PollingConditionOptions {
  /** Time between the end of one check and the start of the next. Default 2 seconds. */
  readonly interval?: Duration.Input
}

/** The conditions of one test. */
export interface PollingConditions {
  /** Runs `effect` under the conditions that hold now and those added while it runs. */
  readonly guard: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | PollingConditionFailed, R>
  /** Adds a condition until the scope closes. It fails by failing, or by answering `false`. */
  readonly add: <E, R>(
    condition: string,
    check: Effect.Effect<unknown, E, R>,
    options?: PollingConditionOptions
  ) => Effect.Effect<void, never, R | Scope.Scope>
  /** Nothing can be waited for any more: whatever is, and whatever will be, fails at once. */
  readonly giveUp: (condition: string, reason: string) => Effect.Effect<void>
}

/** A check uses machines as well; what it waits for is not guarded by the conditions again. */
const InsideCheck = Context.Reference<boolean>("vmtest/machine/PollingCondition/InsideCheck", {
  defaultValue: () => false
})

/** No conditions yet. */
export const make: Effect.Effect<PollingConditions> = Effect.sync(() => {
  const guarded = new Set<Deferred.Deferred<never, PollingConditionFailed>>()
  let wake: Deferred.Deferred<void> = Deferred.makeUnsafe()
  let given: PollingConditionFailed | undefined

  const guard = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | PollingConditionFailed, R> =>
    Effect.flatMap(InsideCheck, (inside): Effect.Effect<A, E | PollingConditionFailed, R> => {
      if (given !== undefined) return Effect.fail(given)
      if (inside) return effect
      const broken = Deferred.makeUnsafe<never, PollingConditionFailed>()
      return Effect.acquireUseRelease(
        Effect.sync(() => {
          guarded.add(broken)
          Deferred.doneUnsafe(wake, Exit.void)
        }),
        () => Effect.raceFirst(effect, Deferred.await(broken)),
        () =>
          Effect.sync(() => {
            guarded.delete(broken)
            if (guarded.size === 0) wake = Deferred.makeUnsafe()
          })
      )
    })

  const breakAll = (condition: string, reason: string) => {
    failAll(new PollingConditionFailed({ condition, reason }))
  }

  const failAll = (error: PollingConditionFailed) => {
    for (const broken of guarded) Deferred.doneUnsafe(broken, Exit.fail(error))
  }

  const add = <E, R>(condition: string, check: Effect.Effect<unknown, E, R>, options?: PollingConditionOptions) => {
    const interval = Duration.fromInputUnsafe(options?.interval ?? "2 seconds")
    const once = Effect.suspend(() => Deferred.await(wake)).pipe(
      Effect.andThen(Effect.provideService(check, InsideCheck, true)),
      Effect.exit,
      Effect.flatMap((exit) =>
        Effect.sync(() => {
          if (Exit.isFailure(exit)) breakAll(condition, messageOf(exit.cause))
          else if (exit.value === false) breakAll(condition, "")
        })
      ),
      Effect.andThen(Effect.sleep(interval))
    )
    return Effect.asVoid(
      Effect.acquireRelease(Effect.forkDetach(Effect.forever(once)), (fiber) => Fiber.interrupt(fiber))
    )
  }

  const giveUp = (condition: string, reason: string) =>
    Effect.sync(() => {
      given ??= new PollingConditionFailed({ condition, reason })
      failAll(given)
    })

  return { guard, add, giveUp }
})

const messageOf = (cause: Cause.Cause<unknown>): string => Cause.prettyErrors(cause)[0]?.message ?? Cause.pretty(cause)
