/**
 * Conditions that must hold whenever a test waits.
 *
 * A condition is checked by a schedule while any wait or command of the test runs, and only then. If a check fails, everything that the test
 * waits for fails with `PollingConditionFailed`; if nothing is being waited for by then, the next wait fails, unless a later check has succeeded.
 *
 * **Example** (A server that must not stop)
 *
 * ```ts
 * yield* driver.pollingCondition("nginx runs", web.succeed("systemctl is-active nginx"), {
 *   schedule: Schedule.spaced("5 seconds")
 * })
 * ```
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

/** A condition did not hold; `reason` is the message of its check's error. */
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
   * When to check again after a check has ended. Default: 2 seconds later. When the schedule ends, the condition is not checked any more.
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
  /** Runs `effect` under the current conditions and those added while it runs. */
  readonly guard: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | PollingConditionFailed, R>
  /**
   * Runs `effect` without the conditions, for work in the background: nobody would hear of the failure there, and the test would miss it. After
   * `abort` it fails all the same.
   */
  readonly unguarded: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Adds a condition until the scope closes. It does not hold if its check fails or returns `false`. */
  readonly add: <E, R>(
    condition: string,
    check: Effect.Effect<unknown, E, R>,
    options?: PollingConditionOptions
  ) => Effect.Effect<void, never, R | Scope.Scope>
  /** Ends all waits, now and in the future, at once. */
  readonly abort: (condition: string, reason: string) => Effect.Effect<void>
}

/** Not guarded are checks, which use machines as well, and what the test does not wait for. */
const Unguarded = Context.Reference<boolean>("vmtest/machine/PollingCondition/Unguarded", {
  defaultValue: () => false
})

/** As {@link PollingConditions.unguarded}, for all conditions. */
export const unguarded: PollingConditions["unguarded"] = Effect.provideService(Unguarded, true)

/** No conditions yet. */
export const make: Effect.Effect<PollingConditions> = Effect.sync(() => {
  const guarded = new Set<Deferred.Deferred<never, PollingConditionFailed>>()
  let wake: Deferred.Deferred<void> = Deferred.makeUnsafe()
  let aborted: PollingConditionFailed | undefined
  /** Failures of conditions' last checks that no wait has ended with yet, by condition. */
  const pending = new Map<object, PollingConditionFailed>()

  const delivered = (error: PollingConditionFailed) => {
    for (const [key, value] of pending) if (value === error) pending.delete(key)
  }

  const guard = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | PollingConditionFailed, R> =>
    Effect.flatMap(Unguarded, (unguarded): Effect.Effect<A, E | PollingConditionFailed, R> => {
      if (aborted !== undefined) return Effect.fail(aborted)
      if (unguarded) return effect
      for (const error of pending.values()) {
        delivered(error)
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
            Effect.tapError(Deferred.await(broken), (error) => Effect.sync(() => delivered(error)))
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
      // In a fiber of its own, so that the loop survives whatever the check does, even if it is not an Effect.
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
      aborted ??= new PollingConditionFailed({ condition, reason })
      failAll(aborted)
    })

  return { guard, unguarded, add, abort }
})

const messageOf = (cause: Cause.Cause<unknown>): string => Cause.prettyErrors(cause)[0]?.message ?? Cause.pretty(cause)

/** Conditions for a part of a test; the outer ones end its waits as well. */
export const under = (others: PollingConditions, own: PollingConditions): PollingConditions => ({
  ...own,
  guard: (effect) => others.guard(own.guard(effect))
})
