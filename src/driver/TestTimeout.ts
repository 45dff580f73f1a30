/**
 * The end of a test whose time is up.
 *
 * **Example** (What the error says)
 *
 * ```ts
 * const late = new TestTimeout({ test: "boots", timeout: Duration.minutes(1), underWay: ["starting web for 1m"] })
 * late.message // the test timed out after 1m while starting web for 1m
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { section } from "../host/Evidence.ts"

/** The test took longer than its timeout, from the start of its machines to the end of its body. */
export class TestTimeout extends Schema.TaggedError<TestTimeout>()("TestTimeout", {
  test: Schema.String,
  timeout: Schema.Duration,
  /** The time of all tests together, if that was up before the test's own. */
  limit: Schema.optional(Schema.Duration),
  /** What machines were busy with when the time was up, a line each: `running "sleep 100" on web for 3s`. */
  underWay: Schema.Array(Schema.String)
}) {
  override get message() {
    const late =
      this.limit === undefined
        ? `the test timed out after ${Duration.format(this.timeout)}`
        : `the time limit of all tests together, ${Duration.format(this.limit)}, was reached`
    const [only, ...others] = this.underWay
    if (only !== undefined && others.length === 0) return `${late} while ${only}`
    return late + section("while", this.underWay.join("\n"))
  }
}
