/**
 * Runs that are over, as `--json` has written them: read, put together, and as results.
 *
 * **Example** (The names of the tests of two shards)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { RecordedRun } from "vmtest"
 *
 * const names = Effect.gen(function* () {
 *   const runs = yield* Effect.forEach(["a.jsonl", "b.jsonl"], RecordedRun.read)
 *   return RecordedRun.resultsOf(RecordedRun.merge(runs)).map(({ name }) => name)
 * })
 * ```
 *
 * @since 0.1.0
 */
import { readFileSync } from "node:fs"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Failure from "../driver/Failure.ts"
import type { SubtestResult, TestResult } from "../driver/TestResult.ts"
import * as Disk from "../host/Disk.ts"
import { fromLine, type Of, type RecordedFailure, type RecordedSubtest, type RunRecord, version } from "./RunRecord.ts"

/** A file cannot be read, or is not one that `vmtest run --json` writes. */
export class ReportUnreadable extends Schema.TaggedError<ReportUnreadable>()("ReportUnreadable", {
  file: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `could not read the report ${this.file}: ${this.reason}`
  }
}

/** Everything that happened in a run, in the order of time. */
export type Records = ReadonlyArray<RunRecord>

const Begin = Schema.fromJsonString(Schema.Struct({ type: Schema.Literal("run-started"), version: Schema.Finite }))
const decodeBegin = Schema.decodeUnknownOption(Begin)

const wrongBegin = (line: string | undefined): string | undefined => {
  if (line === undefined) return "it is empty"
  const begin = decodeBegin(line)
  if (Option.isNone(begin)) return "it was not written by 'vmtest run --json'"
  const { version: given } = begin.value
  return given === version ? undefined : `its format has version ${given}; this vmtest reads version ${version}`
}

/** The records of a file. The last line may be incomplete, if the run was killed. */
export const read = (file: string): Effect.Effect<Records, ReportUnreadable> =>
  Effect.gen(function* () {
    const refuse = (reason: string) => new ReportUnreadable({ file, reason })
    const text = yield* Disk.attempt(() => readFileSync(file, "utf8"), refuse)
    const lines = text.split("\n").filter((line) => line !== "")
    const wrong = wrongBegin(lines[0])
    if (wrong !== undefined) return yield* refuse(wrong)
    const records: Array<RunRecord> = []
    for (const [index, line] of lines.entries()) {
      const record = fromLine(line)
      if (record === undefined && index < lines.length - 1)
        return yield* refuse(`line ${index + 1} is not a record of a run`)
      if (record !== undefined && record !== "unknown") records.push(record)
    }
    return records
  })

/** The numbers of tests, steps and processes of a run. */
interface Numbers {
  readonly tests: number
  readonly steps: number
  readonly processes: number
}

const numbersAfter = (records: Records, { processes, steps, tests }: Numbers): Numbers =>
  records.reduce(
    (all, record) => ({
      tests: "test" in record ? Math.max(all.tests, record.test + 1) : all.tests,
      steps: record.type === "step-started" ? Math.max(all.steps, record.step + 1) : all.steps,
      processes: record.type === "process" ? Math.max(all.processes, record.process + 1) : all.processes
    }),
    { processes, steps, tests }
  )

const renumbered = (record: RunRecord, { processes, steps, tests }: Numbers): RunRecord => {
  if (!("test" in record)) return record
  const test = record.test + tests
  switch (record.type) {
    case "step-started": {
      const part = record.part === undefined ? {} : { part: record.part + steps }
      return { ...record, test, step: record.step + steps, ...part }
    }
    case "step-ended":
      return { ...record, test, step: record.step + steps }
    case "process": {
      const parent = record.parent === undefined ? {} : { parent: record.parent + processes }
      return { ...record, test, process: record.process + processes, ...parent }
    }
    default:
      return { ...record, test }
  }
}

const isOf =
  <Type extends RunRecord["type"]>(type: Type) =>
  (record: RunRecord): record is Of<Type> =>
    record.type === type

/** Runs as one, such as the shards of a run. It was interrupted if one of them was. */
export const merge = (runs: ReadonlyArray<Records>): Records => {
  let numbers: Numbers = { tests: 0, steps: 0, processes: 0 }
  const all: Array<RunRecord> = []
  for (const records of runs) {
    const before = numbers
    const own = records.map((record) => renumbered(record, before))
    numbers = numbersAfter(own, before)
    all.push(...own)
  }
  const began = all.find(isOf("run-started"))
  const within = all.filter(({ type }) => type !== "run-started" && type !== "run-ended")
  // Those of one run are in their order already, and stay so.
  within.sort((one, other) => one.at - other.at)
  const times = all.map(({ at }) => at)
  const earliest = times.reduce((one, other) => Math.min(one, other), Number.POSITIVE_INFINITY)
  const latest = times.reduce((one, other) => Math.max(one, other), 0)
  const interrupted = runs.some((records) => records.findLast(isOf("run-ended"))?.interrupted !== false)
  return began === undefined
    ? []
    : [{ ...began, at: earliest }, ...within, { type: "run-ended", at: latest, interrupted }]
}

const failureOf = (failure: RecordedFailure): Failure.Failure => ({
  ...failure,
  place: failure.place,
  // The error itself stayed where it happened.
  cause: Cause.fail(failure.message)
})

const subtestOf = ({ failure, ...subtest }: RecordedSubtest): SubtestResult => ({
  ...subtest,
  failure: failure === undefined ? undefined : failureOf(failure)
})

const statuses: ReadonlyArray<TestResult["status"]> = ["passed", "failed", "timedOut", "skipped"]

const resultOf = (record: Of<"test-ended">): TestResult => {
  const { excludedMillis, failure, file, folder, millis, name, skipped, startedAt, subtests, tags } = record
  return {
    ...{ name, file, skipped, tags, startedAt, millis, excludedMillis, folder, value: undefined },
    // What a later version adds did not pass.
    status: statuses.find((status) => status === record.status) ?? "failed",
    subtests: subtests.map(subtestOf),
    failure: failure === undefined ? undefined : failureOf(failure),
    machines: record.machines.map(({ came, failed, name: machine, state }) => ({
      ...{ name: machine, state, came },
      ...(failed === "could not start" || failed === "did not boot" ? { failed } : {})
    }))
  }
}

/** The results of the tests that have ended, in the order of their ends; one that was retried has its attempts before the last. */
export const resultsOf = (records: Records): ReadonlyArray<TestResult> => {
  const ended = records.filter(isOf("test-ended"))
  return ended
    .filter(({ retried }) => retried !== true)
    .map((record) => {
      const { file, name } = record
      const before = ended.filter((one) => one.retried === true && one.name === name && one.file === file)
      const result = resultOf(record)
      return before.length === 0 ? result : { ...result, earlier: before.map(resultOf) }
    })
}

/** The tests that had begun and did not end. */
export const interruptedOf = (
  records: Records
): ReadonlyArray<Pick<TestResult, "name" | "file" | "startedAt" | "millis">> => {
  const ended = new Set(records.filter(isOf("test-ended")).map(({ test }) => test))
  const last = records.reduce((latest, { at }) => Math.max(latest, at), 0)
  return records
    .filter(isOf("test-started"))
    .filter(({ test }) => !ended.has(test))
    .map(({ at, file, name }) => ({ name, file, startedAt: at, millis: last - at }))
}
