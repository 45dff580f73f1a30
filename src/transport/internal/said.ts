type StreamName = "stdout" | "stderr"

/** What a command has said: all of it up to a bound for both streams together, or (`tail`) the last of each. */
export class Said {
  private readonly most: number
  private readonly tail: boolean
  private readonly chunks: Record<StreamName, Array<Buffer>> = { stdout: [], stderr: [] }
  private readonly sizes: Record<StreamName, number> = { stdout: 0, stderr: 0 }

  constructor(most: number, tail = false) {
    this.most = most
    this.tail = tail
  }

  /** False when there is too much of it. */
  add(stream: StreamName, bytes: Buffer): boolean {
    if (!this.tail && this.sizes.stdout + this.sizes.stderr + bytes.length > this.most) return false
    const chunks = this.chunks[stream]
    chunks.push(bytes)
    this.sizes[stream] += bytes.length
    while (this.tail && this.sizes[stream] - (chunks[0]?.length ?? 0) > this.most) {
      this.sizes[stream] -= chunks.shift()?.length ?? 0
    }
    return true
  }

  bytes(stream: StreamName): Uint8Array {
    const chunks = this.chunks[stream]
    const [only] = chunks
    return chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks)
  }

  /** Both as UTF-8 with replacement characters; of each the last `most` bytes. */
  text(most = Number.POSITIVE_INFINITY): { readonly stdout: string; readonly stderr: string } {
    const read = (stream: StreamName) => {
      const last: Array<Buffer> = []
      let size = 0
      for (const chunk of this.chunks[stream].toReversed()) {
        if (size >= most) break
        last.unshift(chunk)
        size += chunk.length
      }
      return Buffer.concat(last)
        .subarray(Math.max(0, size - most))
        .toString("utf8")
    }
    return { stdout: read("stdout"), stderr: read("stderr") }
  }
}
