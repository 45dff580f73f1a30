/**
 * The result of a test, and of its subtests.
 *
 * **Example** (Listing the failed subtests of a run)
 *
 * ```ts
 * import type { TestResult } from "vmtest"
 *
 * const failed = (results: ReadonlyArray<TestResult>) =>
 *   results.flatMap(({ name, subtests }) =>
 *     subtests.filter(({ status }) => status === "failed").map((subtest) => `${name} › ${subtest.name}`)
 *   )
 * ```
 *
 * @since 0.1.0
 */
import type { MachineSummary } from "../machine/MachineTree.ts"
import type { Failure } from "./Failure.ts"

/** The result of a subtest. */
export interface SubtestResult {
  readonly name: string
  /** The names of the subtests around it, outermost first. */
  readonly within: ReadonlyArray<string>
  /** A subtest also fails when one within it failed with `softFail`; it has no `failure` of its own then. */
  readonly status: "passed" | "failed"
  readonly millis: number
  readonly failure: Failure | undefined
  /** It failed, and the test went on and does not fail with it: the script has dealt with it. */
  readonly handled?: boolean
}

/**
 * The result of a test, of its last attempt if it was retried. One that ran into its timeout is `"timedOut"`; its failure says what it was doing. One
 * that did not run to its end, and did not fail, is `"skipped"`.
 */
export interface TestResult {
  readonly name: string
  /** The script that declares it, as the command was given it; undefined outside of scripts. */
  readonly file?: string | undefined
  readonly tags?: ReadonlyArray<string> | undefined
  readonly status: "passed" | "failed" | "timedOut" | "skipped"
  /** Why it is `"skipped"`. */
  readonly skipped?: string | undefined
  /** The attempts before this one, which failed; none if the test was not retried. */
  readonly earlier?: ReadonlyArray<TestResult> | undefined
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  /** From the start of its machines to its end, in milliseconds, without `excludedMillis`. */
  readonly millis: number
  /**
   * How long it took besides that, in milliseconds: to build images, and to wait until machines that had booted came to rest and were saved for later
   * runs. This does not count for its timeout.
   */
  readonly excludedMillis: number
  readonly subtests: ReadonlyArray<SubtestResult>
  readonly failure: Failure | undefined
  /** Its machines as they were when its body ended. */
  readonly machines: ReadonlyArray<MachineSummary>
  /** The test's folder in the output folder, if it has files: pictures, copies, logs, saved machines. */
  readonly folder: string | undefined
  /** The value of the body, if the test passed. */
  readonly value: unknown
}

/** Whether a test failed or timed out. */
export const isFailed = ({ status }: { readonly status: string }): boolean =>
  status === "failed" || status === "timedOut"

/** Whether a test passed only when it was retried. */
export const isFlaky = ({ earlier = [], status }: Pick<TestResult, "status" | "earlier">): boolean =>
  status === "passed" && earlier.length > 0
