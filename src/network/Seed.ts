/**
 * What the random numbers of a run follow from.
 *
 * Two runs with the same seed lose the same frames on impaired networks, and Effect's `Random` gives the bodies of their tests the same numbers. What guests
 * do by themselves, and the order of tests, do not depend on it.
 *
 * **Example** (A run whose random numbers can be repeated)
 *
 * ```ts
 * const results = Runner.run(tests, options).pipe(Effect.provideService(Seed, 42))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"

/** The seed of impairments that have none of their own, and of tests. Default: none. */
export const Seed = Context.Reference<number | undefined>("vmtest/network/Seed", { defaultValue: () => undefined })
