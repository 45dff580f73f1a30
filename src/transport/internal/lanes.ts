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
import * as Admin from "./admin.ts"
import { below } from "./below.ts"
import * as Bootstrap from "./bootstrap.ts"
import { type Heartbeat, heartbeat } from "./heartbeat.ts"
import { janitor } from "./janitor.ts"
import type { LaneEnd } from "./lane.ts"
import * as LaneProcess from "./laneProcess.ts"
import * as LaneServer from "./laneServer.ts"
import { nonce } from "./nonce.ts"
import type { AgentShell } from "./request.ts"
import * as Session from "./session.ts"

/** What the lanes of a guest need. */
export interface LanesOptions extends Bootstrap.BootstrapOptions {
  readonly heartbeat: Heartbeat
}

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

/** When a guest that has no shell, or lost it, is looked for again. */
export const retrySession = Schedule.spaced("500 millis")

/** The longest that it takes from a shell that answers to a session, or to the end of the attempt. */
const longestInstall = Duration.minutes(5)

/** How long the bootstrap shell may take to pass a signal on. */
const signalTimeout = "2 seconds"

/** Opens the lanes; returns when the guest's shell has the agent and the first lane is being started. */
export const make = Effect.fnUntraced(function* (
  options: LanesOptions
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

  const sessions = yield* seek({ ...options, bootstrap, table, tell })

  /** No wait is without an end: fails when a session has been sought for longer than it takes to find one, or to fail. */
  const limit = Duration.sum(options.bootTimeout, longestInstall)
  const abandoned: Effect.Effect<never, ShellNotReady> = Duration.isFinite(limit)
    ? Effect.suspend(() => {
        const sought = table.session === undefined ? clock.currentTimeMillisUnsafe() - table.since : 0
        const left = Duration.toMillis(limit) - sought
        return left > 0
          ? Effect.andThen(Effect.sleep(left), abandoned)
          : Effect.flatMap(
              notReady("the guest's shell is not looked for any longer", Duration.millis(sought)),
              Effect.fail
            )
      })
    : Effect.never

  const acquire = Effect.suspend((): Effect.Effect<LaneEnd, ShellNotReady | LaneServer.SessionEnded> => {
    const never = closed ? "the shell was closed" : table.gone
    if (never !== undefined) return Effect.flatMap(notReady(never, Duration.zero), Effect.fail)
    const ticket = new LaneServer.Ticket()
    return GenServer.call(server, "take", ticket, { timeout: "Infinity" }).pipe(
      Effect.catch(() => Effect.flatMap(notReady("the shell was closed", Duration.zero), Effect.fail)),
      Effect.flatMap((lane) =>
        lane === undefined ? Effect.raceFirst(Deferred.await(ticket.given), abandoned) : Effect.succeed(lane)
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

/** Seeks sessions, one after the other, until the scope closes; returns when the first is on. */
const seek = Effect.fnUntraced(function* (
  options: LanesOptions & {
    readonly bootstrap: Bootstrap.Bootstrap
    readonly table: Session.LaneTable
    readonly tell: LaneServer.Client["tell"]
  }
): Effect.fn.Return<{ readonly guest: () => AgentShell }, ShellNotReady, Scope.Scope> {
  const { table, tell, transport } = options
  const { awaiting, connect, notReady } = options.bootstrap
  const first = yield* Deferred.make<void, ShellNotReady>()
  let guest: AgentShell = { folder: "/run/vmtest", shell: "sh", pipefail: false }
  const end = (reason: string) => tell("end", reason)

  /** Looks at lanes that settle, and asks whether the guest and the workers of busy lanes live. */
  const watch = (current: Session.Session) =>
    Effect.raceFirst(
      janitor({
        admin: current.admin,
        lanes: table.lanes,
        slowness: transport.slowness,
        waited: () => table.waiting > 0
      }),
      heartbeat(options.heartbeat, table, current, (reason) =>
        Effect.andThen(end(reason), Deferred.succeed(table.restart, reason))
      )
    )

  /** One session, from the agent to the reason for which it ended. */
  const oneSession = ({ admin, link }: Bootstrap.Link) =>
    Effect.gen(function* () {
      link.ready = Deferred.makeUnsafe<void>()
      table.restart = Deferred.makeUnsafe<string>()
      const id = yield* nonce
      const attached = transport.attached?.() ?? []
      const found = attached.length === 0 ? undefined : yield* awaiting(Admin.attach(admin, id, attached))
      guest = found?.guest ?? (yield* Admin.install(admin, id, transport.lanes))
      const current = yield* Session.make(admin)
      // Before the processes of its lanes are ended, which would be another reason.
      yield* Effect.addFinalizer(() => end("the shell was closed"))
      Session.resume(current, found?.waiting ?? [])
      yield* tell("begin", current)
      yield* Effect.forkScoped(watch(current))
      yield* Deferred.succeed(first, undefined)
      /** Why the guest may be another one now, when it is. */
      const changed = Effect.gen(function* () {
        const why = yield* Effect.raceAllFirst([
          Deferred.await(table.restart),
          Effect.as(Deferred.await(link.ready), "the guest rebooted"),
          Effect.as(Session.awaitSupervisor(current), "the worker shells in the guest ended again and again")
        ])
        if (Deferred.isDoneUnsafe(link.ready) && !Deferred.isDoneUnsafe(table.restart)) {
          // The bootstrap shell may have been replaced in a guest that lives on, its lanes with it.
          link.ready = Deferred.makeUnsafe<void>()
          yield* awaiting(admin.awake)
          if (yield* Admin.sameSession(admin, id, guest)) return undefined
        }
        return why
      })
      const why = yield* Effect.repeat(changed, { until: (reason) => reason !== undefined })
      yield* end(why ?? "the guest rebooted")
      return yield* awaiting(admin.awake)
    }).pipe(Effect.scoped)

  /** Serves sessions on one connection to the bootstrap shell until it closes. */
  const serve = Effect.gen(function* () {
    const link = yield* Effect.withSpan(awaiting(connect), "vmtest.shell.connect", {
      attributes: { "vmtest.machine": transport.machine, "vmtest.transport": transport.name }
    })
    table.gone = undefined
    const ended = Effect.flatMap(link.connection.closed, (why) => {
      const reason = `the guest's connection closed: ${why}`
      return Effect.as(end(reason), reason)
    })
    return yield* Effect.raceFirst(Effect.forever(oneSession(link)), ended)
  }).pipe(Effect.scoped)

  const sought = Effect.gen(function* () {
    table.since = yield* Clock.currentTimeMillis
    return yield* serve.pipe(
      // Whoever is told how the boot goes may die of it; those who wait must hear of that.
      Effect.catchDefect((defect) =>
        Effect.fail<Admin.NoAnswer>({ _tag: "NoAnswer", reason: `the search for the shell died: ${defect}` })
      ),
      Effect.tapError((error) =>
        Effect.gen(function* () {
          if (error._tag === "TransportError") table.gone = error.reason
          const waited = Duration.millis((yield* Clock.currentTimeMillis) - table.since)
          const failure = error._tag === "ShellNotReady" ? error : yield* notReady(error.reason, waited)
          yield* Deferred.fail(first, failure)
          yield* tell("fail", failure)
          yield* end(failure.reason)
        })
      )
    )
  }).pipe(Effect.retry(retrySession), Effect.tap(end))
  yield* Effect.forkScoped(Effect.forever(sought))
  yield* Deferred.await(first)
  return { guest: () => guest }
})
