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
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { Backend } from "../backends/Backend.ts"
import { refusal } from "../guest/Arguments.ts"
import { Deadlines } from "../guest/Deadlines.ts"
import type { InvalidArgument } from "../guest/MachineError.ts"
import * as Decode from "../host/Decode.ts"
import { section } from "../host/Evidence.ts"
import * as Fields from "../host/Fields.ts"
import * as HostProcess from "../host/HostProcess.ts"
import * as Location from "../host/Location.ts"
import * as OutputFolder from "../host/OutputFolder.ts"
import { quote } from "../host/Quote.ts"
import type { RunDirectory } from "../host/RunDirectory.ts"
import { read } from "../host/Thrown.ts"
import type { Image } from "../images/Image.ts"
import type { ImageStore } from "../images/ImageStore.ts"
import type { InvalidMachine, MachineSpec } from "../machine/MachineSpec.ts"
import * as MachineSpecs from "../machine/MachineSpec.ts"
import * as Addresses from "../network/Addresses.ts"
import * as NetworkSpec from "../network/NetworkSpec.ts"
import { Driver } from "./Driver.ts"
import * as Deadline from "./internal/deadline.ts"
import * as internal from "./internal/driver.ts"
import type { Options as DriverOptions } from "./internal/driverOptions.ts"
import * as FiberEnds from "./internal/fiberEnds.ts"
import * as Images from "./internal/images.ts"
import { folderName, keepLogs } from "./internal/keepLogs.ts"
import * as MachineNames from "./internal/machineNames.ts"
import * as Room from "./internal/room.ts"
import { watch } from "./internal/scriptLocation.ts"
import * as Spans from "./internal/spans.ts"
import * as Strays from "./internal/strays.ts"
import * as UnderWay from "./internal/underWay.ts"
import * as Verdict from "./internal/verdict.ts"
import * as WarmStart from "./internal/warmStart.ts"
import { labelsOf, Reporter, type RunEvent, report, shortName } from "./RunEvent.ts"
import * as SavedTest from "./SavedTest.ts"
import { StoreOptions } from "./SnapshotStore.ts"
import type { TestCase } from "./TestCase.ts"
import type { TestResult } from "./TestResult.ts"
import { TimeLimit } from "./TimeLimit.ts"

/** A test is declared wrongly; what is wrong with its machines is an `InvalidMachine` instead. */
export class InvalidTest extends Schema.TaggedError<InvalidTest>()("InvalidTest", {
  test: Schema.String,
  reason: Schema.String,
  /** Where a script declares it, if that is known. */
  declaredAt: Schema.optional(Location.Location)
}) {
  override get message() {
    return Location.before(this.declaredAt, `test ${JSON.stringify(this.test)}: ${this.reason}`)
  }
}

/** The test took longer than its timeout, from the start of its machines to the end of its body. */
export class TestTimeout extends Schema.TaggedError<TestTimeout>()("TestTimeout", {
  test: Schema.String,
  timeout: Schema.Duration,
  /** The time of all tests together, if that was up before the test's own. */
  limit: Schema.optional(Schema.Duration),
  /** What machines were busy with when the time was up, a line each: `running "sleep 100" on web for 3s`. */
  underWay: Schema.Array(Schema.String)
}) {
  override get message() {
    const late =
      this.limit === undefined
        ? `the test timed out after ${Duration.format(this.timeout)}`
        : `the time limit of all tests together, ${Duration.format(this.limit)}, was reached`
    const [only, ...others] = this.underWay
    if (only !== undefined && others.length === 0) return `${late} while ${only}`
    return late + section("while", this.underWay.join("\n"))
  }
}

