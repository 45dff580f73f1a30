/**
 * `vmtest run [SCRIPT…]`: finds the scripts, loads every one, and runs the tests that are wanted if all scripts can be used.
 *
 * **Example** (Run the tests of a folder, two at a time)
 *
 * ```sh
 * vmtest run -j 2 tests
 * ```
 *
 * @since 0.1.0
 */
import { resolve } from "node:path"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as References from "effect/References"
import * as MachineFile from "../driver/MachineFile.ts"
import * as SharedMachines from "../driver/SharedMachines.ts"
import type { TestCase } from "../driver/TestCase.ts"
import { isFailed, type TestResult } from "../driver/TestResult.ts"
import { TimeLimit } from "../driver/TimeLimit.ts"
import type { Location } from "../host/Location.ts"
import { Seed } from "../network/Seed.ts"
import * as LiveLine from "../report/LiveLine.ts"
import * as TerminalReport from "../report/TerminalReport.ts"
import { UpdateReferences } from "../screen/ScreenImage.ts"
import type { Invocation } from "./CommandLine.ts"
import * as ConfigFile from "./ConfigFile.ts"
import * as ExitCode from "./ExitCode.ts"
import * as GivenMachines from "./GivenMachines.ts"
import * as Host from "./Host.ts"
import * as Interrupted from "./Interrupted.ts"
import * as ListTests from "./internal/listTests.ts"
import * as Select from "./internal/select.ts"
import * as Settings from "./internal/settings.ts"
import * as LastRun from "./LastRun.ts"
import * as MachineModule from "./MachineModule.ts"
import * as PythonLoader from "./PythonLoader.ts"
import * as RunReports from "./RunReports.ts"
import { MachinesMissing, pointAtLocation, type ScriptError, withLine } from "./ScriptError.ts"
import * as ScriptLoader from "./ScriptLoader.ts"
import * as Scripts from "./Scripts.ts"
import { complain, print } from "./Subcommand.ts"
import * as Telemetry from "./Telemetry.ts"
import * as Watch from "./Watch.ts"

type Loaded = ReadonlyArray<TestCase>

/** Where the machines come from that scripts do not declare. */
export interface Sources {
  /** The module that declares those of scripts in Python. */
  readonly module?: string | undefined
  /** What a file describes for all scripts. */
  readonly given?: MachineFile.Machines | undefined
  /** Whether a module that only declares machines is a script, too. Default false. */
  readonly orMachines?: boolean
}

/** The tests of a script. */
export const load =
  ({ given, module, orMachines = false }: Sources) =>
  (script: string): Effect.Effect<Loaded, ScriptError, FileSystem.FileSystem | Path.Path> =>
    PythonLoader.isPython(script)
      ? Effect.mapError(PythonLoader.load(script, module, given), (error) =>
          error._tag === "MachinesMissing" ? new MachinesMissing({ ...error, builds: orMachines }) : error
        )
      : given === undefined
        ? (orMachines ? MachineModule.testsOrMachines : ScriptLoader.load)(script)
        : GivenMachines.load(script, given)

/** The tests of all scripts, in their order. If a script has a problem, prints the problems of all scripts, and gives undefined. */
export const loadAll: (
  scripts: ReadonlyArray<string>,
  sources?: Sources
) => Effect.Effect<Loaded | undefined, never, FileSystem.FileSystem | Path.Path> = Effect.fnUntraced(function* (
  scripts: ReadonlyArray<string>,
  sources: Sources = {}
) {
  const [tests, problems]: [ReadonlyArray<Loaded>, ReadonlyArray<ScriptError>] = yield* Effect.partition(
    scripts,
    load(sources)
  )
  // Several Python scripts may have one module of machines.
  for (const message of new Set(problems.map(({ message }) => message))) yield* complain(message)
  return problems.length === 0 ? tests.flat() : undefined
})

/** What can be wrong with a declaration. */
interface Wrong {
  readonly message: string
  readonly declaredAt?: Location | undefined
  readonly otherAt?: Location | undefined
}

/** The message of an error; of a wrong declaration with the line of the script that it is on, and of another one that it is at odds with. */
export const described = ({ declaredAt, message, otherAt }: Wrong): string => {
  const own = declaredAt === undefined ? message : withLine(declaredAt, message)
  return otherAt === undefined ? own : `${own}\n${pointAtLocation(otherAt, "the other test")}`
}

