/**
 * A test that is declared wrongly: nothing of its run was started.
 *
 * **Example** (What the error says)
 *
 * ```ts
 * new InvalidTest({ test: "boots", reason: "the name must be a string that is not blank" }).message
 * // test "boots": the name must be a string that is not blank
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Location from "../host/Location.ts"

/** A test is declared wrongly; what is wrong with its machines is an `InvalidMachine` instead. */
export class InvalidTest extends Schema.TaggedError<InvalidTest>()("InvalidTest", {
  test: Schema.String,
  reason: Schema.String,
  /** Where a script declares it, if that is known. */
  declaredAt: Schema.optional(Location.Location),
  /** Where another test is declared that has its name, if that is what is wrong. */
  otherAt: Schema.optional(Location.Location)
}) {
  override get message() {
    return Location.before(this.declaredAt, `test ${JSON.stringify(this.test)}: ${this.reason}`)
  }
}