/** How tests are run. */
export const RunnerOptions = Fields.options(
  {
    /**
     * The folder for screenshots and files copied from guests. Each test has a folder of its own in it, `<output>/<test>/`, which is made when
     * something is first written to it.
     */
    output: Fields.filled("a path on the host, a string that is not empty"),
    /**
     * Whether the console and the hypervisor's log of each machine of a failed test are copied to `<output>/<test>/<machine>/`, as
     * `console.log` and `qemu.log`. Default false.
     */
    keepLogs: Schema.optional(Schema.Boolean),
    /**
     * Whether the packets of each test's networks go to files that Wireshark opens: `<output>/<test>/vlan1.pcapng`, or the network's name instead of
     * `vlan1`. Default false.
     */
    capture: Schema.optional(Schema.Boolean),
    /**
     * How many tests run at once. Default 1. A test waits while the machines that it and the running ones declare have more memory together than the
     * host, or while those with several processors have more of them.
     */
    concurrency: Schema.optional(Fields.Count),
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
export type RunnerError = InvalidArgument | InvalidTest | InvalidMachine

/** What a runner needs: a hypervisor, a folder for state, images, and the platform's services, which tests may use. */
export type RunnerServices = Backend | RunDirectory | ImageStore | NodeServices.NodeServices

const defaultTimeout = Duration.minutes(30)

/** How long the machines of a failed test may take to be saved. */
const saveTimeout = Duration.minutes(2)

interface Checked {
  readonly test: TestCase
  /** Tells tests of one name in one script apart: 1, 2, … */
  readonly occurrence: number
  /** Its folder's name in the output folder. */
  readonly folder: string
  /** What lines of reports call it. */
  readonly label: string
  readonly specs: ReadonlyArray<MachineSpec>
  /** Those that it declares. */
  readonly networks: ReadonlyArray<NetworkSpec.NetworkSpec> | undefined
  readonly timeout: Duration.Duration
  /** The time of all tests together, if what is left of it is the timeout. */
  readonly limit?: Duration.Duration
  readonly wait: Duration.Duration
}

const check = Effect.fnUntraced(function* (test: TestCase, index: number, all: ReadonlyArray<TestCase>) {
  const declaredAt = test.declaredAt()
  const invalid = (reason: string) => new InvalidTest({ test: test.name, reason, declaredAt })
  if (test.problem !== undefined) return yield* invalid(test.problem)
  const networks = NetworkSpec.resolve(test.networks)
  const specs = yield* Effect.mapError(
    MachineSpecs.checkAll(test.machines, networks),
    (error) => new MachineSpecs.InvalidMachine({ ...error, declaredAt })
  )
  const names = specs.map(({ name }) => name)
  const misspelt = MachineNames.misspelt(test.source?.() ?? "", names)
  if (misspelt !== undefined)
    return yield* invalid(`the body asks for the machine ${MachineNames.missing(misspelt, names)}`)
  const timeout = Duration.fromInputUnsafe(test.timeout ?? defaultTimeout)
  const wait = test.waitTimeout === undefined ? (yield* Deadlines).wait : Duration.fromInputUnsafe(test.waitTimeout)
  const exhausted = Addresses.check(specs)
  if (exhausted !== undefined) return yield* invalid(exhausted.message)
  const namesakes = all.slice(0, index + 1).filter(({ name }) => name === test.name)
  const occurrence = namesakes.filter(({ script }) => script === test.script).length
  const folder = test.folder ?? folderName(test.name, namesakes.length)
  return { test, occurrence, folder, label: shortName(test.name), specs, networks, timeout, wait } satisfies Checked
})

/** Saves the machines of a failed test to its folder. Problems with that are reported, and fail nothing. */
const keepMachines = Effect.fnUntraced(
  function* ({ handles }: internal.Running, { networks, test }: Checked, folder: string) {
    yield* SavedTest.save({
      folder,
      test: test.name,
      handles: handles(),
      networks,
      now: yield* Clock.currentTimeMillis
    })
    return `saved the machines; inspect them with: npx vmtest resume ${quote(OutputFolder.shown(folder))}`
  },
  Effect.timeoutOrElse({
    duration: saveTimeout,
    orElse: () => Effect.fail({ message: `timed out after ${Duration.format(saveTimeout)}` })
  }),
  Effect.catch(({ message }) => Effect.succeed(`could not save the machines: ${message}`)),
  (made, _, { test }) => Effect.flatMap(made, (line) => report({ _tag: "Log", test: test.name, line }))
)

/** What is noted of a test while it runs. */
interface Notes extends Verdict.Notes {
  readonly deadline: Deadline.Deadline
}

/** Fails when the test's time is up; `late` is that error then. */
const timeLimit = ({ limit, test, timeout }: Checked, { deadline }: Notes, underWay: UnderWay.UnderWay) => {
  let late: TestTimeout | undefined
  const passed = Effect.gen(function* () {
    yield* deadline.passed
    late = new TestTimeout({ test: test.name, timeout, limit, underWay: yield* underWay.lines })
    return yield* late
  })
  return { passed, late: () => late }
}

/** Runs the test's body on its machines, from their start to their end, within its time. */
const runBody = Effect.fnUntraced(function* (
  checked: Checked,
  notes: Notes,
  driver: Pick<DriverOptions, "output" | "capture" | "prefix" | "resolve" | "warm">,
  saves: boolean
) {
  const { networks, occurrence, specs, test, wait } = checked
  const { strays } = notes
  const emit = yield* Reporter
  const underWay = UnderWay.make()
  const limit = timeLimit(checked, notes, underWay)
  return yield* Effect.gen(function* () {
    yield* Effect.forEach(MachineSpecs.toolsOf(specs), (tool) => HostProcess.locate(tool))
    const running = yield* internal.make({
      ...driver,
      ...{ test: test.name, machines: specs, networks, declaredAt: test.declaredAt, script: test.script, occurrence },
      resolve: (image) => notes.deadline.excluding(driver.resolve(image)),
      untimed: notes.deadline.excluding,
      interruptedBy: limit.late,
      onSubtest: Verdict.noteSubtest(notes)
    })
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => (notes.machines = running.handles().map(({ summary }) => summary())))
    )
    const body = Effect.gen(function* () {
      notes.script = Fiber.getCurrent()
      yield* running.begin
      return yield* test.body(running.machines, running.service)
    })
    return yield* running
      .script(strays.watch(Effect.provideService(Effect.scoped(body), Driver, running.service)))
      .pipe(
        Effect.raceFirst(limit.passed),
        Effect.onExit((exit) =>
          saves && Verdict.fails(test, exit, notes) ? keepMachines(running, checked, driver.output) : Effect.void
        )
      )
  }).pipe(
    Effect.scoped,
    Effect.provideService(Deadlines, { ...(yield* Deadlines), wait }),
    Effect.provideService(Reporter, (event: RunEvent) => Effect.andThen(underWay.hear(event), emit(event))),
    Effect.exit
  )
})

