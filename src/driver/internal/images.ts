/** The images of a run: each is resolved once, with its progress reported. */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { BootImage } from "../../images/BootImage.ts"
import * as Image from "../../images/Image.ts"
import { type ImageProgress, ImageStore } from "../../images/ImageStore.ts"
import { ImageUnavailable } from "../ImageUnavailable.ts"
import { Reporter } from "../RunEvent.ts"

export interface Images {
  readonly resolve: (image: Image.Image) => Effect.Effect<BootImage, ImageUnavailable>
  /** Resolves images before they are needed. One that could not be built fails each later `resolve`, without another try. */
  readonly prepare: (images: Iterable<Image.Image>) => Effect.Effect<void>
}

/** Images are kept in the cache at least until the scope closes. */
export const make = Effect.gen(function* () {
  const store = yield* ImageStore
  const emit = yield* Reporter
  const scope = yield* Effect.scope
  const known = new Map<Image.Image, BootImage>()
  const unavailable = new Map<Image.Image, ImageUnavailable>()
  const onProgress = ({ detail, image, step }: ImageProgress) =>
    emit({ _tag: "ImageProgress", image, line: detail === undefined || detail === "" ? step : `${step}: ${detail}` })
  const resolve: Images["resolve"] = Effect.fnUntraced(function* (image) {
    const error = unavailable.get(image)
    if (error !== undefined) return yield* error
    const found = known.get(image)
    if (found !== undefined) return found
    const built = yield* store.resolve(image, { onProgress }).pipe(
      Scope.provide(scope),
      Effect.mapError(
        (error) => new ImageUnavailable({ image: Image.describe(image), reason: error.message, error: error._tag })
      )
    )
    known.set(image, built)
    return built
  })
  const images: Images = {
    resolve,
    prepare: (all) =>
      Effect.forEach(
        all,
        (image) => Effect.catch(resolve(image), (error) => Effect.sync(() => void unavailable.set(image, error))),
        { discard: true }
      )
  }
  return images
})
