/**
 * A test that has failed, while its machines are still up.
 *
 * **Example** (Keeping the machines of each failed test up for a minute)
 *
 * ```ts
 * const results = Runner.run(tests, options).pipe(
 *   Effect.provideService(FailedTest.Hook, ({ test }) => Effect.andThen(Effect.log(`${test} failed`), Effect.sleep("1 minute")))
 * )
 * ```
 *
 * @since 0.1.0
 */
import type * as NodeServices from "@effect/platform-node/NodeServices"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Machine } from "../machine/Machine.ts"
import type { DriverService } from "./Driver.ts"
import type { Failure } from "./Failure.ts"

/** A test that has failed, and what it ran on. */
export interface FailedTest {
  readonly test: string
  /** What it failed with; undefined if that is known only at its end, as with subtests that failed softly. */
  readonly failure: Failure | undefined
  /** The machines that it declares. */
  readonly machines: Readonly<Record<string, Machine>>
  readonly driver: DriverService
}

/**
 * Runs for each test that fails, before its machines end. Its time does not count for the test; an interruption of the run ends it. By default it
 * does nothing.
 */
export const Hook = Context.Reference<(failed: FailedTest) => Effect.Effect<void, never, NodeServices.NodeServices>>(
  "vmtest/driver/FailedTest/Hook",
  { defaultValue: () => () => Effect.void }
)
