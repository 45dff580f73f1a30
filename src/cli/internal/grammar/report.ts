/** `vmtest report`: reports of runs that are over. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { choose } from "./chosen.ts"
import * as Flags from "./flags.ts"

/** What `vmtest report` is asked for. */
export interface Report {
  readonly _tag: "Report"
  /** At least one: files that `vmtest run --json` wrote. */
  readonly files: ReadonlyArray<string>
  readonly html: string | undefined
  readonly junit: string | undefined
  readonly json: string | undefined
  readonly quiet: boolean
}

const file = (name: string, description: string) =>
  Flags.undefinedOr(Flags.path(name, "file").pipe(Flag.withDescription(description)))

const flags = {
  html: file(
    "html",
    "Write a page with the timeline of each test to FILE (default: report.html beside the first FILE)"
  ),
  junit: file("junit", "Write a report in JUnit's XML to FILE (default: none)"),
  json: file("json", "Write all events to FILE as JSON lines (default: none)"),
  quiet: Flags.toggle("quiet", "Print only failures and the summary").pipe(Flag.withAlias("q"))
}

const files = Argument.String("FILE").pipe(
  Argument.withDescription("A file that 'vmtest run --json FILE' wrote"),
  Argument.variadic({ min: 1 })
)

const chosen = (given: Omit<Report, "_tag">) => choose({ _tag: "Report", ...given })

const merge = Command.make("merge", { files, ...flags }, chosen).pipe(
  Command.withDescription("Put the runs of several files together, such as the shards of one run"),
  Command.withExamples([
    {
      command: "vmtest report merge shard1.jsonl shard2.jsonl --html report.html --junit report.xml",
      description: "One report of two shards"
    }
  ])
)

export const command = Command.make("report", { files, ...flags }, chosen).pipe(
  Command.withDescription("Show a run that is over: prints its results, and writes a page for browsers"),
  Command.withExamples([
    { command: "vmtest report events.jsonl", description: "Print the results, and write report.html" }
  ]),
  Command.withSubcommands([merge])
)
