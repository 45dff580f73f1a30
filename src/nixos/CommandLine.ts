/**
 * What `nixos-test-driver …` accepts, as plain data: the options of the NixOS test driver since 2026, those that it had before, and the environment
 * variables of both.
 *
 * It must not import the library: the build bundles it into the launcher.
 *
 * **Example** (Read a command line)
 *
 * ```ts
 * const program = CommandLine.parse(["--config", "driverConfiguration.json"], process.env, "0.1.0")
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as ExitCode from "../cli/ExitCode.ts"
import * as Flags from "./Flags.ts"

/** The language of a test script. */
export type Language = "python" | "typescript"

/** How much is printed; the least first. */
export const logLevels = ["error", "warning", "info", "debug"] as const

/** How much is printed. */
export type LogLevel = (typeof logLevels)[number]

/** Where machines and script come from. */
export type Source =
  | {
      readonly _tag: "Configuration"
      readonly file: string
      /** The script to run instead of that of the configuration. */
      readonly script: string | undefined
    }
  | {
      /** As before 2026. */
      readonly _tag: "StartScripts"
      readonly startScripts: ReadonlyArray<string>
      /** The names of their machines, in their order; undefined if the scripts have them in their own names. */
      readonly names: ReadonlyArray<string> | undefined
      /** The start scripts of containers. */
      readonly containers: ReadonlyArray<string>
      readonly vlans: ReadonlyArray<number>
      /** Seconds. */
      readonly globalTimeout: number | undefined
      readonly script: string
    }

/** What the user asked for. */
export interface Invocation {
  readonly source: Source
  readonly keepState: boolean
  readonly interactive: boolean
  /** The command that attaches to a breakpoint. */
  readonly debugHook: string | undefined
  /** An existing folder; its full path. */
  readonly output: string
  /** The full path of the report. */
  readonly junitXml: string | undefined
  /** Where the log in XML is written. */
  readonly logFile: string | undefined
  readonly logLevel: LogLevel
  /** Undefined: by the ending of the script's name, Python if it has none. */
  readonly language: Language | undefined
  /** The number of the first machine's SSH backdoor, less one; undefined without backdoors. */
  readonly vsocks: number | undefined
}

const options: ReadonlyArray<Flags.Option> = [
  { names: ["-h", "--help"], takes: "none", help: "Print this help" },
  { names: ["--version"], takes: "none", help: "Print the version" },
  { names: ["-c", "--config"], takes: "one", value: "FILE", help: "The configuration of the test, JSON" },
  {
    names: ["-K", "--keep-machine-state"],
    takes: "none",
    help: "Start the machines from the state that the last run has left"
  },
  { names: ["--keep-vm-state"], takes: "none", help: "The old name of --keep-machine-state" },
  {
    names: ["-I", "--interactive"],
    takes: "none",
    help: "Do not run the script: open a prompt with the machines, in the language of the script"
  },
  { names: ["--no-interactive"], takes: "none", help: "Run the script, also after --interactive" },
  {
    names: ["--debug-hook-attach"],
    takes: "one",
    value: "CMD",
    help: "Stop at breakpoints and where the script fails; CMD is the command that attaches to them, and is printed"
  },
  {
    names: ["-o", "--output_directory"],
    takes: "one",
    value: "DIR",
    help: "The folder for screenshots and files copied from machines; it must exist (default: the working folder)"
  },
  { names: ["--junit-xml"], takes: "one", value: "FILE", help: "Write a JUnit report, relative to the output folder" },
  {
    names: ["--log-level"],
    takes: "one",
    value: "LEVEL",
    help: `How much to print: ${logLevels.join(", ")} (default: info, or $logLevel)`
  },
  {
    names: ["--language"],
    takes: "one",
    value: "LANGUAGE",
    help: "The script's language: python or typescript (default: by the ending of its name, else python)"
  },
  { names: ["--test-script"], takes: "one", value: "FILE", help: "The script, instead of that of the configuration" },
  {
    names: ["--start-scripts"],
    takes: "many",
    value: "FILE",
    help: "Before 2026: the start scripts of the machines (default: $startScripts)"
  },
  {
    names: ["--vm-start-scripts"],
    takes: "many",
    value: "FILE",
    help: "Before 2026: as --start-scripts, for --vm-names (default: $vmStartScripts)"
  },
  {
    names: ["--vm-names"],
    takes: "many",
    value: "NAME",
    help: "Before 2026: the names of the machines of --vm-start-scripts (default: $vmNames)"
  },
  {
    names: ["--container-start-scripts"],
    takes: "many",
    value: "FILE",
    help: "Before 2026: the start scripts of containers, which vmtest does not run (default: $containerStartScripts)"
  },
  {
    names: ["--container-names"],
    takes: "many",
    value: "NAME",
    help: "Before 2026: the names of the containers (default: $containerNames)"
  },
  { names: ["--vlans"], takes: "many", value: "N", help: "Before 2026: the numbers of the networks (default: $vlans)" },
  {
    names: ["--global-timeout"],
    takes: "one",
    value: "N",
    help: "Before 2026: seconds until the test is ended (default: $globalTimeout)"
  },
  {
    names: ["--dump-vsocks"],
    takes: "one",
    value: "N",
    help: "Before 2026: print how to reach the machines by SSH over vsock, the first of them at N + 1"
  }
]

