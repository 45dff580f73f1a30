/** `vmtest attach`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import { choose } from "./chosen.ts"
import * as Flags from "./flags.ts"

/** What `vmtest attach` is asked for. */
export interface Attach {
  readonly _tag: "Attach"
  /** The run, by the name of its state folder or its process; undefined for the only one that has a session. */
  readonly run: string | undefined
  /** The session, by the name of its test; undefined for the only one. */
  readonly test: string | undefined
}

export const command = Command.make(
  "attach",
  {
    run: Argument.String("RUN").pipe(
      Argument.withDescription("The run, as it or 'vmtest top' names it, or its process (default: the only one)"),
      Argument.optional,
      Argument.map(Option.getOrUndefined)
    ),
    test: Flags.undefinedOr(
      Flag.String("test").pipe(
        Flag.withMetavar("NAME"),
        Flag.withDescription("The name of the paused test, if several are paused")
      )
    )
  },
  (given) => choose({ _tag: "Attach", ...given })
).pipe(
  Command.withDescription(
    "Join the session of a test that --pause-on-failure keeps, or of a prompt, from another terminal"
  ),
  Command.withExamples([{ command: "vmtest attach", description: "Join the only session there is" }])
)
