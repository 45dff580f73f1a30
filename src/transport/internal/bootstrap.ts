/**
 * The way to a guest's bootstrap shell: connecting until it answers, telling how that goes, and giving up in the end.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { Connection } from "../Connection.ts"
import type { BootProgress } from "../Shell.ts"
import { ShellNotReady, type TransportError } from "../ShellError.ts"
import type { TransportService } from "../Transport.ts"
import * as Admin from "./admin.ts"

/** What it takes to find a bootstrap shell. */
export interface BootstrapOptions {
  readonly transport: TransportService
  readonly bootTimeout: Duration.Duration
  readonly consoleTail: Effect.Effect<string>
  readonly onProgress: (progress: BootProgress) => Effect.Effect<void>
}

/** A bootstrap shell that answers. */
export interface Link {
  readonly connection: Connection
  readonly admin: Admin.Admin
  /** `ready` completes when the shell says that it has started; replaced by whoever waits for the next time. */
  readonly link: { ready: Deferred.Deferred<void> }
}

/** The way to the bootstrap shell of one guest. */
export interface Bootstrap {
  /** The error of a shell that is not there, with what the console said last. */
  readonly notReady: (reason: string, waited: Duration.Duration) => Effect.Effect<ShellNotReady>
  /** Runs while the bootstrap shell is awaited: tells how the boot goes, and gives up in the end. */
  readonly awaiting: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | ShellNotReady, R>
  /** Connects to the bootstrap shell until it answers. The connection ends with the scope. */
  readonly connect: Effect.Effect<Link, TransportError, Scope.Scope>
}

/** When the progress of a long boot is reported again: 10 s after the first report, then after 20 s, then every 30 s. */
export const progressSchedule = Schedule.min([Schedule.exponential("10 seconds"), Schedule.spaced("30 seconds")])

/** How long a boot may take before its progress is reported for the first time. */
export const quietBoot = "10 seconds"

/** When a bootstrap shell that did not answer is connected to again. */
export const reconnect = Schedule.spaced("50 millis")

/** A connection without a single byte for so long is made again. */
const longestSilence = Duration.seconds(1)

/**
 * As {@link longestSilence}, for a connection that the guest has accepted: it answers, but a guest that is short of time takes its time for that, and each
 * connection makes it slower. So each silent one is given twice as long as the one before.
 */
const silenceOf = ({ accepted }: TransportService, silent: number): Duration.Duration =>
  accepted === true ? Duration.times(longestSilence, 2 ** Math.min(silent, 5)) : longestSilence

/** The way to the bootstrap shell of one guest. */
export const make = ({ bootTimeout, consoleTail, onProgress, transport }: BootstrapOptions): Bootstrap => {
  const { machine } = transport

  const notReady = (reason: string, waited: Duration.Duration) =>
    Effect.map(consoleTail, (console) => new ShellNotReady({ machine, reason, waited, console }))

  /** Tells how a boot goes, at 10 s, 20 s, 40 s, 70 s, … */
  const progress = Effect.flatMap(Clock.currentTimeMillis, (begun) => {
    const tell = Effect.gen(function* () {
      const waited = Duration.millis((yield* Clock.currentTimeMillis) - begun)
      yield* onProgress({ machine, waited, console: yield* consoleTail })
    })
    return Effect.andThen(Effect.delay(tell, quietBoot), Effect.schedule(tell, progressSchedule))
  })

  const awaiting = <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.raceFirst(self, Effect.andThen(progress, Effect.never)).pipe(
      Effect.timeoutOrElse({
        duration: bootTimeout,
        orElse: () => Effect.flatMap(notReady("the bootstrap shell did not answer", bootTimeout), Effect.fail)
      })
    )

  /** How many connections in a row were silent. */
  let silent = 0

  /** Whether the connection is one that a saved guest had, and was not used yet. */
  let attached = (transport.attached?.() ?? []).length > 0

  /**
   * One connection to the bootstrap shell, if that answers.
   *
   * A connection on which nothing at all is heard is made again after a second: with many ports on one bus QEMU can lose the
   * message that tells the guest that the host is there (its control queue has 32 places, and what does not fit is
   * dropped), and then the guest waits for ever. A shell that is there says its ready line at once.
   */
  const attempt = Effect.gen(function* () {
    const connection = yield* transport.bootstrap
    const link = { ready: Deferred.makeUnsafe<void>() }
    const admin = Admin.make(connection, () => {
      Deferred.doneUnsafe(link.ready, Effect.void)
    })
    const silence = Effect.delay(
      Effect.suspend(() => {
        if (admin.heard()) return Effect.never
        silent++
        return Effect.succeed(false)
      }),
      silenceOf(transport, silent)
    )
    // A guest that goes on has its shell, which is asked for its agent first of all. A new connection would end it.
    const goesOn = attached
    attached = false
    const answered =
      goesOn ||
      (yield* Effect.raceAllFirst([
        // A connection that broke is made again like one that closed.
        Effect.match(admin.awake, { onSuccess: () => true, onFailure: () => false }),
        transport.reconnects ? silence : Effect.never,
        Effect.as(connection.closed, false)
      ]))
    if (!answered) return undefined
    silent = 0
    return { connection, admin, link }
  })

  const connect = Effect.gen(function* () {
    const outer = yield* Effect.scope
    const once = Effect.gen(function* () {
      const scope = yield* Scope.fork(outer)
      return yield* Scope.provide(attempt, scope).pipe(
        Effect.onExit((exit) =>
          exit._tag === "Success" && exit.value !== undefined ? Effect.void : Scope.close(scope, Exit.void)
        )
      )
    })
    const link = yield* Effect.repeat(once, { schedule: reconnect, until: (found) => found !== undefined })
    return link ?? (yield* Effect.never)
  })

  return { awaiting, connect, notReady }
}
