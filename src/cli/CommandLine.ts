/**
 * The grammar of the command line: what `vmtest …` accepts, as plain data.
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
import { readFileSync } from "node:fs"
import * as ByteSize from "effect/ByteSize"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Argument from "effect/cli/Argument"
import * as CliConfig from "effect/cli/CliConfig"
import type * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as ExitCode from "./ExitCode.ts"
import * as Usage from "./internal/usage.ts"

/** The options of every subcommand that runs machines. */
export interface RunOptions {
  /** Whether to keep the state folder of the run and print its path. Default: false. */
  readonly keepState: boolean
  /**
   * The folder in which each test has a folder for its screenshots and the files copied from guests, as the user wrote it. Default:
   * `vmtest-output`, made when something is first written to it.
   */
  readonly output: string | undefined
  /** Whether to print every command and every console line as well. Default: false. */
  readonly verbose: boolean
  /** Whether to print only failures and the summary. Default: false. */
  readonly quiet: boolean
  /** Whether machines start from stored snapshots, and machines that boot are stored as snapshots. Default: true. */
  readonly snapshot: boolean
}

/** What the user asked for, as plain data; paths are as they were written. */
export type Invocation =
  | {
      readonly _tag: "Run"
      /** At least one. */
      readonly scripts: ReadonlyArray<string>
      /** How many tests run at the same time. Default: 1. */
      readonly jobs: number
      /** Only tests whose name contains one of these; empty for all. */
      readonly names: ReadonlyArray<string>
      /** Replaces the timeout of every test, in milliseconds. */
      readonly timeout: number | undefined
      /** How long a wait may take if neither it nor its test sets a timeout, in milliseconds. */
      readonly waitTimeout: number | undefined
      /** Whether to save the machines of failed tests, in the output folder. */
      readonly snapshotOnFailure: boolean
      /** Whether to capture the networks of all tests, in the output folder. */
      readonly capture: boolean
      /** Whether to write the reference pictures of screens instead of comparing with them. */
      readonly updateReferences: boolean
      /** The module that declares the machines of Python scripts. */
      readonly machines: string | undefined
      /** The file in JSON that describes machines of all scripts. */
      readonly machineConfig: string | undefined
      readonly options: RunOptions
    }
  | { readonly _tag: "Eval"; readonly expression: string; readonly options: RunOptions }
  | { readonly _tag: "EvalFile"; readonly file: string; readonly options: RunOptions }
  | { readonly _tag: "Doctor"; readonly json: boolean }
  | { readonly _tag: "ImageList"; readonly json: boolean }
  | { readonly _tag: "ImageBuild"; readonly scripts: ReadonlyArray<string>; readonly refresh: boolean }
  | {
      readonly _tag: "ImagePrune"
      readonly all: boolean
      /** Milliseconds: removes images that have not been used for longer. */
      readonly olderThan: number | undefined
      /** Bytes: removes the least recently used images until the cache is no larger. */
      readonly maxSize: number | undefined
    }
  | { readonly _tag: "SnapshotList"; readonly json: boolean }
  | {
      readonly _tag: "SnapshotPrune"
      readonly all: boolean
      /** Milliseconds: removes snapshots that have not been used for longer. */
      readonly olderThan: number | undefined
      /** Bytes: removes the least recently used snapshots until the store is no larger. */
      readonly maxSize: number | undefined
    }
  | { readonly _tag: "Resume"; readonly folder: string; readonly options: RunOptions }

class Chosen extends Context.Service<Chosen, Ref.Ref<Option.Option<Invocation>>>()("vmtest/cli/CommandLine/Chosen") {}

const choose = (invocation: Invocation) => Chosen.use((chosen) => Ref.set(chosen, Option.some(invocation)))

const undefinedOr = <A>(flag: Flag.Flag<A>): Flag.Flag<A | undefined> =>
  flag.pipe(Flag.optional, Flag.map(Option.getOrUndefined))

const durationFlag = (name: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("DURATION"),
    Flag.filterMap(
      (text) => Option.map(Duration.fromInput(text as Duration.Input), Duration.toMillis),
      () => `a duration such as "90 seconds" or "5 minutes"`
    )
  )

const sizeFlag = (name: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("SIZE"),
    Flag.filterMap(
      (text) => Option.map(ByteSize.fromInput(text as ByteSize.Input), Number),
      () => `a size such as "512 MiB" or "10 GiB"`
    )
  )

const booleanFlag = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDefault(false), Flag.withoutNegation, Flag.withDescription(description))

