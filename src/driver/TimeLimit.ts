/**
 * The time that all tests of a run may take together.
 *
 * A test gets what is left of it, or its own timeout if that is shorter; each test that is left when the time is up fails at once.
 *
 * **Example** (All tests in an hour)
 *
 * ```ts
 * const results = Runner.run(tests, options).pipe(Effect.provideService(TimeLimit, Duration.hours(1)))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"

/** The time from the start of the first test on. Default: no limit. */
export const TimeLimit = Context.Reference<Duration.Duration>("vmtest/driver/TimeLimit", {
  defaultValue: () => Duration.infinity
})
