/** Frames in what `tcpdump --time-stamp-precision=nano -w -` writes. Source: `pcap-savefile(5)`. */
const fileHeader = 24
const recordHeader = 16

/** A frame with its time: nanoseconds since 1970. */
export interface Captured {
  readonly time: bigint
  readonly frame: Uint8Array
}

/** Puts records together again that arrive in pieces. The file is of this host, so its numbers are in the order of this host. */
export class PcapReader {
  private rest: Buffer = Buffer.alloc(0)
  private begun = false

  push(chunk: Buffer): ReadonlyArray<Captured> {
    const bytes = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk])
    const found: Array<Captured> = []
    let at = 0
    if (!this.begun && bytes.length >= fileHeader) {
      this.begun = true
      at = fileHeader
    }
    while (this.begun && bytes.length - at >= recordHeader) {
      const size = bytes.readUInt32LE(at + 8)
      if (bytes.length - at < recordHeader + size) break
      const time = BigInt(bytes.readUInt32LE(at)) * 1_000_000_000n + BigInt(bytes.readUInt32LE(at + 4))
      const start = at + recordHeader
      found.push({ time, frame: Uint8Array.prototype.slice.call(bytes, start, start + size) })
      at = start + size
    }
    this.rest = bytes.subarray(at)
    return found
  }
}
