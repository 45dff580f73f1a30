/**
 * How long things may take when the call does not say.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"

/**
 * The deadlines of a run or a test.
 *
 * - `wait`: of each wait (`waitForUnit`, `waitForFile`, …). Default 5 minutes.
 * - `boot`: from the start of the hypervisor, or a reboot, to a shell that answers. Default 5 minutes. Whatever waits for the machine
 *   meanwhile, a command with a shorter timeout too, fails with `BootFailed` then.
 * - `command`: of each command. Default 15 minutes.
 *
 * `wait` and `boot` are multiplied by the backend's slowness (3 under emulation). What a call itself asks for is taken as it is.
 */
export interface DeadlineSettings {
  readonly wait: Duration.Duration
  readonly boot: Duration.Duration
  readonly command: Duration.Duration
}

/** The deadlines in force; provide another value for a run, a test or a part of one. */
export const Deadlines = Context.Reference<DeadlineSettings>("vmtest/machine/Deadlines", {
  defaultValue: () => ({ wait: Duration.minutes(5), boot: Duration.minutes(5), command: Duration.minutes(15) })
})
