/**
 * What a run that is interrupted has come to.
 *
 * **Example** (A summary of a run, however it ends)
 *
 * ```ts
 * const program = Interrupted.summedUp(tests.length, (results, left) => print(TerminalReport.summary(results, left)))(run)
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { Reporter, type RunEvent } from "../driver/RunEvent.ts"
import type { TestResult } from "../driver/TestResult.ts"
import type * as TerminalReport from "../report/TerminalReport.ts"

/** The tests that an interruption has ended, and how many have not begun. */
export type Left = Required<Pick<TerminalReport.SummaryOptions, "interrupted" | "notRun">>

/** Has the results of a run of `count` tests told when it is interrupted: those of the tests that have ended, and what became of the others. */
export const summedUp =
  <R2>(count: number, tell: (results: ReadonlyArray<TestResult>, left: Left) => Effect.Effect<void, never, R2>) =>
  <A, E, R>(run: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | R2> =>
    Effect.suspend(() => {
      const running: Array<Extract<RunEvent, { readonly _tag: "TestStarted" }> & { readonly startedAt: number }> = []
      const ended: Array<TestResult> = []
      const note = (event: RunEvent, now: number) => {
        if (event._tag === "TestStarted") running.push({ ...event, startedAt: now })
        if (event._tag !== "TestEnded" && event._tag !== "AttemptFailed") return
        if (event._tag === "TestEnded") ended.push(event.result)
        const at = running.findIndex(({ file, test }) => test === event.result.name && file === event.result.file)
        // A test that is skipped never started.
        if (at >= 0) running.splice(at, 1)
      }
      return run.pipe(
        Effect.updateService(
          Reporter,
          (report) => (event) =>
            Effect.flatMap(Clock.currentTimeMillis, (now) => {
              note(event, now)
              return report(event)
            })
        ),
        Effect.onInterrupt(() =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => {
            const interrupted = running.map(({ file, startedAt, test }) => ({
              ...{ name: test, file, startedAt },
              millis: now - startedAt
            }))
            return tell(ended, { interrupted, notRun: count - ended.length - running.length })
          })
        )
      )
    })
