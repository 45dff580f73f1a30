/**
 * The default deadlines of waits, boots and commands.
 *
 * **Example** (A part of a test with shorter waits)
 *
 * ```ts
 * const deadlines = { ...(yield* Deadlines), wait: Duration.seconds(20) }
 * yield* web.waitForUnit("nginx").pipe(Effect.provideService(Deadlines, deadlines))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"

/**
 * The deadlines of a run or a test.
 *
 * - `wait`: for each wait (`waitForUnit`, `waitForFile`, …). Default 5 minutes.
 * - `boot`: from the start of the hypervisor, or a reboot, until a shell answers. Default 5 minutes. Then everything that waits for the machine,
 *   also a command with a shorter timeout, fails with `BootFailed`.
 * - `command`: for each command. Default 15 minutes.
 *
 * `wait` and `boot` are multiplied by the backend's `timeScale` (3 under emulation). A `timeout` that a call gives is not.
 */
export interface DeadlineSettings {
  readonly wait: Duration.Duration
  readonly boot: Duration.Duration
  readonly command: Duration.Duration
}

/** The current deadlines; provide another value for a run, a test or a part of one. */
export const Deadlines = Context.Reference<DeadlineSettings>("vmtest/machine/Deadlines", {
  defaultValue: () => ({ wait: Duration.minutes(5), boot: Duration.minutes(5), command: Duration.minutes(15) })
})
