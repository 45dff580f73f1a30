/** Writes packets to a pcapng file without waiting for the disk, within a bound of memory. */
import * as Fs from "node:fs"
import type { Packet } from "../Capture.ts"
import * as pcapng from "./pcapng.ts"

/** A card in the file, or one that is only counted yet. */
interface Card {
  number: number | undefined
  /** Packets that were left out since the last one that was written. */
  missing: number
}

export class CaptureWriter {
  private readonly cards = new Map<string, Card>()
  private numbered = 0
  private waiting: Array<Buffer> = []
  /** Bytes in `waiting`, and those that are being written. */
  private pending = 0
  private isWriting = false
  private missing = 0
  private problem: string | undefined
  private closed: (() => void) | undefined

  private readonly fd: number
  private readonly mostPending: number

  constructor(fd: number, title: string, mostPending: number) {
    this.fd = fd
    this.mostPending = mostPending
    this.add(pcapng.section(title))
  }

  write({ fate, frame, from, time }: Packet): void {
    const card = this.cards.get(from) ?? { number: undefined, missing: 0 }
    this.cards.set(from, card)
    if (this.problem !== undefined || this.closed !== undefined || this.pending + frame.length > this.mostPending) {
      card.missing += 1
      this.missing += 1
      return
    }
    if (card.number === undefined) {
      card.number = this.numbered++
      this.add(pcapng.card(from, descriptionOf(from)))
    }
    const comment = fate === "passed" ? undefined : commentOf(from, fate)
    this.add(pcapng.packet(card.number, time, frame, { comment, dropped: card.missing }))
    card.missing = 0
  }

  /** Writes what waits, and closes the file; calls back with a sentence if packets are missing in it. */
  close(done: (problem: string | undefined) => void): void {
    this.closed = () => {
      Fs.close(this.fd, () => done(this.summary()))
    }
    if (!this.isWriting) this.closed()
  }

  private add(bytes: Buffer): void {
    this.waiting.push(bytes)
    this.pending += bytes.length
    if (this.isWriting) return
    this.isWriting = true
    // What comes in the same turn goes in one write.
    setImmediate(() => this.next())
  }

  private next(): void {
    if (this.waiting.length === 0 || this.problem !== undefined) {
      this.isWriting = false
      this.waiting = []
      this.closed?.()
      return
    }
    const batch = Buffer.concat(this.waiting)
    this.waiting = []
    this.put(batch, 0)
  }

  private put(batch: Buffer, from: number): void {
    Fs.write(this.fd, batch, from, batch.length - from, null, (error, written) => {
      if (error !== null) this.problem = error.message
      else if (from + written < batch.length) return this.put(batch, from + written)
      this.pending -= batch.length
      this.next()
    })
  }

  private summary(): string | undefined {
    if (this.problem !== undefined) return `could not be written to its end: ${this.problem}`
    if (this.missing === 0) return undefined
    return `${this.missing} packets are missing, because the disk was slower than the network; each gap has its count in the file (epb_dropcount)`
  }
}

/** `web eth1` is a card of a machine, `api` a service of the host; `.other-programs` are what a VDE socket lets in. */
const descriptionOf = (port: string): string => {
  if (port.startsWith(".")) return "programs on the host"
  const [machine, device] = port.split(" ")
  return device === undefined ? `the host service ${machine}` : `the card ${device} of ${machine}`
}

const commentOf = (port: string, fate: "lost" | "full"): string =>
  `lost by the impairment of ${port}${fate === "full" ? ": the queue for its rate was full" : ""}`
