/**
 * What a VLAN should be, apart from the process that makes it so: its ports, their impairments, its partitions and captures. It outlives that
 * process, as a table of OTP's `ets` that a supervisor owns outlives the worker that reads it.
 */
import * as Result from "effect/Result"
import * as Thrown from "../../host/Thrown.ts"
import type { Impairment } from "../Impairment.ts"
import * as PortCounts from "../PortCounts.ts"
import type { EthernetSwitch, Impairments, Listener, Outlet } from "./ethernetSwitch.ts"

/** An impairment that a scope set, of one port. */
export interface SetImpairment {
  readonly direction: "out" | "in" | "both"
  readonly impairment: Impairment
}

interface PortState {
  /** In the order in which they were set: the last one of a direction holds. */
  readonly impairments: Map<number, SetImpairment>
  /** Where its card is, while it is plugged in. */
  outlet: Outlet | undefined
  /** What passed it in earlier lives of the switch. */
  before: PortCounts.PortCounts
}

/** Ports, or the machines of ports: those of one group reach each other, and those that are in no group. */
export type Groups = ReadonlyArray<ReadonlySet<string>>

export class VlanState {
  readonly listeners = new Set<Listener>()
  private readonly ports = new Map<string, PortState>()
  private readonly partitions = new Map<number, Groups>()
  /** The running switch; frames wait in their sockets while there is none. */
  private current: EthernetSwitch | undefined
  /** What broke the last switch; empty if nothing did. */
  defect = ""
  private broken: (defect: unknown) => void = () => {}
  private readonly waiting = new Set<() => void>()
  private last = 0

  /**
   * Hands frames over to the switch, which needs them until it returns. False while there is none: then the caller keeps them until `onBegin` calls back. A defect of the switch ends its
   * process, and the frames that showed it are lost.
   */
  receive(name: string, frames: Buffer): boolean {
    const { current: running } = this
    if (running === undefined) return false
    const received = Result.try(() => running.receive(name, frames))
    if (Result.isFailure(received)) {
      this.end(running, Thrown.messageOf(received.failure))
      this.broken(received.failure)
    }
    return true
  }

  /** A switch starts, and gets the state of the VLAN. A defect of it calls `broken`. */
  begin(running: EthernetSwitch, broken: (defect: unknown) => void): void {
    this.current = running
    this.broken = broken
    for (const listener of this.listeners) running.listeners.add(listener)
    for (const [name, { outlet }] of this.ports) {
      running.port(name).outlet = outlet
      this.applyTo(name)
    }
    this.separate()
    // One whose frames break the switch leaves the others waiting for the next one.
    for (const wake of [...this.waiting]) {
      if (this.current !== running) return
      this.waiting.delete(wake)
      wake()
    }
  }

  /** The switch has ended. */
  end(running: EthernetSwitch, defect: string): void {
    if (this.current !== running) return
    this.defect = defect
    for (const [name, port] of this.ports) port.before = PortCounts.sum([port.before, running.port(name).counts()])
    this.current = undefined
  }

  /** Whether there is a switch. */
  get isRunning(): boolean {
    return this.current !== undefined
  }

  /** Calls back once, when a switch starts; gives what takes that back. */
  onBegin(wake: () => void): () => void {
    this.waiting.add(wake)
    return () => this.waiting.delete(wake)
  }

  addPort(name: string): void {
    if (!this.ports.has(name))
      this.ports.set(name, { impairments: new Map(), outlet: undefined, before: PortCounts.none })
    this.current?.port(name)
    this.separate()
  }

  /** Plugs a card in, in the place of the one that was there. Gives what unplugs it. */
  plug(name: string, outlet: Outlet): () => void {
    const set = (value: Outlet | undefined) => {
      const port = this.ports.get(name)
      if (port === undefined) return
      port.outlet = value
      if (this.current !== undefined) this.current.port(name).outlet = value
    }
    set(outlet)
    return () => {
      if (this.ports.get(name)?.outlet === outlet) set(undefined)
    }
  }

  get names(): ReadonlyArray<string> {
    return [...this.ports.keys()]
  }

  counts(name: string): PortCounts.PortCounts {
    const before = this.ports.get(name)?.before ?? PortCounts.none
    return this.current === undefined ? before : PortCounts.sum([before, this.current.port(name).counts()])
  }

  /** Gives what takes the impairment back. */
  impair(name: string, set: SetImpairment): () => void {
    const key = ++this.last
    this.ports.get(name)?.impairments.set(key, set)
    this.applyTo(name)
    return () => {
      if (this.ports.get(name)?.impairments.delete(key) === true) this.applyTo(name)
    }
  }

  heal(name: string): void {
    this.ports.get(name)?.impairments.clear()
    this.applyTo(name)
  }

  /** Gives what takes the partition back. */
  partition(groups: Groups): () => void {
    const key = ++this.last
    this.partitions.set(key, groups)
    this.separate()
    return () => {
      if (this.partitions.delete(key)) this.separate()
    }
  }

  healPartitions(): void {
    this.partitions.clear()
    this.separate()
  }

  listen(listener: Listener): () => void {
    this.listeners.add(listener)
    this.current?.listeners.add(listener)
    return () => {
      this.listeners.delete(listener)
      this.current?.listeners.delete(listener)
    }
  }

  private applyTo(name: string): void {
    const impairments: { -readonly [Key in keyof Impairments]: Impairments[Key] } = { out: undefined, in: undefined }
    for (const { direction, impairment } of this.ports.get(name)?.impairments.values() ?? []) {
      if (direction !== "in") impairments.out = impairment
      if (direction !== "out") impairments.in = impairment
    }
    this.current?.impair(name, impairments)
  }

  private separate(): void {
    const { current: running } = this
    if (running === undefined) return
    const partitions = [...this.partitions.values()]
    for (const name of this.ports.keys()) {
      const others = this.names.filter((other) => partitions.some((groups) => areSeparated(groups, name, other)))
      running.port(name).separated = new Set(others)
    }
  }
}

/** One group alone is separated from everything else. */
export const areSeparated = (groups: Groups, one: string, other: string): boolean => {
  const [a, b] = [groupOf(groups, one), groupOf(groups, other)]
  return a !== b && ((a !== -1 && b !== -1) || groups.length === 1)
}

/** The machine of a port: `web` of `web eth1`. */
const machineOf = (port: string): string => port.slice(0, Math.max(0, port.lastIndexOf(" ")))

const groupOf = (groups: Groups, port: string): number =>
  groups.findIndex((group) => group.has(port) || group.has(machineOf(port)))
