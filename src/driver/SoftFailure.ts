/**
 * Subtests that failed softly where there is no runner to count them: in a suite's tests, or in the life of a layer.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Schema from "effect/Schema"
import * as Failure from "./Failure.ts"
import type { SubtestResult } from "./TestResult.ts"

/** Parts of a test failed, and the test went on: what it fails with at its end. */
export class SubtestsFailed extends Schema.TaggedError<SubtestsFailed>()("SubtestsFailed", {
  subtests: Schema.Array(Schema.Struct({ name: Schema.String, failure: Schema.String }))
}) {
  override get message() {
    const told = Failure.tellOnce(this.subtests.map(({ failure }) => failure))
    return this.subtests
      .map(({ name }, index) => `subtest ${JSON.stringify(name)} failed:\n${told[index]}`)
      .join("\n\n")
  }
}

/** What failed and was not told yet. */
export class SoftFailures {
  private failed: Array<{ readonly name: string; readonly failure: string }> = []

  /** Hears how a subtest ended; for a driver's `onSubtest`. */
  readonly hear = ({ failure, name }: SubtestResult, failsLater: boolean): void => {
    if (!failsLater || failure === undefined) return
    this.failed.push({ name: Failure.subtestName(failure.subtest ?? [name]), failure: Failure.render(failure) })
  }

  /** Tells of them, once. */
  take(): SubtestsFailed | undefined {
    const subtests = this.failed
    this.failed = []
    return subtests.length === 0 ? undefined : new SubtestsFailed({ subtests })
  }
}

/** Who else may tell of them before the layer closes. */
export const Collector = Context.Reference<SoftFailures | undefined>("vmtest/driver/SoftFailure/Collector", {
  defaultValue: () => undefined
})
