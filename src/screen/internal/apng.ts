/** Animated PNG: the PNG data of pictures, with their times in between (PNG specification, third edition, §11.3.6). */
import * as Zlib from "node:zlib"
import { type Frame, fromPng, toPng } from "./frame.ts"

/** A picture as `toPng` makes it, small enough to keep thousands. */
export interface Picture {
  readonly width: number
  readonly height: number
  readonly png: Buffer
}

/** A picture, and for how long it is shown. */
export interface TimedPicture extends Picture {
  readonly millis: number
}

export const pictureOf = (frame: Frame): Picture => ({ width: frame.width, height: frame.height, png: toPng(frame) })

const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

const chunk = (type: string, data: Uint8Array): Buffer => {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data])
  const result = Buffer.alloc(body.length + 8)
  result.writeUInt32BE(data.length, 0)
  body.copy(result, 4)
  result.writeUInt32BE(Zlib.crc32(body), body.length + 4)
  return result
}

/** The data of a PNG's chunks of one type. */
const chunksOf = (png: Buffer, type: string): ReadonlyArray<Buffer> => {
  const found: Array<Buffer> = []
  for (let at = signature.length; at + 8 <= png.length; ) {
    const length = png.readUInt32BE(at)
    if (png.toString("latin1", at + 4, at + 8) === type) found.push(png.subarray(at + 8, at + 8 + length))
    at += length + 12
  }
  return found
}

const words = (...values: ReadonlyArray<number>): Buffer => {
  const result = Buffer.alloc(values.length * 4)
  for (const [index, value] of values.entries()) result.writeUInt32BE(value, index * 4)
  return result
}

/** The longest time of one frame: 16 bits of milliseconds. */
const longest = 65_535
const clearAfter = 1
const replace = 0

/** Played once. Smaller pictures are in the top left corner of the largest. */
export const encode = (pictures: ReadonlyArray<TimedPicture>): Buffer => {
  const parts = pictures.flatMap((picture) =>
    Array.from({ length: Math.max(1, Math.ceil(picture.millis / longest)) }, (_, index) => ({
      ...picture,
      millis: Math.min(longest, picture.millis - index * longest)
    }))
  )
  const width = Math.max(1, ...parts.map((part) => part.width))
  const height = Math.max(1, ...parts.map((part) => part.height))
  // Viewers without animation show the first picture, which must fill the canvas.
  const fill = (picture: Picture): Buffer => {
    if (picture.width === width && picture.height === height) return picture.png
    const frame = fromPng(picture.png)
    const data = new Uint8Array(width * height * 4)
    for (let y = 0; y < frame.height; y++) {
      data.set(frame.data.subarray(y * frame.width * 4, (y + 1) * frame.width * 4), y * width * 4)
    }
    return toPng({ width, height, data })
  }
  let sequence = 0
  const body = parts.flatMap((part, index) => {
    const control = Buffer.concat([
      words(sequence++, width, height, 0, 0),
      Buffer.from([
        Math.round(part.millis) >> 8,
        Math.round(part.millis) & 255,
        1000 >> 8,
        1000 & 255,
        clearAfter,
        replace
      ])
    ])
    const data = chunksOf(fill(part), "IDAT").map((bytes) =>
      index === 0 ? chunk("IDAT", bytes) : chunk("fdAT", Buffer.concat([words(sequence++), bytes]))
    )
    return [chunk("fcTL", control), ...data]
  })
  const header = Buffer.concat([words(width, height), Buffer.from([8, 2, 0, 0, 0])])
  return Buffer.concat([
    signature,
    chunk("IHDR", header),
    chunk("acTL", words(parts.length, 1)),
    ...body,
    chunk("IEND", Buffer.alloc(0))
  ])
}
