/**
 * Splits QEMU's migration stream in two: the pages of the guest's memory, each with its place, and all the rest, which is a
 * migration stream itself and loads into a QEMU whose memory is there already.
 *
 * The stream (docs/devel/migration in QEMU's sources; `migration/savevm.c`, `migration/ram.c`) is a header, then sections. A
 * device's section has no length, so it can only be read by the device. But memory comes first, in sections that say where
 * each page begins and ends; and after the last of them everything can be passed on unread:
 *
 *     "QEVM" version  07 length machine            the header
 *     01 id "ram" …   total|04 (name length)… 10   which blocks of memory there are
 *     02 id           pages… 10                    again and again
 *     03 id           pages… 10                    the last of them
 *     04 …                                         devices
 *
 * A page is its address with flags in the low bits, the name of its block unless that is the last page's, and 4096 bytes; or
 * one byte for a page of zeros. Each section may end with 7e and its id.
 */

/** Where the pages go. Their bytes stay as they are. */
export interface PageSink {
  /** A page of 4096 bytes. */
  readonly page: (offset: number, bytes: Uint8Array) => void
  /** A page that is all zeros. */
  readonly zero: (offset: number) => void
}

export const pageSize = 4096

const flag = { zero: 0x02, memSize: 0x04, page: 0x08, end: 0x10, sameBlock: 0x20 } as const
const flags = pageSize - 1

/** No item of the memory's sections is longer: the word, a name of at most 255 bytes with its length, and a page. */
const longestItem = 8 + 1 + 255 + pageSize

const section = { start: 1, part: 2, end: 3, full: 4, command: 8, configuration: 7, footer: 0x7e } as const

type State = "header" | "sections" | "blocks" | "pages" | "devices"

/** What is not to be had yet: the stream goes on in the next chunk. */
const more = Symbol("more")

export class Splitter {
  /** Why the stream cannot be read; what is pushed after that is dropped. */
  problem: string | undefined
  /** The length of the memory's block, once it is known. */
  memory: number | undefined
  private readonly block: string
  private readonly sink: PageSink
  private readonly device: Array<Buffer> = []
  private state: State = "header"
  private rest: Buffer = Buffer.alloc(0)
  private at = 0
  private kind = 0
  private current = ""
  private unread = 0

  /** `block` is the name of the memory's block; its pages are taken out. */
  constructor(block: string, sink: PageSink) {
    this.block = block
    this.sink = sink
  }

  push(chunk: Buffer): void {
    if (this.problem !== undefined) return
    if (this.state === "devices") {
      this.device.push(chunk)
      return
    }
    const left = this.rest.length
    if (left === 0) {
      this.read(chunk)
    } else {
      // Only what was cut in two is put together; the chunk itself is not copied.
      this.read(Buffer.concat([this.rest, chunk.subarray(0, longestItem)]))
      const taken = left + Math.min(chunk.length, longestItem) - this.rest.length
      if (taken >= left) this.read(chunk.subarray(taken - left))
      else if (chunk.length > longestItem) this.read(Buffer.concat([this.rest, chunk.subarray(longestItem)]))
    }
    // It is short, and the chunk need not stay because of it.
    this.rest = Buffer.from(this.rest)
  }

  /** Takes all that is whole, and leaves the rest in `rest`. */
  private read(bytes: Buffer): void {
    this.rest = bytes
    this.at = 0
    while (this.problem === undefined && this.step() !== more);
    this.rest = this.rest.subarray(this.at)
  }

  /** All but the memory's pages. Undefined, with a {@link problem}, when the stream did not come to its end. */
  finish(): Buffer | undefined {
    if (this.problem === undefined && this.state !== "devices") this.problem = "the stream ended within the memory"
    return this.problem === undefined ? Buffer.concat(this.device) : undefined
  }

  private step(): typeof more | undefined {
    switch (this.state) {
      case "header":
        return this.header()
      case "sections":
        return this.section()
      case "blocks":
        return this.blocks()
      case "pages":
        return this.page()
      case "devices": {
        this.keep(this.rest.length - this.at)
        return more
      }
    }
  }

  private has(bytes: number): boolean {
    return this.rest.length - this.at >= bytes
  }