const jobsFlag = Flag.String("jobs").pipe(
  Flag.withAlias("j"),
  Flag.withMetavar("N"),
  Flag.withDescription("How many tests run at the same time (default: 1)"),
  Flag.filterMap(
    (text) => Option.some(Number(text)).pipe(Option.filter((jobs) => /^\d+$/.test(text) && jobs >= 1)),
    () => "a whole number of at least 1"
  ),
  Flag.withDefault(1)
)

const runFlags = {
  keepState: booleanFlag(
    "keep-state",
    "Keep the run's state folder (sockets, logs, disks of all machines) in the temporary folder and print its path (default: removed)"
  ),
  output: undefinedOr(
    Flag.String("output").pipe(
      Flag.withAlias("o"),
      Flag.withMetavar("FOLDER"),
      Flag.withDescription(
        "Where screenshots and files copied from guests go, in a folder for each test (default: vmtest-output). If set, the logs of failed tests' machines are copied there too"
      ),
      Flag.filter(
        (folder) => folder !== "",
        () => "a folder"
      )
    )
  ),
  verbose: booleanFlag("verbose", "Print every command and every console line as well"),
  quiet: booleanFlag("quiet", "Print only failures and the summary").pipe(Flag.withAlias("q")),
  snapshot: booleanFlag(
    "no-snapshot",
    "Boot every machine, and neither use nor store snapshots (default: machines start from stored snapshots)"
  ).pipe(Flag.map((cold) => !cold))
}

const scriptsArgument = Argument.String("SCRIPT").pipe(
  Argument.withDescription(
    "A TypeScript or JavaScript module whose default export is a test, an array of tests, or an Effect; or a Python script for the NixOS test driver, with --machines or --machine-config"
  ),
  Argument.variadic({ min: 1 })
)

const run = Command.make(
  "run",
  {
    scripts: scriptsArgument,
    jobs: jobsFlag,
    names: Flag.String("test-name").pipe(
      Flag.withAlias("t"),
      Flag.withMetavar("TEXT"),
      Flag.withDescription("Run only tests whose name contains TEXT; repeat it to select more (default: all tests)"),
      Flag.atLeast(0)
    ),
    timeout: undefinedOr(
      durationFlag("timeout").pipe(
        Flag.withDescription(
          "Override the timeout of every test, for example '10 minutes' (default: the test's own, else 30 minutes)"
        )
      )
    ),
    waitTimeout: undefinedOr(
      durationFlag("wait-timeout").pipe(
        Flag.withDescription(
          "How long a wait may take if neither it nor its test sets a timeout (default: 5 minutes); three times as long under emulation"
        )
      )
    ),
    snapshotOnFailure: booleanFlag(
      "snapshot-on-failure",
      "Save the machines of a failed test to its output folder, for 'vmtest resume FOLDER/TEST' (default: off)"
    ),
    capture: booleanFlag(
      "capture",
      "Write the packets of each network to a file in the test's output folder, for Wireshark: FOLDER/TEST/vlan1.pcapng (default: off)"
    ),
    updateReferences: booleanFlag(
      "update-references",
      "Write the reference pictures of 'expectScreenshot' over the existing files instead of comparing with them (default: off)"
    ),
    machines: undefinedOr(
      Flag.String("machines").pipe(
        Flag.withMetavar("FILE"),
        Flag.withDescription(
          "The machines of Python scripts: a module whose default export is an object of names and declarations"
        )
      )
    ),
    machineConfig: undefinedOr(
      Flag.String("machine-config").pipe(
        Flag.withMetavar("FILE"),
        Flag.withDescription(
          "Machines of all scripts, besides those that they declare: a file in JSON that names start scripts, or runners of microvm.nix"
        )
      )
    ),
    ...runFlags
  },
  ({ keepState, output, quiet, snapshot, verbose, ...invocation }) =>
    choose({ _tag: "Run", ...invocation, options: { keepState, output, quiet, snapshot, verbose } })
).pipe(
  Command.withDescription("Run the tests of one or several scripts"),
  Command.withExamples([
    { command: "vmtest run test.ts", description: "Run one script" },
    { command: "vmtest run -j 2 tests/*.ts", description: "Run several scripts, two tests at a time" },
    { command: "vmtest run test.py --machines machines.ts", description: "Run a Python script" }
  ])
)

const evaluate = Command.make(
  "eval",
  { expression: Argument.String("EXPRESSION").pipe(Argument.withDescription("A TypeScript expression")), ...runFlags },
  ({ expression, ...options }) => choose({ _tag: "Eval", expression, options })
).pipe(
  Command.withDescription(
    "Evaluate an expression with driver, Image and Effect in scope, and print its value. An Effect is run; yield* is allowed."
  ),
  Command.withExamples([
    {
      command: `vmtest eval '(yield* driver.machine("m", { image: Image.tiny() })).succeed("uname -a")'`,
      description: "Boot a guest and print a command's output"
    }
  ])
)

