/**
 * `vmtest report FILE…`: reports of runs that are over, alone or put together.
 *
 * **Example** (One report of two shards)
 *
 * ```sh
 * vmtest report merge shard1.jsonl shard2.jsonl --html report.html --junit report.xml
 * ```
 *
 * @since 0.1.0
 */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as RecordedRun from "../report/RecordedRun.ts"
import * as Reports from "../report/Reports.ts"
import * as TerminalReport from "../report/TerminalReport.ts"
import type { Invocation } from "./CommandLine.ts"
import * as ExitCode from "./ExitCode.ts"
import { complain, print, type Work } from "./Subcommand.ts"

/** Prints the results, and writes the files. Exit code 2 if a file cannot be read or written; whether tests failed does not matter. */
export const report = (invocation: Extract<Invocation, { readonly _tag: "Report" }>): Work =>
  Effect.gen(function* () {
    const { files, json, junit, quiet } = invocation
    const [first = ""] = files
    const html = invocation.html ?? Path.join(Path.dirname(first), "report.html")
    const records = RecordedRun.merge(yield* Effect.forEach(files, RecordedRun.read))
    const results = RecordedRun.resultsOf(records)
    const ended = TerminalReport.results(results, { quiet })
    if (ended !== "") yield* print(ended)
    yield* print(TerminalReport.summary(results, { interrupted: RecordedRun.interruptedOf(records) }))
    yield* Reports.write(records, { junit, json, html }, files)
    yield* print(`wrote ${[html, junit ?? [], json ?? []].flat().join(", ")}`)
    return ExitCode.passed
  }).pipe(Effect.catch((error) => Effect.as(complain(error.message), ExitCode.unusable)))
