/**
 * The error of an image that could not be built, or loaded from the cache.
 *
 * **Example** (Skipping an optional machine)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Image } from "vmtest"
 *
 * driver.machine("extra", { image: Image.disk({ path: "extra.qcow2" }) }).pipe(
 *   Effect.catchTag("ImageUnavailable", ({ message }) => driver.log(message))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/** A machine's image could not be built, or loaded from the cache; `reason` is the builder's message, `error` its error's tag. */
export class ImageUnavailable extends Schema.TaggedError<ImageUnavailable>()("ImageUnavailable", {
  image: Schema.String,
  error: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return this.reason.startsWith("image ") ? this.reason : `image ${this.image}: ${this.reason}`
  }
}
