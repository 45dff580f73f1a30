/** Orders that end a guest's shell: to power off, and to reboot. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { ShellService } from "../../transport/Shell.ts"
import type { ShellError } from "../../transport/ShellError.ts"

export const powerOff = `if [ -d /run/systemd/system ]; then systemctl --no-block poweroff
else { sleep 0.1; sync; poweroff -f; } </dev/null >/dev/null 2>&1 &
fi`

export const reboot = `if [ -d /run/systemd/system ]; then systemctl --no-block reboot
else { sleep 0.1; sync; reboot -f; } </dev/null >/dev/null 2>&1 &
fi`

/** What hinders an order that was not given yet. */
export const notTaken = "the guest has not taken the command yet"

/** How long the guest may take to accept an order, before it is given again; multiplied by the backend's slowness. */
const orderTimeout = Duration.seconds(15)

/** How an order is given again to a guest that was too busy for it: after 100 ms, until the deadline of what it was given for. */
export const orderSchedule = Schedule.spaced("100 millis")

const tooBusy = (error: ShellError): boolean =>
  error._tag === "CommandTimeout" || (error._tag === "CommandRejected" && error.reason === "Busy")

export interface OrderOptions {
  readonly timeScale: number
  /** Told what is in the way of the order; empty once it was taken. */
  readonly onHindrance: (reason: string) => void
  /** Another way to give the same order, tried each time that the first did not work. */
  readonly otherwise?: Effect.Effect<unknown, unknown> | undefined
}

/** Gives an order. Errors other than a busy guest's may mean that the power was gone before the answer was out. */
export const give = (
  shell: ShellService,
  command: string,
  { onHindrance, otherwise = Effect.void, timeScale }: OrderOptions
): Effect.Effect<void> =>
  shell.execute(command, { timeout: Duration.times(orderTimeout, timeScale) }).pipe(
    Effect.tap(() => Effect.sync(() => onHindrance(""))),
    Effect.tapError((error) =>
      Effect.andThen(
        Effect.sync(() => onHindrance(error.message)),
        Effect.ignore(otherwise)
      )
    ),
    Effect.retry({ schedule: orderSchedule, while: tooBusy }),
    Effect.ignore
  )
