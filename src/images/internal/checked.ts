/** Whether a description is one that can be built, by the schema of its kind. */
import * as Effect from "effect/Effect"
import * as Decode from "../../host/Decode.ts"
import { describe, type Image, schemas } from "../Image.ts"
import { BadImage } from "../ImageError.ts"

const checkers = {
  TinyImage: Decode.checker(schemas.TinyImage),
  DebianImage: Decode.checker(schemas.DebianImage),
  DiskImage: Decode.checker(schemas.DiskImage),
  StartScriptImage: Decode.checker(schemas.StartScriptImage),
  MicrovmImage: Decode.checker(schemas.MicrovmImage)
}

/** Fails with the first part of a description that is not valid. */
export const checkDescription = (image: Image): Effect.Effect<void, BadImage> =>
  Effect.suspend(() => {
    const problem = checkers[image._tag](image)
    if (problem === undefined) return Effect.void
    const { path, reason } = problem
    return Effect.fail(new BadImage({ image: describe(image), field: Decode.nameOf(path), reason }))
  })
