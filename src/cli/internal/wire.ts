/**
 * What two processes of vmtest say to each other over a socket: frames of a kind (one byte), a length (four bytes, the highest first) and as many
 * bytes. A frame is a message in JSON, or bytes of a terminal.
 */
import * as Result from "effect/Result"

export type Frame =
  | { readonly _tag: "Message"; readonly message: unknown }
  | { readonly _tag: "Bytes"; readonly bytes: Uint8Array }

const kinds = { message: 0x4a, bytes: 0x42 } as const

/** No message or piece of a screen is longer; what is longer comes from something else. */
const longest = 64 * 1024 * 1024

const frame = (kind: number, payload: Uint8Array): Buffer => {
  const head = Buffer.alloc(5)
  head.writeUInt8(kind, 0)
  head.writeUInt32BE(payload.length, 1)
  return Buffer.concat([head, payload])
}

export const message = (value: unknown): Buffer => frame(kinds.message, Buffer.from(JSON.stringify(value)))

export const bytes = (payload: Uint8Array | string): Buffer =>
  frame(kinds.bytes, typeof payload === "string" ? Buffer.from(payload) : payload)

/** Puts frames together from the pieces in which they arrive. */
export class Frames {
  private rest: Buffer = Buffer.alloc(0)

  /** The frames that a piece completes; undefined if it is not of this protocol. */
  take(piece: Uint8Array): ReadonlyArray<Frame> | undefined {
    this.rest = Buffer.concat([this.rest, piece])
    const frames: Array<Frame> = []
    while (this.rest.length >= 5) {
      const kind = this.rest.readUInt8(0)
      const length = this.rest.readUInt32BE(1)
      if (length > longest || (kind !== kinds.message && kind !== kinds.bytes)) return undefined
      if (this.rest.length < 5 + length) break
      const payload = this.rest.subarray(5, 5 + length)
      this.rest = this.rest.subarray(5 + length)
      const read = kind === kinds.bytes ? ({ _tag: "Bytes", bytes: payload } as const) : parsed(payload)
      if (read === undefined) return undefined
      frames.push(read)
    }
    return frames
  }
}

const parsed = (payload: Buffer): Frame | undefined =>
  Result.getOrElse(
    Result.try((): Frame => ({ _tag: "Message", message: JSON.parse(payload.toString("utf8")) })),
    () => undefined
  )
