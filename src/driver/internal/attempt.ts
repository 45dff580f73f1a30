/** One attempt at a test: its machines, its body on them, and what came of it. */
import * as NodePath from "node:path"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import { Deadlines } from "../../guest/Deadlines.ts"
import * as OutputFolder from "../../host/OutputFolder.ts"
import { quote } from "../../host/Quote.ts"
import { read } from "../../host/Thrown.ts"
import { Seed } from "../../network/Seed.ts"
import { Driver } from "../Driver.ts"
import * as FailedTest from "../FailedTest.ts"
import * as Failure from "../Failure.ts"
import { Reporter, type RunEvent, report, shortName } from "../RunEvent.ts"
import * as SavedTest from "../SavedTest.ts"
import type { TestResult } from "../TestResult.ts"
import { TestTimeout } from "../TestTimeout.ts"
import type { Checked } from "./checkTests.ts"
import * as Deadline from "./deadline.ts"
import type * as internal from "./driver.ts"
import * as GatherEvidence from "./gatherEvidence.ts"
import type * as Images from "./images.ts"
import { keepLogs } from "./keepLogs.ts"
import * as Slow from "./slow.ts"
import * as Spans from "./spans.ts"
import * as Stage from "./stage.ts"
import * as Strays from "./strays.ts"
import * as UnderWay from "./underWay.ts"
import * as Verdict from "./verdict.ts"
import type * as WarmStart from "./warmStart.ts"

/** What all tests of a run share. */
export interface Around {
  readonly output: string
  readonly capture: boolean
  /** Whether what the machines of a failed test said is kept. */
  readonly evidence: boolean
  readonly snapshotOnFailure: boolean
  readonly images: Images.Images
  readonly warm: WarmStart.WarmStart
  /** Tells the state folders of a run apart: each call gives another one. */
  readonly prefix: () => string
}

/** How long the machines of a failed test may take to be saved. */
const saveTimeout = Duration.minutes(2)

