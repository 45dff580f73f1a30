/**
 * Effects that a test made and that nobody ran: `web.succeed("false")` without `yield*` does nothing.
 *
 * **Example** (A test that fails with it)
 *
 * ```ts
 * test("reloads", { machines: { web: { image: Image.tiny() } } }, ({ web }) =>
 *   Effect.gen(function* () {
 *     web.succeed("systemctl reload nginx") // no yield*: this never runs
 *     yield* web.waitForOpenPort(80)
 *   })
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import * as Tracked from "./internal/tracked.ts"

/** The body of a test called a method of a machine or of the driver, passed, and nothing ran the Effect or the Stream that the method gave. */
export class UnrunEffect extends Schema.TaggedError<UnrunEffect>()("UnrunEffect", {
  /** `web.succeed("false")` */
  call: Schema.String,
  gives: Schema.Literals(["Effect", "Stream"])
}) {
  override get message() {
    const how =
      this.gives === "Effect" ? "write yield* before it" : "run it, for example with yield* Stream.runCollect(…)"
    return `${this.call} was called, but its ${this.gives} was never run; ${how}, or asValue(…) around it if it need not run`
  }
}

/**
 * Says that an Effect or a Stream is a value, which may be left unrun: one for a combinator that need not run all that it is given.
 *
 * **Example** (A command for a combinator that may leave it out)
 *
 * ```ts
 * yield* Effect.when(asValue(web.succeed("reload")), hasChanged)
 * ```
 */
export const asValue = <
  Value extends Effect.Effect<unknown, unknown, unknown> | Stream.Stream<unknown, unknown, unknown>
>(
  value: Value
): Value => {
  Tracked.forget(value)
  return value
}
