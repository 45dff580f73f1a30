/**
 * The data path of a switch: where each frame goes, and what happens to it on the way. Synchronous; time and random numbers come from outside.
 *
 * Frames travel as segments: each with its length before it, as they came and as they leave. A run of frames that all go to one port, where nothing
 * happens to them, is passed on as the bytes that it came in.
 */
import type { Fate } from "../Capture.ts"
import type { Impairment } from "../Impairment.ts"
import * as PortCounts from "../PortCounts.ts"
import { AddressTable } from "./addressTable.ts"
import { destinationOf, headerSize, isUnicast, shortest, sourceOf } from "./frames.ts"
import { Line } from "./line.ts"
import * as Random from "./random.ts"
import { Schedule } from "./schedule.ts"

/** Where frames leave a port. */
export interface Outlet {
  /**
   * Takes whole frames with their headers, which may change afterwards; false if it has too much that nobody has read. Of `single` frames, others may follow
   * in this turn of the event loop, and can be gathered.
   */
  readonly send: (segment: Buffer, single: boolean) => boolean
}

export interface Impairments {
  readonly out: Impairment | undefined
  readonly in: Impairment | undefined
}

/** A frame as a capture sees it: when its card has sent it, before anything happens to it. The bytes may change afterwards. */
export type Listener = (frame: Buffer, from: string, fate: Fate) => void

/** A card's place. */
export class SwitchPort {
  outlet: Outlet | undefined
  sent = 0
  received = 0
  dropped = 0
  out: Line | undefined
  in: Line | undefined
  /** Ports that a partition separates it from. */
  separated: ReadonlySet<string> = new Set()

  readonly name: string

  constructor(name: string) {
    this.name = name
  }

  /** What the lines counted that were replaced: a line counts a frame when it takes it. */
  private past = PortCounts.none

  counts(): PortCounts.PortCounts {
    const { dropped: lost, received, sent } = this
    const lines = [this.out, this.in].flatMap((line) => (line === undefined ? [] : [ofLine(line)]))
    return PortCounts.sum([{ ...PortCounts.none, sent, received, lost }, this.past, ...lines])
  }

  replace(direction: "out" | "in", line: Line | undefined): void {
    const before = this[direction]
    if (before !== undefined) this.past = PortCounts.sum([this.past, ofLine(before)])
    this[direction] = line
  }
}

const ofLine = ({ counts }: Line): PortCounts.PortCounts => ({ ...PortCounts.none, ...counts })

export interface SwitchOptions {
  /** Every frame reaches every port. */
  readonly hub: boolean
  /** Nanoseconds. */
  readonly now: () => number
  /** There is a frame to deliver earlier than any before. */
  readonly onSchedule: () => void
}

export class EthernetSwitch {
  readonly schedule = new Schedule()
  readonly listeners = new Set<Listener>()
  private readonly ports = new Map<string, SwitchPort>()
  private readonly table = new AddressTable<SwitchPort>()

  private readonly options: SwitchOptions

  constructor(options: SwitchOptions) {
    this.options = options
  }

  /** The port of a name, which is made by the first use. */
  port(name: string): SwitchPort {
    const known = this.ports.get(name)
    if (known !== undefined) return known
    const port = new SwitchPort(name)
    this.ports.set(name, port)
    return port
  }

  impair(name: string, impairments: Impairments): void {
    const port = this.port(name)
    for (const direction of ["out", "in"] as const) {
      const impairment = impairments[direction]
      if (port[direction]?.impairment === impairment) continue
      const seed = `${name} ${direction} ${impairment?.seed ?? ""}`
      port.replace(
        direction,
        impairment === undefined ? undefined : new Line(impairment, Random.make(seed), this.schedule)
      )
    }
  }

  /** Takes whole frames, with their headers, that the card of a port has sent. */
  receive(name: string, frames: Buffer): void {
    const port = this.port(name)
    const next = this.schedule.next
    if (port.out === undefined && this.listeners.size === 0) this.pass(port, frames)
    else this.each(frames, (segment) => this.enter(port, segment))
    const after = this.schedule.next
    if (after !== undefined && (next === undefined || after < next)) this.options.onSchedule()
  }

