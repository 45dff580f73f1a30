/**
 * The lanes of one guest, and the sessions with its bootstrap shell that start, stop and replace them.
 *
 * A session begins when the bootstrap shell answers and is given the agent. It ends when the connection closes, the guest
 * reboots, or nothing answers the heartbeat any more; then every lane is lost and the next session is sought.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ShellNotReady } from "../ShellError.ts"
import * as Admin from "./admin.ts"
import * as Bootstrap from "./bootstrap.ts"
import { janitor } from "./janitor.ts"
import type { LaneEnd } from "./lane.ts"
import * as LaneLife from "./laneLife.ts"
import { nonce } from "./nonce.ts"
import type { AgentShell } from "./request.ts"

/** What a pool needs. */
export interface PoolOptions extends Bootstrap.BootstrapOptions {
  readonly heartbeat: { readonly interval: Duration.Duration; readonly timeout: Duration.Duration }
}

/** The session with the guest ended while a command still waited for a lane of it. */
export interface SessionEnded {
  readonly _tag: "SessionEnded"
  readonly reason: string
}

/** The lanes of one guest. */
export interface Pool {
  readonly guest: () => AgentShell
  /** Takes an idle lane, or waits for one: where there is no session, for the next one's. */
  readonly acquire: Effect.Effect<LaneEnd, ShellNotReady | SessionEnded>
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
  /** Waits until every lane either runs a command or has made what its next one becomes, for a second at most. */
  readonly awaitIdle: Effect.Effect<void>
  /** Everything under way is lost; the bootstrap shell is asked again. */
  readonly reset: (reason: string) => void
}

/**
 * Milliseconds in which no lane becomes free before more are started: half of what the quickest start took, within these.
 *
 * To start a lane costs a guest a dozen processes and programs, so while short commands follow each other on the lanes there are,
 * waiting for the next is quicker; commands that stay are soon known by that.
 */
const stall = { least: 20, most: 400, unknown: 100 }

/** Lanes that start slow the others down: only after so many times as long are more started beside them. */
const besideStarting = 2

/** A lane makes its next process in some 50 ms of an emulated guest; one with a command's child still writing takes as long as that. */
const longestRest = Duration.seconds(1)

/** The longest that it takes from a shell that answers to a session, or to the end of the attempt. */
const longestInstall = Duration.minutes(5)

