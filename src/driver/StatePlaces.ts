/**
 * Where machines with start scripts keep what they write: the folders that the scripts find in their environment.
 *
 * **Example** (Folders that outlive the run)
 *
 * ```ts
 * const places = {
 *   machine: (name: string) => `/tmp/vm-state-${name}`,
 *   reserve: () => Effect.void,
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
import * as Schema from "effect/Schema"

/** A folder for the state of machines cannot be used: it cannot be made or removed, or another run uses it. */
export class StateUnusable extends Schema.TaggedError<StateUnusable>()("StateUnusable", {
  folder: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `could not prepare the folder ${this.folder}: ${this.reason}; set XDG_RUNTIME_DIR or TMPDIR to use another`
  }
}

/** The folders; all paths are absolute. Those of machines and the shared one are made when a machine starts, mode 0700. */
export interface Folders {
  /** The folder that a machine's start script runs in (`TMPDIR`). */
  readonly machine: (name: string) => string
  /** Keeps other runs from the folder of a machine until this one ends. */
  readonly reserve: (name: string) => Effect.Effect<void, StateUnusable>
  /** What is done to the folder of a machine when a test gets that machine: reserving it, and removing what an earlier test has left there. */
  readonly fresh: (name: string) => Effect.Effect<void, StateUnusable>
  /** The folder that all machines can mount (`SHARED_DIR`). */
  readonly shared: string
  /** The folder that these are in. */
  readonly temporary: string
}

/** The folders of the machines that are made where it is provided. Default: in the folder of the run, which is removed at its end. */
export const StatePlaces = Context.Reference<Folders | undefined>("vmtest/driver/StatePlaces", {
  defaultValue: () => undefined
})
