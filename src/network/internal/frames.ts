/**
 * Ethernet frames in a byte stream: each behind its length as four bytes, the highest first, which is how QEMU's `stream` and `socket` network
 * back ends send them. Source: QEMU, `net/stream.c`.
 */

/** The bytes of the length. */
export const headerSize = 4

/** The bytes of an Ethernet header: destination, source, type. */
export const shortest = 14

/** The most bytes that a frame of QEMU has (`NET_BUFSIZE`). */
export const longest = 4096 + 65536

/** The destination of the frame that begins at `at`, as a number. */
export const destinationOf = (bytes: Buffer, at: number): number => bytes.readUIntBE(at, 6)

/** The source of the frame that begins at `at`, as a number. */
export const sourceOf = (bytes: Buffer, at: number): number => bytes.readUIntBE(at + 6, 6)

/** Whether an address is that of one card: broadcast and multicast addresses have the lowest bit of their first byte. */
export const isUnicast = (address: number): boolean => Math.floor(address / 2 ** 40) % 2 === 0

/** A frame with its length before it. */
export const withHeader = (frame: Uint8Array): Buffer => {
  const segment = Buffer.allocUnsafe(headerSize + frame.length)
  segment.writeUInt32BE(frame.length, 0)
  segment.set(frame, headerSize)
  return segment
}

/** The bytes of the whole frames that `bytes` begins with, or the reason if these are no frames. */
export const wholeFrames = (bytes: Buffer): number | string => {
  let end = 0
  while (bytes.length - end >= headerSize) {
    const size = bytes.readUInt32BE(end)
    if (size > longest) return `a frame of ${size} bytes arrived; the longest has ${longest}`
    if (bytes.length - end < headerSize + size) break
    end += headerSize + size
  }
  return end
}

/** Puts frames together again that arrive in pieces. */
export class Joiner {
  private rest: Buffer | undefined

  /**
   * Gives the bytes that are whole frames; what begins another one is kept for the next call. Gives the reason if the bytes are no frames.
   */
  push(chunk: Buffer): Buffer | string {
    const bytes = this.rest === undefined ? chunk : Buffer.concat([this.rest, chunk])
    const end = wholeFrames(bytes)
    if (typeof end === "string") return end
    this.rest = end === bytes.length ? undefined : bytes.subarray(end)
    return bytes.subarray(0, end)
  }
}