/** The name of the command. */
export const name = "nixos-test-driver"

const help = `Run a test of NixOS on vmtest.

Usage:
  ${name} --config FILE [OPTION…]
  ${name} [OPTION…] SCRIPT

Options can be abbreviated.
${Flags.help(options)}

Environment: LOGFILE is a file for the log in XML. State is kept in XDG_RUNTIME_DIR, else in TMPDIR: vm-state-NAME for each machine.
Exit codes: 0 passed, 1 failed or could not run, 2 wrong usage, 130 interrupted.`

const fail = (reason: string) => Result.fail(new Flags.UsageError({ reason }))

const wholeNumber = (what: string, text: string): Result.Result<number, Flags.UsageError> =>
  /^\d+$/.test(text.trim())
    ? Result.succeed(Number(text))
    : fail(`${what} must be a whole number, got ${JSON.stringify(text)}`)

const oneOf = <const Choice extends string>(
  what: string,
  choices: ReadonlyArray<Choice>,
  text: string
): Result.Result<Choice, Flags.UsageError> => {
  const choice = choices.find((one) => one === text.toLowerCase())
  return choice === undefined
    ? fail(`${what} must be one of ${choices.join(", ")}, got ${JSON.stringify(text)}`)
    : Result.succeed(choice)
}

/** What is wrong with the output folder. */
const folderProblem = (folder: string): string | undefined => {
  const found = Fs.statSync(folder, { throwIfNoEntry: false })
  if (found === undefined) return "does not exist"
  if (!found.isDirectory()) return "is not a folder"
  const writable = Result.try(() => Fs.accessSync(folder, Fs.constants.W_OK))
  return Result.isSuccess(writable) ? undefined : "cannot be written to"
}

type Environment = Readonly<Record<string, string | undefined>>

/** Why options cannot be used with a configuration. */
const inConfiguration: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    ["--start-scripts", "--vm-start-scripts", "--vm-names"].map((option) => [
      option,
      "the configuration has the machines"
    ])
  ),
  ...Object.fromEntries(
    ["--container-start-scripts", "--container-names"].map((option) => [option, "the configuration has the containers"])
  ),
  "--vlans": "the configuration has the VLANs",
  "--global-timeout": "the configuration has the global timeout"
}

/** What an option or its variable lists; undefined without either. */
const listed = ({ options: given }: Flags.Read, env: Environment, option: string, variable: string) =>
  given.get(option) ?? env[variable]?.split(/\s+/).filter((one) => one !== "")

/** The start scripts that the command line or the environment lists, in one of the two ways that there were. */
const startScriptsOf = (read: Flags.Read, env: Environment) =>
  Result.gen(function* () {
    const byName = listed(read, env, "--vm-start-scripts", "vmStartScripts")
    const startScripts = byName ?? listed(read, env, "--start-scripts", "startScripts") ?? []
    const given = byName === undefined ? undefined : listed(read, env, "--vm-names", "vmNames")
    const names = given === undefined || given.length === 0 ? undefined : given
    if (names !== undefined && names.length !== startScripts.length) {
      return yield* fail(
        `--vm-names must be as many as --vm-start-scripts, got ${names.length} and ${startScripts.length}`
      )
    }
    const containers = listed(read, env, "--container-start-scripts", "containerStartScripts") ?? []
    return { startScripts, names, containers }
  })

const isScriptName = (text: string) => /\.(py|[cm]?[jt]s)$/.test(text)

const putItFirst = "put the script first, or after --test-script"

/** As {@link wholeNumber}, of an option that can have taken the script. */
const numberOf = (what: string, text: string): Result.Result<number, Flags.UsageError> =>
  Result.mapError(wholeNumber(what, text), (error) =>
    isScriptName(text) ? new Flags.UsageError({ reason: `${error.reason}; ${putItFirst}` }) : error
  )

/** Why there is no script. */
const withoutScript = ({ options: given }: Flags.Read): string => {
  const took = [...given].find(([, values]) => values.length > 1 && isScriptName(values.at(-1) ?? ""))
  return took === undefined
    ? "missing --config FILE, or, as before 2026, a script with --start-scripts"
    : `missing a script: ${took[0]} took ${JSON.stringify(took[1].at(-1))}; ${putItFirst}`
}

