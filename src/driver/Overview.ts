/**
 * What runs in this process: the drivers, and their machines, as data.
 *
 * **Example** (The states of all machines)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Overview } from "vmtest"
 *
 * const states = Effect.map(Overview.all, (drivers) =>
 *   drivers.flatMap(({ machines }) => machines.map(({ name, state }) => `${name} is ${state}`))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { MachineState } from "../guest/MachineEvent.ts"
import * as Image from "../images/Image.ts"
import type { Handle } from "../machine/MachineTree.ts"
import type { DriverService } from "./Driver.ts"

/** A machine at one moment. */
export interface MachineOverview {
  readonly name: string
  readonly state: MachineState
  /** How its last boot began, such as `booted`; undefined if it was never started. */
  readonly came: string | undefined
  /** Its image, for people. */
  readonly image: string
  /** Bytes. */
  readonly memory: number
  readonly cpus: number
  /** The process of its hypervisor; undefined while it does not run. */
  readonly pid: number | undefined
  /** Its cards on networks, with their addresses without prefixes. */
  readonly cards: ReadonlyArray<{
    readonly device: string
    readonly network: string
    readonly ipv4: string | undefined
    readonly ipv6: string | undefined
  }>
}

/** A driver at one moment. */
export interface DriverOverview {
  /** The name of its test, or its own. */
  readonly test: string
  /** Which fork of the test's machines it has, such as `fork1`; undefined for the test itself. */
  readonly fork: string | undefined
  /** Milliseconds since the epoch. */
  readonly startedAt: number
  readonly machines: ReadonlyArray<MachineOverview>
}

interface Entry {
  readonly test: string
  readonly fork: string | undefined
  readonly startedAt: number
  readonly handles: () => ReadonlyArray<Handle>
}

const entries = new Set<Entry>()
const known = new WeakMap<DriverService, Entry>()

/** Makes a driver known until the scope closes. */
export const register = (
  driver: DriverService,
  { fork, handles, test }: Omit<Entry, "startedAt">
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Clock.currentTimeMillis, (startedAt) =>
    Effect.asVoid(
      Effect.acquireRelease(
        Effect.sync(() => {
          const entry = { test, fork: fork?.replace(/^-/, ""), startedAt, handles }
          entries.add(entry)
          known.set(driver, entry)
          return entry
        }),
        (entry) => Effect.sync(() => entries.delete(entry))
      )
    )
  )

const machineOf = ({ pid, self, spec, summary }: Handle): Effect.Effect<MachineOverview> =>
  Effect.map(pid, (number) => {
    const { came, state } = summary()
    return {
      ...{ name: spec.name, state, came, image: Image.describe(spec.image), memory: spec.memory, cpus: spec.cpus },
      pid: number,
      cards: self.interfaces.map(({ device, ipv4, ipv6, network, vlan }) => ({
        ...{ device, network: network ?? `VLAN ${vlan}`, ipv4, ipv6 }
      }))
    }
  })

/** A machine whose process is busy is not waited for. */
const patience = "200 millis"

const machinesOf = ({ handles }: Entry) =>
  Effect.forEach(handles(), (handle) =>
    Effect.timeoutOrElse(machineOf(handle), {
      duration: patience,
      orElse: () => machineOf({ ...handle, pid: Effect.succeed(undefined) })
    })
  )

/** All drivers of this process that live, those of forks included, in the order of their starts. */
export const all: Effect.Effect<ReadonlyArray<DriverOverview>> = Effect.suspend(() =>
  Effect.forEach([...entries], (entry) =>
    Effect.map(machinesOf(entry), (machines) => ({
      ...{ test: entry.test, fork: entry.fork, startedAt: entry.startedAt, machines }
    }))
  )
)

/** The machines of a driver; empty for one that vmtest has not made. */
export const machines = (driver: DriverService): Effect.Effect<ReadonlyArray<MachineOverview>> =>
  Effect.suspend(() => {
    const entry = known.get(driver)
    return entry === undefined ? Effect.succeed([]) : machinesOf(entry)
  })
