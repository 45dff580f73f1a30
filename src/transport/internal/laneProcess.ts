/**
 * The process of one lane: it opens the lane, tries again while that fails, and ends when something ends the lane; then its supervisor
 * starts it again.
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Lane, TransportService } from "../Transport.ts"
import { LaneEnd } from "./lane.ts"
import { nonce } from "./nonce.ts"
import type { LaneTable, Session } from "./session.ts"

/** How long a lane may take to start. */
const laneTimeout = "60 seconds"

/** How long a lane that waits for a command may take to say so. */
const answerTimeout = "5 seconds"

/** How long the bootstrap shell may take for an order. */
const adminTimeout = "60 seconds"

/** When a lane that did not start is tried again: after half a second, 1 s, 2 s, … 10 s. What fails at once must not keep the guest busy. */
export const retryLane = Schedule.min([Schedule.exponential("500 millis"), Schedule.spaced("10 seconds")])

/** When a guest that did not stop an old lane is asked again. One that cannot be reached at all is the session's to notice. */
export const retryStop = Schedule.spaced("500 millis")

/** Where lanes live, and who hears of them. */
export interface Owner {
  readonly transport: TransportService
  readonly table: LaneTable
  /** A lane started, which took so many milliseconds. */
  readonly onStart: (took: number) => void
  readonly onIdle: (lane: LaneEnd) => void
  readonly onEnd: (lane: LaneEnd) => void
  /** No lane started, and no other is there or starting. */
  readonly onHopeless: (reason: string, waited: Duration.Duration) => Effect.Effect<void>
}

/** The lane did not start. */
class NotStarted extends Data.TaggedError("NotStarted")<{ readonly reason: string }> {}

/** The processes of a guest's lanes. */
export const make = (owner: Owner) => {
  const { table, transport } = owner

  /** The lane did not start. Where there is no other, nobody waits for one any longer: better an error than no end. */
  const failed = (number: number, current: Session, reason: string, begun: number) =>
    Effect.gen(function* () {
      current.failed.add(number)
      current.hopeful.delete(number)
      const others = [...table.lanes].some(({ state }) => state !== "starting" && state !== "broken")
      if (current.hopeful.size > 0 || others) return
      yield* owner.onHopeless(reason, Duration.millis((yield* Clock.currentTimeMillis) - begun))
    })

  /** Stops in the guest what a lane of this number had there. A guest that has rebooted has nothing to stop. */
  const clear = (number: number, current: Session) =>
    Effect.suspend(() =>
      table.session === current ? current.admin.ask(`_vt_stop ${number} 2>/dev/null`, adminTimeout) : Effect.never
    ).pipe(Effect.retry(retryStop), Effect.asVoid)

  /** Waits for the end of an open lane, and says why it ended. */
  const awaitEnd = (lane: LaneEnd, { errors, input, output }: Lane, patience: Duration.Input) =>
    Effect.raceAllFirst([
      Deferred.await(lane.broken),
      Effect.map(
        Effect.raceAllFirst([input.closed, output.closed, errors.closed]),
        (why) => `the guest's connection closed: ${why}`
      ),
      Effect.sleep(patience).pipe(
        Effect.andThen(Effect.suspend(() => (lane.state === "starting" ? Effect.void : Effect.never))),
        Effect.as("a worker shell did not start")
      )
    ])

  const open = Effect.fnUntraced(function* (
    number: number,
    current: Session,
    waiting: boolean,
    begun: number
  ): Effect.fn.Return<void, NotStarted, Scope.Scope> {
    const token = yield* nonce
    const { ask, listen, tell } = current.admin
    const bootstrap = {
      tell,
      listen,
      ask: (text: string, timeout: Duration.Input) =>
        ask(text, timeout).pipe(Effect.catchTag("NoAnswer", () => Effect.succeed(undefined)))
    }
    const ends = yield* Effect.mapError(
      transport.lane(number, token, bootstrap, waiting),
      ({ reason }) => new NotStarted({ reason })
    )
    const clock = yield* Clock.Clock
    const lane = new LaneEnd(number, ends, token, (free) => {
      if (!waiting && free.last === "") owner.onStart(clock.currentTimeMillisUnsafe() - begun)
      owner.onIdle(free)
    })
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        table.lanes.delete(lane)
        owner.onEnd(lane)
        lane.lose("the lane's process was ended")
      })
    )
    table.lanes.add(lane)
    const reason = yield* awaitEnd(lane, ends, waiting ? answerTimeout : laneTimeout)
    const started = lane.state !== "starting"
    lane.lose(reason)
    if (started) current.failed.delete(number)
    // One that waited for a command and is not there any more is started like any other.
    else if (!waiting) return yield* new NotStarted({ reason })
  })

  /** One attempt, and what a lane of this number left in the guest before it. */
  const attempt = (number: number, current: Session, waiting: boolean) =>
    Effect.gen(function* () {
      const resumed = waiting && !current.used.has(number)
      if (current.used.has(number)) yield* clear(number, current)
      current.used.add(number)
      if (!current.failed.has(number)) current.hopeful.add(number)
      const begun = yield* Clock.currentTimeMillis
      yield* Effect.scoped(open(number, current, resumed, begun)).pipe(
        Effect.tapError(({ reason }) => failed(number, current, reason, begun)),
        Effect.ensuring(Effect.sync(() => current.hopeful.delete(number)))
      )
    })

  /** What the process of a lane runs. With `waiting`, the worker of its first life is in the guest already. */
  return (number: number, current: Session, waiting: boolean): Effect.Effect<void> =>
    attempt(number, current, waiting).pipe(Effect.retry(retryLane), Effect.ignore)
}