/** What is wrong with the command that attaches to breakpoints. */
const hookProblem = (command: string): string | undefined => {
  if (!Fs.existsSync(command)) return undefined
  if (!isScriptName(command)) {
    const runs = Result.try(() => Fs.accessSync(command, Fs.constants.X_OK))
    return Result.isSuccess(runs) ? undefined : `--debug-hook-attach: ${command} is not executable`
  }
  return `--debug-hook-attach needs a command, got the script ${JSON.stringify(command)}; put the command before it`
}

/** The full path of the report; it must be below the output folder. */
const reportOf = (output: string, file: string): Result.Result<string, Flags.UsageError> => {
  const path = Path.resolve(output, file)
  return path.startsWith(output.endsWith(Path.sep) ? output : `${output}${Path.sep}`)
    ? Result.succeed(path)
    : fail(`--junit-xml must be a file below the output folder ${output}, got ${JSON.stringify(file)}`)
}

const sourceOf = (read: Flags.Read, env: Environment): Result.Result<Source, Flags.UsageError> =>
  Result.gen(function* () {
    const { options: given, words } = read
    const [word, ...more] = words
    const named = given.get("--test-script")?.[0]
    if (more.length > 0)
      return yield* fail(
        `unexpected argument${more.length === 1 ? "" : "s"} ${more.map((one) => JSON.stringify(one)).join(", ")}`
      )
    if (word !== undefined && named !== undefined)
      return yield* fail("--test-script cannot be used with SCRIPT: both name the script")
    const script = word ?? named
    const file = given.get("--config")?.[0]
    if (file !== undefined) {
      const other = Object.keys(inConfiguration).find((option) => given.has(option))
      if (other !== undefined) return yield* fail(`${other} cannot be used with --config: ${inConfiguration[other]}`)
      return { _tag: "Configuration", file, script }
    }
    const vlans: Array<number> = []
    for (const vlan of listed(read, env, "--vlans", "vlans") ?? []) vlans.push(yield* numberOf("a VLAN", vlan))
    const timeout = given.get("--global-timeout")?.[0] ?? (env.globalTimeout || undefined)
    const globalTimeout = timeout === undefined ? undefined : yield* numberOf("--global-timeout", timeout)
    const asked = script ?? env.testScript
    if (asked === undefined || asked === "") return yield* fail(withoutScript(read))
    return {
      _tag: "StartScripts",
      ...(yield* startScriptsOf(read, env)),
      vlans,
      globalTimeout,
      script: asked
    }
  })

/** Reads the words of a command line (without `node` and the command's own name), and the environment. */
export const read = (
  args: ReadonlyArray<string>,
  env: Environment
): Result.Result<Invocation | "help" | "version", Flags.UsageError> =>
  Result.gen(function* () {
    const given = yield* Flags.read(options, args)
    const has = (option: string) => given.options.has(option)
    const one = (option: string) => given.options.get(option)?.[0]
    if (has("--help")) return "help"
    if (has("--version")) return "version"
    const output = Path.resolve(one("--output_directory") ?? ".")
    const problem = folderProblem(output)
    if (problem !== undefined) return yield* fail(`--output_directory: ${output} ${problem}`)
    const junit = one("--junit-xml")
    const level = one("--log-level")
    const language = one("--language")
    const dumped = one("--dump-vsocks")
    const vsocks = dumped === undefined ? undefined : yield* numberOf("--dump-vsocks", dumped)
    const debugHook = one("--debug-hook-attach")
    const wrong = debugHook === undefined ? undefined : hookProblem(debugHook)
    if (wrong !== undefined) return yield* fail(wrong)
    return {
      source: yield* sourceOf(given, env),
      keepState: has("--keep-machine-state") || has("--keep-vm-state"),
      // The last one counts: Nix puts one of them before what the user writes.
      interactive: [...given.options.keys()].findLast((key) => key.endsWith("interactive")) === "--interactive",
      debugHook,
      output,
      junitXml: junit === undefined ? undefined : yield* reportOf(output, junit),
      logFile: env.LOGFILE || undefined,
      logLevel: yield* oneOf("--log-level", logLevels, level ?? (env.logLevel || "info")),
      language:
        language === undefined ? undefined : yield* oneOf("--language", ["python", "typescript"] as const, language),
      vsocks
    } satisfies Invocation
  })

/** Reads a command line. Help, version and errors are printed, and give the exit code. */
export const parse = (
  args: ReadonlyArray<string>,
  env: Environment,
  version: string
): Effect.Effect<Invocation | ExitCode.ExitCode> =>
  Effect.sync(() => {
    const result = read(args, env)
    if (Result.isFailure(result)) {
      process.stderr.write(`${name}: ${result.failure.message}\nFor more information, try '${name} --help'.\n`)
      return ExitCode.unusable
    }
    if (typeof result.success !== "string") return result.success
    process.stdout.write(result.success === "help" ? `${help}\n` : `${name} v${version}\n`)
    return ExitCode.passed
  })
