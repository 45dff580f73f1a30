/** The images of a run: each is resolved once, with its progress reported. */
import * as Effect from "effect/Effect"
import type { BootImage } from "../../images/BootImage.ts"
import * as Image from "../../images/Image.ts"
import { ImageStore } from "../../images/ImageStore.ts"
import { ImageUnavailable } from "../ImageUnavailable.ts"
import { Reporter } from "../RunEvent.ts"

export interface Images {
  readonly resolve: (image: Image.Image) => Effect.Effect<BootImage, ImageUnavailable>
}

export const make = Effect.gen(function* () {
  const store = yield* ImageStore
  const emit = yield* Reporter
  const known = new Map<Image.Image, BootImage>()
  const images: Images = {
    resolve: Effect.fnUntraced(function* (image) {
      const found = known.get(image)
      if (found !== undefined) return found
      const label = Image.describe(image)
      const built = yield* Effect.mapError(
        store.resolve(image, (line) => emit({ _tag: "ImageProgress", image: label, line })),
        (error) => new ImageUnavailable({ image: label, reason: error.message })
      )
      known.set(image, built)
      return built
    })
  }
  return images
})
