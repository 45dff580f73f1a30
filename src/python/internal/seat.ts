/** A machine as a script has it: what was noted of it between the script's calls. */
import * as Os from "node:os"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Places from "../../driver/Places.ts"
import type { Machine } from "../../machine/Machine.ts"
import type { QmpEvent } from "../../transport/qmp/Qmp.ts"
import type { Environment, StartScriptsService } from "../StartScripts.ts"

/** The console of one boot, as the lines that are complete and what follows them. */
interface ConsoleText {
  readonly boot: number
  readonly lines: Array<string>
  partial: string
  ended: boolean
  /** Resolves at the next change. */
  changed: Deferred.Deferred<void>
}

export interface Seat {
  readonly machine: Machine
  readonly places: Places.Places
  readonly scripts: StartScriptsService
  /** As long as the script. */
  readonly scope: Scope.Scope
  /** Whether its declaration says what a reboot does; otherwise each start says it. */
  readonly rebootIsDeclared: boolean
  readonly events: Queue.Queue<QmpEvent>
  console: ConsoleText
  /** Whether a reboot keeps the machine as it runs. */
  mayReboot: boolean
  /** Whether the script was told how the last start failed, by an exception of what waited for it. */
  told: boolean
  /** A guest that goes down is still ready for a while: commands wait for this first. */
  back: Effect.Effect<void, unknown>
}

const noConsole = (boot: number): ConsoleText => ({
  boot,
  lines: [],
  partial: "",
  ended: false,
  changed: Deferred.makeUnsafe()
})

/** How many events wait for a script that does not take them; the oldest go first. */
const keptEvents = 10_000

export const make = (
  options: Pick<Seat, "machine" | "places" | "scripts" | "scope" | "rebootIsDeclared">
): Effect.Effect<Seat> =>
  Effect.map(Queue.sliding<QmpEvent>(keptEvents), (events) => ({
    ...options,
    events,
    console: noConsole(0),
    mayReboot: true,
    told: false,
    back: Effect.void
  }))

const isRunning = ({ machine, places }: Seat): boolean =>
  ["booting", "ready", "paused"].includes(places.state(machine.name) ?? "stopped")

/** Whether it runs, ready or not. */
export const isBooted = isRunning

/** Whether commands work. */
export const isConnected = ({ machine, places }: Seat): boolean =>
  ["ready", "paused"].includes(places.state(machine.name) ?? "stopped")

/** Runs beside the script; a failure is the script's to find when it uses the machine. */
const beside = <A, E>(seat: Seat, effect: Effect.Effect<A, E>) =>
  Effect.forkIn(Effect.exit(effect), seat.scope, { startImmediately: true })

const change = (text: ConsoleText): void => {
  const { changed } = text
  text.changed = Deferred.makeUnsafe()
  Deferred.doneUnsafe(changed, Effect.void)
}

const append = (text: ConsoleText, chunk: string): void => {
  const [first = "", ...rest] = chunk.split("\n")
  const last = rest.pop()
  if (last === undefined) text.partial += first
  else {
    text.lines.push(text.partial + first, ...rest)
    text.partial = last
  }
  change(text)
}

/** Notes the console and the events of a boot that has begun. */
const listen = Effect.fnUntraced(function* (seat: Seat) {
  const text = noConsole(seat.console.boot + 1)
  seat.console = text
  yield* beside(
    seat,
    seat.machine.console.pipe(
      Stream.runForEach((chunk) => Effect.sync(() => append(text, chunk))),
      Effect.ensuring(
        Effect.sync(() => {
          text.ended = true
          change(text)
        })
      )
    )
  )
  yield* beside(
    seat,
    Stream.runForEach(seat.machine.qmpEvents, (event) => Queue.offer(seat.events, event))
  )
})

/** QEMU's `-no-reboot`, for a machine that is declared so that it could. */
const endAtReboot = ({ machine }: Seat) => machine.qmp("set-action", { reboot: "shutdown" })

/** A start that a script asks for. */
export interface Start {
  readonly allowReboot: boolean
  readonly environment: Environment
}

/**
 * Starts the machine if it does not run, without waiting for it. Gives whether it was started. Why it does not boot is told to whatever waits for it, or
 * uses it first.
 */
export const start = Effect.fnUntraced(function* (seat: Seat, { allowReboot, environment }: Start) {
  const { machine, rebootIsDeclared, scripts } = seat
  if (isRunning(seat)) {
    // Another part of the test has started it.
    if (seat.console.boot === 0) yield* listen(seat)
    return false
  }
  yield* scripts.beforeStart(machine.name, { environment, allowReboot })
  const start = Effect.catchTags(machine.start(), {
    // One that did not come up has been started all the same.
    BootFailed: () => Effect.void,
    MachineDied: () => Effect.void
  })
  const starting = yield* beside(seat, start)
  const runs = Stream.runHead(Stream.filter(machine.state, (state) => state !== "stopped" && state !== "crashed"))
  const failed = Effect.flatMap(Fiber.join(starting), (exit) => exit)
  yield* Effect.raceFirst(runs, failed)
  seat.back = Effect.void
  seat.told = false
  seat.mayReboot = rebootIsDeclared || allowReboot
  yield* listen(seat)
  if (!seat.mayReboot) yield* beside(seat, endAtReboot(seat))
  return true
})

