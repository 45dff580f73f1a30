/**
 * The life of a machine: starting, stopping, pausing, and its state.
 *
 * **Example** (A server that survives a power failure)
 *
 * ```ts
 * yield* db.succeed("psql -c 'CREATE TABLE t ()'")
 * yield* db.crash()
 * yield* db.start()
 * yield* db.succeed("psql -c 'SELECT FROM t'")
 * ```
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Stream from "effect/Stream"
import type { ControlError } from "../backends/BackendError.ts"
import * as Arguments from "../guest/Arguments.ts"
import type { CommandFailed } from "../guest/Command.ts"
import type { CutShort, DeadlineError, Unavailable, WaitError } from "../guest/Guest.ts"
import type { MachineState } from "../guest/MachineEvent.ts"
import type { PollingConditionFailed } from "../guest/PollingCondition.ts"
import { WaitOptions } from "../guest/Timeout.ts"

/** A reboot was asked for or waited for, and the declaration does not allow it: without `allowReboot` a reboot ends the machine. */
export class RebootNotAllowed extends Schema.TaggedError<RebootNotAllowed>()("RebootNotAllowed", {
  machine: Schema.String
}) {
  override get message() {
    return `${this.machine} cannot reboot: declare it with allowReboot: true`
  }
}

/** The guest is not in a systemd initrd, so there is no other root to go to. */
export class NotInInitrd extends Schema.TaggedError<NotInInitrd>()("NotInInitrd", { machine: Schema.String }) {
  override get message() {
    return `${this.machine} is not in an initrd that runs systemd: there is no /etc/initrd-release`
  }
}

/** What pausing or resuming a machine can fail with. */
export type PauseError = Unavailable | ControlError | PollingConditionFailed

/** The life of a machine. */
export interface LifeMethods {
  /** Starts the machine and waits until it is ready: commands, addresses and names work. Nothing happens if it runs already. */
  readonly start: () => Effect.Effect<void, CutShort>
  /** Asks the guest to power off, and waits until it has; a kernel that panics meanwhile is a `MachineDied`. Nothing happens if the machine does not run. */
  readonly shutdown: (options?: WaitOptions) => Effect.Effect<void, Unavailable | DeadlineError>
  /** Ends the machine at once, like a power failure. The test does not fail, since it asked for this. Nothing happens if the machine does not run. */
  readonly crash: () => Effect.Effect<void>
  /** Reboots the guest and waits until it is ready again. The machine must be declared with `allowReboot`. */
  readonly reboot: (options?: WaitOptions) => Effect.Effect<void, Unavailable | DeadlineError | RebootNotAllowed>
  /**
   * Waits until the guest has rebooted by itself, and is ready in its new boot. The machine must be declared with `allowReboot`.
   *
   * A reboot counts once: one that happened before the call counts if no `waitForReboot` has reported it, so nothing is missed between
   * `succeed("systemctl reboot")` and this. Reboots by `reboot()` do not count, and neither does a kernel panic, which ends the machine.
   */
  readonly waitForReboot: (options?: WaitOptions) => Effect.Effect<void, Unavailable | DeadlineError | RebootNotAllowed>
  /**
   * Switches from the initrd to the real root, and waits until the guest is ready there.
   *
   * For guests whose initrd runs systemd and a shell for the driver. The programs of the initrd end.
   */
  readonly switchRoot: (options?: WaitOptions) => Effect.Effect<void, WaitError | CommandFailed | NotInInitrd>
  /** Waits until the machine has ended, for whatever reason. */
  readonly waitForShutdown: (options?: WaitOptions) => Effect.Effect<void, PollingConditionFailed | DeadlineError>
  /** Whether the machine runs, ready or not. */
  readonly isUp: () => Effect.Effect<boolean>
  /**
   * Stops the guest's processors and its time.
   *
   * A command or wait that is under way fails with `ShellLost` when the guest has not answered for half a minute. Fails if the machine is not
   * running; it does not start it.
   */
  readonly pause: () => Effect.Effect<void, PauseError>
  /** Resumes a paused guest. Nothing happens if it runs. */
  readonly resume: () => Effect.Effect<void, PauseError>
  /** The current state, then every later one. Fails when a polling condition does, like every wait of the test. */
  readonly state: Stream.Stream<MachineState, PollingConditionFailed>
}

const awaited = Arguments.takes({ options: Schema.optional(WaitOptions) })
const nothing = Arguments.takes({})

/** What its methods take. */
export const parameters = Arguments.of<LifeMethods>({
  start: nothing,
  shutdown: awaited,
  crash: nothing,
  reboot: awaited,
  waitForReboot: awaited,
  switchRoot: awaited,
  waitForShutdown: awaited,
  isUp: nothing,
  pause: nothing,
  resume: nothing
})
