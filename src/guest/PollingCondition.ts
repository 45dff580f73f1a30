/**
 * Conditions that must hold the whole time a test waits.
 *
 * A condition is checked on a schedule while any wait or command of the test runs, and only then. The first one that fails ends
 * whatever is being waited for, with `PollingConditionFailed`; where nothing is by then, it ends what is waited for next, unless
 * the condition was found to hold again.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
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
export const PollingConditionOptions = Schema.Struct({
  /**
   * When to check again after a check has ended. Default 2 seconds later. A condition whose schedule ends is not checked any more.
   */
  schedule: Schema.optional(
    Schema.declare<Schedule.Schedule<unknown>>(
      (value): value is Schedule.Schedule<unknown> => Schedule.isSchedule(value),
      { expected: 'a Schedule, such as Schedule.spaced("2 seconds")' }
    )
  )
}).annotate({ expected: 'an object of options, such as { schedule: Schedule.spaced("2 seconds") }' })

/** How a condition is checked. */
export interface PollingConditionOptions extends Schema.Schema.Type<typeof PollingConditionOptions> {}

/** When to check a condition again, by default. */
const checkSchedule = Schedule.spaced("2 seconds")

/** The conditions of one test. */
export interface PollingConditions {
  /** Runs `effect` under the conditions that hold now and those added while it runs. */
  readonly guard: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | PollingConditionFailed, R>
  /**
   * Runs `effect`, and what of it would be guarded, without them: for what goes on behind the test's back, where a failure is heard by
   * nobody and would be spent. Where nothing can be waited for any more, that neither.
   */
  readonly unguarded: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Adds a condition until the scope closes. It fails by failing, or by answering `false`. */
  readonly add: <E, R>(
    condition: string,
    check: Effect.Effect<unknown, E, R>,
    options?: PollingConditionOptions
  ) => Effect.Effect<void, never, R | Scope.Scope>
  /** Nothing can be waited for any more: whatever is, and whatever will be, fails at once. */
  readonly abort: (condition: string, reason: string) => Effect.Effect<void>
}

/** What is not guarded: a check, which uses machines as well, and what the test does not wait for. */
const Unguarded = Context.Reference<boolean>("vmtest/machine/PollingCondition/Unguarded", {
  defaultValue: () => false
})

const unguarded: PollingConditions["unguarded"] = Effect.provideService(Unguarded, true)

/** No conditions yet. */
export const make: Effect.Effect<PollingConditions> = Effect.sync(() => {
  const guarded = new Set<Deferred.Deferred<never, PollingConditionFailed>>()
  let wake: Deferred.Deferred<void> = Deferred.makeUnsafe()
  let given: PollingConditionFailed | undefined
  /** What the last check of a condition came to, where no wait has ended with it yet. The keys are the conditions. */
  const pending = new Map<object, PollingConditionFailed>()

  const told = (error: PollingConditionFailed) => {
    for (const [key, value] of pending) if (value === error) pending.delete(key)
  }

  const guard = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | PollingConditionFailed, R> =>
    Effect.flatMap(Unguarded, (free): Effect.Effect<A, E | PollingConditionFailed, R> => {
      if (given !== undefined) return Effect.fail(given)
      if (free) return effect
      for (const error of pending.values()) {
        told(error)
        return Effect.fail(error)
      }
      const broken = Deferred.makeUnsafe<never, PollingConditionFailed>()
      return Effect.acquireUseRelease(
        Effect.sync(() => {
          guarded.add(broken)
          Deferred.doneUnsafe(wake, Exit.void)
        }),
        () =>
          Effect.raceFirst(
            effect,
            Effect.tapError(Deferred.await(broken), (error) => Effect.sync(() => told(error)))
          ),
        () =>
          Effect.sync(() => {
            guarded.delete(broken)
            if (guarded.size === 0) wake = Deferred.makeUnsafe()
          })
      )
    })

  const failAll = (error: PollingConditionFailed) => {
    for (const broken of guarded) Deferred.doneUnsafe(broken, Exit.fail(error))
  }

  const add = <E, R>(condition: string, check: Effect.Effect<unknown, E, R>, options?: PollingConditionOptions) => {
    const key = {}
    const fails = (reason: string) => {
      const error = new PollingConditionFailed({ condition, reason })
      pending.set(key, error)
      failAll(error)
    }
    const once = Effect.suspend(() => Deferred.await(wake)).pipe(
      // A fiber of its own ends in whatever way, also of what is no Effect: the loop hears of it.
      Effect.andThen(Effect.forkChild(unguarded(check), { startImmediately: true })),
      Effect.flatMap(Fiber.await),
      Effect.flatMap((exit) =>
        Effect.sync(() => {
          if (Exit.isFailure(exit)) fails(messageOf(exit.cause))
          else if (exit.value === false) fails("")
          else pending.delete(key)
        })
      )
    )
    const checks = Effect.repeat(once, options?.schedule ?? checkSchedule)
    return Effect.asVoid(
      Effect.acquireRelease(Effect.forkDetach(checks), (fiber) =>
        Effect.andThen(
          Fiber.interrupt(fiber),
          Effect.sync(() => pending.delete(key))
        )
      )
    )
  }

  const abort = (condition: string, reason: string) =>
    Effect.sync(() => {
      given ??= new PollingConditionFailed({ condition, reason })
      failAll(given)
    })

  return { guard, unguarded, add, abort }
})

const messageOf = (cause: Cause.Cause<unknown>): string => Cause.prettyErrors(cause)[0]?.message ?? Cause.pretty(cause)

/** Conditions that hold for a part of what others hold for: those end its waits as well. */
export const under = (others: PollingConditions, own: PollingConditions): PollingConditions => ({
  ...own,
  guard: (effect) => others.guard(own.guard(effect))
})
