/**
 * What happens to machines while a test runs, for reports.
 *
 * **Example** (Printing the console)
 *
 * ```ts
 * const print = (event: MachineEvent) =>
 *   event._tag === "ConsoleLine" ? Effect.log(`${event.machine}: ${event.line}`) : Effect.void
 * program.pipe(Effect.provideService(MachineEvents, print))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/**
 * The state of a machine.
 *
 * - `stopped`: not started, ended by the test, or powered off by the guest.
 * - `booting`: the hypervisor runs, but the guest does not answer yet.
 * - `ready`: commands, addresses and names work.
 * - `paused`: its processors are stopped.
 * - `crashed`: it ended without being asked to.
 */
export type MachineState = "stopped" | "booting" | "ready" | "paused" | "crashed"

/** One thing that happened to a machine. */
export type MachineEvent =
  /**
   * `detail` is the reason for `crashed`, and `forked` for a machine that continues from a saved one instead of booting, while it is `booting` and
   * when it is `ready`. `booting` is reported when it is known whether the machine boots or is forked, and again if a fork fails and it boots.
   *
   * `excludedMillis`, of `ready`: how long, since `booting`, it was waited that the machine came to rest and was saved for later runs. That is not a
   * part of the test's time.
   */
  | {
      readonly _tag: "MachineState"
      readonly machine: string
      readonly state: MachineState
      readonly detail: string
      readonly excludedMillis?: number
    }
  | { readonly _tag: "ConsoleLine"; readonly machine: string; readonly line: string }
  /** A boot that takes long; `detail` says what it waits for, for how long, and, until there is a shell, what the console said last. */
  | { readonly _tag: "StillBooting"; readonly machine: string; readonly detail: string }
  /** `action` completes "the test is …": `running "uname"`, `waiting for port 80 to be open`. */
  | {
      readonly _tag: "ActionStarted"
      readonly machine: string
      readonly action: string
      /** Tells the actions of a process apart; the action's end has it, too. */
      readonly id: number
      /** The action that this one is a part of. */
      readonly within?: number | undefined
      /** The command that it runs, at most {@link mostText} characters. */
      readonly command?: string | undefined
    }
  | {
      readonly _tag: "ActionEnded"
      readonly machine: string
      readonly action: string
      readonly id: number
      readonly millis: number
      /** Empty if there is nothing to report. */
      readonly outcome: string
      readonly failed: boolean
      /** Of a command that has ended. */
      readonly exitCode?: number | undefined
      /** What a command wrote, each at most {@link mostText} characters: the beginning and the end. */
      readonly stdout?: string | undefined
      readonly stderr?: string | undefined
      /** The whole message of what it failed with, at most {@link mostText} characters. */
      readonly error?: string | undefined
    }
  /** A picture was written to a file of the output folder. */
  | { readonly _tag: "Picture"; readonly machine: string; readonly path: string }

/** How many characters an event has of a command, of its output and of an error. */
export const mostText = 4000

/** Receives every event; it must be quick and must not fail. By default nothing does. */
export const MachineEvents = Context.Reference<(event: MachineEvent) => Effect.Effect<void>>(
  "vmtest/machine/MachineEvents",
  { defaultValue: () => () => Effect.void }
)
