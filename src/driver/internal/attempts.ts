/** Trying a test again when it failed. */
import * as Effect from "effect/Effect"
import { report } from "../RunEvent.ts"
import { isFailed, type TestResult } from "../TestResult.ts"

/**
 * Runs tests that belong together, once, and again while one of them fails, at most `retries` times. Reports each attempt that is not the last,
 * and the result of the last, which has the attempts before it.
 */
export const run = <R>(
  retries: number,
  once: (attempt: number) => Effect.Effect<ReadonlyArray<TestResult>, never, R>
): Effect.Effect<ReadonlyArray<TestResult>, never, R> =>
  Effect.gen(function* () {
    let earlier: ReadonlyArray<ReadonlyArray<TestResult>> = []
    for (let attempt = 1; ; attempt++) {
      const results = yield* once(attempt)
      const again = attempt <= retries && results.some(isFailed)
      if (!again) {
        const last = results.map((result, index): TestResult => {
          const before = earlier.flatMap((all) => all[index] ?? []).filter(isFailed)
          return before.length === 0 ? result : { ...result, earlier: before }
        })
        yield* Effect.forEach(last, (result) => report({ _tag: "TestEnded", result }), { discard: true })
        return last
      }
      for (const result of results) {
        yield* report({ _tag: "AttemptFailed", test: result.name, result, attempt, attempts: retries + 1 })
      }
      earlier = [...earlier, results]
    }
  })
