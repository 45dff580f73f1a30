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
import { LaneEnd } from "./lane.ts"
import { nonce } from "./nonce.ts"
import type { Guest } from "./request.ts"

/** What a pool needs. */
export interface PoolOptions extends Bootstrap.BootstrapOptions {
  readonly heartbeat: { readonly interval: Duration.Duration; readonly timeout: Duration.Duration }
}

/** The lanes of one guest. */
export interface Pool {
  readonly guest: () => Guest
  /** Takes an idle lane, or waits for one. */
  readonly acquire: Effect.Effect<LaneEnd, ShellNotReady>
  /** how many lanes there can be */
  readonly most: number
  /** Whether the guest's shell is awaited, lanes are starting, or all there can be are in use. */
  readonly state: () => "awaited" | "starting" | "full"
  /** Sends a signal to the process group of the command with this nonce. False says that the guest has not started it yet. */
  readonly signal: (lane: LaneEnd, nonce: string, signal: string) => Effect.Effect<boolean>
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

/** The longest that it takes from a shell that answers to a session, or to the end of the attempt. */
const longestInstall = Duration.minutes(5)

/** How long a lane may take to start. */
const laneTimeout = "60 seconds"

/** Milliseconds between two attempts to start a lane: half a second after the first, doubled until this. */
const longestPause = 10_000

/** How long a lane that waits for a command may take to say so. */
const answerTimeout = "5 seconds"

/** How long the bootstrap shell may take to do as it is told. */
const adminTimeout = "60 seconds"

interface Session {
  readonly admin: Admin.Admin
  readonly scope: Scope.Scope
  /** The highest number of a lane so far. */
  started: number
  /** Lanes below that which were not opened yet. */
  readonly spare: Array<{ readonly number: number; readonly waiting: boolean }>
  /** How often each lane has failed to start since it last did. */
  readonly failures: Map<number, number>
  /** The lanes that are being started and have not failed to. */
  readonly hopeful: Set<number>
}

/** Opens the pool; returns when the first lane is ready. */
export const make = Effect.fnUntraced(function* (
  options: PoolOptions
): Effect.fn.Return<Pool, ShellNotReady, Scope.Scope> {
  const { heartbeat, transport } = options
  const { awaiting, connect, notReady } = Bootstrap.make(options)
  const lanes = new Set<LaneEnd>()
  const idle: Array<LaneEnd> = []
  const waiters = new Set<Deferred.Deferred<LaneEnd, ShellNotReady>>()
  let session: Session | undefined
  let guest: Guest = { folder: "/run/vmtest", shell: "sh", pipefail: false }
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
    for (const waiter of waiters) {
      waiters.delete(waiter)
      Deferred.doneUnsafe(waiter, Effect.succeed(lane))
      return
    }
    idle.push(lane)
  }

  const failWaiters = (error: ShellNotReady) =>
    Effect.sync(() => {
      // Who hears of it may ask again at once, which is another wait.
      const failed = [...waiters]
      waiters.clear()
      for (const waiter of failed) Deferred.doneUnsafe(waiter, Effect.fail(error))
    })

  /** The session is over, and the next one sought. First of all nobody is given its lanes: who hears of it may ask again at once. */
  const endSession = (reason: string) => {
    if (session !== undefined) since = clock.currentTimeMillisUnsafe()
    session = undefined
    idle.length = 0
    for (const lane of lanes) lane.lose(reason)
    lanes.clear()
  }

  let closed = false
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      closed = true
      return Effect.flatMap(notReady("the shell was closed", Duration.zero), failWaiters)
    })
  )

  /** A lane did not start. Where there is no other, nobody waits for one any longer: better an error than no end. */
  const failed = ({ failures, hopeful }: Session, number: number, begun: number, reason: string) =>
    Effect.gen(function* () {
      failures.set(number, (failures.get(number) ?? 0) + 1)
      hopeful.delete(number)
      if (hopeful.size > 0 || [...lanes].some(({ state }) => state !== "starting" && state !== "broken")) return
      yield* failWaiters(yield* notReady(reason, Duration.millis((yield* Clock.currentTimeMillis) - begun)))
    })

  /** One life of a lane: from its sockets to whatever ends it. With `waiting`, its worker is there already. */
  const life = (number: number, current: Session, waiting = false) => {
    const { admin, failures, hopeful } = current
    let begun = 0
    return Effect.gen(function* () {
      if (!failures.has(number)) hopeful.add(number)
      const token = yield* nonce
      const bootstrap = {
        tell: admin.tell,
        listen: admin.listen,
        ask: (text: string, timeout: Duration.Input) =>
          admin.ask(text, timeout).pipe(Effect.catchTag("NoAnswer", () => Effect.succeed(undefined)))
      }
      begun = yield* Clock.currentTimeMillis
      const ends = yield* transport.lane(number, token, bootstrap, waiting)
      const clock = yield* Clock.Clock
      const lane = new LaneEnd(number, ends, token, (free) => {
        if (!waiting && free.last === "") quickest = Math.min(quickest, clock.currentTimeMillisUnsafe() - begun)
        onIdle(free)
      })
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          lanes.delete(lane)
          const at = idle.indexOf(lane)
          if (at !== -1) idle.splice(at, 1)
          lane.lose("the shell was closed")
        })
      )
      lanes.add(lane)
      const reason = yield* Effect.raceAllFirst([
        Deferred.await(lane.broken),
        Effect.map(
          Effect.raceAllFirst([ends.input.closed, ends.output.closed, ends.errors.closed]),
          (why) => `the guest's connection closed: ${why}`
        ),
        Effect.sleep(waiting ? answerTimeout : laneTimeout).pipe(
          Effect.andThen(Effect.suspend(() => (lane.state === "starting" ? Effect.void : Effect.never))),
          Effect.as("a worker shell did not start")
        )
      ])
      const started = lane.state !== "starting"
      lane.lose(reason)
      if (started) failures.delete(number)
      else if (!waiting) yield* failed(current, number, begun, reason)
    }).pipe(
      Effect.scoped,
      Effect.catch((error) => failed(current, number, begun, error.reason)),
      Effect.ensuring(Effect.sync(() => hopeful.delete(number))),
      // A guest that has rebooted has nothing to stop, and a shell that does not know how.
      Effect.andThen(
        Effect.suspend(() =>
          session?.admin === admin
            ? Effect.asVoid(admin.ask(`_vt_stop ${number} 2>/dev/null`, adminTimeout))
            : Effect.never
        )
      ),
      // A guest that cannot be reached is the session's to notice.
      Effect.catch(() => Effect.sleep("500 millis")),
      // What fails at once, again and again, must not keep the guest busy.
      Effect.andThen(
        Effect.suspend(() => {
          const failed = failures.get(number)
          return failed === undefined ? Effect.void : Effect.sleep(Math.min(2 ** (failed - 1) * 500, longestPause))
        })
      )
    )
  }

  /** Starts one more lane, if there may be one. */
  const grow = Effect.suspend(() => {
    const current = session
    if (current === undefined) return Effect.void
    const spare = current.spare.shift()
    if (spare === undefined && current.started >= transport.lanes) return Effect.void
    const number = spare?.number ?? ++current.started
    const again = Effect.forever(life(number, current))
    const lives = spare?.waiting === true ? Effect.andThen(life(number, current, true), again) : again
    return Effect.asVoid(Effect.forkIn(lives, current.scope))
  })

  let growing = false
  /** Starts more lanes for those who wait when none has become free for a while. */
  const growOnStall = (current: Session) =>
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
        if (++stalls < (starting > 0 ? besideStarting : 1)) continue
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

  /** Lets the lanes of a guest that goes on from a saved one be opened as they are wanted: first those that wait for a command. */
  const resume = (current: Session, waiting: ReadonlyArray<number>) => {
    current.started = Math.max(0, ...waiting)
    const stopped = Array.from({ length: current.started }, (_, index) => index + 1).filter(
      (number) => !waiting.includes(number)
    )
    current.spare.push(...waiting.map((number) => ({ number, waiting: true })))
    current.spare.push(...stopped.map((number) => ({ number, waiting: false })))
  }

  /** Looks at lanes that settle, and asks whether the workers of busy lanes live. */
  const watch = Effect.fnUntraced(function* (current: Session) {
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
        const states = yield* current.admin
          .ask(`_vt_answer=$(_vt_states ${busy.map((lane) => lane.number).join(" ")} 2>/dev/null)`, heartbeat.timeout)
          .pipe(Effect.catch((error) => Effect.succeed({ reason: error.reason })))
        const silent = (lane: LaneEnd) => lane.state === "busy" && lane.heard === heard.get(lane)
        if (typeof states !== "string") {
          // A lane that says something is in a guest that lives; its bootstrap shell is slow, or in trouble of its own.
          if (busy.some((lane) => !silent(lane))) continue
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
      const found = attached.length === 0 ? undefined : yield* Admin.attach(admin, id, attached)
      guest = found?.guest ?? (yield* Admin.install(admin, id))
      const current: Session = {
        admin,
        scope: yield* Effect.scope,
        started: 0,
        spare: [],
        failures: new Map(),
        hopeful: new Set()
      }
      session = current
      resume(current, found?.waiting ?? [])
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

  const acquire = Effect.suspend((): Effect.Effect<LaneEnd, ShellNotReady> => {
    const lane = idle.shift()
    if (lane !== undefined) return idle.length === 0 ? Effect.as(more, lane) : Effect.succeed(lane)
    const never = closed ? "the shell was closed" : gone
    if (never !== undefined) return Effect.flatMap(notReady(never, Duration.zero), Effect.fail)
    const waiter = Deferred.makeUnsafe<LaneEnd, ShellNotReady>()
    waiters.add(waiter)
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
    most: transport.lanes,
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
    reset: (reason) => {
      endSession(reason)
      Deferred.doneUnsafe(restart, Effect.succeed(reason))
    }
  }
})
