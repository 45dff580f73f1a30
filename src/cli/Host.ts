/**
 * What the command needs from this host: a hypervisor, a state folder for the run, and the image cache.
 *
 * **Example** (Run tests on this host, two at a time)
 *
 * ```ts
 * const results = Host.runTests(tests, {
 *   jobs: 2,
 *   options: { keepState: false, output: undefined, verbose: false, quiet: false, snapshot: true }
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type { PlatformError } from "effect/PlatformError"
import * as Schema from "effect/Schema"
import * as Accelerator from "../backends/Accelerator.ts"
import type { BackendName } from "../backends/BackendName.ts"
import * as Backends from "../backends/Backends.ts"
import * as Runner from "../driver/Runner.ts"
import type { TestCase } from "../driver/TestCase.ts"
import * as Cache from "../host/Cache.ts"
import * as Disk from "../host/Disk.ts"
import * as RunDirectory from "../host/RunDirectory.ts"
import * as ImageStore from "../images/ImageStore.ts"
import type { RunOptions } from "./CommandLine.ts"
import * as Ending from "./Ending.ts"
import { complain, logOfTests, logToStderr } from "./Subcommand.ts"
import * as RunSocket from "./session/RunSocket.ts"

/** The folder of `--output` cannot be written to. */
export class OutputUnwritable extends Schema.TaggedError<OutputUnwritable>()("OutputUnwritable", {
  folder: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `could not write to the output folder ${this.folder}: ${this.reason}`
  }
}

/** The default of `--output`; made when the first file is written to it. */
export const defaultOutput = "vmtest-output"

const findingsFolder = Cache.open("host")

/** QEMU and the accelerator of this host. */
export const findings = (options: { readonly refresh: boolean }) =>
  Effect.flatMap(findingsFolder, (folder) => Accelerator.detect({ folder, ...options }))

/** The hypervisor of machines that declare none: what `--backend` says, else what `VMTEST_BACKEND` says, else QEMU. */
export const backend = (name: BackendName | undefined) =>
  (name === undefined ? Backends.byDefault : Backends.layer(name)).pipe(Layer.provide(logToStderr))

/** Node's own recursive mkdir never returns in a file system like /proc, which reports ENOENT for an existing parent. */
const makeFolder: (folder: string) => Effect.Effect<void, PlatformError, FileSystem.FileSystem> = Effect.fnUntraced(
  function* (folder: string) {
    const fs = yield* FileSystem.FileSystem
    if (yield* fs.exists(folder)) return
    yield* makeFolder(NodePath.dirname(folder))
    yield* fs.makeDirectory(folder)
  }
)

const writable = Effect.fnUntraced(
  function* (folder: string) {
    const fs = yield* FileSystem.FileSystem
    yield* makeFolder(NodePath.resolve(folder))
    // Permission bits do not tell of a read-only or full file system.
    yield* Effect.scoped(fs.makeTempDirectoryScoped({ directory: folder, prefix: ".writable-" }))
  },
  (effect, folder) =>
    Effect.mapError(effect, (error) => new OutputUnwritable({ folder, reason: Disk.platformReason(error) }))
)

/** Runs an effect with a state folder for what it starts, after checking that the folder of `--output`, if any, can be written to. */
export const withState =
  (options: RunOptions) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      yield* Ending.enter("running")
      if (options.output !== undefined) yield* writable(options.output)
      const state = yield* RunDirectory.make({ keep: options.keepState })
      yield* options.keepState
        ? Effect.addFinalizer(() => complain(`kept the state folder of this run: ${state.path}`))
        : Ending.removeOnExit(state.path)
      yield* RunSocket.serve(state.path)
      return yield* Effect.provideService(effect, RunDirectory.RunDirectory, state)
    }).pipe(Effect.scoped)

/** How tests are run on this host. */
export interface TestsOptions {
  /** How many tests run at once. */
  readonly jobs: number | "auto"
  /** How often a test that failed is run again. Default 0. */
  readonly retries?: number
  /** Whether the run ends at the first failure. Default false. */
  readonly failFast?: boolean
  readonly options: RunOptions
  readonly snapshotOnFailure?: boolean
  /** Whether what the machines of failed tests said is kept. Default: if `--output` is given. */
  readonly evidence?: boolean
  /** Whether the machines of tests that fail are kept up for a session, and for how long at most. Default: they are not. */
  readonly pause?: { readonly timeout: number | undefined } | undefined
  /** Whether to capture the tests' networks to files in the output folder. Default false. */
  readonly capture?: boolean
}

/** Whether several tests can run at once, so that lines begin with the name of theirs. */
export const isAtOnce = (tests: ReadonlyArray<unknown>, jobs: number | "auto"): boolean =>
  jobs !== 1 && tests.length > 1

/** As {@link runTests}, with a state folder that is there. */
export const runTestsIn = (
  tests: ReadonlyArray<TestCase>,
  {
    capture = false,
    evidence = false,
    failFast = false,
    jobs,
    options,
    retries = 0,
    snapshotOnFailure = false
  }: TestsOptions
) =>
  Runner.run(tests, {
    output: NodePath.resolve(options.output ?? defaultOutput),
    concurrency: jobs,
    evidence: evidence || options.output !== undefined,
    snapshots: options.snapshot,
    capture,
    failFast,
    retries,
    snapshotOnFailure
  }).pipe(
    Effect.provide(logOfTests(isAtOnce(tests, jobs))),
    Effect.provide(Layer.merge(backend(options.backend), ImageStore.ImageStore.layer))
  )

/** Keeps the machines of tests that fail, if that was asked for. */
const paused =
  (pause: TestsOptions["pause"]) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    pause === undefined
      ? effect
      : Effect.gen(function* () {
          const { path } = yield* RunDirectory.RunDirectory
          // A run without it starts its first machine sooner.
          const Pause = yield* Effect.promise(() => import("./session/Pause.ts"))
          return yield* Pause.onFailure({
            folder: path,
            timeout: pause.timeout === undefined ? undefined : Duration.millis(pause.timeout)
          })(effect)
        })

/**
 * Runs tests on this host. Fails if something is wrong before any machine starts; the failure of a test is in its result.
 */
export const runTests = (tests: ReadonlyArray<TestCase>, options: TestsOptions) =>
  runTestsIn(tests, options).pipe(paused(options.pause), withState(options.options))
