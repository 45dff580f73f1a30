/**
 * The reports that `vmtest run` and `vmtest fleet run` write.
 *
 * **Example** (The exit code of a run with a report)
 *
 * ```ts
 * const code = RunReports.written({ junit: "report.xml" }, ["web.vmtest.ts"])(Effect.succeed(ExitCode.passed))
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as OwnFiles from "../host/OwnFiles.ts"
import * as Reports from "../report/Reports.ts"
import * as ExitCode from "./ExitCode.ts"
import { complain } from "./Subcommand.ts"

/** Writes the reports of a run to files. A run that passed has the exit code 1 if one of them could not be written to its end. */
export const written =
  (files: Reports.Files, inputs: ReadonlyArray<string>) =>
  <E, R>(run: Effect.Effect<ExitCode.ExitCode, E, R>) =>
    Effect.suspend(() => {
      const problems: Array<string> = []
      const onUnwritten = (problem: string) =>
        Effect.andThen(
          Effect.sync(() => problems.push(problem)),
          complain(problem)
        )
      return Effect.map(
        Reports.written(files, { vmtest: OwnFiles.version, traces: true, inputs, onUnwritten })(run),
        (code) => (code === ExitCode.passed && problems.length > 0 ? ExitCode.failed : code)
      )
    })
