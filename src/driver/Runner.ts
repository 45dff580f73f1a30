/**
 * Running tests: each in a driver of its own, one after the other or several at once.
 *
 * Declarations are checked for all tests, and their images are built, before the first of them starts.
 * Each test is a span `vmtest.test` with the attributes `vmtest.test.name` and `vmtest.test.status` (as in its result).
 *
 * **Example** (Running the tests of an application)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { DriverLayer, Image, Runner, test } from "vmtest"
 *
 * const greets = test("greets", { machines: { web: { image: Image.tiny() } } }, ({ web }) => web.succeed("echo hello"))
 *
 * const program = Effect.gen(function* () {
 *   const results = yield* Runner.run([greets], { output: "vmtest-output" })
 *   for (const { name, status } of results) yield* Effect.log(`${name}: ${status}`)
 * }).pipe(Effect.provide(DriverLayer.host))
 * ```
 *
 * @since 0.1.0
 */

import * as NodePath from "node:path"
import type * as NodeServices from "@effect/platform-node/NodeServices"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { Backend } from "../backends/Backend.ts"
import type { BackendUnavailable } from "../backends/Backends.ts"
import { refusal } from "../guest/Arguments.ts"
import type { InvalidArgument } from "../guest/MachineError.ts"
import * as Decode from "../host/Decode.ts"
import * as Fields from "../host/Fields.ts"
import type { RunDirectory } from "../host/RunDirectory.ts"
import type { Image } from "../images/Image.ts"
import type { ImageStore } from "../images/ImageStore.ts"
import { HostLimits, type InvalidMachine, type MachineSpec } from "../machine/MachineSpec.ts"
import type { InvalidTest } from "./InvalidTest.ts"
import * as Attempt from "./internal/attempt.ts"
import * as Attempts from "./internal/attempts.ts"
import { type Checked, checkAll } from "./internal/checkTests.ts"
import * as FiberEnds from "./internal/fiberEnds.ts"
import * as Hypervisors from "./internal/hypervisors.ts"
import * as Images from "./internal/images.ts"
import { folderName } from "./internal/keepLogs.ts"
import * as Room from "./internal/room.ts"
import { watch } from "./internal/scriptLocation.ts"
import * as Stage from "./internal/stage.ts"
import * as Stopping from "./internal/stopping.ts"
import * as Units from "./internal/units.ts"
import * as WarmStart from "./internal/warmStart.ts"
import { report } from "./RunEvent.ts"
import { StoreOptions } from "./SnapshotStore.ts"
import type { TestCase } from "./TestCase.ts"
import type { TestResult } from "./TestResult.ts"
import { TimeLimit } from "./TimeLimit.ts"

export {
  /** A test is declared wrongly. */
  InvalidTest
} from "./InvalidTest.ts"
export {
  /** The folders of tests in the output folder, in their order, as a run of all of them names them. */
  foldersOf
} from "./internal/checkTests.ts"
export {
  /** The test took longer than its timeout. */
  TestTimeout
} from "./TestTimeout.ts"

