/**
 * The grammar of the command line: what `vmtest …` accepts, and the plain data it stands for.
 *
 * Nothing here imports the library: this module and what it imports are bundled into the launcher, so that `--help` and
 * a typing mistake are answered before the library is even read. The work itself is in the module that
 * {@link Invocation} names by its tag.
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

/** What every subcommand that runs machines can be told. */
export interface RunOptions {
  /** Keep the state folder of the run and say where it is. Default: false. */
  readonly keepState: boolean
  /** Where each test has a folder for screenshots and files copied from guests, as the user wrote it. Default: `vmtest-output`, made when first written to. */
  readonly output: string | undefined
  /** Also every command and every line of the consoles. Default: false. */
  readonly verbose: boolean
  /** Only failures and the summary. Default: false. */
  readonly quiet: boolean
  /** Whether machines start from snapshots, and are kept as such. Default: true. */
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
      /** What the waits of tests that do not say may take, in milliseconds. */
      readonly waitTimeout: number | undefined
      /** Save the machines of tests that fail below the output folder. */
      readonly snapshotOnFailure: boolean
      /** Write the reference pictures of screens instead of comparing with them. */
      readonly updateSnapshots: boolean
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
      /** Milliseconds; images not used for longer go. */
      readonly olderThan: number | undefined
      /** Bytes the cache may keep; the images not used for longest go first. */
      readonly maxSize: number | undefined
    }
  | { readonly _tag: "SnapshotList"; readonly json: boolean }
  | {
      readonly _tag: "SnapshotPrune"
      readonly all: boolean
      /** Milliseconds; snapshots not used for longer go. */
      readonly olderThan: number | undefined
      /** Bytes the store may keep; the snapshots not used for longest go first. */
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
      (text) => `a duration such as "90 seconds" or "5 minutes", not "${text}"`
    )
  )

const sizeFlag = (name: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("SIZE"),
    Flag.filterMap(
      (text) => Option.map(ByteSize.fromInput(text as ByteSize.Input), Number),
      (text) => `a size such as "512 MiB" or "10 GiB", not "${text}"`
    )
  )

const booleanFlag = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDefault(false), Flag.withoutNegation, Flag.withDescription(description))

const runFlags = {
  keepState: booleanFlag("keep-state", "Keep the state folder of the run, and say where it is"),
  output: undefinedOr(
    Flag.String("output").pipe(
      Flag.withAlias("o"),
      Flag.withMetavar("FOLDER"),
      Flag.withDescription(
        "Folder in which each test has one for its screenshots and copies; vmtest-output unless told"
      )
    )
  ),
  verbose: booleanFlag("verbose", "Also tell every command and every line of the consoles"),
  quiet: booleanFlag("quiet", "Tell only failures and the summary").pipe(Flag.withAlias("q")),
  snapshot: booleanFlag("no-snapshot", "Boot every machine, and keep no snapshot of what booted").pipe(
    Flag.map((cold) => !cold)
  )
}

const scriptsArgument = Argument.String("SCRIPT").pipe(
  Argument.withDescription(
    "A TypeScript or JavaScript module whose default export is a test, an array of tests, or an Effect"
  ),
  Argument.variadic({ min: 1 })
)

const run = Command.make(
  "run",
  {
    scripts: scriptsArgument,
    jobs: Flag.Int("jobs").pipe(
      Flag.withAlias("j"),
      Flag.withMetavar("N"),
      Flag.withDefault(1),
      Flag.filter(
        (jobs) => jobs >= 1,
        (jobs) => `at least 1, not ${jobs}`
      ),
      Flag.withDescription("How many tests run at the same time")
    ),
    names: Flag.String("test-name").pipe(
      Flag.withAlias("t"),
      Flag.withMetavar("TEXT"),
      Flag.withDescription("Run only the tests whose name contains TEXT; may be given several times"),
      Flag.atLeast(0)
    ),
    timeout: undefinedOr(
      durationFlag("timeout").pipe(Flag.withDescription("Replaces the timeout of every test, for example '10 minutes'"))
    ),
    waitTimeout: undefinedOr(
      durationFlag("wait-timeout").pipe(
        Flag.withDescription("How long a wait may take where neither it nor its test says; stretched under emulation")
      )
    ),
    snapshotOnFailure: booleanFlag(
      "snapshot-on-failure",
      "Save the machines of a test that fails, for 'vmtest resume FOLDER/TEST'"
    ),
    updateSnapshots: booleanFlag(
      "update-snapshots",
      "Write the reference pictures of 'expectScreenshot' instead of comparing with them"
    ),
    ...runFlags
  },
  ({ jobs, names, scripts, snapshotOnFailure, timeout, updateSnapshots, waitTimeout, ...options }) =>
    choose({
      _tag: "Run",
      ...{ scripts, jobs, names, timeout, waitTimeout, snapshotOnFailure, updateSnapshots },
      options
    })
).pipe(
  Command.withDescription("Run the tests of one or several scripts"),
  Command.withExamples([
    { command: "vmtest run test.ts", description: "Run one script" },
    { command: "vmtest run -j 2 tests/*.ts", description: "Run many, two tests at a time" }
  ])
)

