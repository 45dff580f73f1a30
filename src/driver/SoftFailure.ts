/**
 * Subtests that failed softly where no runner counts them: in a suite's tests, or while a layer is open.
 *
 * **Example** (Handling them at the end of an application)
 *
 * ```ts
 * import { Cause, Effect } from "effect"
 * import { DriverLayer } from "vmtest"
 *
 * program.pipe(
 *   Effect.provide(DriverLayer.layer()),
 *   // Closing the layer dies with them.
 *   Effect.catchDefect((defect) =>
 *     defect instanceof DriverLayer.SubtestsFailed ? Effect.logError(defect.message) : Effect.die(defect)
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import * as Failure from "./Failure.ts"
import type { SubtestResult } from "./TestResult.ts"

/** Subtests of a test failed with `softFail`: the test continued, and fails with this at its end. */
export class SubtestsFailed extends Schema.TaggedError<SubtestsFailed>()("SubtestsFailed", {
  subtests: Schema.Array(Schema.Struct({ name: Schema.String, failure: Schema.String }))
}) {
  override get message() {
    const texts = Failure.tellOnce(this.subtests.map(({ failure }) => failure))
    return this.subtests
      .map(({ name }, index) => `subtest ${JSON.stringify(name)} failed:\n${texts[index]}`)
      .join("\n\n")
  }
}

/** The soft failures that have not been reported yet. */
export class SoftFailures {
  private failed: Array<{ readonly name: string; readonly failure: string }> = []

  /** Notes how a subtest ended; for a driver's `onSubtest`. */
  readonly hear = ({ failure, name }: SubtestResult, failsLater: boolean): void => {
    if (!failsLater || failure === undefined) return
    this.failed.push({ name: Failure.subtestName(failure.subtest ?? [name]), failure: Failure.render(failure) })
  }

  /** Gives them, once. */
  take(): SubtestsFailed | undefined {
    const subtests = this.failed
    this.failed = []
    return subtests.length === 0 ? undefined : new SubtestsFailed({ subtests })
  }
}

/** Where soft failures are collected, if something reports them before the layer closes. */
export const Collector = Context.Reference<SoftFailures | undefined>("vmtest/driver/SoftFailure/Collector", {
  defaultValue: () => undefined
})