  /** Delivers what is due. */
  tick(): void {
    const now = this.options.now()
    for (let due = this.schedule.take(now); due !== undefined; due = this.schedule.take(now)) due.deliver()
  }

  private each(frames: Buffer, take: (segment: Buffer) => void): void {
    for (let at = 0; at < frames.length; ) {
      const end = at + headerSize + frames.readUInt32BE(at)
      take(frames.subarray(at, end))
      at = end
    }
  }

  /** A frame whose sender's link has an impairment, or that a capture sees. */
  private enter(port: SwitchPort, segment: Buffer): void {
    if (segment.length < headerSize + shortest) return
    port.sent += 1
    const fate =
      port.out === undefined ? "passed" : port.out.push(segment, this.options.now(), (late) => this.route(port, late))
    for (const listener of this.listeners) listener(segment.subarray(headerSize), port.name, fate)
    if (port.out === undefined) this.route(port, segment)
  }

  /** The fast way: runs of frames for one port. */
  private pass(port: SwitchPort, frames: Buffer): void {
    let begin = 0
    let to: SwitchPort | undefined
    let count = 0
    const flush = (end: number) => {
      if (to !== undefined) this.give(to, frames.subarray(begin, end), count, false)
      to = undefined
    }
    for (let at = 0; at < frames.length; ) {
      const size = frames.readUInt32BE(at)
      const end = at + headerSize + size
      if (size >= shortest) {
        port.sent += 1
        const only = this.onlyTarget(port, frames, at + headerSize)
        if (only === undefined || only.in !== undefined || only !== to) {
          flush(at)
          if (only === undefined || only.in !== undefined) this.route(port, frames.subarray(at, end))
          else {
            to = only
            begin = at
            count = 0
          }
        }
        count += 1
      } else flush(at)
      at = end
    }
    flush(frames.length)
  }

  /** The one port that a frame goes to; undefined if it goes to several, or to none. */
  private onlyTarget(from: SwitchPort, frames: Buffer, at: number): SwitchPort | undefined {
    this.learn(from, frames, at)
    if (this.options.hub) return undefined
    const target = this.find(from, destinationOf(frames, at))
    return target === from ? undefined : target
  }

  /**
   * The port that an address was last seen at; undefined if that is not known on this side of a partition. Each side of a network that fell apart
   * has an owner for an address that moves, as that of a virtual router does.
   */
  private find(from: SwitchPort, destination: number): SwitchPort | undefined {
    const found = isUnicast(destination) ? this.table.find(destination) : undefined
    return found === undefined || from.separated.has(found.name) ? undefined : found
  }

  private learn(from: SwitchPort, frames: Buffer, at: number): void {
    const source = sourceOf(frames, at)
    if (isUnicast(source)) this.table.learn(source, from)
  }

  /** A frame to the ports that it is for. */
  private route(from: SwitchPort, segment: Buffer): void {
    this.learn(from, segment, headerSize)
    const destination = destinationOf(segment, headerSize)
    const known = this.options.hub ? undefined : this.find(from, destination)
    if (known !== undefined) {
      if (known !== from) this.deliver(known, segment)
      return
    }
    for (const port of this.ports.values()) {
      if (port !== from && !from.separated.has(port.name)) this.deliver(port, segment)
    }
  }

  private deliver(to: SwitchPort, segment: Buffer): void {
    if (to.in === undefined) this.give(to, segment)
    else to.in.push(segment, this.options.now(), (late) => this.give(to, late))
  }

  private give(to: SwitchPort, segment: Buffer, count = 1, single = true): void {
    // Nothing gets lost on a cable that leads nowhere, because its machine does not run.
    if (to.outlet === undefined) return
    if (to.outlet.send(segment, single)) to.received += count
    else to.dropped += count
  }
}
