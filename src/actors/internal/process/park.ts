/**
 * Parking a fiber until something outside resumes it, for the price of one closure.
 *
 * `Effect.callback` does the same for anyone; a process parks at every message, so this goes one level lower and uses two
 * methods that every Effect 4.1 fiber has but does not show in its public type. They are looked up, not assumed:
 * {@link currentFiber} is the only place that would notice if Effect renamed them.
 */
import type * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

/** A fiber that can be parked and resumed. */
export interface Parkable extends Fiber.Fiber<unknown, unknown> {
  /** Returned from an Effect's evaluation it parks the fiber; `onResume` runs before the fiber goes on, also when interrupted. */
  readonly yieldWith: (onResume: () => void) => Effect.Effect<never>
  /** Goes on with `effect`, in the caller's stack, until the fiber parks again or ends. */
  readonly evaluate: (effect: Effect.Effect<unknown, unknown, never>) => void
}

const isParkable = (fiber: Fiber.Fiber<unknown, unknown>): fiber is Parkable =>
  "yieldWith" in fiber && "evaluate" in fiber

/** The fiber that runs right now, as one that can be parked; for use inside an Effect's evaluation. */
export const currentFiber = (): Parkable => {
  const fiber = Fiber.getCurrent()
  if (fiber !== undefined && isParkable(fiber)) return fiber
  throw new Error("this version of Effect has no fibers that actors can park: vmtest needs effect ~4.1.0")
}