/** Runs a test as a span, which fails with what the test failed with. */
const traced = <R>(run: Effect.Effect<TestResult, never, R>, name: string): Effect.Effect<TestResult, never, R> =>
  Effect.suspend(() => {
    let result: TestResult | undefined
    const ended = Effect.flatMap(run, (given) => {
      result = given
      return given.failure === undefined ? Effect.succeed(given) : Effect.failCause(given.failure.cause)
    })
    return ended.pipe(
      Effect.withSpan(...Spans.test(name)),
      Effect.catchCause((cause) =>
        result === undefined ? Effect.failCause(cause as Cause.Cause<never>) : Effect.succeed(result)
      )
    )
  })

/** Runs one test that was checked, on images that are there. Never fails: what went wrong is in the result. */
const runTest = Effect.fnUntraced(
  function* (
    checked: Checked,
    number: number,
    options: RunnerOptions,
    images: Images.Images,
    warm: WarmStart.WarmStart
  ) {
    const { folder, label, specs, test, timeout } = checked
    const { output } = options
    const emit = yield* Reporter
    const startedAt = yield* Clock.currentTimeMillis
    yield* emit({ _tag: "TestStarted", test: test.name, file: test.file, machines: specs.map(({ name }) => name) })
    const deadline = Deadline.make(timeout)
    const services = yield* Effect.context<never>()
    const strays = Strays.make(test.name, label, (effect) => Effect.runForkWith(services)(effect))
    const notes: Notes = {
      ...{ script: undefined, machines: [], subtests: [], soft: [], mayBeHandled: new Set(), strays, deadline }
    }
    // A folder for each test: those that run at once, or use a name twice, would write over each other's.
    const artefacts = NodePath.join(output, folder)
    const driver = { prefix: `${number}`, output: artefacts, capture: options.capture, resolve: images.resolve, warm }
    const exit = yield* runBody(checked, notes, driver, options.snapshotOnFailure === true)
    const excludedMillis = deadline.excluded()
    const millis = (yield* Clock.currentTimeMillis) - startedAt - excludedMillis
    const { failure, subtests } = yield* Verdict.judge(test, exit, notes, artefacts)
    if (failure !== undefined && options.keepLogs === true) {
      const problems = yield* keepLogs({
        output,
        folder,
        prefix: `${number}`,
        machines: notes.machines.map(({ name }) => name)
      })
      yield* Effect.forEach(problems, (line) => emit({ _tag: "Log", test: test.name, line }), { discard: true })
    }
    const isLate = Exit.isFailure(exit) && read(() => Cause.squash(exit.cause) instanceof TestTimeout, false)
    const result: TestResult = {
      ...{ name: test.name, file: test.file, startedAt, millis, excludedMillis },
      ...{ subtests, failure, machines: notes.machines },
      status: failure === undefined ? "passed" : isLate ? "timedOut" : "failed",
      // In a folder that is not the test's alone, any file may be another's.
      folder: test.folder !== "." && (yield* OutputFolder.holdsFiles(artefacts)) ? artefacts : undefined,
      value: Exit.isSuccess(exit) ? exit.value : undefined
    }
    yield* Effect.annotateCurrentSpan(Spans.status, result.status)
    yield* emit({ _tag: "TestEnded", result })
    return result
  },
  (ran, { test }) => traced(ran, test.name)
)

