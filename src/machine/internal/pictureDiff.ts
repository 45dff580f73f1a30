/** How pictures differ, and where one is in another. */
import pixelmatch from "pixelmatch"
import type { Box, Frame } from "./frame.ts"

/** The part of a box that is on a picture, in whole pixels. */
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

/** What differs between two pictures of one size: how many pixels, and a picture with those in red. */
export interface Difference {
  readonly pixels: number
  readonly picture: Frame
}

/** `threshold`: how much a colour may differ, from 0 to 1. Smoothed edges that moved by less than a pixel count as well. */
export const compare = (actual: Frame, expected: Frame, threshold: number): Difference => {
  const { height, width } = actual
  const data = new Uint8Array(width * height * 4)
  const pixels = pixelmatch(expected.data, actual.data, data, width, height, { threshold, includeAA: true })
  return { pixels, picture: { width, height, data } }
}

const colour = ({ data }: Frame, pixel: number): number =>
  ((data[pixel * 4] ?? 0) << 16) | ((data[pixel * 4 + 1] ?? 0) << 8) | (data[pixel * 4 + 2] ?? 0)

/** Pixels by how rare their colour is in the picture: nearly every wrong place differs in one of the first. */
const tellingOrder = (picture: Frame): ReadonlyArray<number> => {
  const counts = new Map<number, number>()
  const pixels = picture.width * picture.height
  for (let pixel = 0; pixel < pixels; pixel++) {
    const key = colour(picture, pixel)
    counts.set(key, (counts.get(key) ?? 0) + 1)
  }
  const rarity = (pixel: number) => counts.get(colour(picture, pixel)) ?? 0
  return Array.from({ length: pixels }, (_, pixel) => pixel).sort((a, b) => rarity(a) - rarity(b) || a - b)
}

/** Where a picture is in another: the first place, row by row, at which at most `allowed` pixels differ by more than `threshold`. */
export const locate = (screen: Frame, wanted: Frame, threshold: number, allowed: number): Box | undefined => {
  const order = tellingOrder(wanted)
  const limit = Math.floor(threshold * 255)
  const fitsAt = (left: number, top: number): boolean => {
    let wrong = 0
    for (const pixel of order) {
      const from = pixel * 4
      const x = left + (pixel % wanted.width)
      const y = top + Math.floor(pixel / wanted.width)
      const to = (y * screen.width + x) * 4
      for (let part = 0; part < 3; part++) {
        if (Math.abs((wanted.data[from + part] ?? 0) - (screen.data[to + part] ?? 0)) > limit) {
          wrong++
          if (wrong > allowed) return false
          break
        }
      }
    }
    return true
  }
  for (let y = 0; y <= screen.height - wanted.height; y++) {
    for (let x = 0; x <= screen.width - wanted.width; x++) {
      if (fitsAt(x, y)) return { x, y, width: wanted.width, height: wanted.height }
    }
  }
  return undefined
}
