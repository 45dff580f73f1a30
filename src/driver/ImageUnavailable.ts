/**
 * An image that cannot be had.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/** The image of a machine could not be built, or taken from the cache; `reason` is what the builder said, `error` its error's tag. */
export class ImageUnavailable extends Schema.TaggedError<ImageUnavailable>()("ImageUnavailable", {
  image: Schema.String,
  error: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return this.reason.startsWith("image ") ? this.reason : `image ${this.image}: ${this.reason}`
  }
}