/** Has tests end by the time that all may take together, from now on. */
const withinLimit = Effect.gen(function* () {
  const limit = yield* TimeLimit
  const began = yield* Clock.currentTimeMillis
  return (checked: Checked): Effect.Effect<Checked> =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const left = Duration.subtract(limit, Duration.millis(now - began))
      return Duration.isLessThan(left, checked.timeout) ? { ...checked, timeout: left, limit } : checked
    })
})

/** Adds the label to the events of a test whose short name another test has as well. */
const labelled = ({ label, test }: Checked) =>
  Effect.updateService(Reporter, (emit) =>
    label === shortName(test.name) ? emit : (event: RunEvent) => emit({ ...event, label })
  )

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
    const labels = labelsOf(tests.map(({ name }) => name))
    const checked = yield* Effect.forEach(tests, (test, index) =>
      Effect.map(check(test, index, tests), (one): Checked => ({ ...one, label: labels[index] ?? one.label }))
    )
    const images = yield* Images.make
    const warm = yield* WarmStart.make(yield* Backend, options.snapshots)
    const needed = new Set(checked.flatMap(({ specs }) => specs.map(({ image }): Image => image)))
    yield* images.prepare(needed)
    const room = Room.make(yield* MachineSpecs.HostLimits)
    const limited = yield* withinLimit
    const results = yield* Effect.forEach(
      checked,
      (one, index) =>
        Effect.flatMap(limited(one), (within) => runTest(within, index + 1, options, images, warm)).pipe(
          room.within(Room.of(one.specs), (line) => report({ _tag: "Log", test: one.test.name, line })),
          labelled(one)
        ),
      { concurrency: options.concurrency ?? 1 }
    )
    yield* warm.finished
    return results
  }).pipe(Effect.scoped, watch, FiberEnds.watch)
