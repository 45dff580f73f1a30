/**
 * The lanes of one guest, and the sessions with its bootstrap shell.
 *
 * A session begins when the bootstrap shell answers and is given the agent. It ends when the connection closes, the guest
 * reboots, or nothing answers the heartbeat any more; then every lane is lost and the next session is sought.
 *
 * ```
 * the process that made the shell, where one did
 * ├─ Lane server   (GenServer)           who has which lane, who waits for one, when more are started
 * └─ Lanes         (DynamicSupervisor)   one for each session; restarts a lane that ended
 *    ├─ lane 1
 *    └─ lane 2 …
 * ```
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as GenServer from "../../actors/GenServer.ts"
import type { ShellNotReady } from "../ShellError.ts"
import { below } from "./below.ts"
import * as Bootstrap from "./bootstrap.ts"
import type { LaneEnd } from "./lane.ts"
import * as LaneProcess from "./laneProcess.ts"
import * as LaneServer from "./laneServer.ts"
import type { AgentShell } from "./request.ts"
import * as Session from "./session.ts"
import * as Sessions from "./sessions.ts"

/** The lanes of one guest. */
export interface Lanes {
  readonly guest: () => AgentShell
  /** Takes an idle lane, or waits for one: where there is no session, for the next one's. */
  readonly acquire: Effect.Effect<LaneEnd, ShellNotReady | LaneServer.SessionEnded>
  /** Waits until the session that is on ends, or the next one where none is, and says why. */
  readonly lost: Effect.Effect<string>
  /** how many lanes there can be */
  readonly most: number
  /** that of the transport */
  readonly slowness: number
  /** Whether the guest's shell is awaited, lanes are starting, or all there can be are in use. */
  readonly state: () => "awaited" | "starting" | "full"
  /** Sends a signal to the process group of the command with this nonce. False says that the guest has not started it yet. */
  readonly signal: (lane: LaneEnd, nonce: string, signal: string) => Effect.Effect<boolean>
  /**
   * For a guest that is to be saved: starts the lanes that its forks will want, and waits until every lane either runs a command or has
   * made what its next one becomes; six seconds at most.
   */
  readonly awaitIdle: Effect.Effect<void>
  /** Everything under way is lost; the bootstrap shell is asked again. */
  readonly reset: (reason: string) => Effect.Effect<void>
}

/** A lane makes its next process in some 50 ms of an emulated guest; one with a command's child still writing takes as long as that. */
const longestRest = Duration.seconds(1)

/** How often it is looked at whether lanes start, and a guest is asked whether its lanes are at rest. */
export const askIdle = Schedule.spaced("10 millis")

/**
 * How many lanes a guest has that is to be saved, and how long those that start may take: in a fork they wait for commands at once, while
 * each one that starts costs an emulated guest some 200 ms.
 */
const reserved = 8
const longestReserve = "5 seconds"

/** The longest time from a shell that answers to a session, or to the failure of the attempt. */
const longestInstall = Duration.minutes(5)

/** How long the bootstrap shell may take to pass a signal on. */
const signalTimeout = "2 seconds"

