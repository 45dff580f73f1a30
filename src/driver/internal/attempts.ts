/** Trying tests again when they failed. */
import * as Effect from "effect/Effect"
import { report } from "../RunEvent.ts"
import { isFailed, type TestResult } from "../TestResult.ts"

type Results = ReadonlyArray<TestResult>

/** Takes the result of the test with this index, as soon as it is there. */
export type Take = (result: TestResult, index: number) => Effect.Effect<TestResult>

/**
 * Runs tests that belong together, once, and again while one of them fails, at most `retries` times. Reports each attempt that is not the last,
 * and the result of the last, which has the failed attempts before it. `suite` is the name of what they belong to, if they can be several.
 *
 * Results that no other attempt can follow are reported at once, and told to `ended`.
 */
export const run = <R>(
  retries: number,
  once: (attempt: number, take: Take) => Effect.Effect<Results, never, R>,
  ended: (result: TestResult, index: number) => void = () => {},
  suite?: string
): Effect.Effect<Results, never, R> =>
  Effect.gen(function* () {
    let earlier: ReadonlyArray<Results> = []
    const final: Take = (result, index) => {
      const before = earlier.flatMap((all) => all[index] ?? []).filter(isFailed)
      const last = before.length === 0 ? result : { ...result, earlier: before }
      return Effect.map(report({ _tag: "TestEnded", result: last }), () => {
        ended(last, index)
        return last
      })
    }
    for (let attempt = 1; ; attempt++) {
      const isLast = attempt > retries
      const results = yield* once(attempt, isLast ? final : (result) => Effect.succeed(result))
      if (isLast) return results
      if (!results.some(isFailed)) return yield* Effect.forEach(results, final)
      for (const result of results) {
        yield* report({ _tag: "AttemptFailed", test: result.name, result, attempt, attempts: retries + 1, suite })
      }
      earlier = [...earlier, results]
    }
  })
