/** The memory that a card's frames are read into, again and again, so that a frame costs no memory of its own. */
import { headerSize, longest, wholeFrames } from "./frames.ts"

/** The rest of a frame, and as much again as a socket of the host holds. */
const size = headerSize + longest + 192 * 1024

export class FrameMemory {
  private memory = Buffer.allocUnsafeSlow(size)
  /** Bytes of a frame at the beginning whose end has not come. */
  private rest = 0

  /** Where the next bytes belong. */
  get space(): Buffer {
    return this.rest === 0 ? this.memory : this.memory.subarray(this.rest)
  }

  /**
   * Takes the bytes that were written to `space`, and hands over those that are whole frames, with their headers. `take` tells whether they must stay as they are
   * after it has returned. Gives the reason if the bytes are no frames.
   */
  push(count: number, take: (frames: Buffer) => boolean): string | undefined {
    const { memory } = this
    const filled = this.rest + count
    const end = wholeFrames(memory.subarray(0, filled))
    if (typeof end === "string") return end
    this.rest = filled - end
    const isKept = end > 0 && take(memory.subarray(0, end))
    if (isKept) this.memory = Buffer.allocUnsafeSlow(size)
    if (end > 0 && this.rest > 0) memory.copy(this.memory, 0, end, filled)
    return undefined
  }
}