/** Opens the pool; returns when the first lane is ready. */
export const make = Effect.fnUntraced(function* (
  options: PoolOptions
): Effect.fn.Return<Pool, ShellNotReady, Scope.Scope> {
  const { heartbeat, transport } = options
  const { awaiting, connect, notReady } = Bootstrap.make(options)
  const lanes = new Set<LaneEnd>()
  const idle: Array<LaneEnd> = []
  /** Who waits for a lane, and the session that was on when the wait began. */
  const waiters = new Map<Deferred.Deferred<LaneEnd, ShellNotReady | SessionEnded>, LaneLife.Session | undefined>()
  let nextLoss = Deferred.makeUnsafe<string>()
  let session: LaneLife.Session | undefined
  let guest: AgentShell = { folder: "/run/vmtest", shell: "sh", pipefail: false }
  let restart = Deferred.makeUnsafe<string>()
  const clock = yield* Clock.Clock
  /** since when a session is sought, or was */
  let since = clock.currentTimeMillisUnsafe()
  /** why no session can be had any more */
  let gone: string | undefined

  /** counts the lanes that became free */
  let freed = 0
  /** how long the quickest start of a lane took, in milliseconds */
  let quickest = Number.POSITIVE_INFINITY

  const onIdle = (lane: LaneEnd) => {
    // It may have been lost on its way here from a caller who left.
    if (lane.state !== "idle") return
    freed++
    for (const waiter of waiters.keys()) {
      waiters.delete(waiter)
      Deferred.doneUnsafe(waiter, Effect.succeed(lane))
      return
    }
    idle.push(lane)
  }

  const tell = (
    told: ReadonlyArray<Deferred.Deferred<LaneEnd, ShellNotReady | SessionEnded>>,
    error: ShellNotReady | SessionEnded
  ) => {
    // Who hears of it may ask again at once, which is another wait.
    for (const waiter of told) waiters.delete(waiter)
    for (const waiter of told) Deferred.doneUnsafe(waiter, Effect.fail(error))
  }
  const failWaiters = (error: ShellNotReady) => Effect.sync(() => tell([...waiters.keys()], error))

  /**
   * The session is over, and the next one sought. First of all nobody is given its lanes: who hears of it may ask again at once.
   * What waited for one of them was asked of that guest as much as what ran on it; what waited for the guest goes on.
   */
  const endSession = (reason: string) => {
    const ended = session
    if (ended !== undefined) since = clock.currentTimeMillisUnsafe()
    session = undefined
    idle.length = 0
    for (const lane of lanes) lane.lose(reason)
    lanes.clear()
    if (ended === undefined) return
    const loss = nextLoss
    nextLoss = Deferred.makeUnsafe()
    Deferred.doneUnsafe(loss, Effect.succeed(reason))
    const queued = [...waiters].flatMap(([waiter, during]) => (during === ended ? [waiter] : []))
    tell(queued, { _tag: "SessionEnded", reason })
  }

  let closed = false
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      closed = true
      return Effect.flatMap(notReady("the shell was closed", Duration.zero), failWaiters)
    })
  )

  const grow = LaneLife.grow({
    transport,
    lanes,
    session: () => session,
    onStart: (took) => {
      quickest = Math.min(quickest, took)
    },
    onIdle,
    onEnd: (lane) => {
      const at = idle.indexOf(lane)
      if (at !== -1) idle.splice(at, 1)
    },
    onHopeless: (reason, waited) => Effect.flatMap(notReady(reason, waited), failWaiters)
  })

  let growing = false
  /** Starts more lanes for those who wait when none has become free for a while. */
  const growOnStall = (current: LaneLife.Session) =>
    Effect.gen(function* () {
      for (let stalls = 0; idle.length === 0; ) {
        const before = freed
        const pause = Number.isFinite(quickest) ? quickest / 2 : stall.unknown
        yield* Effect.sleep(Math.min(Math.max(pause, stall.least), stall.most))
        if (freed !== before) {
          if (waiters.size === 0) return
          stalls = 0
          continue
        }
        const starting = [...lanes].filter(({ state }) => state === "starting").length
        if (++stalls < (starting * 2 > waiters.size ? besideStarting : 1)) continue
        stalls = 0
        const wanted = Math.min(Math.max(waiters.size, 1) - starting, transport.lanes)
        for (let i = 0; i < wanted; i++) yield* grow
        if (current.started >= transport.lanes && current.spare.length === 0) return
      }
    }).pipe(
      Effect.ensuring(
        Effect.sync(() => {
          growing = false
        })
      )
    )

  /** Nothing is idle: what wakes at once is woken, what must be started is when it is worth it. */
  const more = Effect.suspend(() => {
    const current = session
    if (current === undefined) return Effect.void
    if (current.spare[0]?.waiting === true || current.started < 2) return grow
    if (growing || (current.started >= transport.lanes && current.spare.length === 0)) return Effect.void
    growing = true
    return Effect.asVoid(Effect.forkIn(growOnStall(current), current.scope, { startImmediately: true }))
  })

  /**
   * Asks for the states of busy lanes; or says why there is no guest to ask. That is so when neither the bootstrap shell nor any of them
   * has said anything for as long as a guest may take: a lane that does is in a guest that lives, whose bootstrap shell is slow, or in
   * trouble of its own.
   */
  const askAfter = Effect.fnUntraced(function* (current: LaneLife.Session, busy: ReadonlyArray<LaneEnd>) {
    const limit = Duration.toMillis(heartbeat.timeout)
    const question = `_vt_answer=$(_vt_states ${busy.map((lane) => lane.number).join(" ")} 2>/dev/null)`
    const said = () => busy.reduce((sum, lane) => sum + lane.heard, 0)
    let last = { said: said(), at: clock.currentTimeMillisUnsafe() }
    /** Milliseconds that may still go by in silence. */
    const listen = Effect.sync(() => {
      const now = clock.currentTimeMillisUnsafe()
      if (said() !== last.said) last = { said: said(), at: now }
      return limit - (now - last.at)
    })
    for (;;) {
      const left = yield* listen
      if (left <= 0) return { reason: `the guest has not answered for ${Duration.format(heartbeat.timeout)}` }
      const answer = yield* Effect.raceFirst(
        current.admin.ask(question, left),
        Effect.forever(Effect.andThen(Effect.sleep(limit / 10), listen))
      ).pipe(
        Effect.catchTag("NoAnswer", () => Effect.succeed(undefined)),
        Effect.catchTag("TransportError", ({ reason }) => Effect.succeed({ reason }))
      )
      if (answer !== undefined) return answer
    }
  })

  /** Looks at lanes that settle, and asks whether the workers of busy lanes live. */
  const watch = Effect.fnUntraced(function* (current: LaneLife.Session) {
    const settled = janitor({
      admin: current.admin,
      lanes,
      slowness: transport.slowness,
      waited: () => waiters.size > 0
    })
    const suspects = new Set<LaneEnd>()
    const beat = Effect.gen(function* () {
      for (;;) {
        yield* Effect.sleep(heartbeat.interval)
        const busy = [...lanes].filter((lane) => lane.state === "busy")
        // A guest that nobody waits for may stand still.
        if (busy.length === 0 && waiters.size === 0) continue
        const heard = new Map(busy.map((lane) => [lane, lane.heard]))
        const states = yield* askAfter(current, busy)
        const silent = (lane: LaneEnd) => lane.state === "busy" && lane.heard === heard.get(lane)
        if (typeof states !== "string") {
          endSession(states.reason)
          Deferred.doneUnsafe(restart, Effect.succeed(states.reason))
          continue
        }
        const dead = new Set(states.split(" ").flatMap((state) => (/^\d+0$/.test(state) ? [state.slice(0, -1)] : [])))
        for (const lane of busy) {
          if (!silent(lane) || !dead.has(String(lane.number))) suspects.delete(lane)
          else if (suspects.has(lane)) lane.lose("the worker shell in the guest died or was stopped")
          else suspects.add(lane)
        }
      }
    })
    yield* Effect.raceFirst(settled, beat)
  })

  /** Serves sessions on one connection to the bootstrap shell until it closes. */
  const serve = Effect.fnUntraced(function* (first: Deferred.Deferred<void, ShellNotReady>) {
    const { admin, connection, link } = yield* awaiting(connect)
    gone = undefined
    const oneSession = Effect.gen(function* () {
      link.ready = Deferred.makeUnsafe<void>()
      restart = Deferred.makeUnsafe<string>()
      const id = yield* nonce
      const attached = transport.attached?.() ?? []
      const found = attached.length === 0 ? undefined : yield* awaiting(Admin.attach(admin, id, attached))
      guest = found?.guest ?? (yield* Admin.install(admin, id, transport.lanes))
      const current = LaneLife.newSession(admin, yield* Effect.scope)
      session = current
      LaneLife.resume(current, found?.waiting ?? [])
      yield* grow
      if (waiters.size > 0) yield* more
      yield* Effect.forkScoped(watch(current))
      yield* Deferred.succeed(first, undefined)
      for (;;) {
        const why = yield* Effect.raceFirst(
          Deferred.await(restart),
          Effect.as(Deferred.await(link.ready), "the guest rebooted")
        )
        if (!Deferred.isDoneUnsafe(restart)) {
          // The bootstrap shell may have been replaced in a guest that lives on, its lanes with it.
          link.ready = Deferred.makeUnsafe<void>()
          yield* awaiting(admin.awake)
          if (yield* Admin.sameSession(admin, id, guest)) continue
        }
        endSession(why)
        return yield* awaiting(admin.awake)
      }
    }).pipe(Effect.scoped)
    const ended = Effect.map(connection.closed, (why) => {
      const reason = `the guest's connection closed: ${why}`
      endSession(reason)
      return reason
    })
    return yield* Effect.raceFirst(Effect.forever(oneSession), ended)
  }, Effect.scoped)

  const first = yield* Deferred.make<void, ShellNotReady>()
  const sessions = Effect.gen(function* () {
    since = yield* Clock.currentTimeMillis
    return yield* serve(first).pipe(
      // Whoever is told how the boot goes may die of it; those who wait must hear of that.
      Effect.catchDefect((defect) =>
        Effect.fail<Admin.NoAnswer>({ _tag: "NoAnswer", reason: `the search for the shell died: ${defect}` })
      ),
      Effect.catch((error) => {
        if (error._tag === "TransportError") gone = error.reason
        return Effect.gen(function* () {
          const waited = Duration.millis((yield* Clock.currentTimeMillis) - since)
          const failure = error._tag === "ShellNotReady" ? error : yield* notReady(error.reason, waited)
          yield* Deferred.fail(first, failure)
          yield* failWaiters(failure)
          yield* Effect.sleep("500 millis")
          return failure.reason
        })
      })
    )
  }).pipe(Effect.tap((why) => Effect.sync(() => endSession(why))))
  yield* Effect.forkScoped(Effect.forever(sessions))
  yield* Deferred.await(first)

  /** No wait is without an end: fails when a session has been sought for longer than it takes to find one, or to fail. */
  const abandoned = Effect.gen(function* () {
    const limit = Duration.sum(options.bootTimeout, longestInstall)
    if (!Duration.isFinite(limit)) return yield* Effect.never
    for (;;) {
      const sought = session === undefined ? (yield* Clock.currentTimeMillis) - since : 0
      const left = Duration.toMillis(limit) - sought
      if (left <= 0) {
        const waited = Duration.millis(sought)
        return yield* Effect.flatMap(notReady("the bootstrap shell is not sought any more", waited), Effect.fail)
      }
      yield* Effect.sleep(left)
    }
  })

  const acquire = Effect.suspend((): Effect.Effect<LaneEnd, ShellNotReady | SessionEnded> => {
    const lane = idle.shift()
    if (lane !== undefined) return idle.length === 0 ? Effect.as(more, lane) : Effect.succeed(lane)
    const never = closed ? "the shell was closed" : gone
    if (never !== undefined) return Effect.flatMap(notReady(never, Duration.zero), Effect.fail)
    const waiter = Deferred.makeUnsafe<LaneEnd, ShellNotReady | SessionEnded>()
    waiters.set(waiter, session)
    return more.pipe(
      Effect.andThen(Effect.raceFirst(Deferred.await(waiter), abandoned)),
      Effect.onError(() =>
        Effect.suspend(() => {
          // A lane that was given to a caller who left goes to the next one.
          if (waiters.delete(waiter) || !Deferred.isDoneUnsafe(waiter)) return Effect.void
          return Effect.ignore(Effect.map(Deferred.await(waiter), onIdle))
        })
      )
    )
  })

  return {
    guest: () => guest,
    acquire,
    lost: Effect.suspend(() => Deferred.await(nextLoss)),
    most: transport.lanes,
    slowness: transport.slowness,
    state: () => {
      if (session === undefined) return "awaited"
      const full = session.started >= transport.lanes && lanes.size >= transport.lanes && session.spare.length === 0
      return full && [...lanes].every(({ state }) => state !== "starting") ? "full" : "starting"
    },
    signal: (lane, token, signal) =>
      session === undefined
        ? Effect.succeed(true)
        : session.admin.ask(`_vt_kill ${lane.number} ${token} ${signal} 2>/dev/null`, "2 seconds").pipe(
            Effect.map((answer) => answer !== ""),
            Effect.catch(() => Effect.succeed(true))
          ),
    awaitIdle: Effect.gen(function* () {
      while (session !== undefined) {
        const numbers = idle.map(({ number }) => number)
        const said = yield* session.admin.ask(`_vt_waiting ${numbers.join(" ")}`, longestRest)
        const waiting = said.split(" ").map(Number)
        const atRest = ({ number, state }: LaneEnd) =>
          state === "busy" || state === "broken" || waiting.includes(number)
        if ([...lanes].every(atRest)) return
        yield* Effect.sleep("10 millis")
      }
    }).pipe(Effect.timeoutOption(longestRest), Effect.ignore),
    reset: (reason) => {
      endSession(reason)
      Deferred.doneUnsafe(restart, Effect.succeed(reason))
    }
  }
})
