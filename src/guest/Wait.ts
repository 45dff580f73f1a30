/**
 * Waiting on a guest: with a deadline, until it dies, and under the test's polling conditions.
 *
 * Two kinds of waits look again and again: `poll` from the host, by a `Schedule`; `waitInGuest` with one command that loops in the guest, with
 * an `interval`. Everything else waits for an event.
 *
 * **Example** (A wait that polls)
 *
 * ```ts
 * const attempt = Effect.map(Run.execute(guest, "uptime"), ({ stdout }) => (stdout.includes("load") ? stdout : undefined))
 * wait(guest, {
 *   name: "waitForLoad",
 *   awaited: "a load average",
 *   options,
 *   until: poll(attempt, Schedule.spaced("1 second")),
 *   lastSeen: Effect.succeed("no load average")
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Schedule from "effect/Schedule"
import * as Semaphore from "effect/Semaphore"
import type { CommandResult, ShellService } from "../transport/Shell.ts"
import { ShellLost } from "../transport/ShellError.ts"
import { type Attributes, guard } from "./Action.ts"
import { disconnect } from "./Disconnect.ts"
import type { CutShort, DeadlineError, Guest, GuestPollOptions, Unavailable, WaitError, WaitOptions } from "./Guest.ts"
import { intervalOf, pauseFunction } from "./internal/pause.ts"
import { WaitTimeout } from "./MachineError.ts"
import { pausedMessage } from "./Paused.ts"
import { relabel, withoutTimeout } from "./Run.ts"
import { timeoutOf } from "./Timeout.ts"

interface Awaited {
  /** The method of the machine, where the wait is all of it; else the span is the method's to make. */
  readonly name?: string
  readonly attributes?: Attributes
  /** Completes "waited 5s for …". */
  readonly awaited: string
  readonly options: WaitOptions | undefined
}

interface Wait<A, E> extends Awaited {
  /** Answers when it holds; a `poll` in it whose schedule ends, ends the wait. */
  readonly until: Effect.Effect<A, E>
  /** Whether it is lost in a reboot of the guest. By default it begins again in the next boot, if the guest may reboot. */
  readonly once?: boolean
  /** The current state, for the error; asked at the deadline, for at most five seconds. */
  readonly lastSeen: Effect.Effect<string, unknown>
}

/** A poll whose schedule ended before what it waits for came true. */
class PollEnded extends Data.TaggedError("PollEnded") {}

/** Looks again and again by a schedule, until a look gives something. */
export const poll = <A, E, R>(
  look: Effect.Effect<A | undefined, E, R>,
  schedule: Schedule.Schedule<unknown>
): Effect.Effect<A, E | PollEnded, R> =>
  Effect.flatMap(Effect.repeat(look, { schedule, until: (found) => found !== undefined }), (found) =>
    found === undefined ? Effect.fail(new PollEnded()) : Effect.succeed(found)
  )