/** Saves the machines of a failed test to its folder. Problems with that are reported, and fail nothing. */
const keepMachines = Effect.fnUntraced(
  function* ({ handles, services }: internal.Running, { networks, test }: Checked, folder: string) {
    yield* SavedTest.save({
      folder,
      test: test.name,
      handles: handles(),
      hosts: services.former(),
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

/** Has the machines of a failed test say what they can still say. */
const keepEvidence = ({ handles }: internal.Running, { test }: Checked, folder: string, below: string | undefined) =>
  Effect.flatMap(GatherEvidence.gather(handles(), NodePath.resolve(folder), below), (problems) =>
    Effect.forEach(problems, (line) => report({ _tag: "Log", test: test.name, line }), { discard: true })
  )

/** What is done on the machines of a test that failed. */
const whenFailed = (
  { machines, service }: internal.Running,
  { declaredAt, name }: Checked["test"],
  exit: Exit.Exit<unknown, unknown>
) =>
  Effect.flatMap(FailedTest.Hook, (hook) =>
    hook({
      ...{ test: name, machines, driver: service },
      failure: Exit.isFailure(exit) ? Failure.fromCause(exit.cause, [declaredAt() ?? []].flat()) : undefined
    })
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
  driver: Stage.Given,
  { evidence, snapshotOnFailure }: Pick<Around, "evidence" | "snapshotOnFailure">,
  stage: Stage.Stage | undefined
) {
  const { test, wait } = checked
  const { strays } = notes
  const emit = yield* Reporter
  const underWay = UnderWay.make()
  const limit = timeLimit(checked, notes, underWay)
  const seed = yield* Seed
  return yield* Effect.gen(function* () {
    yield* Slow.watch(test.name, underWay)
    const actor: Stage.Actor = {
      ...{ excluding: notes.deadline.excluding, late: limit.late, onSubtest: Verdict.noteSubtest(notes) },
      emit: yield* Reporter
    }
    // What its machines write is below their driver's folder, which is the suite's if they have a stage.
    const below = stage === undefined ? undefined : checked.folder
    const running = yield* stage === undefined ? Stage.driverOf(checked, driver, actor) : stage.enter(checked, actor)
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => (notes.machines = running.handles().map(({ summary }) => summary())))
    )
    const body = Effect.gen(function* () {
      notes.script = Fiber.getCurrent()
      yield* running.begin
      const program = test.body(running.machines, running.service)
      // Each test has numbers of its own, whichever others run beside it.
      return yield* seed === undefined ? program : Random.withSeed(program, `${seed} ${test.name}`)
    })
    return yield* running
      .script(strays.watch(Effect.provideService(Effect.scoped(body), Driver, running.service)))
      .pipe(
        Effect.raceFirst(limit.passed),
        Effect.onExit((exit) => {
          if (!Verdict.fails(test, exit, notes)) return Effect.void
          const gathered = evidence ? keepEvidence(running, checked, driver.output, below) : Effect.void
          return snapshotOnFailure ? Effect.andThen(gathered, keepMachines(running, checked, driver.output)) : gathered
        }),
        Effect.exit,
        // Not in a finalizer, which could not be interrupted.
        Effect.tap((exit) =>
          Verdict.fails(test, exit, notes) ? notes.deadline.excluding(whenFailed(running, test, exit)) : Effect.void
        ),
        Effect.flatten
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

/** The folder of an attempt: the test's own for the first, and one beside it for each retry. */
export const folderOf = (folder: string, attempt: number): string =>
  attempt === 1 ? folder : folder === "." ? `retry${attempt - 1}` : `${folder}-retry${attempt - 1}`

/** Runs one test that was checked, on images that are there. Never fails: what went wrong is in the result, and its end is left to report. */
export const run = Effect.fnUntraced(
  function* (checked: Checked, attempt: number, around: Around, stage?: Stage.Stage) {
    const { label, specs, test, timeout } = checked
    const { images, output, warm } = around
    const emit = yield* Reporter
    const startedAt = yield* Clock.currentTimeMillis
    const deadline = Deadline.make(timeout)
    const services = yield* Effect.context<never>()
    const strays = Strays.make(test.name, label, (effect) => Effect.runForkWith(services)(effect))
    const notes: Notes = {
      ...{ script: undefined, machines: [], subtests: [], soft: [], mayBeHandled: new Set(), strays, deadline }
    }
    // A folder for each test: those that run at once, or use a name twice, would write over each other's.
    const folder = stage === undefined ? folderOf(checked.folder, attempt) : NodePath.join(stage.folder, checked.folder)
    const artefacts = NodePath.join(output, folder)
    yield* emit({
      ...{ _tag: "TestStarted", test: test.name, file: test.file, machines: specs.map(({ name }) => name), attempt },
      folder: folder === "." ? undefined : artefacts
    })
    const prefix = stage?.prefix ?? around.prefix()
    const driver = { prefix, output: artefacts, capture: around.capture, resolve: images.resolve, warm }
    const exit = yield* runBody(checked, notes, driver, around, stage)
    const excludedMillis = deadline.excluded()
    const millis = (yield* Clock.currentTimeMillis) - startedAt - excludedMillis
    const { failure, subtests } = yield* Verdict.judge(test, exit, notes, artefacts)
    if (failure !== undefined && around.evidence) {
      const machines = notes.machines.map(({ name }) => name)
      const problems = yield* keepLogs({ output, folder, prefix, machines })
      yield* Effect.forEach(problems, (line) => emit({ _tag: "Log", test: test.name, line }), { discard: true })
    }
    const isLate = Exit.isFailure(exit) && read(() => Cause.squash(exit.cause) instanceof TestTimeout, false)
    const result: TestResult = {
      ...{ name: test.name, file: test.file, tags: test.tags, startedAt, millis, excludedMillis },
      ...{ subtests, failure, machines: notes.machines },
      status: failure === undefined ? "passed" : isLate ? "timedOut" : "failed",
      // In a folder that is not the test's alone, any file may be another's.
      folder: folder !== "." && (yield* OutputFolder.holdsFiles(artefacts)) ? artefacts : undefined,
      value: Exit.isSuccess(exit) ? exit.value : undefined
    }
    yield* Effect.annotateCurrentSpan(Spans.status, result.status)
    return result
  },
  (ran, { test }) => traced(ran, test.name)
)

/** Adds the label to the events of a test whose short name another test has as well. */
export const labelled = ({ label, test }: Checked) =>
  Effect.updateService(Reporter, (emit) =>
    label === shortName(test.name) ? emit : (event: RunEvent) => emit({ ...event, label })
  )
