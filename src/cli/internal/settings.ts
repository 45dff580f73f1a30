/** What a run is to do: the command line, where it says nothing the config file, where that says nothing the defaults. */
import * as NodePath from "node:path"
import type { Invocation, RunOptions } from "../CommandLine.ts"
import * as ConfigFile from "../ConfigFile.ts"

type Run = Extract<Invocation, { readonly _tag: "Run" }>

/** What may be undefined in an invocation, and has a value now. */
interface Decided {
  readonly jobs: number | "auto"
  readonly retries: number
  readonly repeatEach: number
  readonly failFast: boolean
  readonly forbidOnly: boolean
  readonly snapshotOnFailure: boolean
  readonly capture: boolean
  readonly options: RunOptions
}

/** What a run is to do. */
export interface Settings extends Omit<Run, keyof Decided>, Decided {
  /** Of tests that set none themselves, in milliseconds. */
  readonly usualTimeout: number | undefined
  /** The output folder, with its full path. */
  readonly outputFolder: string
}

/** The default of `--output`. */
const defaultOutput = "vmtest-output"

/** Whether this is a CI system. They all set the variable. */
const onCi = (): boolean => !["", "0", "false", undefined].includes(process.env.CI?.toLowerCase())

/** The options that all subcommands that run machines have. */
export const optionsOf = (options: Run["options"], config: ConfigFile.Read["config"]): RunOptions => ({
  output: options.output ?? config.output,
  console: options.console ?? config.console,
  backend: options.backend ?? config.backend,
  keepState: options.keepState ?? config.keepState ?? false,
  verbose: options.verbose ?? config.verbose ?? false,
  quiet: options.quiet ?? config.quiet ?? false,
  snapshot: options.snapshot ?? config.snapshot ?? true
})

export const decide = (invocation: Run, { config }: ConfigFile.Read): Settings => {
  const { options } = invocation
  const output = options.output ?? config.output
  return {
    ...invocation,
    jobs: invocation.jobs ?? config.jobs ?? "auto",
    retries: invocation.retries ?? config.retries ?? 0,
    repeatEach: invocation.repeatEach ?? config.repeatEach ?? 1,
    failFast: invocation.failFast ?? config.failFast ?? false,
    forbidOnly: invocation.forbidOnly ?? config.forbidOnly ?? onCi(),
    snapshotOnFailure: invocation.snapshotOnFailure ?? config.snapshotOnFailure ?? false,
    capture: invocation.capture ?? config.capture ?? false,
    usualTimeout: ConfigFile.millis(config.timeout),
    waitTimeout: invocation.waitTimeout ?? ConfigFile.millis(config.waitTimeout),
    globalTimeout: invocation.globalTimeout ?? ConfigFile.millis(config.globalTimeout),
    seed: invocation.seed ?? config.seed,
    durations: invocation.durations ?? config.durations,
    logLevel: invocation.logLevel ?? config.logLevel,
    accel: invocation.accel ?? config.accel,
    machineConfig: invocation.machineConfig ?? config.machineConfig,
    outputFolder: NodePath.resolve(output ?? defaultOutput),
    junit: invocation.junit ?? config.junit,
    json: invocation.json ?? config.json,
    html: invocation.html ?? config.html,
    options: optionsOf(options, config)
  }
}

const levels = {
  all: "All",
  trace: "Trace",
  debug: "Debug",
  info: "Info",
  warn: "Warn",
  error: "Error",
  fatal: "Fatal",
  none: "None"
} as const

/** The least severe messages of Effect's logger that are printed. */
export const levelOf = ({ logLevel, options }: Pick<Settings, "logLevel" | "options">) =>
  levels[logLevel ?? (options.quiet ? "warn" : "info")]