/** How tests are run. */
export const RunnerOptions = Fields.options(
  {
    /**
     * The folder for screenshots and files copied from guests. Each test has a folder of its own in it, `<output>/<test>/`, which is made when
     * something is first written to it.
     */
    output: Fields.filled("a path on the host, a string that is not empty"),
    /**
     * Whether what the machines of a failed test said is kept in `<output>/<test>/<machine>/`: `console.log`, `qemu.log` or what else its
     * hypervisor said, `journal.log` where the guest answers and has a journal (the last 20,000 entries), and `screen.png` where the machine has a screen. Default true.
     */
    evidence: Schema.optional(Schema.Boolean),
    /**
     * Whether the packets of each test's networks go to files that Wireshark opens: `<output>/<test>/vlan1.pcapng`, or the network's name instead of
     * `vlan1`. Default false.
     */
    capture: Schema.optional(Schema.Boolean),
    /**
     * How many tests run at once, or `"auto"`: as many as the processors and the free memory of the host allow, counting all their machines. Default 1.
     * A test waits while the machines that it and the running ones declare have more memory together than the host, or while those with several
     * processors have more of them.
     */
    concurrency: Schema.optional(
      Schema.Union([Fields.Count, Schema.Literal("auto")]).annotate({
        expected: 'a whole number of at least 1, or "auto"'
      })
    ),
    /** How often a test that failed is run again, on fresh machines; it passes if one of its attempts does. Default 0. */
    retries: Schema.optional(Fields.whole(0)),
    /** Whether the run ends at the first test that fails: those that run are interrupted, and the others are not started. Default false. */
    failFast: Schema.optional(Schema.Boolean),
    /**
     * Whether machines start from stored snapshots, and machines that boot are stored; or where the store is. Default true: in the cache
     * folder. `VMTEST_SNAPSHOTS=off` in the environment means false.
     */
    snapshots: Schema.optional(
      Schema.Union([Schema.Boolean, StoreOptions]).annotate({ expected: "true, false or the options of a store" })
    ),
    /** Whether the machines of a test that failed are saved to `<output>/<test>/`, so that `SavedTest` can open them. Default false. */
    snapshotOnFailure: Schema.optional(Schema.Boolean)
  },
  '{ output: "vmtest-output" }'
)

/** How tests are run. */
export interface RunnerOptions extends Schema.Schema.Type<typeof RunnerOptions> {}

const optionsProblem = Decode.checker(RunnerOptions, { whole: "options" })

/** Why no test was started. */
export type RunnerError = InvalidArgument | InvalidTest | InvalidMachine | BackendUnavailable

/** What a runner needs: a hypervisor, a folder for state, images, and the platform's services, which tests may use. */
export type RunnerServices = Backend | RunDirectory | ImageStore | NodeServices.NodeServices

/** Has a test end by the time that all may take together, from now on. */
const withinLimit = Effect.gen(function* () {
  const limit = yield* TimeLimit
  const began = yield* Clock.currentTimeMillis
  return (checked: Checked): Effect.Effect<Checked> =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const left = Duration.subtract(limit, Duration.millis(now - began))
      return Duration.isLessThan(left, checked.timeout) ? { ...checked, timeout: left, limit } : checked
    })
})

/** Why a test is not run. */
const unwanted = ({ mark, reason }: TestCase): string | undefined =>
  mark === "skip" ? (reason ?? "test.skip") : mark === "fixme" ? (reason ?? "test.fixme") : undefined

/** The tests of a unit that are to run, once, one after the other: on a stage if they share it. */
const attemptAll = Effect.fnUntraced(function* (
  { shared, tests }: Units.Unit,
  attempt: number,
  around: Attempt.Around,
  limited: (checked: Checked) => Effect.Effect<Checked>,
  take: Attempts.Take
) {
  const [{ test }] = tests
  const { capture, images, output, warm } = around
  const { name, repeat = 1, suite } = test
  const own = `${folderName(suite?.name ?? name)}${repeat === 1 ? "" : `-repeat${repeat}`}`
  const folder = Attempt.folderOf(own, attempt)
  const stage = shared
    ? yield* Stage.make(folder, {
        ...{ prefix: around.prefix(), output: NodePath.join(output, folder), capture, warm },
        resolve: images.resolve
      })
    : undefined
  return yield* Effect.forEach(tests, (one, index) =>
    limited(one).pipe(
      Effect.flatMap((within) => Attempt.run(within, attempt, around, stage)),
      Effect.flatMap((result) => take(result, index)),
      Attempt.labelled(one)
    )
  )
}, Effect.scoped)

