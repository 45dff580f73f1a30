/**
 * The grammar of the command line: what `vmtest …` accepts, as plain data. Each subcommand has a module of its own in `internal/grammar/`, with its
 * options and the type of what it is asked for.
 *
 * It must not import the library: this module and its imports are bundled into the launcher, so that `--help` and
 * typing mistakes are answered before the library is loaded. The tag of an {@link Invocation} names the module that
 * does the work.
 *
 * **Example** (Read a command line)
 *
 * ```ts
 * const program = Effect.gen(function* () {
 *   const parsed = yield* CommandLine.parse(["run", "web.ts", "--jobs", "2"])
 *   return typeof parsed === "number" ? `exit code ${parsed}` : parsed._tag // "Run"
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Console from "effect/Console"
import * as CliConfig from "effect/cli/CliConfig"
import type * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as OwnFiles from "../host/OwnFiles.ts"
import * as ExitCode from "./ExitCode.ts"
import * as Attach from "./internal/grammar/attach.ts"
import { Chosen } from "./internal/grammar/chosen.ts"
import * as Doctor from "./internal/grammar/doctor.ts"
import * as Evaluate from "./internal/grammar/evaluate.ts"
import * as Fleet from "./internal/grammar/fleet.ts"
import * as Image from "./internal/grammar/image.ts"
import * as Repl from "./internal/grammar/repl.ts"
import * as Report from "./internal/grammar/report.ts"
import * as Resume from "./internal/grammar/resume.ts"
import * as Run from "./internal/grammar/run.ts"
import * as Snapshot from "./internal/grammar/snapshot.ts"
import * as Top from "./internal/grammar/top.ts"
import * as Usage from "./internal/usage.ts"

export type {
  /** The options of every subcommand that runs machines. */
  RunOptions
} from "./internal/grammar/runOptions.ts"
/** What the user asked for, as plain data; paths are as they were written. */
export type Invocation =
  | Run.Run
  | Evaluate.Eval
  | Evaluate.EvalFile
  | Repl.Repl
  | Resume.Resume
  | Attach.Attach
  | Top.Top
  | Report.Report
  | Doctor.Doctor
  | Image.ImageList
  | Image.ImageBuild
  | Image.ImagePrune
  | Snapshot.SnapshotList
  | Snapshot.SnapshotPrune
  | Fleet.Fleet

const vmtest = Command.make("vmtest").pipe(
  Command.withDescription(
    "Integration tests on real virtual machines. Exit codes: 0 passed, 1 a test failed, 2 wrong usage or a script that cannot be used, 130 interrupted."
  ),
  Command.withSubcommands([
    Run.command,
    Evaluate.expression,
    Evaluate.file,
    Repl.command,
    Resume.command,
    Attach.command,
    Top.command,
    Report.command,
    Doctor.command,
    Image.command,
    Snapshot.command,
    Fleet.command
  ])
)

/** Errors go to stderr in a few lines: whole pages of help would hide them. */
const presenter: CliOutput.Presenter = {
  present: (event) =>
    event._tag === "InvalidInvocation" ? Console.error(Usage.render(event)) : CliOutput.defaultPresenter.present(event)
}

/**
 * Reads a command line (without `node` and the command's own name).
 *
 * Gives what the user asked for. If that was help or the version, or the command line is wrong, prints the answer (help and
 * version to stdout, errors to stderr) and gives the exit code.
 */
export const parse = (
  args: ReadonlyArray<string>
): Effect.Effect<Invocation | ExitCode.ExitCode, never, Command.Environment> =>
  Effect.gen(function* () {
    const chosen = yield* Ref.make(Option.none<Invocation>())
    const usage: ExitCode.ExitCode = yield* Command.runWith(vmtest, { version: OwnFiles.version })(
      args.flatMap(Usage.apart)
    ).pipe(
      Effect.provideService(Chosen, chosen),
      Effect.as(ExitCode.passed),
      Effect.catch((_: CliError.CliError) => Effect.succeed(ExitCode.unusable))
    )
    return Option.getOrElse(yield* Ref.get(chosen), () => usage)
  }).pipe(
    Effect.provideService(CliOutput.Presenter, presenter),
    Effect.provideService(
      CliConfig.CliConfig,
      CliConfig.make({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions] })
    )
  )
