/** `vmtest resume`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import { choose } from "./chosen.ts"
import * as RunOptions from "./runOptions.ts"

/** What `vmtest resume` is asked for. */
export interface Resume {
  readonly _tag: "Resume"
  readonly folder: string
  readonly options: RunOptions.RunOptions
}

export const command = Command.make(
  "resume",
  {
    folder: Argument.String("FOLDER").pipe(
      Argument.withDescription("A test's folder that 'vmtest run --snapshot-on-failure' saved: FOLDER/TEST")
    ),
    ...RunOptions.flags
  },
  ({ folder, ...options }) => choose({ _tag: "Resume", folder, options })
).pipe(
  Command.withDescription("Resume the saved machines of a failed test, with a prompt to inspect them"),
  Command.withExamples([
    { command: "vmtest resume vmtest-output/'a page is served'", description: "Inspect a failed test" }
  ])
)
