/**
 * The lives of the lanes of one session: a lane is opened, used until something ends it, stopped in the guest, and opened again.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { TransportService } from "../Transport.ts"
import type { Admin } from "./admin.ts"
import { LaneEnd } from "./lane.ts"
import { nonce } from "./nonce.ts"

/** How long a lane may take to start. */
const laneTimeout = "60 seconds"

/** Milliseconds between two attempts to start a lane: half a second after the first, doubled until this. */
const longestPause = 10_000

/** How long a lane that waits for a command may take to say so. */
const answerTimeout = "5 seconds"

/** How long the bootstrap shell may take to do as it is told. */
const adminTimeout = "60 seconds"

/** One session with the bootstrap shell, and how it stands with its lanes. */
export interface Session {
  readonly admin: Admin
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

/** A session that has no lanes yet. */
export const newSession = (admin: Admin, scope: Scope.Scope): Session => ({
  admin,
  scope,
  started: 0,
  spare: [],
  failures: new Map(),
  hopeful: new Set()
})

/** Where lanes live, and who hears of it. */
export interface Owner {
  readonly transport: TransportService
  /** the lanes that are alive */
  readonly lanes: Set<LaneEnd>
  readonly session: () => Session | undefined
  /** A lane started, which took so many milliseconds. */
  readonly onStart: (took: number) => void
  readonly onIdle: (lane: LaneEnd) => void
  readonly onEnd: (lane: LaneEnd) => void
  /** No lane started, and no other is there or starting. */
  readonly onHopeless: (reason: string, waited: Duration.Duration) => Effect.Effect<void>
}

/** One life of a lane: from its sockets to whatever ends it. With `waiting`, its worker is there already. */
const life = (owner: Owner, number: number, current: Session, waiting = false) => {
  const { lanes, transport } = owner
  const { admin, failures, hopeful } = current
  let begun = 0

  /** The lane did not start. Where there is no other, nobody waits for one any longer: better an error than no end. */
  const failed = (reason: string) =>
    Effect.gen(function* () {
      failures.set(number, (failures.get(number) ?? 0) + 1)
      hopeful.delete(number)
      if (hopeful.size > 0 || [...lanes].some(({ state }) => state !== "starting" && state !== "broken")) return
      yield* owner.onHopeless(reason, Duration.millis((yield* Clock.currentTimeMillis) - begun))
    })

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
      if (!waiting && free.last === "") owner.onStart(clock.currentTimeMillisUnsafe() - begun)
      owner.onIdle(free)
    })
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        lanes.delete(lane)
        owner.onEnd(lane)
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
    else if (!waiting) yield* failed(reason)
  }).pipe(
    Effect.scoped,
    Effect.catch((error) => failed(error.reason)),
    Effect.ensuring(Effect.sync(() => hopeful.delete(number))),
    // A guest that has rebooted has nothing to stop, and a shell that does not know how.
    Effect.andThen(
      Effect.suspend(() =>
        owner.session()?.admin === admin
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
export const grow = (owner: Owner) =>
  Effect.suspend(() => {
    const current = owner.session()
    if (current === undefined) return Effect.void
    const spare = current.spare.shift()
    if (spare === undefined && current.started >= owner.transport.lanes) return Effect.void
    const number = spare?.number ?? ++current.started
    const again = Effect.forever(life(owner, number, current))
    const lives = spare?.waiting === true ? Effect.andThen(life(owner, number, current, true), again) : again
    return Effect.asVoid(Effect.forkIn(lives, current.scope))
  })

/** Lets the lanes of a guest that goes on from a saved one be opened as they are wanted: first those that wait for a command. */
export const resume = (current: Session, waiting: ReadonlyArray<number>) => {
  current.started = Math.max(0, ...waiting)
  const stopped = Array.from({ length: current.started }, (_, index) => index + 1).filter(
    (number) => !waiting.includes(number)
  )
  current.spare.push(...waiting.map((number) => ({ number, waiting: true })))
  current.spare.push(...stopped.map((number) => ({ number, waiting: false })))
}
