import * as Effect from "effect/Effect"
import type { Display, Touch } from "../../src/screen/Display.ts"
import type { Frame } from "../../src/screen/internal/frame.ts"
import { shellOf } from "../machine/support.ts"

/** A shell that never answers. */
export const never = shellOf(() => Effect.never)

/** A display of one pixel, whose colour is the number of the picture. */
export const showing = (initial: number) => {
  let now = initial
  const touched: Array<Touch> = []
  const display: Display = {
    name: "the screen",
    capture: Effect.sync(() => ({ width: 1, height: 1, data: Uint8Array.from([now, 0, 0, 255]) })),
    press: () => Effect.void,
    touch: (touches) => Effect.sync(() => touched.push(...touches))
  }
  return {
    display,
    touched,
    show: (picture: number) =>
      Effect.sync(() => {
        now = picture
      })
  }
}

/** What that display never shows. */
export const blue: Frame = { width: 1, height: 1, data: Uint8Array.from([0, 0, 255, 255]) }

export const pictureOf = (frame: Frame) => frame.data[0] ?? 0
