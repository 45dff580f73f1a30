/**
 * Where the things of a test are on the host, for what runs a script outside of this process.
 *
 * **Example** (The folder for a machine's files)
 *
 * ```ts
 * const places = Places.of(yield* Driver)
 * const folder = yield* places!.machineFolder("web")
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type { Unavailable } from "../guest/Guest.ts"
import type { MachineState } from "../guest/MachineEvent.ts"
import type { HostProcessError } from "../host/HostProcess.ts"
import type { MachineEnd } from "../machine/MachineTree.ts"
import type { Changes } from "../machine/StartChanges.ts"
import type { VlanFailed } from "../network/Vlan.ts"
import type { DriverService } from "./Driver.ts"

/** The places of one test. All paths are absolute. */
export interface Places {
  readonly test: string
  /** The test's folder in the output folder; it need not exist. */
  readonly output: string
  /** The folder of the run, which is removed at its end. */
  readonly run: string
  /** A folder of the test's own in it, for what its machines share. */
  readonly shared: Effect.Effect<string>
  /** The folder in which the hypervisor of a machine keeps its sockets and disks. */
  readonly machineFolder: (machine: string) => Effect.Effect<string>
  /** The folder for what a machine writes: that of its start script, or one beside the hypervisor's files, which it cannot overwrite. */
  readonly stateFolder: (machine: string) => Effect.Effect<string>
  /** The folder that machines with start scripts can mount. */
  readonly sharedFolder: Effect.Effect<string>
  /** The folder that folders of machines are in. */
  readonly temporary: string
  /** The folder of a `vde_switch` that leads to a VLAN, as `vde_plug` takes it; it is started by the first call. */
  readonly vlan: (nr: number) => Effect.Effect<string, HostProcessError | VlanFailed>
  /** The VLANs of the machines, in their order. */
  readonly vlans: () => ReadonlyArray<number>
  /** The process of a machine's hypervisor; undefined while it does not run, and where the host has none. */
  readonly pid: (machine: string) => Effect.Effect<number | undefined>
  /** Waits until the hypervisor of a machine's last start runs, or did run; fails with why it did not start. */
  readonly launched: (machine: string) => Effect.Effect<void, Unavailable>
  /** How the last boot of a machine ended; undefined while one is on, and before the first. */
  readonly end: (machine: string) => MachineEnd | undefined
  /** The command that starts a machine which a start script starts, at its next start; undefined for others. */
  readonly startCommand: (machine: string) => string | undefined
  /** Has the next starts of a machine that a start script starts differ from its image. What is not given stays as it was. */
  readonly changeStarts: (machine: string, changes: Changes) => void
  /** What a machine is now; undefined for a name that no machine has. */
  readonly state: (machine: string) => MachineState | undefined
}

const known = new WeakMap<DriverService, Places>()

/** Notes the places of a driver. */
export const note = <Service extends DriverService>(driver: Service, places: Places): Service => {
  known.set(driver, places)
  return driver
}

/** The places of a driver; undefined for one that vmtest has not made. */
export const of = (driver: DriverService): Places | undefined => known.get(driver)