/** The machines of a file; undefined without one. */
export const givenBy = Effect.fnUntraced(function* (file: string | undefined) {
  return file === undefined ? undefined : yield* MachineFile.load(file)
})

/** The scripts of a run. */
export const scriptsOf = (settings: Settings.Settings, read: ConfigFile.Read) => {
  const named = settings.scripts.length > 0
  const place = { base: named ? process.cwd() : read.folder, output: settings.outputFolder }
  return Scripts.find(named ? settings.scripts : (read.config.tests ?? []), place)
}

/** The tests of scripts; undefined if one of these has a problem, which is printed. */
const testsOf = Effect.fnUntraced(function* (
  scripts: ReadonlyArray<string>,
  settings: Settings.Settings,
  { config, digest, file }: ConfigFile.Read
) {
  const given = yield* givenBy(settings.machineConfig)
  const loaded = yield* loadAll(scripts, { module: settings.machines, given })
  if (loaded === undefined || file === undefined) return loaded
  return SharedMachines.resolve(loaded, config.machines ?? {}, { from: file, digest })
})

/** Writes how the tests ended, for `--only-failed` and `--shard`. A part of a run must not change what the other parts are split by. */
export const record = Effect.fnUntraced(function* (
  wanted: ReadonlyArray<Select.Wanted>,
  results: ReadonlyArray<TestResult>,
  { durations, outputFolder, shard }: Settings.Settings
) {
  const left = [...results]
  const ended = wanted.map(({ key, test }): LastRun.Ended => {
    const at = left.findIndex(({ file, name }) => name === test.name && file === test.file)
    return { key, result: at < 0 ? undefined : left.splice(at, 1)[0] }
  })
  const file = shard === undefined ? (durations ?? (yield* LastRun.durationsOf(outputFolder))) : undefined
  const problem = yield* LastRun.write(outputFolder, ended, file)
  // Only a file that the user named is missed.
  if (problem !== undefined && durations !== undefined) yield* complain(problem)
})

/** The settings that change all that runs. */
type AroundAll = "accel" | "globalTimeout" | "logLevel" | "options" | "seed" | "updateReferences"

/** What the settings change for all that runs. */
export const inSettings =
  ({ accel, globalTimeout, logLevel, options, seed, updateReferences }: Pick<Settings.Settings, AroundAll>) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const config = yield* ConfigProvider.ConfigProvider
      const accelerated =
        accel === undefined
          ? config
          : ConfigProvider.orElse(ConfigProvider.fromUnknown({ VMTEST_ACCEL: accel }), config)
      const limit = globalTimeout === undefined ? yield* TimeLimit : Duration.millis(globalTimeout)
      const update = updateReferences || (yield* UpdateReferences)
      return yield* effect.pipe(
        Effect.provideService(ConfigProvider.ConfigProvider, accelerated),
        Effect.provideService(TimeLimit, limit),
        Effect.provideService(Seed, seed),
        Effect.provideService(UpdateReferences, update),
        Effect.provideService(References.MinimumLogLevel, Settings.levelOf({ logLevel, options }))
      )
    })

/** Runs the tests that are wanted. A run that is interrupted prints what it came to. */
const runWanted = (wanted: ReadonlyArray<Select.Wanted>, settings: Settings.Settings, config: string | undefined) => {
  const tests = wanted.map(({ test }) => test)
  const { capture, failFast, jobs, machineConfig, machines, options, retries, snapshotOnFailure } = settings
  const { html, json, junit, pauseOnFailure, pauseTimeout, workers } = settings
  const pause = pauseOnFailure ? { timeout: pauseTimeout } : undefined
  const files = { machines, machineConfig }
  const how = { capture, evidence: true, failFast, jobs, options, pause, retries, snapshotOnFailure }
  const ran = Effect.gen(function* () {
    if (workers !== undefined) {
      // What a fleet needs is not loaded for runs without one.
      const Workers = yield* Effect.promise(() => import("./Workers.ts"))
      return yield* Workers.runTests(tests, settings, workers, config)
    }
    return yield* Host.runTests(tests, how)
  })
  // A prompt has the last line for itself.
  const live = pauseOnFailure || options.quiet ? ran : LiveLine.during(tests.length)(ran)
  return live.pipe(
    Effect.tap((results) =>
      Effect.andThen(print(TerminalReport.summary(results, files)), record(wanted, results, settings))
    ),
    Interrupted.summedUp(tests.length, (results, left) =>
      Effect.andThen(print(TerminalReport.summary(results, { ...left, ...files })), record(wanted, results, settings))
    ),
    inSettings(settings),
    Effect.map((results) => (results.some(isFailed) ? ExitCode.failed : ExitCode.passed)),
    RunReports.written(
      { junit, json, html },
      tests.flatMap(({ inputs = [] }) => inputs)
    ),
    // All tests are one trace.
    Effect.withSpan("vmtest.run", { attributes: { "vmtest.tests": tests.length } }, { captureStackTrace: false }),
    Effect.provide(Telemetry.layer("vmtest", { all: false })),
    Effect.provide(TerminalReport.layer({ ...options, atOnce: Host.isAtOnce(tests, workers ?? jobs) }))
  )
}

