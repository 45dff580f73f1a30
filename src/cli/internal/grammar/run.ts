/** `vmtest run`: which tests of which scripts, how they run, and what is kept of them. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import { choose } from "./chosen.ts"
import * as Artefacts from "./runArtefacts.ts"
import * as Machines from "./runMachines.ts"
import * as RunOptions from "./runOptions.ts"
import * as Reports from "./runReports.ts"
import * as Schedule from "./runSchedule.ts"
import * as Selection from "./runSelection.ts"

/** What `vmtest run` is asked for. */
export interface Run
  extends Selection.Selection,
    Schedule.Schedule,
    Artefacts.Artefacts,
    Reports.Reports,
    Machines.Machines {
  readonly _tag: "Run"
  /** At least one. */
  readonly scripts: ReadonlyArray<string>
  readonly options: RunOptions.RunOptions
}

const scripts = Argument.String("SCRIPT").pipe(
  Argument.withDescription(
    "A TypeScript or JavaScript module whose default export is a test, an array of tests, or an Effect; or a Python script for the NixOS test driver, with --machines or --machine-config"
  ),
  Argument.variadic({ min: 1 })
)

export const command = Command.make(
  "run",
  {
    scripts,
    ...Selection.flags,
    ...Schedule.flags,
    ...Artefacts.flags,
    ...Reports.flags,
    ...Machines.flags,
    ...RunOptions.flags
  },
  (given) => {
    const { options, own } = RunOptions.apart(given)
    return choose({ _tag: "Run", ...own, options })
  }
).pipe(
  Command.withDescription("Run the tests of one or several scripts"),
  Command.withExamples([
    { command: "vmtest run test.ts", description: "Run one script" },
    { command: "vmtest run -j 2 tests/*.ts", description: "Run several scripts, two tests at a time" },
    { command: "vmtest run test.py --machines machines.ts", description: "Run a Python script" }
  ])
)
