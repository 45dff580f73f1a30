/**
 * Where machines with start scripts keep what they write: the folders that the scripts find in their environment.
 *
 * **Example** (Folders that outlive the run)
 *
 * ```ts
 * const places = {
 *   machine: (name: string) => `/tmp/vm-state-${name}`,
 *   fresh: () => Effect.void,
 *   shared: "/tmp/shared-xchg",
 *   temporary: "/tmp"
 * }
 * const results = Runner.run(tests, options).pipe(Effect.provideService(StatePlaces, places))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"

/** The folders; all paths are absolute. Those of machines and the shared one are made when a machine starts, mode 0700. */
export interface Folders {
  /** The folder that a machine's start script runs in (`TMPDIR`). */
  readonly machine: (name: string) => string
  /** What is done to the folder of a machine when a test gets that machine: removing what an earlier one has left. */
  readonly fresh: (name: string) => Effect.Effect<void>
  /** The folder that all machines can mount (`SHARED_DIR`). */
  readonly shared: string
  /** The folder that these are in. */
  readonly temporary: string
}

/** The folders of the machines that are made where it is provided. Default: in the folder of the run, which is removed at its end. */
export const StatePlaces = Context.Reference<Folders | undefined>("vmtest/driver/StatePlaces", {
  defaultValue: () => undefined
})
