/** `vmtest doctor`. */
import * as Command from "effect/cli/Command"
import { choose } from "./chosen.ts"
import { json } from "./flags.ts"

/** What `vmtest doctor` is asked for. */
export interface Doctor {
  readonly _tag: "Doctor"
  readonly json: boolean
}

export const command = Command.make("doctor", { json }, ({ json }) => choose({ _tag: "Doctor", json })).pipe(
  Command.withDescription("Check this host, and print the commands that install what is missing")
)