/**
 * Waits until QEMU answers, where a start script starts it: the script may be wrong, or end without QEMU. The machine of a declaration is not waited for,
 * since it may first have to be saved as a snapshot.
 */
export const launched = (seat: Seat): Effect.Effect<void, unknown> =>
  Effect.suspend(() => {
    const { machine, places } = seat
    if (places.startCommand(machine.name) === undefined) return hasRun(seat)
    return Effect.onError(places.launched(machine.name), () => tell(seat))
  })

const tell = (seat: Seat) =>
  Effect.sync(() => {
    seat.told = true
  })

/** Fails with why a machine did not start or boot that the script takes for one that has run and ended, unless it knows. */
export const hasRun = (seat: Seat): Effect.Effect<void, unknown> =>
  Effect.suspend(() => {
    const { machine, places, told } = seat
    const end = places.end(machine.name)
    const isBroken = end?.loss._tag === "BootFailed" && end.exit === undefined
    if (told || !isBroken || places.state(machine.name) !== "crashed") return Effect.void
    return Effect.andThen(tell(seat), Effect.fail(end.loss))
  })

/** As Python's subprocess tells it: negative is a signal. Null while the machine runs, and before its first start. */
export const exitCode = ({ machine, places }: Seat): number | null => {
  const end = places.end(machine.name)
  if (end === undefined) return null
  // What vmtest ends, it kills.
  const { exitCode, signal = "SIGKILL" } = end.exit ?? {}
  const signals: Readonly<Record<string, number>> = Os.constants.signals
  return exitCode ?? -(signals[signal] ?? Os.constants.signals.SIGKILL)
}

/** As the methods of TypeScript do: what uses a machine that was never started starts it. */
export const begun = (seat: Seat): Effect.Effect<void, unknown> =>
  Effect.suspend(() =>
    seat.console.boot > 0 ? Effect.void : Effect.asVoid(start(seat, { allowReboot: false, environment: {} }))
  )

/** Waits until commands reach the guest that the script means. */
export const reached = (seat: Seat): Effect.Effect<void, unknown> =>
  Effect.andThen(
    begun(seat),
    Effect.suspend(() => seat.back)
  )

/** Has commands wait for the end of a reboot that runs beside the script. */
export const rebooting = Effect.fnUntraced(function* (seat: Seat) {
  const rebooted = yield* beside(seat, seat.machine.reboot({ timeout: Infinity }))
  seat.back = Effect.flatMap(Fiber.join(rebooted), (exit) => exit)
})

/** How long a guest may take to go down that the script expects to. */
const goingDown = "1 minute"

/** The script expects the guest to go down: has commands wait until it did, and by themselves they wait until it is back. */
export const disconnected = Effect.fnUntraced(function* (seat: Seat) {
  if (!isConnected(seat)) return
  const down = Stream.runHead(Stream.filter(seat.machine.state, (state) => state !== "ready"))
  const gone = yield* beside(seat, Effect.timeoutOption(down, goingDown))
  seat.back = Effect.asVoid(Fiber.join(gone))
})

/** What the console says after its first `after` lines: once there is more than `partial`, or it has ended, or the time is over. */
export const consoleLines = Effect.fnUntraced(function* (
  seat: Seat,
  {
    after,
    boot,
    partial,
    timeout
  }: Readonly<Record<"after" | "boot" | "timeout", number>> & { readonly partial: string }
) {
  yield* begun(seat)
  const look = Effect.suspend((): Effect.Effect<void> => {
    const text = seat.console
    const isNews = text.boot !== boot || text.lines.length > after || text.partial !== partial || text.ended
    return isNews ? Effect.void : Effect.andThen(Deferred.await(text.changed), look)
  })
  yield* timeout === 0 ? Effect.void : Effect.timeoutOption(look, timeout)
  const text = seat.console
  const from = text.boot === boot ? after : 0
  return { boot: text.boot, from, lines: text.lines.slice(from), partial: text.partial, ended: text.ended }
})

/** The next event, as QEMU says it; null if none comes in time. */
export const nextEvent = Effect.fnUntraced(function* (seat: Seat, timeout: number) {
  const taken = timeout <= 0 ? Queue.poll(seat.events) : Effect.timeoutOption(Queue.take(seat.events), timeout)
  const event = yield* taken
  if (event._tag === "None") return null
  const { data, event: name, timestamp } = event.value
  return {
    event: name,
    ...(data === undefined ? {} : { data }),
    timestamp: { seconds: Math.floor(timestamp / 1000), microseconds: Math.round((timestamp % 1000) * 1000) }
  }
})
