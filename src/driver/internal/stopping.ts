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

/** Ends a run at its first failure: tests that run then are interrupted, and the others are not started. */
export const atFirstFailure = () => {
  const failed = Deferred.makeUnsafe<void>()
  const skipAll = (tests: ReadonlyArray<Checked>, what: string) =>
    Effect.forEach(tests, (one) => skip(one, `${what} because another test failed (--fail-fast)`))
  return <R>(tests: ReadonlyArray<Checked>, run: Effect.Effect<Results, never, R>): Effect.Effect<Results, never, R> =>
    Effect.gen(function* () {
      if (yield* Deferred.isDone(failed)) return yield* skipAll(tests, "not run")
      const results = yield* Effect.raceFirst(run, Effect.as(Deferred.await(failed), undefined))
      if (results === undefined) return yield* skipAll(tests, "interrupted")
      if (results.some(isFailed)) yield* Deferred.succeed(failed, undefined)
      return results
    })
}
