/**
 * `vmtest run SCRIPT…`: loads every script, and runs their tests if all of them can be used.
 *
 * **Example** (Run the tests of several scripts, two at a time)
 *
 * ```sh
 * vmtest run -j 2 tests/*.ts
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Failure from "../driver/Failure.ts"
import * as MachineFile from "../driver/MachineFile.ts"
import type { TestCase } from "../driver/TestCase.ts"
import { isFailed } from "../driver/TestResult.ts"
import type { Location } from "../host/Location.ts"
import * as Reports from "../report/Reports.ts"
import * as TerminalReport from "../report/TerminalReport.ts"
import { UpdateReferences } from "../screen/ScreenImage.ts"
import { type Invocation, version } from "./CommandLine.ts"
import * as ExitCode from "./ExitCode.ts"
import * as GivenMachines from "./GivenMachines.ts"
import * as Host from "./Host.ts"
import * as Interrupted from "./Interrupted.ts"
import * as MachineModule from "./MachineModule.ts"
import * as PythonLoader from "./PythonLoader.ts"
import { MachinesMissing, markedLine, type ScriptError } from "./ScriptError.ts"
import * as ScriptLoader from "./ScriptLoader.ts"
import { complain, print, type Work } from "./Subcommand.ts"

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

/** The message of an error; of a wrong declaration with the line of the script that it is on. */
export const described = (error: { readonly message: string; readonly declaredAt?: Location | undefined }): string => {
  if (error.declaredAt === undefined) return error.message
  const { column, line, text } = Failure.withText(error.declaredAt)
  return text === "" ? error.message : `${error.message}\n${markedLine({ line, column: column - 1, text })}`
}

/** The machines of a file; undefined without one. */
const givenBy = Effect.fnUntraced(function* (file: string | undefined) {
  return file === undefined ? undefined : yield* MachineFile.load(file)
})

/** Runs the tests. Exit code 2 also if no test matches `--test-name`. A run that is interrupted prints what it came to. */
export const run = Effect.fnUntraced(function* (
  invocation: Extract<Invocation, { readonly _tag: "Run" }>
): Effect.fn.Return<ExitCode.ExitCode, never, Effect.Services<Work>> {
  const { machineConfig, machines } = invocation
  const files = { machines, machineConfig }
  const all = yield* givenBy(machineConfig).pipe(
    Effect.flatMap((given) => loadAll(invocation.scripts, { module: machines, given })),
    Effect.catch((error) => Effect.as(complain(error.message), undefined))
  )
  if (all === undefined) return ExitCode.unusable
  const { names, timeout, waitTimeout } = invocation
  const tests = all
    .filter((test) => names.length === 0 || names.some((name) => test.name.includes(name)))
    .map((test) => (timeout === undefined ? test : { ...test, timeout }))
    .map((test) => ({ ...test, waitTimeout: test.waitTimeout ?? waitTimeout }))
  if (tests.length === 0) {
    yield* complain(`no test name contains ${names.map((name) => JSON.stringify(name)).join(" or ")}`)
    return ExitCode.unusable
  }
  const { capture, jobs, json, junit, options, snapshotOnFailure } = invocation
  const update = invocation.updateReferences || (yield* UpdateReferences)
  return yield* Host.runTests(tests, { capture, evidence: true, jobs, options, snapshotOnFailure }).pipe(
    Effect.provideService(UpdateReferences, update),
    Effect.tap((results) => print(TerminalReport.summary(results, files))),
    Interrupted.summedUp(tests.length, (results, left) =>
      print(TerminalReport.summary(results, { ...left, ...files }))
    ),
    Effect.map((results) => (!results.some(isFailed) ? ExitCode.passed : ExitCode.failed)),
    Reports.written({ junit, json }, { vmtest: version }),
    Effect.provide(TerminalReport.layer({ ...invocation.options, atOnce: jobs > 1 && tests.length > 1 })),
    Effect.catch((error) => Effect.as(complain(described(error)), ExitCode.unusable))
  )
})
