/**
 * What came of a test.
 *
 * @since 0.1.0
 */
import type { Failure } from "./Failure.ts"

/** What came of a part of a test. */
export interface SubtestResult {
  readonly name: string
  /** The names of the subtests that it is a part of, the outermost first. */
  readonly within: ReadonlyArray<string>
  /** One that a part of failed with `softFail` failed as well; if nothing else was wrong with it, it has no failure of its own. */
  readonly status: "passed" | "failed"
  readonly millis: number
  readonly failure: Failure | undefined
}

/** What came of a test. A test that ran into its timeout is `"timedOut"`; its failure says where it was. */
export interface TestResult {
  readonly name: string
  readonly status: "passed" | "failed" | "timedOut"
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  /** From the start of its machines to its end, in milliseconds; image builds do not count. */
  readonly millis: number
  readonly subtests: ReadonlyArray<SubtestResult>
  readonly failure: Failure | undefined
  /** The test's folder in the output folder, if there is something in it: pictures, copies, logs, saved machines. */
  readonly folder: string | undefined
  /** What the body gave, if it passed. */
  readonly value: unknown
}
