/** Tests that do not run to their end: skipped ones, and those that the end of a run at its first failure reaches. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { report } from "../RunEvent.ts"
import { isFailed, type TestResult } from "../TestResult.ts"
import type { Checked } from "./checkTests.ts"

type Results = ReadonlyArray<TestResult>

/** Reports that a test does not run, or not to its end, and why. */
export const skip = Effect.fnUntraced(function* ({ test }: Checked, reason: string) {
  const result: TestResult = {
    ...{ name: test.name, file: test.file, tags: test.tags, status: "skipped", skipped: reason },
    ...{ startedAt: yield* Clock.currentTimeMillis, millis: 0, excludedMillis: 0 },
    ...{ subtests: [], failure: undefined, machines: [], folder: undefined, value: undefined }
  }
  yield* report({ _tag: "TestEnded", result })
  return result
})

const reason = "because another test failed (--fail-fast)"

/** Ends a run at its first failure: tests that run then are interrupted, and the others are not started. */
export interface Stop {
  /** Runs tests until then. `ended` gives the results that are there by then, in the order of the tests. */
  readonly until: <R>(
    tests: ReadonlyArray<Checked>,
    run: Effect.Effect<Results, never, R>,
    ended: () => ReadonlyArray<TestResult | undefined>
  ) => Effect.Effect<Results, never, R>
  /** Notes how a test ended. */
  readonly note: (result: TestResult) => void
}

export const atFirstFailure = (): Stop => {
  const failed = Deferred.makeUnsafe<void>()
  return {
    until: (tests, run, ended) =>
      Effect.gen(function* () {
        if (yield* Deferred.isDone(failed)) return yield* Effect.forEach(tests, (one) => skip(one, `not run ${reason}`))
        const results = yield* Effect.raceFirst(run, Effect.as(Deferred.await(failed), undefined))
        if (results !== undefined) return results
        const there = ended()
        const isOwn = there.some((result) => result !== undefined && isFailed(result))
        return yield* Effect.forEach(tests, (one, index) => {
          const result = there[index]
          return result === undefined
            ? skip(one, `${isOwn ? "not run" : "interrupted"} ${reason}`)
            : Effect.succeed(result)
        })
      }),
    note: (result) => {
      if (isFailed(result)) Deferred.doneUnsafe(failed, Effect.void)
    }
  }
}

/** All tests run. */
export const never: Stop = { until: (_, run) => run, note: () => {} }
