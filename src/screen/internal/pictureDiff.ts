/** How pictures differ, and where one is in another. */
import * as Effect from "effect/Effect"
import pixelmatch from "pixelmatch"
import type { Box, Frame } from "./frame.ts"

/** The part of a box that is inside a picture, in whole pixels. */
const within = (box: Box, { height, width }: Frame) => ({
  left: Math.max(0, Math.floor(box.x)),
  top: Math.max(0, Math.floor(box.y)),
  right: Math.min(width, Math.ceil(box.x + box.width)),
  bottom: Math.min(height, Math.ceil(box.y + box.height))
})

/** A picture with parts of it painted over, in magenta. */
export const masked = (frame: Frame, masks: ReadonlyArray<Box>): Frame => {
  if (masks.length === 0) return frame
  const data = Uint8Array.from(frame.data)
  for (const mask of masks) {
    const { bottom, left, right, top } = within(mask, frame)
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) data.set([255, 0, 255, 255], (y * frame.width + x) * 4)
    }
  }
  return { ...frame, data }
}

/** How many pixels differ between two pictures of one size, and a picture with those in red. */
export interface Difference {
  readonly pixels: number
  readonly picture: Frame
}

/** `threshold` is how much a colour may differ, from 0 to 1. Smoothed edges that moved by less than a pixel count as different. */
export const compare = (actual: Frame, expected: Frame, threshold: number): Difference => {
  const { height, width } = actual
  const data = new Uint8Array(width * height * 4)
  const pixels = pixelmatch(expected.data, actual.data, data, width, height, { threshold, includeAA: true })
  return { pixels, picture: { width, height, data } }
}

const colour = ({ data }: Frame, pixel: number): number =>
  ((data[pixel * 4] ?? 0) << 16) | ((data[pixel * 4 + 1] ?? 0) << 8) | (data[pixel * 4 + 2] ?? 0)

/** Pixels in order of how rare their colour is in the picture: nearly every wrong place differs in one of the first. */
const tellingOrder = (picture: Frame): Uint32Array => {
  const counts = new Map<number, number>()
  const pixels = picture.width * picture.height
  for (let pixel = 0; pixel < pixels; pixel++) {
    const key = colour(picture, pixel)
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  const keys = Float64Array.from(
    { length: pixels },
    (_, pixel) => (counts.get(colour(picture, pixel)) ?? 0) * pixels + pixel
  )
  return Uint32Array.from(keys.sort(), (key) => key % pixels)
}

/** Pixels from all over the picture, each at most once, and always the same ones (Numerical Recipes' generator). */
const sampleOf = (pixels: number, size: number): Uint32Array => {
  const sample = new Set<number>()
  let state = 1
  while (sample.size < size) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    sample.add(Math.floor((state / 2 ** 32) * pixels))
  }
  return Uint32Array.from(sample)
}

/** Some pixels of the wanted picture, and how many of them may differ. */
interface Trial {
  readonly order: Uint32Array
  readonly allowed: number
}

/**
 * What a place has to pass. If many pixels may differ, samples come first, because each wrong place would cost more than that many comparisons.
 * In a sample as large a share may differ as in the whole, plus eight standard deviations, which not one in a thousand million right
 * places exceeds.
 */
const trialsOf = (wanted: Frame, allowed: number): ReadonlyArray<Trial> => {
  const pixels = wanted.width * wanted.height
  const share = Math.min(1, allowed / pixels)
  const samples = [32, 256, 2048]
    .filter((size) => size < allowed)
    .map((size) => ({
      order: sampleOf(pixels, size),
      allowed: Math.ceil(size * share + 8 * Math.sqrt(size * share * (1 - share)) + 2)
    }))
  return [...samples, { order: tellingOrder(wanted), allowed }]
}

/** How many comparisons are made, in some milliseconds, before other fibers get their turn. */
const batch = 250_000

/**
 * Looks for a picture on screens. Gives the first place, row by row, where at most `allowed` pixels differ by more than `threshold`.
 */
export const locator = (
  wanted: Frame,
  threshold: number,
  allowed: number
): ((screen: Frame) => Effect.Effect<Box | undefined>) => {
  const trials = trialsOf(wanted, allowed)
  const limit = Math.floor(threshold * 255)
  let compared = 0
  const passes = ({ allowed: most, order }: Trial, screen: Frame, left: number, top: number): boolean => {
    let wrong = 0
    for (const pixel of order) {
      const row = Math.floor(pixel / wanted.width)
      const from = pixel * 4
      const to = ((top + row) * screen.width + left + pixel - row * wanted.width) * 4
      compared++
      for (let part = 0; part < 3; part++) {
        if (Math.abs((wanted.data[from + part] ?? 0) - (screen.data[to + part] ?? 0)) > limit) {
          wrong++
          if (wrong > most) return false
          break
        }
      }
    }
    return true
  }
  return Effect.fnUntraced(function* (screen: Frame) {
    for (let y = 0; y <= screen.height - wanted.height; y++) {
      for (let x = 0; x <= screen.width - wanted.width; x++) {
        if (trials.every((trial) => passes(trial, screen, x, y))) {
          return { x, y, width: wanted.width, height: wanted.height }
        }
        if (compared < batch) continue
        compared = 0
        yield* Effect.yieldNow
      }
    }
    return undefined
  })
}
