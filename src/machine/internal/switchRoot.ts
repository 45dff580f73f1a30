/** From the first stage of a boot to the second: what is asked of a guest whose initrd runs systemd. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { ShellService } from "../../transport/Shell.ts"

/** Waits until the initrd has done its work; 3 where there is none. systemd's own mark of an initrd is that file. */
export const untilReady = `set +eu
[ -e /etc/initrd-release ] || exit 3
until systemctl is-active --quiet initrd.target; do sleep 0.05; done`

/** As in the initrd's own order of things, only now. */
export const begin = "systemctl isolate --no-block initrd-switch-root.target"

/**
 * The process that is the guest's shell for the driver, and when it started: the ancestor of this command below process 1. Processes are not
 * moved to the new root, they end; so a shell with another one is in it.
 */
export const whoAnswers = `set +eu
p=$$
while read -r stat < /proc/$p/stat; do
  set -- \${stat##*) }
  [ "$2" -gt 1 ] || break
  p=$2
done
echo "$p \${20}"`

/**
 * The same in the real root; 1 before that. What the guest's shell had started outlives it for a moment, as children of process 1, and would answer for
 * another shell: in the root of the initrd, while process 1 is there, too, and after it has gone.
 */
export const whoAnswersInRoot = `set +eu
[ ! -e /etc/initrd-release ] && [ / -ef /proc/1/root/ ] || exit 1
${whoAnswers}`

/** How often a guest that goes to its real root is asked who answers: every 100 ms. */
export const answerSchedule = Schedule.spaced("100 millis")

/** How long one answer may take. */
const answerTimeout = "15 seconds"

/** Asks until another process answers than `before`, in the real root. The one that is to go may answer, fall silent, or break off. */
export const untilAnother = (shell: Effect.Effect<ShellService, unknown>, before: string): Effect.Effect<void> =>
  shell.pipe(
    Effect.flatMap((open) => open.execute(whoAnswersInRoot, { timeout: "5 seconds" })),
    Effect.timeout(answerTimeout),
    Effect.option,
    Effect.repeat({
      schedule: answerSchedule,
      until: (answer) => Option.isSome(answer) && answer.value.exitCode === 0 && answer.value.stdout !== before
    }),
    Effect.asVoid
  )
