/** When a guest that boots has come to rest: the point at which a machine is saved that others continue from. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { ControlService } from "../../backends/Backend.ts"
import type { ShellService } from "../../transport/Shell.ts"
import * as KeptTime from "./keptTime.ts"
import * as renew from "./renew.ts"

/**
 * How long a boot may take to settle once its shell answers. One that takes longer, because a unit waits for something that only a test
 * brings, is as settled as it will be.
 */
const within = Duration.seconds(30)

/** Returns when systemd has started all that it starts at a boot, or failed to. */
const script = `set +eu
${renew.install}if [ -d /run/systemd/system ]; then systemctl is-system-running --wait >/dev/null 2>&1; fi
exit 0`

/** Waits until a guest has settled, or for as long as that may take. */
export const settle = (shell: ShellService, timeScale: number): Effect.Effect<void> =>
  Effect.ignore(shell.execute(script, { timeout: Duration.times(within, timeScale) }))

/** The units that systemd is starting, a name on each line. */
const jobs = `set +eu
systemctl list-jobs --no-legend 2>/dev/null | while read -r _ unit type state; do [ "$state" = running ] && echo "$unit"; done
exit 0`

/** What a guest that has not settled waits for. */
export const unsettled = (shell: ShellService): Effect.Effect<string> =>
  shell.execute(jobs, { timeout: "5 seconds" }).pipe(
    Effect.map(({ stdout }) => stdout.trim().replaceAll("\n", ", ")),
    Effect.orElseSucceed(() => ""),
    Effect.map((units) => {
      const what = units === "" ? "all that starts at a boot" : units
      return `its shell answers, and it is saved for later runs when systemd has started ${what}`
    })
  )

/** The same control channel, which saves its guest once that is ready to take a command, and gives it the time afterwards. */
export const savingWhenIdle = (control: ControlService, shell: ShellService): ControlService => ({
  ...control,
  save: (directory) => KeptTime.through(Effect.succeed(shell), Effect.andThen(shell.awaitIdle, control.save(directory)))
})