/** Opens the lanes; returns when the guest's shell has the agent and the first lane is being started. */
export const make = Effect.fnUntraced(function* (
  options: Sessions.SessionsOptions
): Effect.fn.Return<Lanes, ShellNotReady, Scope.Scope> {
  const { transport } = options
  const bootstrap = Bootstrap.make(options)
  const { notReady } = bootstrap
  const table = new Session.LaneTable()
  const clock = yield* Clock.Clock
  table.since = clock.currentTimeMillisUnsafe()
  let closed = false
  let quickest = Number.POSITIVE_INFINITY

  const definition = LaneServer.make(
    {
      transport,
      table,
      quickest: () => quickest,
      process: (number, session, waiting) => laneProcess(number, session, waiting)
    },
    () => clock.currentTimeMillisUnsafe()
  )
  const server = yield* below(GenServer.startLink(definition, []), GenServer.scoped(definition, []), { linked: true })
  const { note, tell } = LaneServer.client(server)
  const failAll = (error: ShellNotReady) => tell("fail", error)
  const laneProcess = LaneProcess.make({
    transport,
    table,
    onStart: (took) => {
      quickest = Math.min(quickest, took)
    },
    onIdle: (lane) => note(LaneServer.Note.free(lane)),
    onEnd: (lane) => note(LaneServer.Note.lost(lane)),
    onHopeless: (reason, waited) => Effect.flatMap(notReady(reason, waited), failAll)
  })
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      closed = true
      return Effect.flatMap(notReady("the shell was closed", Duration.zero), failAll)
    })
  )

  const sessions = yield* Sessions.seek({ ...options, bootstrap, table, tell })

  /** Ends every wait: fails when the search for a session has taken longer than finding one, or failing to, can take. */
  const limit = Duration.sum(options.bootTimeout, longestInstall)
  const searchTimeout: Effect.Effect<never, ShellNotReady> = Duration.isFinite(limit)
    ? Effect.suspend(() => {
        const sought = table.session === undefined ? clock.currentTimeMillisUnsafe() - table.since : 0
        const left = Duration.toMillis(limit) - sought
        return left > 0
          ? Effect.andThen(Effect.sleep(left), searchTimeout)
          : Effect.flatMap(notReady("the search for the guest's shell timed out", Duration.millis(sought)), Effect.fail)
      })
    : Effect.never

  const acquire = Effect.suspend((): Effect.Effect<LaneEnd, ShellNotReady | LaneServer.SessionEnded> => {
    const never = closed ? "the shell was closed" : table.gone
    if (never !== undefined) return Effect.flatMap(notReady(never, Duration.zero), Effect.fail)
    const ticket = new LaneServer.Ticket()
    return GenServer.call(server, "take", ticket, { timeout: "Infinity" }).pipe(
      Effect.catch(() => Effect.flatMap(notReady("the shell was closed", Duration.zero), Effect.fail)),
      Effect.flatMap((lane) =>
        lane === undefined ? Effect.raceFirst(Deferred.await(ticket.given), searchTimeout) : Effect.succeed(lane)
      ),
      Effect.onError(() => Effect.sync(() => note(LaneServer.Note.leave(ticket))))
    )
  })

  return {
    guest: sessions.guest,
    acquire,
    lost: Effect.suspend(() => Deferred.await(table.nextLoss)),
    most: transport.lanes,
    slowness: transport.slowness,
    state: () => {
      const { lanes, session, starting } = table
      if (session === undefined) return "awaited"
      return Session.isFull(session, transport) && lanes.size >= transport.lanes && starting === 0 ? "full" : "starting"
    },
    signal: (lane, token, signal) =>
      table.session === undefined
        ? Effect.succeed(true)
        : table.session.admin.ask(`_vt_kill ${lane.number} ${token} ${signal} 2>/dev/null`, signalTimeout).pipe(
            Effect.map((answer) => answer !== ""),
            Effect.catch(() => Effect.succeed(true))
          ),
    awaitIdle: Effect.andThen(tell("reserve", reserved), awaitIdle(table)),
    reset: (reason) =>
      Effect.andThen(
        tell("end", reason),
        Effect.sync(() => {
          Deferred.doneUnsafe(table.restart, Effect.succeed(reason))
        })
      )
  }
})

/** Waits for lanes that start, and then until every lane either runs a command or has made what its next one becomes. */
const awaitIdle = (table: Session.LaneTable): Effect.Effect<void> => {
  const started = Effect.sync(() => {
    const { lanes, session, starting } = table
    return session === undefined || (starting === 0 && lanes.size >= session.started - session.spare.length)
  })
  const rest = Effect.gen(function* () {
    if (table.session === undefined) return true
    const idle = [...table.lanes].filter(({ state }) => state === "idle").map(({ number }) => number)
    const said = yield* table.session.admin.ask(`_vt_waiting ${idle.join(" ")}`, longestRest)
    const waiting = said.split(" ").map(Number)
    return [...table.lanes].every(
      ({ number, state }) => state === "busy" || state === "broken" || waiting.includes(number)
    )
  })
  const until = <E>(look: Effect.Effect<boolean, E>, limit: Duration.Input) =>
    Effect.repeat(look, { schedule: askIdle, until: (yes) => yes }).pipe(Effect.timeoutOption(limit), Effect.ignore)
  return Effect.andThen(until(started, longestReserve), until(rest, longestRest))
}
