/** X's format for pictures of windows, as xwd and Xvfb write it (XWDFile.h of xorgproto). */
import type { Frame } from "./frame.ts"

/** Words of the header, each four bytes, most significant first. */
const at = {
  headerSize: 0,
  version: 1,
  format: 2,
  width: 4,
  height: 5,
  byteOrder: 7,
  bitsPerPixel: 11,
  bytesPerLine: 12,
  redMask: 14,
  greenMask: 15,
  blueMask: 16,
  colours: 19
} as const

const headerWords = 25
const zPixmap = 2

/** How far a mask is from the right, and how many shades it has. */
const channel = (mask: number) => {
  const shift = mask === 0 ? 0 : 31 - Math.clz32(mask & -mask)
  return { shift, most: mask >>> shift || 1 }
}

/** Reads a picture in true colour (16, 24 or 32 bits a pixel); undefined if it is something else, or not complete. */
export const fromXwd = (bytes: Uint8Array): Frame | undefined => {
  if (bytes.length < headerWords * 4) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const word = (index: number) => view.getUint32(index * 4)
  const [width, height, bits, line] = [word(at.width), word(at.height), word(at.bitsPerPixel), word(at.bytesPerLine)]
  // A colour of the table has 12 bytes.
  const start = word(at.headerSize) + word(at.colours) * 12
  const masks = [at.redMask, at.greenMask, at.blueMask].map((index) => word(index))
  const trueColour = word(at.version) === 7 && word(at.format) === zPixmap && [16, 24, 32].includes(bits)
  if (!trueColour || masks.includes(0) || bytes.length < start + line * height || line < (width * bits) / 8) {
    return undefined
  }
  const channels = masks.map(channel)
  const little = word(at.byteOrder) === 0
  const size = bits / 8
  const data = new Uint8Array(width * height * 4)
  let to = 0
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = start + y * line + x * size
      let pixel = 0
      for (let index = 0; index < size; index++) {
        pixel = ((pixel << 8) | (bytes[from + (little ? size - 1 - index : index)] ?? 0)) >>> 0
      }
      for (const [index, { most, shift }] of channels.entries()) {
        const value = ((pixel & (masks[index] ?? 0)) >>> 0) >>> shift
        data[to++] = Math.round((value * 255) / most)
      }
      data[to++] = 255
    }
  }
  return { width, height, data }
}
