/**
 * What happens to machines while a test runs, for whoever reports it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/**
 * Where a machine is in its life.
 *
 * - `stopped`: not started, or ended as the test asked, or powered off by the guest itself.
 * - `booting`: the hypervisor runs, the guest does not answer yet.
 * - `ready`: commands work, and so do its addresses and names.
 * - `paused`: its processors stand still.
 * - `crashed`: it ended, and nobody had asked for that.
 */
export type MachineState = "stopped" | "booting" | "ready" | "paused" | "crashed"

/** One thing that happened to a machine. */
export type MachineEvent =
  /**
   * `detail` says why, for `crashed`; `forked`, for a machine that goes on from a saved one instead of booting, while it is `booting` and when it is
   * `ready`. That a machine is `booting` is told once it is known which of the two it does; if it cannot go on and boots after all, it is told again.
   */
  | { readonly _tag: "MachineState"; readonly machine: string; readonly state: MachineState; readonly detail: string }
  | { readonly _tag: "ConsoleLine"; readonly machine: string; readonly line: string }
  /** A boot that takes long; `detail` says for how long, and what the console said last. */
  | { readonly _tag: "StillBooting"; readonly machine: string; readonly detail: string }
  /** `action` completes "the test is …": `running "uname"`, `waiting for port 80 to be open`. */
  | { readonly _tag: "ActionStarted"; readonly machine: string; readonly action: string }
  | {
      readonly _tag: "ActionEnded"
      readonly machine: string
      readonly action: string
      readonly millis: number
      /** Empty when there is nothing to say. */
      readonly outcome: string
    }

/** Told of every event; must be quick and must not fail. Nobody listens by default. */
export const MachineEvents = Context.Reference<(event: MachineEvent) => Effect.Effect<void>>(
  "vmtest/machine/MachineEvents",
  { defaultValue: () => () => Effect.void }
)
