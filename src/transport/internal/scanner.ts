/**
 * Finds the marks of a lane in a stream of bytes, wherever reads cut it.
 *
 * A mark is `RS nonce SP text LF` with a nonce of 128 random bits that only this end and the worker know, so nothing that
 * a command prints is taken for one. Its text is `R`, or an exit code and 255 minus that, so that no damaged one is taken for
 * another. Bytes are handed on at once, except those that may be the beginning of a mark.
 */

/** The longest text: `255 0`, `100 155`. */
const longest = 7
const RS = 0x1e
const LF = 0x0a
const nothing = Buffer.alloc(0)

const isText = (text: string): boolean => {
  const [, status, check] = /^(\d{1,3}) (\d{1,3})$/.exec(text) ?? []
  return text === "R" || (status !== undefined && Number(status) + Number(check) === 255)
}

/** What a scanner finds, in order. */
export interface Findings {
  readonly bytes: (bytes: Buffer) => void
  readonly mark: (text: string) => void
}

/** A scanner for the marks of one nonce at a time. */
export class Scanner {
  private pattern: Buffer = nothing
  private held: Buffer = nothing
  private readonly found: Findings

  constructor(found: Findings) {
    this.found = found
  }

  /** Looks for another nonce from the next byte on. */
  expect(nonce: string): void {
    this.pattern = Buffer.from(`\x1e${nonce} `, "latin1")
  }

  /** Takes the bytes of one read. */
  push(chunk: Buffer): void {
    const data = this.held.length === 0 ? chunk : Buffer.concat([this.held, chunk])
    this.held = nothing
    let from = 0
    let search = 0
    for (;;) {
      const at = data.indexOf(this.pattern, search, "latin1")
      if (at === -1) break
      const start = at + this.pattern.length
      const end = data.indexOf(LF, start)
      const complete = end !== -1 && end - start <= longest
      if (!complete && data.length - start <= longest) {
        this.hold(data, from, at)
        return
      }
      const text = complete ? data.toString("latin1", start, end) : ""
      if (!isText(text)) {
        search = at + 1
        continue
      }
      if (at > from) this.found.bytes(data.subarray(from, at))
      from = search = end + 1
      // May call `expect`; a new nonce holds for what follows.
      this.found.mark(text)
    }
    this.hold(data, from, this.beginning(data, Math.max(from, search)))
  }

  /** Where the longest tail begins that may be the beginning of a mark. */
  private beginning(data: Buffer, from: number): number {
    let at = data.indexOf(RS, Math.max(from, data.length - this.pattern.length + 1))
    while (at !== -1) {
      if (this.pattern.subarray(0, data.length - at).equals(data.subarray(at))) return at
      at = data.indexOf(RS, at + 1)
    }
    return data.length
  }

  /** Hands on what comes before `at` and keeps the rest, in a buffer of its own. */
  private hold(data: Buffer, from: number, at: number): void {
    if (at > from) this.found.bytes(data.subarray(from, at))
    if (at < data.length) this.held = Buffer.from(data.subarray(at))
  }
}
