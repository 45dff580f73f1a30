/** How a client shows what happens on workers: as events of its own Reporter, with the labels and the folders of this host. */
import * as NodePath from "node:path"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Failure } from "../../driver/Failure.ts"
import { Reporter, type RunEvent, shortName } from "../../driver/RunEvent.ts"
import type { TestResult } from "../../driver/TestResult.ts"
import type { RunOptions } from "../Fleet.ts"
import type { StoredJob } from "../Store.ts"
import type { ShownPlan } from "./planning.ts"
import type * as Wire from "./wire.ts"

/** A failure that no test had: its host was lost, or it could not be loaded there. */
const failureOf = (error: { readonly _tag: string; readonly message: string }): Failure => ({
  ...{ kind: error._tag, message: error.message, evidence: [], place: undefined, callers: [] },
  cause: Cause.fail(error)
})

/** Shows what happens in the jobs of a run. */
export const make = Effect.fnUntraced(function* (
  run: string,
  plan: ShownPlan,
  options: Pick<RunOptions, "output" | "onOutput">
) {
  const report = yield* Reporter
  const folders: Wire.Folders = { root: plan.root, output: NodePath.resolve(options.output) }
  const files = new Map(plan.files.map((file, index) => [`${run}/${index}`, file]))
  const print =
    options.onOutput ??
    ((stream: "stdout" | "stderr", text: string) => Effect.sync(() => void process[stream].write(text)))

  /** Tests of one name in several files are told apart by their label. */
  const labelled = (job: string, event: RunEvent): RunEvent => {
    if (event._tag === "ImageProgress") return event
    const name = event._tag === "TestEnded" ? event.result.name : event.test
    const label = files.get(job)?.tests.find((test) => test.name === name)?.label
    return label === undefined || label === shortName(name) ? event : { ...event, label }
  }
  const emit = (job: string, event: RunEvent): Effect.Effect<void> => report(labelled(job, event))

  const say = (job: string, line: string): Effect.Effect<void> =>
    emit(job, { _tag: "Log", test: files.get(job)?.tests[0]?.name ?? job, line })

  const tell = (job: string, told: Wire.Told): Effect.Effect<void> => {
    if (told._tag === "Output") return print(told.stream, told.text)
    // Its result counts when the whole job has ended: a host that is lost before that takes it along.
    return told.event._tag === "TestEnded" ? Effect.void : emit(job, told.event)
  }

  /** Results for all tests of a job that has none of its own. */
  const without = Effect.fnUntraced(function* (
    job: StoredJob,
    error: { readonly _tag: string; readonly message: string }
  ) {
    const now = yield* Clock.currentTimeMillis
    const { file, tests } = files.get(job.id) ?? { file: job.id, tests: [] }
    return tests.map(
      ({ name }): TestResult => ({
        ...{ name, file, status: "failed", startedAt: now, millis: 0, excludedMillis: 0, subtests: [], machines: [] },
        ...{ failure: failureOf(error), folder: undefined, value: undefined }
      })
    )
  })

  /** Results for all tests of a job that the end of the run has reached. */
  const skipped = (job: string) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      const { file, tests } = files.get(job) ?? { file: job, tests: [] }
      return tests.map(
        ({ name }): TestResult => ({
          ...{ name, file, status: "skipped", skipped: "not run to its end because another test failed (--fail-fast)" },
          ...{ startedAt: now, millis: 0, excludedMillis: 0, subtests: [], machines: [] },
          ...{ failure: undefined, folder: undefined, value: undefined }
        })
      )
    })

  return { emit, files, folders, print, say, skipped, tell, without }
})
