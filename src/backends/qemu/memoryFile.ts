/** The guest's memory as a sparse file: a page of zeros is a hole. */
import * as Fs from "node:fs"
import { type PageSink, pageSize } from "./migrationStream.ts"

/** Pages that are written at once. The kernel takes 1024 pieces in one call. */
const most = 512

/** So many pages of zeros between two others are cheaper written than skipped. */
const bridge = 8

const zeros = new Uint8Array(pageSize)

/**
 * Writes pages in runs. Its methods throw what the file system says. Pages are kept until the next {@link flush}, so their
 * bytes must stay as they are until then.
 */
export class MemoryFile implements PageSink {
  private readonly fd: number
  private readonly written: Uint8Array
  private run: Array<Uint8Array> = []
  private start = 0

  /** `fd` is an empty file that is open for writing; it gets the whole length at once. */
  constructor(fd: number, length: number) {
    this.fd = fd
    this.written = new Uint8Array(Math.ceil(length / pageSize / 8))
    Fs.ftruncateSync(fd, length)
  }

  readonly page = (offset: number, bytes: Uint8Array): void => {
    const end = this.start + this.run.length * pageSize
    const gap = (offset - end) / pageSize
    // Only over what was not written before.
    if (this.run.length > 0 && gap > 0 && gap <= bridge && !this.anyWritten(end, offset)) {
      for (let index = 0; index < gap; index++) this.run.push(zeros)
    } else if (gap !== 0 || this.run.length === 0) {
      this.flush()
      this.start = offset
    }
    this.run.push(bytes)
    const index = offset / pageSize
    this.written[index >> 3] = (this.written[index >> 3] ?? 0) | (1 << (index & 7))
    if (this.run.length >= most) this.flush()
  }

  readonly zero = (offset: number): void => {
    if (this.anyWritten(offset, offset + pageSize)) this.page(offset, zeros)
  }

  /** Writes what is still kept. */
  flush(): void {
    let position = this.start
    while (this.run.length > 0) {
      let wrote = Fs.writevSync(this.fd, this.run, position)
      position += wrote
      while (wrote > 0) {
        const first = this.run[0]
        if (first === undefined) break
        if (wrote < first.length) {
          this.run[0] = first.subarray(wrote)
          break
        }
        wrote -= first.length
        this.run.shift()
      }
    }
  }

  private anyWritten(from: number, to: number): boolean {
    for (let index = from / pageSize; index < to / pageSize; index++) {
      if (((this.written[index >> 3] ?? 0) & (1 << (index & 7))) !== 0) return true
    }
    return false
  }
}
