/**
 * Finds the lanes that cannot settle, because something that their last command left behind holds their output open.
 *
 * How long a lane takes to settle says nothing: a busy guest is slow with all of them, and a lane in its place would cost
 * it more. So the guest is asked who holds the output, and only a lane that is held is lost.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Admin } from "./admin.ts"
import type { LaneEnd } from "./lane.ts"

/** How often lanes that settle are looked at. */
export const janitorRounds = Schedule.spaced("250 millis")

/** Rounds after which the guest is asked about a lane: later when nobody waits for one. */
const patience = { waitedFor: 2, idle: 8 }

/** The longest that the guest may take to answer. One that does not answer at all is found by the heartbeat. */
const answerTimeout = "30 seconds"

/** Each answer that nobody holds a lane doubles the time to the next question, this many times. */
const mostDoublings = 4

/** Looks at the lanes for ever. `waited` says whether anybody waits for one. */
export const janitor = (options: {
  readonly admin: Admin
  readonly lanes: Iterable<LaneEnd>
  readonly slowness: number
  readonly waited: () => boolean
}): Effect.Effect<never> => {
  const { admin, lanes, slowness, waited } = options
  const round = Effect.gen(function* () {
    const rounds = (waited() ? patience.waitedFor : patience.idle) * slowness
    const due = [...lanes].filter(
      (lane) => lane.state === "settling" && !lane.feeding && lane.rounds++ >= rounds * 2 ** lane.asked
    )
    if (due.length === 0) return
    const asked = due.map((lane) => [lane, lane.last] as const)
    const held = yield* admin
      .ask(
        `_vt_answer=; _vt_held ${asked.map(([lane, last]) => `${lane.number} ${last}`).join(" ")} 2>/dev/null`,
        answerTimeout
      )
      .pipe(Effect.catch(() => Effect.succeed("")))
    const numbers = new Set(held.trim().split(" "))
    for (const [lane, last] of asked) {
      if (lane.state !== "settling" || lane.last !== last) continue
      lane.rounds = 0
      lane.asked = Math.min(lane.asked + 1, mostDoublings)
      if (numbers.has(String(lane.number))) {
        lane.lose("its last command left processes behind that hold its output open")
      }
    }
  })
  return Effect.andThen(Effect.schedule(round, janitorRounds), Effect.never)
}
