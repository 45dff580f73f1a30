/** A test's deadline, which does not count the time of image builds, and of saving machines for later runs. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

export interface Deadline {
  /** Runs an effect whose time does not count. */
  readonly excluding: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Ends when the time that counts, since this began, has passed. */
  readonly passed: Effect.Effect<void>
  /** The time in milliseconds that did not count so far. */
  readonly excluded: () => number
}

/** A deadline after this time. */
export const make = (timeout: Duration.Duration): Deadline => {
  let running = 0
  let since = 0
  let total = 0
  let idle = Deferred.makeUnsafe<void>()

  const enter = Effect.map(Clock.currentTimeMillis, (now) => {
    if (running === 0) {
      since = now
      idle = Deferred.makeUnsafe<void>()
    }
    running += 1
  })
  const leave = Effect.flatMap(Clock.currentTimeMillis, (now) => {
    running -= 1
    if (running > 0) return Effect.void
    total += now - since
    return Deferred.succeed(idle, undefined)
  })

  const passed = Effect.gen(function* () {
    const began = yield* Clock.currentTimeMillis
    const before = total
    // Sleeps for what is left; what is excluded meanwhile is slept for in the next round.
    const round = Effect.gen(function* () {
      if (running > 0) yield* Deferred.await(idle)
      const counted = (yield* Clock.currentTimeMillis) - began - (total - before)
      const left = Duration.toMillis(timeout) - counted
      if (left > 0) yield* Effect.sleep(Duration.millis(left))
      return left <= 0 && running === 0
    })
    yield* Effect.repeat(round, { until: (over) => over })
  })

  return {
    excluding: (effect) =>
      Effect.acquireUseRelease(
        enter,
        () => effect,
        () => leave
      ),
    passed,
    excluded: () => total
  }
}
