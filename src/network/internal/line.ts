/** One direction of a network cable with an impairment: which frames pass it, when, and in what state. */
import type { Fate } from "../Capture.ts"
import type { Impairment } from "../Impairment.ts"
import { headerSize, shortest } from "./frames.ts"
import type { Random } from "./random.ts"
import type { Schedule } from "./schedule.ts"

/** How many frames wait for a limited rate, as `tc netem` has it by default. */
export const mostWaiting = 1000

/** How many bytes of memory the frames that wait on one line take at most: those of 5 Gbit/s with a latency of 100 ms. */
export const mostBytes = 64 * 1024 * 1024

/** Bytes of memory that a waiting frame needs besides its own, so that short frames are bounded, too. */
const overhead = 512

export interface LineCounts {
  lost: number
  duplicated: number
  corrupted: number
  reordered: number
}

export class Line {
  readonly counts: LineCounts = { lost: 0, duplicated: 0, corrupted: 0, reordered: 0 }
  /** When the last frame that keeps the order is delivered. */
  private last = 0
  /** Until when the link sends what waits for its rate. */
  private busyUntil = 0
  private waiting = 0
  private bytes = 0

  readonly impairment: Impairment
  private readonly random: Random
  private readonly schedule: Schedule

  constructor(impairment: Impairment, random: Random, schedule: Schedule) {
    this.impairment = impairment
    this.random = random
    this.schedule = schedule
  }

  /**
   * Takes a frame with its header; `deliver` is called with a copy of it once, twice or never, now or later. A frame is lost if none of its copies
   * is under way.
   */
  push(segment: Buffer, now: number, deliver: (segment: Buffer) => void): Fate {
    const { corrupt, duplicate, loss } = this.impairment
    if (this.hits(loss)) {
      this.counts.lost += 1
      return "lost"
    }
    const copies = this.hits(duplicate) ? 2 : 1
    // A frame that waits must not keep the chunk that it came in, which can be large.
    const copy = Buffer.from(segment)
    const isDamaged = this.hits(corrupt) && this.damage(copy)
    const first = this.send(copy, now, deliver)
    if (first === "full") {
      this.counts.lost += 1
      return "full"
    }
    const second = copies === 2 ? this.send(copy, now, deliver) : "full"
    if (second !== "full") this.counts.duplicated += 1
    if (isDamaged) this.counts.corrupted += 1
    if (first === "overtakes" || second === "overtakes") this.counts.reordered += 1
    return "passed"
  }

  /** Nothing is drawn for what cannot happen, so that an impairment's numbers depend on its own frames alone. */
  private hits(share: number): boolean {
    return share > 0 && this.random() < share
  }

  /** Flips one bit, if there is one to flip. The addresses stay, so that the frame arrives. */
  private damage(segment: Buffer): boolean {
    const from = headerSize + shortest
    if (segment.length <= from) return false
    const bit = Math.floor(this.random() * (segment.length - from) * 8)
    const index = from + (bit >> 3)
    segment[index] = (segment[index] ?? 0) ^ (1 << (bit & 7))
    return true
  }

  private send(segment: Buffer, now: number, deliver: (segment: Buffer) => void): "full" | "inOrder" | "overtakes" {
    const { latency, rate, reorder } = this.impairment
    const size = segment.length + overhead
    if ((rate !== undefined && this.waiting >= mostWaiting) || this.bytes + size > mostBytes) return "full"
    let sent = now
    if (rate !== undefined) {
      sent = Math.max(now, this.busyUntil) + ((segment.length - headerSize) * 8 * 1e9) / rate
      this.busyUntil = sent
    }
    const overtakes = this.hits(reorder)
    let at = sent
    if (!overtakes) {
      at = Math.max(this.last, sent + latency + this.variation())
      this.last = at
    }
    if (at <= now) deliver(segment)
    else {
      this.bytes += size
      if (rate !== undefined && sent > now) {
        this.waiting += 1
        this.schedule.add({
          at: sent,
          deliver: () => {
            this.waiting -= 1
          }
        })
      }
      this.schedule.add({
        at,
        deliver: () => {
          this.bytes -= size
          deliver(segment)
        }
      })
    }
    return overtakes ? "overtakes" : "inOrder"
  }

  private variation(): number {
    const { jitter } = this.impairment
    return jitter === 0 ? 0 : (this.random() * 2 - 1) * jitter
  }
}
