/**
 * The heartbeat: while a command runs or waits, the guest is asked whether it and the workers of busy lanes live.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { LaneEnd } from "./lane.ts"
import type { LaneTable, Session } from "./session.ts"

/** How often a guest is asked, and how long it may take to answer. */
export interface Heartbeat {
  readonly interval: Duration.Duration
  readonly timeout: Duration.Duration
}

/** How often the lanes of a guest that does not answer are checked for output: ten times within its timeout. */
const listenAgain = (timeout: Duration.Duration) => Schedule.spaced(Duration.millis(Duration.toMillis(timeout) / 10))

/** What a guest says of its lanes, or why there is none to ask. */
type Answer = string | { readonly reason: string }

/**
 * Asks for the states of busy lanes; or says why there is no guest to ask. That is so when neither the bootstrap shell nor any of them
 * has said anything for as long as a guest may take: a lane that does is in a guest that lives, whose bootstrap shell is slow, or in
 * trouble of its own.
 */
const ask = Effect.fnUntraced(function* (
  { timeout }: Heartbeat,
  current: Session,
  busy: ReadonlyArray<LaneEnd>
): Effect.fn.Return<Answer> {
  const limit = Duration.toMillis(timeout)
  const clock = yield* Clock.Clock
  const question = `_vt_answer=$(_vt_states ${busy.map((lane) => lane.number).join(" ")} 2>/dev/null)`
  const said = () => busy.reduce((sum, lane) => sum + lane.heard, 0)
  let last = { said: said(), at: clock.currentTimeMillisUnsafe() }
  /** Milliseconds that may still go by in silence. */
  const listen = Effect.sync(() => {
    const now = clock.currentTimeMillisUnsafe()
    if (said() !== last.said) last = { said: said(), at: now }
    return limit - (now - last.at)
  })
  const listening = Effect.andThen(Effect.repeat(listen, listenAgain(timeout)), Effect.never)
  const once = Effect.flatMap(listen, (left): Effect.Effect<Answer | undefined> => {
    if (left <= 0) return Effect.succeed({ reason: `the guest has not answered for ${Duration.format(timeout)}` })
    return Effect.raceFirst(current.admin.ask(question, left), listening).pipe(
      Effect.catchTag("NoAnswer", () => Effect.succeed(undefined)),
      Effect.catchTag("TransportError", ({ reason }) => Effect.succeed({ reason }))
    )
  })
  // Each question waits as long as the silence may still last; one that was answered on a lane is asked again.
  const answer = yield* Effect.repeat(once, { until: (got) => got !== undefined })
  return answer ?? { reason: "the guest has not answered" }
})

/** Asks at each interval, for ever. `end` says that there is no guest any more. */
export const heartbeat = (
  options: Heartbeat,
  table: LaneTable,
  current: Session,
  end: (reason: string) => Effect.Effect<void>
): Effect.Effect<never> => {
  const suspects = new Set<LaneEnd>()
  const beat = Effect.gen(function* () {
    const busy = [...table.lanes].filter((lane) => lane.state === "busy")
    // A guest that nobody waits for may stand still.
    if (busy.length === 0 && table.waiting === 0) return
    const heard = new Map(busy.map((lane) => [lane, lane.heard]))
    const states = yield* ask(options, current, busy)
    if (typeof states !== "string") return yield* end(states.reason)
    const silent = (lane: LaneEnd) => lane.state === "busy" && lane.heard === heard.get(lane)
    const dead = new Set(states.split(" ").flatMap((state) => (/^\d+0$/.test(state) ? [state.slice(0, -1)] : [])))
    for (const lane of busy) {
      if (!silent(lane) || !dead.has(String(lane.number))) suspects.delete(lane)
      else if (suspects.has(lane)) lane.lose("the worker shell in the guest died or was stopped")
      else suspects.add(lane)
    }
  })
  return Effect.andThen(Effect.schedule(beat, Schedule.spaced(options.interval)), Effect.never)
}
