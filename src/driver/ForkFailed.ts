/**
 * Machines that cannot be forked together.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/** The machines of a test could not be saved at one point in time; `machine` is the one that could not, and the test's own machines run on. */
export class ForkFailed extends Schema.TaggedError<ForkFailed>()("ForkFailed", {
  machine: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `the machines cannot be forked: ${this.machine === "" ? "" : `${this.machine}: `}${this.reason}`
  }
}