  /** Hands `bytes` on to the devices' stream. */
  private keep(bytes: number): void {
    if (bytes > 0) this.device.push(Buffer.from(this.rest.subarray(this.at, this.at + bytes)))
    this.at += bytes
  }

  private fail(problem: string): typeof more {
    this.problem = problem
    return more
  }

  private header(): typeof more | undefined {
    if (!this.has(8)) return more
    if (this.rest.toString("latin1", this.at, this.at + 4) !== "QEVM" || this.rest.readUInt32BE(this.at + 4) !== 3) {
      return this.fail("it is not a migration stream of version 3")
    }
    this.keep(8)
    this.state = "sections"
    return undefined
  }

  private section(): typeof more | undefined {
    if (!this.has(5)) return more
    this.kind = this.rest.readUInt8(this.at)
    switch (this.kind) {
      case section.configuration: {
        const length = 5 + this.rest.readUInt32BE(this.at + 1)
        if (!this.has(length)) return more
        this.keep(length)
        return undefined
      }
      case section.command: {
        const length = 5 + this.rest.readUInt16BE(this.at + 3)
        if (!this.has(length)) return more
        this.keep(length)
        return undefined
      }
      case section.footer:
        this.keep(5)
        return undefined
      case section.start: {
        if (!this.has(6)) return more
        // id, length of the name, name, instance, version
        const length = 1 + 4 + 1 + this.rest.readUInt8(this.at + 5) + 4 + 4
        if (!this.has(length)) return more
        const name = this.rest.toString("latin1", this.at + 6, this.at + length - 8)
        if (name !== "ram") return this.fail(`it begins with a section "${name}"`)
        this.keep(length)
        this.state = "pages"
        return undefined
      }
      case section.part:
      case section.end:
        this.keep(5)
        this.state = "pages"
        return undefined
      case section.full:
        this.state = "devices"
        return undefined
      default:
        return this.fail(`it has a section of type ${this.kind}`)
    }
  }

  /** The names and lengths of all blocks, `unread` bytes of memory in all. */
  private blocks(): typeof more | undefined {
    if (this.unread <= 0) {
      this.state = "pages"
      return undefined
    }
    if (!this.has(1)) return more
    const name = this.rest.readUInt8(this.at)
    if (!this.has(1 + name + 8)) return more
    const length = Number(this.rest.readBigUInt64BE(this.at + 1 + name))
    if (this.rest.toString("latin1", this.at + 1, this.at + 1 + name) === this.block) this.memory = length
    this.unread -= length
    this.keep(1 + name + 8)
    return undefined
  }

  private page(): typeof more | undefined {
    if (!this.has(8)) return more
    const low = this.rest.readUInt32BE(this.at + 4)
    const what = low & flags
    const offset = this.rest.readUInt32BE(this.at) * 2 ** 32 + (low - what)
    if (what === flag.memSize) {
      this.keep(8)
      this.unread = offset
      this.state = "blocks"
      return undefined
    }
    if (what === flag.end) {
      this.keep(8)
      this.state = "sections"
      return undefined
    }
    const isZero = (what & flag.zero) !== 0
    if ((what & ~flag.sameBlock) !== (isZero ? flag.zero : flag.page)) {
      return this.fail(`it has a page with the flags ${what.toString(16)}`)
    }
    let length = 8
    let name = this.current
    if ((what & flag.sameBlock) === 0) {
      if (!this.has(9)) return more
      const size = this.rest.readUInt8(this.at + 8)
      length = 9 + size
      if (!this.has(length)) return more
      name = this.rest.toString("latin1", this.at + 9, this.at + length)
    }
    const head = length
    length += isZero ? 1 : pageSize
    if (!this.has(length)) return more
    this.current = name
    if (name !== this.block) {
      this.keep(length)
      return undefined
    }
    if (offset + pageSize > (this.memory ?? 0)) return this.fail(`it has a page at ${offset}, beyond the memory's end`)
    const from = this.at + head
    if (!isZero) this.sink.page(offset, this.rest.subarray(from, from + pageSize))
    else if (this.rest[from] === 0) this.sink.zero(offset)
    else return this.fail(`it has a page full of ${this.rest[from]}`)
    this.at += length
    return undefined
  }
}
