/**
 * Interruption that does not wait for a frozen guest.
 *
 * **Example** (A timeout on a guest that may be frozen)
 *
 * ```ts
 * Effect.timeoutOption(disconnect(shell.execute("sync")), "5 seconds")
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

/**
 * Runs an effect so that interrupting it takes at most a second.
 *
 * Cancelling a command on a frozen guest may take long, and the test must not wait for that.
 */
export const disconnect = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.forkDetach(restore(effect), { startImmediately: true }), (fiber) =>
      restore(Fiber.join(fiber)).pipe(
        Effect.onInterrupt(() => Effect.timeoutOption(Fiber.interrupt(fiber), "1 second"))
      )
    )
  )
