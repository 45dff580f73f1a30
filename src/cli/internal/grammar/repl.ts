/** `vmtest repl`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import { choose } from "./chosen.ts"
import * as Flags from "./flags.ts"
import * as Machines from "./runMachines.ts"
import * as RunOptions from "./runOptions.ts"

/** What `vmtest repl` is asked for. */
export interface Repl extends Machines.Machines {
  readonly _tag: "Repl"
  /** Undefined for a prompt without a script, and without machines at first. */
  readonly script: string | undefined
  /** The config file; undefined for the nearest `vmtest.config.ts`. */
  readonly config: string | undefined
  /** What the name or the tags of the test match; empty if the script has only one. */
  readonly names: ReadonlyArray<string>
  readonly options: RunOptions.GivenOptions
}

export const command = Command.make(
  "repl",
  {
    script: Argument.String("SCRIPT").pipe(
      Argument.withDescription("A script with the test whose machines to use (default: none)"),
      Argument.optional,
      Argument.map(Option.getOrUndefined)
    ),
    config: Flags.undefinedOr(
      Flags.path("config", "file").pipe(
        Flag.withAlias("c"),
        Flag.withDescription("The config file (default: the nearest vmtest.config.ts, from the working folder upwards)")
      )
    ),
    names: Flag.String("grep").pipe(
      Flag.withAlias("t"),
      Flag.withMetavar("TEXT"),
      Flag.withDescription("Which test of the script, by its name or its tags, as with 'vmtest run'"),
      Flag.atLeast(0)
    ),
    ...Machines.flags,
    ...RunOptions.givenFlags
  },
  (given) => {
    const { options, own } = RunOptions.apart(given)
    return choose({ _tag: "Repl", ...own, options })
  }
).pipe(
  Command.withDescription(
    "Open a prompt on machines: lines of TypeScript, and commands such as .shell and .tree, which .help lists"
  ),
  Command.withExamples([
    { command: "vmtest repl test.ts", description: "Use the machines of a test by hand" },
    {
      command: `echo 'yield* driver.machine("m", { image: Image.tiny() }); yield* machines.m.succeed("uname")' | vmtest repl`,
      description: "Run lines of a pipe"
    }
  ])
)