const evaluate = Command.make(
  "eval",
  { expression: Argument.String("EXPRESSION").pipe(Argument.withDescription("A TypeScript expression")), ...runFlags },
  ({ expression, ...options }) => choose({ _tag: "Eval", expression, options })
).pipe(
  Command.withDescription(
    "Run one expression with driver, Image and Effect in scope, and print what it gives. An Effect is run; yield* may be used."
  ),
  Command.withExamples([
    {
      command: `vmtest eval '(yield* driver.machine("m", { image: Image.tiny() })).succeed("uname -a")'`,
      description: "Boot a guest and print what a command says"
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
).pipe(Command.withDescription("Like eval, with the program in a file"))

const json = booleanFlag("json", "Print JSON")

const doctor = Command.make("doctor", { json }, ({ json }) => choose({ _tag: "Doctor", json })).pipe(
  Command.withDescription("Say what this host can do, and the command that mends what is missing")
)

const image = Command.make("image").pipe(
  Command.withDescription("The cache of guest images"),
  Command.withSubcommands([
    Command.make("list", { json }, ({ json }) => choose({ _tag: "ImageList", json })).pipe(
      Command.withDescription("List the cached images: size, age, last use")
    ),
    Command.make(
      "build",
      {
        scripts: Argument.String("SCRIPT").pipe(
          Argument.withDescription("Scripts whose images to build; without one, the tiny and the plain Debian image"),
          Argument.variadic()
        ),
        refresh: booleanFlag("refresh", "Build anew from the distribution's current packages, even when cached")
      },
      ({ refresh, scripts }) => choose({ _tag: "ImageBuild", scripts, refresh })
    ).pipe(Command.withDescription("Build images ahead of the tests that need them")),
    Command.make(
      "prune",
      {
        all: booleanFlag("all", "Remove every image"),
        olderThan: undefinedOr(
          durationFlag("older-than").pipe(Flag.withDescription("Remove images that were not used for so long"))
        ),
        maxSize: undefinedOr(
          sizeFlag("max-size").pipe(
            Flag.withDescription("Remove images, the longest unused first, until the cache is this small")
          )
        )
      },
      ({ all, maxSize, olderThan }) => choose({ _tag: "ImagePrune", all, olderThan, maxSize })
    ).pipe(Command.withDescription("Remove images by age and size, and what interrupted builds left"))
  ])
)

const snapshot = Command.make("snapshot").pipe(
  Command.withDescription("The store of machines that have booted, which others start from"),
  Command.withSubcommands([
    Command.make("list", { json }, ({ json }) => choose({ _tag: "SnapshotList", json })).pipe(
      Command.withDescription("List the stored machines: size, age, last use")
    ),
    Command.make(
      "prune",
      {
        all: booleanFlag("all", "Remove every snapshot"),
        olderThan: undefinedOr(
          durationFlag("older-than").pipe(Flag.withDescription("Remove snapshots that were not used for so long"))
        ),
        maxSize: undefinedOr(
          sizeFlag("max-size").pipe(
            Flag.withDescription("Remove snapshots, the longest unused first, until the store is this small")
          )
        )
      },
      ({ all, maxSize, olderThan }) => choose({ _tag: "SnapshotPrune", all, olderThan, maxSize })
    ).pipe(Command.withDescription("Remove snapshots by age and size, damaged ones, and what killed runs left"))
  ])
)

const resume = Command.make(
  "resume",
  {
    folder: Argument.String("FOLDER").pipe(
      Argument.withDescription("What 'vmtest run --snapshot-on-failure' left of a test: FOLDER/TEST")
    ),
    ...runFlags
  },
  ({ folder, ...options }) => choose({ _tag: "Resume", folder, options })
).pipe(
  Command.withDescription("Open the machines of a failed test as they were, and a prompt to look around in them"),
  Command.withExamples([
    { command: "vmtest resume vmtest-output/'a page is served'", description: "Look at what a test left" }
  ])
)

const vmtest = Command.make("vmtest").pipe(
  Command.withDescription(
    "Integration tests on real virtual machines. Exit codes: 0 passed, 1 a test failed, 2 wrong usage or an unusable script, 130 interrupted."
  ),
  Command.withSubcommands([run, evaluate, evaluateFile, resume, doctor, image, snapshot])
)

/** The version of the package this module is part of. */
export const version: string = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version

/** A usage error is one line an error and one that says where to read more, on stderr; whole pages of help hide it. */
const presenter: CliOutput.Presenter = {
  present: (event) =>
    event._tag === "InvalidInvocation"
      ? Console.error(
          [
            ...event.errors.map((error) => `vmtest: ${error.message}`),
            `Try: ${event.commandPath.join(" ")} --help`
          ].join("\n")
        )
      : CliOutput.defaultPresenter.present(event)
}

/**
 * Reads a command line (without `node` and the command's own name).
 *
 * Gives what the user asked for; or, where help, the version or a usage error was all there was to say and has been said
 * (help and version on stdout, errors on stderr), the exit code.
 */
export const parse = (
  args: ReadonlyArray<string>
): Effect.Effect<Invocation | ExitCode.ExitCode, never, Command.Environment> =>
  Effect.gen(function* () {
    const chosen = yield* Ref.make(Option.none<Invocation>())
    const usage: ExitCode.ExitCode = yield* Command.runWith(vmtest, { version })(args).pipe(
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
