/** Options of `vmtest run`: interactive sessions on the machines of its tests. */
import * as Flag from "effect/cli/Flag"
import * as Flags from "./flags.ts"

export interface Session {
  /** Whether a session is opened on the machines of the test, instead of running it. */
  readonly interactive: boolean
  /** Whether the machines of a test that fails are kept up for a session. */
  readonly pauseOnFailure: boolean
  /** How long they are kept at most, in milliseconds. */
  readonly pauseTimeout: number | undefined
}

export const flags = {
  interactive: Flags.toggle(
    "interactive",
    "Open a prompt on the machines of the test instead of running it; '.test' runs it"
  ).pipe(Flag.withAlias("i")),
  pauseOnFailure: Flags.toggle(
    "pause-on-failure",
    "Keep the machines of a failed test up, with a prompt on this terminal, or for 'vmtest attach' from another one (default: off)"
  ),
  pauseTimeout: Flags.undefinedOr(
    Flags.duration("pause-timeout").pipe(
      Flag.withDescription(
        "How long --pause-on-failure keeps them up at most, for example '1 hour' (default: without end)"
      )
    )
  )
}