/** Begins again what was lost because the guest rebooted, in its next boot. */
const acrossReboots = <A, E>(guest: Guest, until: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.suspend(() => {
    const back = guest.nextBoot()
    return Effect.catch(until, (error) =>
      Effect.flatMap(back(error), (again) => (again ? acrossReboots(guest, until) : Effect.fail(error)))
    )
  })

/** How long the guest may take to say why a wait timed out. */
const lastSeenTimeout = "5 seconds"

/** Waits on the guest, raced against its death, the polling conditions and the deadline. */
export const wait = <A, E>(
  guest: Guest,
  { attributes, awaited, lastSeen, name, once = false, options, until }: Wait<A, E>
): Effect.Effect<A, Exclude<E, PollEnded> | CutShort | DeadlineError> =>
  Effect.gen(function* () {
    const timeout = yield* timeoutOf(guest, options)
    const started = yield* Clock.currentTimeMillis
    const timedOut = Effect.gen(function* () {
      const waited = Duration.millis((yield* Clock.currentTimeMillis) - started)
      const asked = disconnect(lastSeen).pipe(
        Effect.timeoutOrElse({
          duration: lastSeenTimeout,
          orElse: () => Effect.succeed("the guest did not answer within 5 seconds")
        }),
        Effect.catch((error) => Effect.succeed(String(error)))
      )
      const seen = (yield* guest.isPaused) ? pausedMessage : yield* asked
      const console = yield* guest.consoleTail
      return yield* new WaitTimeout({ machine: guest.name, awaited, waited, lastSeen: seen, console })
    })
    const doing = `waiting for ${awaited}`
    const { value } = yield* guard(
      guest,
      name === undefined ? doing : { name, doing, attributes: { awaited, ...attributes } },
      Effect.timeoutOrElse(disconnect(once ? until : acrossReboots(guest, until)), {
        duration: timeout,
        orElse: () => timedOut
      }).pipe(
        Effect.catch((error) =>
          error instanceof PollEnded ? timedOut : Effect.fail(error as Exclude<E, PollEnded> | WaitTimeout)
        ),
        // The exit code of a loop in the guest is that of its last pause: nothing to report.
        Effect.map((value) => ({ value }))
      )
    )
    return value
  })

/** Uses the guest's shell until that is lost: between two commands of a poll nothing runs that would notice. */
export const untilShellLost = <A, E>(
  guest: Guest,
  command: string,
  use: (shell: ShellService) => Effect.Effect<A, E>
): Effect.Effect<A, E | ShellLost | Unavailable> =>
  Effect.flatMap(guest.shell, (shell) => {
    const lost = Effect.gen(function* () {
      const reason = yield* shell.lost
      const console = yield* guest.consoleTail
      return yield* new ShellLost({ machine: guest.name, command, reason, stdout: "", stderr: "", console })
    })
    return Effect.raceFirst(disconnect(use(shell)), lost)
  })

/** Waits that loop in a guest leave this many of its lanes to commands, which may be what ends them. */
const reservedLanes = 2

const waitSlots = new WeakMap<ShellService, Semaphore.Semaphore>()
const waitSlotsOf = (shell: ShellService): Semaphore.Semaphore => {
  const found = waitSlots.get(shell) ?? Semaphore.makeUnsafe(Math.max(1, shell.lanes - reservedLanes))
  waitSlots.set(shell, found)
  return found
}

interface InGuest extends Awaited {
  readonly options: GuestPollOptions | undefined
  /** Shell text that ends when the condition holds; it calls `pause` between two looks. Runs without `set -eu`. */
  readonly loop: string
  /** Shell text that prints the current state. */
  readonly look: string
  /** What is shown of what that printed. Default: all of it. */
  readonly shown?: ((text: string) => string) | undefined
}

/** Waits with one command that loops in the guest and ends when the condition holds. */
export const waitInGuest = Effect.fnUntraced(function* (
  guest: Guest,
  { look, loop, shown = (text) => text, ...awaited }: InGuest
): Effect.fn.Return<CommandResult, WaitError> {
  const interval = intervalOf(awaited.options)
  let queued = false
  const command = `waiting for ${awaited.awaited}`
  const run = (shell: ShellService) => {
    queued = true
    return waitSlotsOf(shell).withPermits(1)(
      Effect.suspend(() => {
        queued = false
        return shell.execute(`set +eu\n${pauseFunction(interval)}\n${loop}`, { timeout: Duration.infinity })
      })
    )
  }
  return yield* wait(guest, {
    ...awaited,
    until: Effect.mapError(withoutTimeout(untilShellLost(guest, command, run)), relabel(command)),
    lastSeen: Effect.map(
      Effect.flatMap(guest.shell, (shell) => shell.execute(look, { timeout: lastSeenTimeout })),
      ({ stderr, stdout }) =>
        (queued ? "this wait has not started: too many other waits run in the guest\n" : "") + shown(stdout) + stderr
    )
  })
})