const evaluateFile = Command.make(
  "eval-file",
  {
    file: Argument.String("FILE").pipe(
      Argument.withDescription("An expression, the body of a generator, or a module with a default export")
    ),
    ...runFlags
  },
  ({ file, ...options }) => choose({ _tag: "EvalFile", file, options })
).pipe(Command.withDescription("Evaluate a program in a file, like eval"))

const json = booleanFlag("json", "Print JSON")

const doctor = Command.make("doctor", { json }, ({ json }) => choose({ _tag: "Doctor", json })).pipe(
  Command.withDescription("Check this host, and print the commands that install what is missing")
)

const image = Command.make("image").pipe(
  Command.withDescription("List, build and remove cached guest images"),
  Command.withSubcommands([
    Command.make("list", { json }, ({ json }) => choose({ _tag: "ImageList", json })).pipe(
      Command.withDescription("List the cached images with their size, age and last use")
    ),
    Command.make(
      "build",
      {
        scripts: Argument.String("SCRIPT").pipe(
          Argument.withDescription(
            "Scripts, or modules for --machines, whose images to build (default: the tiny and the plain Debian image)"
          ),
          Argument.variadic()
        ),
        refresh: booleanFlag("refresh", "Rebuild cached images too, from the distribution's current packages")
      },
      ({ refresh, scripts }) => choose({ _tag: "ImageBuild", scripts, refresh })
    ).pipe(Command.withDescription("Build images before the tests that need them")),
    Command.make(
      "prune",
      {
        all: booleanFlag("all", "Remove every image"),
        olderThan: undefinedOr(
          durationFlag("older-than").pipe(
            Flag.withDescription("Remove images that have not been used for longer than this")
          )
        ),
        maxSize: undefinedOr(
          sizeFlag("max-size").pipe(
            Flag.withDescription("Remove the least recently used images until the cache is no larger than this")
          )
        )
      },
      ({ all, maxSize, olderThan }) => choose({ _tag: "ImagePrune", all, olderThan, maxSize })
    ).pipe(Command.withDescription("Remove images by age and size, and the remains of interrupted builds"))
  ])
)

const snapshot = Command.make("snapshot").pipe(
  Command.withDescription("List and remove stored snapshots of booted machines"),
  Command.withSubcommands([
    Command.make("list", { json }, ({ json }) => choose({ _tag: "SnapshotList", json })).pipe(
      Command.withDescription("List the stored snapshots with their size, age and last use")
    ),
    Command.make(
      "prune",
      {
        all: booleanFlag("all", "Remove every snapshot"),
        olderThan: undefinedOr(
          durationFlag("older-than").pipe(
            Flag.withDescription("Remove snapshots that have not been used for longer than this")
          )
        ),
        maxSize: undefinedOr(
          sizeFlag("max-size").pipe(
            Flag.withDescription("Remove the least recently used snapshots until the store is no larger than this")
          )
        )
      },
      ({ all, maxSize, olderThan }) => choose({ _tag: "SnapshotPrune", all, olderThan, maxSize })
    ).pipe(
      Command.withDescription("Remove snapshots by age and size, damaged snapshots, and the remains of killed runs")
    )
  ])
)

const resume = Command.make(
  "resume",
  {
    folder: Argument.String("FOLDER").pipe(
      Argument.withDescription("A test's folder that 'vmtest run --snapshot-on-failure' saved: FOLDER/TEST")
    ),
    ...runFlags
  },
  ({ folder, ...options }) => choose({ _tag: "Resume", folder, options })
).pipe(
  Command.withDescription("Resume the saved machines of a failed test, with a prompt to inspect them"),
  Command.withExamples([
    { command: "vmtest resume vmtest-output/'a page is served'", description: "Inspect a failed test" }
  ])
)

const vmtest = Command.make("vmtest").pipe(
  Command.withDescription(
    "Integration tests on real virtual machines. Exit codes: 0 passed, 1 a test failed, 2 wrong usage or a script that cannot be used, 130 interrupted."
  ),
  Command.withSubcommands([run, evaluate, evaluateFile, resume, doctor, image, snapshot])
)

/** The version of the package this module is part of. */
export const version: string = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version

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
    const usage: ExitCode.ExitCode = yield* Command.runWith(vmtest, { version })(args.flatMap(Usage.apart)).pipe(
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
