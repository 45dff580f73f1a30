/**
 * An image that cannot be had.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/** The image of a machine could not be built, or taken from the cache; `reason` is what the builder said. */
export class ImageUnavailable extends Schema.TaggedError<ImageUnavailable>()("ImageUnavailable", {
  image: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `image ${this.image}: ${this.reason}`
  }
}
