/** `vmtest run`: which tests of which scripts, how they run, and what is kept of them. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { choose } from "./chosen.ts"
import * as Flags from "./flags.ts"
import * as Artefacts from "./runArtefacts.ts"
import * as Machines from "./runMachines.ts"
import * as RunOptions from "./runOptions.ts"
import * as Reports from "./runReports.ts"
import * as Schedule from "./runSchedule.ts"
import * as Selection from "./runSelection.ts"
import * as Session from "./runSession.ts"

/** What `vmtest run` is asked for. */
export interface Run
  extends Selection.Selection,
    Schedule.Schedule,
    Artefacts.Artefacts,
    Reports.Reports,
    Machines.Machines,
    Session.Session {
  readonly _tag: "Run"
  /** Scripts, folders and glob patterns; none for those of the config file, or for the default. */
  readonly scripts: ReadonlyArray<string>
  /** The config file; undefined for the nearest `vmtest.config.ts`. */
  readonly config: string | undefined
  readonly options: RunOptions.GivenOptions
}

export const scripts = Argument.String("SCRIPT").pipe(
  Argument.withDescription(
    "A TypeScript or JavaScript module whose default export is a test, an array of tests, or an Effect; or a Python script for the NixOS test driver, with --machines or --machine-config; or a folder, or a glob pattern (default: **/*.vmtest.ts)"
  ),
  Argument.variadic()
)

const config = Flags.undefinedOr(
  Flags.path("config", "file").pipe(
    Flag.withAlias("c"),
    Flag.withDescription("The config file (default: the nearest vmtest.config.ts, from the working folder upwards)")
  )
)

/** All its options. */
export const flags = {
  config,
  ...Selection.flags,
  ...Schedule.flags,
  ...Artefacts.flags,
  ...Reports.flags,
  ...Machines.flags,
  ...Session.flags,
  ...RunOptions.givenFlags
}

export const command = Command.make("run", { scripts, ...flags }, (given) => {
  const { options, own } = RunOptions.apart(given)
  return choose({ _tag: "Run", ...own, options })
}).pipe(
  Command.withDescription("Run the tests of one or several scripts"),
  Command.withExamples([
    { command: "vmtest run", description: "Run all scripts named *.vmtest.ts in this folder and below" },
    { command: "vmtest run test.ts", description: "Run one script" },
    { command: "vmtest run -j 2 tests", description: "Run the scripts of a folder, two tests at a time" },
    { command: "vmtest run --grep @slow --shard 1/3", description: "Run a third of the tests tagged slow" },
    { command: "vmtest run test.py --machines machines.ts", description: "Run a Python script" }
  ])
)