/** What runs a unit: on fresh machines, when there is room for them, until its tests pass or were retried often enough. */
const makeRun = Effect.fnUntraced(function* (options: RunnerOptions, around: Attempt.Around) {
  const auto = options.concurrency === "auto"
  const room = auto ? yield* Room.ofHost : Room.make(yield* HostLimits)
  const limited = yield* withinLimit
  const stop = options.failFast === true ? Stopping.atFirstFailure() : Stopping.never
  return ({ shared, tests }: Units.Unit) => {
    const results = new Map<Checked, TestResult>()
    const skipped = Effect.forEach(tests, (one) => {
      const why = unwanted(one.test)
      if (why === undefined) return Effect.void
      return Effect.map(Attempt.labelled(one)(Stopping.skip(one, why)), (result) => void results.set(one, result))
    })
    const [first, ...others] = tests.filter((one) => unwanted(one.test) === undefined)
    if (first === undefined) return Effect.as(skipped, results)
    const wanted: Units.Unit["tests"] = [first, ...others]
    const run = Attempts.run(
      options.retries ?? 0,
      (attempt, take) => attemptAll({ shared, tests: wanted }, attempt, around, limited, take),
      (result, index) => {
        results.set(wanted[index] ?? first, result)
        stop.note(result)
      },
      shared ? first.test.suite?.name : undefined
    ).pipe(
      room.within(Room.of(first.specs, auto), (line) =>
        Attempt.labelled(first)(report({ _tag: "Log", test: first.test.name, line }))
      )
    )
    const ended = () => wanted.map((one) => results.get(one))
    return Effect.andThen(skipped, stop.until(wanted, run, ended)).pipe(
      Effect.map((all) => {
        for (const [index, one] of wanted.entries()) {
          const result = all[index]
          if (result !== undefined) results.set(one, result)
        }
        return results
      })
    )
  }
})

/** What is found out once in a run: images that are built, snapshots that were read and are whole. */
export interface KeptOfRun {
  readonly images: Images.Images
  readonly warm: WarmStart.WarmStart
}

/** What the runs within it have in common, so that several of them cost as little as one. Default: each run has its own. */
export const Kept = Context.Reference<KeptOfRun | undefined>("vmtest/driver/Kept", { defaultValue: () => undefined })

/** What runs can have in common that start their machines from these snapshots, until the scope closes. */
export const keep = (
  snapshots: RunnerOptions["snapshots"]
): Effect.Effect<KeptOfRun, never, Backend | RunDirectory | ImageStore | Scope.Scope> =>
  Effect.all({ images: Images.make, warm: WarmStart.make(snapshots) })

/** Checks tests as {@link run} does before it starts any; gives the machines of each, in their order. */
export const check = (
  tests: ReadonlyArray<TestCase>
): Effect.Effect<ReadonlyArray<ReadonlyArray<MachineSpec>>, InvalidTest | InvalidMachine> =>
  Effect.map(checkAll(tests), (all) => all.map(({ specs }) => specs))

/**
 * Runs tests and gives what came of each, in their order; a test that fails does not keep the others from running.
 *
 * Fails only before any test was started, with the first wrong declaration. An image that could not be built, or a program that is not installed
 * (`vde_switch`, `swtpm`), fails the tests that need it. Interruption ends everything that runs, and leaves nothing behind.
 */
export const run = (
  tests: ReadonlyArray<TestCase>,
  options: RunnerOptions
): Effect.Effect<ReadonlyArray<TestResult>, RunnerError, RunnerServices> =>
  Effect.gen(function* () {
    const problem = optionsProblem(options)
    if (problem !== undefined) return yield* refusal("", "Runner.run", problem)
    const checked = yield* checkAll(tests)
    const wanted = checked.filter(({ test }) => unwanted(test) === undefined)
    yield* Effect.forEach(wanted, Hypervisors.checkTest, { discard: true })
    const { images, warm } = (yield* Kept) ?? (yield* keep(options.snapshots))
    yield* images.prepare(new Set(wanted.flatMap(({ specs }) => specs.map(({ image }): Image => image))))
    let made = 0
    const { capture = false, concurrency = 1, evidence = true, output, snapshotOnFailure = false } = options
    const runUnit = yield* makeRun(options, {
      ...{ output, capture, evidence, snapshotOnFailure, images, warm },
      prefix: () => `${++made}`
    })
    const results = yield* Effect.forEach(Units.of(checked), runUnit, {
      concurrency: concurrency === "auto" ? (yield* HostLimits).cpus : concurrency
    })
    yield* warm.finished
    const all = new Map(results.flatMap((some) => [...some]))
    return checked.flatMap((one) => all.get(one) ?? [])
  }).pipe(Effect.scoped, watch, FiberEnds.watch)
