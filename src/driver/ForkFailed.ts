/**
 * The error of machines that could not be forked together.
 *
 * **Example** (Running a check on forks only where that is possible)
 *
 * ```ts
 * import { Effect } from "effect"
 *
 * driver.fork(({ web }) => web.succeed("rm -rf /srv")).pipe(
 *   Effect.catchTag("ForkFailed", ({ message }) => driver.log(message))
 * )
 * ```
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
    return `could not fork the machines: ${this.machine === "" ? "" : `${this.machine}: `}${this.reason}`
  }
}
