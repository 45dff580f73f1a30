/**
 * A guest as the nouns of a machine (units, files, ports, …) see it, and what using it can fail with.
 *
 * `Action` reports what a test does, `Run` runs commands, `Wait` waits.
 *
 * **Example** (A new noun)
 *
 * ```ts
 * export const make = (guest: Guest): UptimeMethods => ({
 *   uptime: Effect.map(Run.execute(guest, "cat /proc/uptime"), ({ stdout }) => Number.parseFloat(stdout))
 * })
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"
import type { BackendService, Console, ControlService, Hypervisor } from "../backends/Backend.ts"
import type { ShellService } from "../transport/Shell.ts"
import type { CommandTimeout, ShellError } from "../transport/ShellError.ts"
import type { BootFailed, InvalidArgument, MachineDied, MachineNotRunning, WaitTimeout } from "./MachineError.ts"
import type { MachineEvent } from "./MachineEvent.ts"
import type { PollingConditionFailed, PollingConditions } from "./PollingCondition.ts"

/** What ends everything that is under way on a machine: it died, did not boot, or a polling condition broke. */
export type CutShort = MachineDied | BootFailed | PollingConditionFailed

/** The machine cannot be used: it is off, did not boot, or died, or a polling condition broke while it was waited for. */
export type Unavailable = CutShort | MachineNotRunning

/** What any command on a machine can fail with, whatever it is for. */
export type CommandError = Unavailable | ShellError

/** What a command without a timeout can fail with. */
export type UntimedError = Exclude<CommandError, CommandTimeout>

/** What any wait can fail with: `WaitTimeout` at its deadline, `InvalidArgument` if the given one makes no sense. */
export type DeadlineError = WaitTimeout | InvalidArgument

/** What any wait that runs commands in the guest can fail with. */
export type WaitError = UntimedError | DeadlineError

export type {
  /** Options of waits that poll in the guest, with one command. */
  GuestPollOptions,
  /** Options of waits that poll from the host. */
  PollOptions,
  /** How long a wait may take. */
  WaitOptions
} from "./Timeout.ts"

export interface Guest {
  readonly name: string
  readonly backend: BackendService
  readonly emit: (event: MachineEvent) => Effect.Effect<void>
  /**
   * The shell of a ready machine, under the polling conditions; starts one that was never started, and waits for one that boots. A boot has
   * a deadline of its own (`Deadlines`), and so has a reboot. What a guest does not run because it is rebooting runs in its next boot.
   */
  readonly shell: Effect.Effect<ShellService, Unavailable>
  /** The same for questions to this boot: what it does not run is a `CommandRejected`. */
  readonly shellNow: Effect.Effect<ShellService, Unavailable>
  /**
   * To be called before something begins in the guest. What it gives takes an error of that: if it is a reboot's, and the guest may reboot, it
   * waits until the guest is ready again, and says that it is.
   */
  readonly nextBoot: () => (error: unknown) => Effect.Effect<boolean>
  /** The hypervisor of a running machine, booting or not; starts one that was never started. */
  readonly hypervisor: Effect.Effect<Hypervisor, Unavailable>
  /** The control channel of a running machine; waits for one that is being connected again. Starts one that was never started. */
  readonly control: Effect.Effect<ControlService, Unavailable>
  /** The console of the machine as it runs, or as it ran last; starts one that was never started. */
  readonly console: Effect.Effect<Console, Unavailable>
  /** To be told when a command found the shell gone. */
  readonly shellLost: Effect.Effect<void>
  /** Fails when the machine ends unasked. */
  readonly died: Effect.Effect<never, MachineDied | BootFailed>
  readonly conditions: PollingConditions
  /** Whether the test has paused it. */
  readonly isPaused: Effect.Effect<boolean>
  readonly consoleTail: Effect.Effect<string>
  /** The folder for pictures and copied files; there from the first use on. */
  readonly output: string
  readonly fs: FileSystem.FileSystem
  /** As long as the test: for what outlives the scope it was started in. */
  readonly scope: Scope.Scope
}
