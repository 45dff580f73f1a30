import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

/**
 * Runs an effect so that interrupting it takes at most a second.
 *
 * A command on a guest that froze may need long to be cancelled; the test that gave it up must not wait for that.
 */
export const disconnect = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.forkDetach(restore(effect), { startImmediately: true }), (fiber) =>
      restore(Fiber.join(fiber)).pipe(
        Effect.onInterrupt(() => Effect.timeoutOption(Fiber.interrupt(fiber), "1 second"))
      )
    )
  )
