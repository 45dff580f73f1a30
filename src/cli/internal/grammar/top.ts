/** `vmtest top`. */
import * as Command from "effect/cli/Command"
import { choose } from "./chosen.ts"
import * as Flags from "./flags.ts"

/** What `vmtest top` is asked for. */
export interface Top {
  readonly _tag: "Top"
  /** Whether to look once, instead of again and again. */
  readonly once: boolean
  /** Whether each look is a line of JSON. */
  readonly json: boolean
}

export const command = Command.make(
  "top",
  {
    once: Flags.toggle("once", "Print one look, and end (default: on a terminal, look again every second)"),
    json: Flags.toggle("json", "Print each look as a line of JSON: an array of the runs")
  },
  (given) => choose({ _tag: "Top", ...given })
).pipe(Command.withDescription("Show the machines and the supervision trees of all running vmtests of this user"))
