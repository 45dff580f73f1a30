/** A picture of a display in memory, and the formats it comes and goes in. */

import * as Crypto from "node:crypto"
import * as Schema from "effect/Schema"
import * as Fields from "../../host/Fields.ts"
import * as Pngjs from "./pngjs.ts"

/** Eight bits each of red, green, blue and opacity, row after row from the top left. */
export interface Frame {
  readonly width: number
  readonly height: number
  readonly data: Uint8Array
}

/** A rectangle in pixels from the top left; parts of it may be outside of what it is on. */
export const Box = Schema.Struct({
  x: Schema.Finite,
  y: Schema.Finite,
  width: Fields.between(0),
  height: Fields.between(0)
}).annotate({ expected: "a box, { x, y, width, height }" })

/** A rectangle in pixels from the top left. */
export interface Box extends Schema.Schema.Type<typeof Box> {}

/** `800x600`. */
export const sizeOf = ({ height, width }: Frame): string => `${width}x${height}`

/** Equal pictures, and hardly any others, have equal hashes. */
export const hashOf = ({ data, height, width }: Frame): string =>
  Crypto.createHash("sha1").update(`${width}x${height} `).update(data).digest("base64")

const isSpace = (byte: number | undefined): boolean => byte === 0x20 || (byte !== undefined && byte >= 9 && byte <= 13)

/** Reads a binary PPM with 255 shades, as QEMU writes it (netpbm's ppm(5)); undefined if it is something else, or not complete. */
export const fromPpm = (bytes: Uint8Array): Frame | undefined => {
  let at = 0
  const word = (): string => {
    while (isSpace(bytes[at]) || bytes[at] === 0x23) {
      if (bytes[at] === 0x23) while (at < bytes.length && bytes[at] !== 0x0a) at++
      else at++
    }
    const start = at
    while (at < bytes.length && at - start < 8 && !isSpace(bytes[at])) at++
    return String.fromCharCode(...bytes.subarray(start, at))
  }
  if (word() !== "P6") return undefined
  const [width, height, shades] = [word(), word(), word()].map(Number)
  at += 1
  if (!width || !height || shades !== 255 || bytes.length < at + width * height * 3) return undefined
  const data = new Uint8Array(width * height * 4)
  for (let to = 0; to < data.length; to += 4) {
    data[to] = bytes[at++] ?? 0
    data[to + 1] = bytes[at++] ?? 0
    data[to + 2] = bytes[at++] ?? 0
    data[to + 3] = 255
  }
  return { width, height, data }
}

/** Reads a PNG of any kind; throws pngjs's error if it is not one. */
export const fromPng = (bytes: Uint8Array): Frame => {
  const { data, height, width } = Pngjs.load().PNG.sync.read(Buffer.from(bytes))
  return { width, height, data }
}

/** Without the opacity: every picture here is opaque, and a quarter is saved. */
export const toPng = ({ data, height, width }: Frame): Buffer => {
  const { PNG } = Pngjs.load()
  const png = new PNG({ width, height })
  png.data = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  return PNG.sync.write(png, { colorType: 2, inputHasAlpha: true })
}

/** Luma of ITU-R BT.601, one byte a pixel. */
export const grey = ({ data }: Frame): Uint8Array => {
  const out = new Uint8Array(data.length / 4)
  for (let index = 0; index < out.length; index++) {
    const at = index * 4
    out[index] = ((data[at] ?? 0) * 77 + (data[at + 1] ?? 0) * 150 + (data[at + 2] ?? 0) * 29) >> 8
  }
  return out
}