/** Runs the tests that are wanted of these, or says why none is. */
const runSelected = Effect.fnUntraced(function* (
  tests: ReadonlyArray<TestCase>,
  settings: Settings.Settings,
  { file }: ConfigFile.Read
) {
  const selected = yield* Select.select(tests, settings)
  if (selected._tag === "None") {
    yield* complain(selected.reason)
    return selected.isMistake ? ExitCode.unusable : ExitCode.passed
  }
  if (settings.listJson || settings.list) {
    yield* print(settings.listJson ? ListTests.json(selected.wanted) : ListTests.lines(selected.wanted).join("\n"))
    return ExitCode.passed
  }
  return yield* runWanted(selected.wanted, settings, file)
})

/** The files that scripts are made of, by script. */
const inputsOf = (tests: ReadonlyArray<TestCase>, settings: Settings.Settings, read: ConfigFile.Read): Watch.Inputs => {
  const shared = [settings.machines, settings.machineConfig].flatMap((file) =>
    file === undefined ? [] : [resolve(file)]
  )
  return new Map(
    tests.flatMap(({ file, inputs }) =>
      file === undefined ? [] : [[file, [...(inputs ?? [resolve(file)]), ...shared, ...read.inputs]] as const]
    )
  )
}

/** Runs tests again when what they are made of changes. The settings are those of the start. */
const watched = (settings: Settings.Settings, first: ConfigFile.Read) =>
  Effect.scoped(
    Watch.loop({
      find: scriptsOf(settings, first),
      run: (scripts) =>
        Effect.gen(function* () {
          const read = yield* ConfigFile.read(settings.config)
          const tests = (yield* testsOf(scripts, settings, read)) ?? []
          if (tests.length > 0) yield* runSelected(tests, settings, read)
          return inputsOf(tests, settings, read)
        }).pipe(Effect.catch((error) => Effect.as(complain(described(error)), new Map())))
    })
  )

/** Options that do not go together, and why. */
export const contradiction = (asked: Extract<Invocation, { readonly _tag: "Run" }>): string | undefined => {
  const { jobs, list, listJson, pauseOnFailure, pauseTimeout, watch, workers } = asked
  if (workers !== undefined && pauseOnFailure)
    return "--pause-on-failure cannot be used with --workers, which end with their tests; use --jobs"
  if (workers !== undefined && jobs !== undefined)
    return "--jobs cannot be used with --workers, which says how many files run at the same time"
  if (watch && (list || listJson)) return "--watch cannot be used with --list, which runs nothing"
  if (pauseTimeout !== undefined && !pauseOnFailure) return "--pause-timeout needs --pause-on-failure"
  return undefined
}

/** Lists or runs the tests. Exit code 2 also if no test matches `--grep`. */
export const run = Effect.fnUntraced(
  function* (invocation: Extract<Invocation, { readonly _tag: "Run" }>) {
    const reason = contradiction(invocation)
    if (reason !== undefined) return yield* Effect.as(complain(reason), ExitCode.unusable)
    const read = yield* ConfigFile.read(invocation.config)
    const settings = Settings.decide(invocation, read)
    if (settings.watch) return yield* watched(settings, read)
    const tests = yield* testsOf(yield* scriptsOf(settings, read), settings, read)
    return tests === undefined ? ExitCode.unusable : yield* runSelected(tests, settings, read)
  },
  Effect.catch((error) => Effect.as(complain(described(error)), ExitCode.unusable))
)
