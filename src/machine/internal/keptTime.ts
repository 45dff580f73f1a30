/**
 * The clock of a guest that goes on after it was saved. It stood still meanwhile, in full where the hypervisor gives a guest its clock by `kvm-clock`, so the
 * guest is given the time that it missed. A clock that a test has set elsewhere stays ahead of the host's, or behind it, by as much as before.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { ShellService } from "../../transport/Shell.ts"
import { ShellError } from "../../transport/ShellError.ts"
import * as Identity from "./identity.ts"

const isShellError = Schema.is(ShellError)

/** How long a guest may take to prepare for a save, and to set its clock. */
const timeout = "1 minute"

/** A guest's shell can be lost meanwhile: Firecracker ends all connections of a guest that it saves. */
const again = Schedule.spaced("100 millis").pipe(Schedule.upTo({ times: 20 }))

/** A clock that differs less than this from the host's was not set by anybody; some guests print whole seconds. */
const same = 2000

/** How many milliseconds a guest's clock is ahead of the host's, from what it printed at some time between the two; undefined if that is not a time. */
export const aheadOf = (printed: string, sent: number, received: number): number | undefined => {
  // Some locales write a comma.
  const seconds = Number(printed.trim().replace(",", ".") || "none")
  if (!Number.isFinite(seconds)) return undefined
  const half = (received - sent) / 2
  const ahead = seconds * 1000 - (sent + half)
  return Math.abs(ahead) < half + same ? 0 : Math.round(ahead)
}

/** Prepares a guest that runs for a save, and looks at its clock. Gives what sets the clock afterwards, which never fails. */
export const prepare = <E>(shell: Effect.Effect<ShellService, E>): Effect.Effect<Effect.Effect<void>, E> =>
  Effect.gen(function* () {
    const now = yield* shell
    const sent = yield* Clock.currentTimeMillis
    // A guest that cannot take it yet is saved all the same.
    const said = yield* Effect.option(now.execute(Identity.beforeSaving, { timeout }))
    const ahead = Option.isNone(said) ? undefined : aheadOf(said.value.stdout, sent, yield* Clock.currentTimeMillis)
    if (ahead === undefined) return Effect.void
    const run = (script: string) => Effect.flatMap(shell, (one) => one.execute(script, { timeout }))
    return Identity.restore(run, ahead).pipe(Effect.retry({ schedule: again, while: isShellError }), Effect.ignore)
  })

/** Saves a guest that runs, by an effect during which it stands still. Its clock is right afterwards, whether it could be saved or not. */
export const through = <A, E, E2, R>(shell: Effect.Effect<ShellService, E2>, save: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const setClock = yield* prepare(shell)
    const exit = yield* Effect.exit(save)
    yield* setClock
    return yield* exit
  })
