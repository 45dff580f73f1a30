/**
 * A run as data: one record for everything that happened, in the order of time. `--json` writes a record a line, and all other reports of files are made
 * of them, also later and on another machine (`vmtest report`).
 *
 * docs/report.schema.json is the JSON Schema of a record. The first record of a run has the version of this format. Fields and types of records can be added
 * within a version: readers skip what they do not know.
 *
 * **Example** (The names of failed tests)
 *
 * ```ts
 * const failed = (records: ReadonlyArray<RunRecord.RunRecord>) =>
 *   records.flatMap((one) => (one.type === "test-ended" && one.status !== "passed" ? [one.name] : []))
 * ```
 *
 * @since 0.1.0
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

/** The version of this format. */
export const version = 1

const text = (description: string) => Schema.String.annotate({ description })
const number = (description: string) => Schema.Finite.annotate({ description })
const whole = (description: string) => Schema.Int.annotate({ description })
const texts = (description: string) => Schema.Array(Schema.String).annotate({ description })

const at = number("When it happened, in milliseconds since 1970.")
const test = whole("The number of its test in the run, from 0. A test that is run again has a new number.")
const machine = text("The name of the machine.")
const within = texts("The names of the subtests around it, the outermost first.")
const millis = number("How long it took, in milliseconds.")
const optional = Schema.optionalKey

/** A line of a script; line and column from 1. */
const Place = Schema.Struct({
  file: Schema.String,
  line: Schema.Int,
  column: Schema.Int,
  text: text("The line itself; empty if the file could not be read."),
  before: texts("At most two lines before it."),
  after: texts("At most two lines after it.")
})

/** Why a test or a subtest failed. */
export const RecordedFailure = Schema.Struct({
  kind: text("The error's tag, name or class."),
  message: Schema.String,
  messageFile: optional(text("The file with the whole message, if it is long.")),
  evidence: Schema.Array(Schema.Struct({ title: Schema.String, text: Schema.String, file: optional(Schema.String) })),
  place: optional(Place),
  callers: Schema.Array(Place).annotate({ description: "The lines that called that place, the nearest first." }),
  subtest: optional(texts("The subtest that failed, after the names of those that it is a part of."))
}).annotate({ description: "Why it failed." })

/** Why a test or a subtest failed. */
export interface RecordedFailure extends Schema.Schema.Type<typeof RecordedFailure> {}

/** What a subtest came to. */
export const RecordedSubtest = Schema.Struct({
  name: Schema.String,
  within,
  status: Schema.Literals(["passed", "failed"]),
  millis,
  failure: optional(RecordedFailure),
  handled: optional(Schema.Boolean.annotate({ description: "It failed, and the script dealt with that." }))
})

/** What a subtest came to. */
export interface RecordedSubtest extends Schema.Schema.Type<typeof RecordedSubtest> {}

const State = Schema.Literals(["stopped", "booting", "ready", "paused", "crashed"])

const RunStarted = Schema.Struct({
  type: Schema.Literal("run-started"),
  at,
  version: Schema.Literal(version).annotate({ description: "The version of this format." }),
  vmtest: text("The version of vmtest.")
})

const RunEnded = Schema.Struct({
  type: Schema.Literal("run-ended"),
  at,
  interrupted: Schema.Boolean.annotate({ description: "Whether the run ended before its tests." })
})

const Image = Schema.Struct({ type: Schema.Literal("image"), at, image: Schema.String, line: Schema.String })

const TestStarted = Schema.Struct({
  type: Schema.Literal("test-started"),
  at,
  test,
  name: Schema.String,
  file: optional(text("The script that declares it, as the command was given it.")),
  machines: texts("The machines that it declares."),
  folder: optional(text("The folder for its files, which is made when something is first written to it.")),
  attempt: optional(whole("1, or a higher number if it is retried; 1 where it is left out."))
})

const TestEnded = Schema.Struct({
  type: Schema.Literal("test-ended"),
  at,
  test,
  name: Schema.String,
  file: optional(Schema.String),
  status: text("`passed`, `failed`, `timedOut` or `skipped`; versions to come can have others."),
  skipped: optional(text("Why it was skipped.")),
  retried: optional(Schema.Boolean.annotate({ description: "It failed, and is tried again: this is not its result." })),
  tags: optional(Schema.Array(Schema.String)),
  startedAt: number("In milliseconds since 1970."),
  millis,
  excludedMillis: number("How long images and snapshots took besides, in milliseconds."),
  failure: optional(RecordedFailure),
  subtests: Schema.Array(RecordedSubtest),
  machines: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      state: State,
      came: optional(text("How its last boot began: `booted`, or what it was forked from.")),
      failed: optional(text("Why it never was ready: `could not start` or `did not boot`."))
    })
  ).annotate({ description: "The machines when the body of the test ended." }),
  folder: optional(text("The folder with its files."))
})

const Slow = Schema.Struct({
  type: Schema.Literal("slow"),
  at,
  test,
  millis: number("How long it has been running, in milliseconds."),
  quietMillis: number("How long nothing has been heard of it, in milliseconds."),
  doing: texts("What its machines are busy with.")
}).annotate({ description: "A test that has been running for long." })

const SubtestStarted = Schema.Struct({
  type: Schema.Literal("subtest-started"),
  at,
  test,
  name: Schema.String,
  within
})

const SubtestEnded = Schema.Struct({
  type: Schema.Literal("subtest-ended"),
  at,
  test,
  ...RecordedSubtest.fields
})

const MachineChanged = Schema.Struct({
  type: Schema.Literal("machine"),
  at,
  test,
  machine,
  state: State,
  detail: text("Why it crashed; `forked` for a machine that continues from a snapshot."),
  excludedMillis: optional(number("How long its snapshot took, in milliseconds."))
})

const Booting = Schema.Struct({ type: Schema.Literal("booting"), at, test, machine, detail: Schema.String })

const ConsoleLine = Schema.Struct({ type: Schema.Literal("console"), at, test, machine, line: Schema.String })

const StepStarted = Schema.Struct({
  type: Schema.Literal("step-started"),
  at,
  test,
  machine,
  step: whole("The number of the step, unique in the run; its end has it, too."),
  part: optional(whole("The step that this one is a part of.")),
  within: optional(within),
  action: text('Completes "the test is …".'),
  command: optional(text("The command that it runs, at most 4000 characters."))
})

const StepEnded = Schema.Struct({
  type: Schema.Literal("step-ended"),
  at,
  test,
  machine,
  step: whole("The number of the step."),
  millis,
  failed: Schema.Boolean,
  outcome: text("In a few words; empty if there is nothing to report."),
  exitCode: optional(Schema.Int),
  stdout: optional(text("At most 4000 characters: the beginning and the end.")),
  stderr: optional(text("At most 4000 characters: the beginning and the end.")),
  error: optional(text("The message of what it failed with, at most 4000 characters."))
})

const Picture = Schema.Struct({
  type: Schema.Literal("picture"),
  at,
  test,
  machine,
  within: optional(within),
  path: text("The file."),
  png: optional(
    text("The picture in base64. Pictures of more than 512 KiB, and those after 16 MiB of a run, are left out.")
  )
})

const Log = Schema.Struct({ type: Schema.Literal("log"), at, test, line: Schema.String })

const ProcessChanged = Schema.Struct({
  type: Schema.Literal("process"),
  at,
  test,
  change: Schema.Literals(["started", "ended", "restarted"]),
  process: whole("The number of the process, unique in the run."),
  name: Schema.String,
  kind: text("`Supervisor`, `GenServer`, `process`, …"),
  parent: optional(whole("The process that started it.")),
  reason: optional(text("Why it ended.")),
  orderly: optional(Schema.Boolean.annotate({ description: "Whether that was an orderly end." }))
})

const Traffic = Schema.Struct({
  type: Schema.Literal("traffic"),
  at,
  test,
  network: text("The name of the network, or `vlan1`."),
  packets: whole("How many packets it carried."),
  bytes: whole("How many bytes these had."),
  millis: number("In how many milliseconds before `at`.")
})

const Dropped = Schema.Struct({
  type: Schema.Literal("dropped"),
  at,
  test,
  records: whole("How many records of the test a report has left out here, because there were too many.")
})

/** Everything that can be said of a run. */
export const RunRecord = Schema.Union([
  RunStarted,
  RunEnded,
  Image,
  TestStarted,
  TestEnded,
  Slow,
  SubtestStarted,
  SubtestEnded,
  MachineChanged,
  Booting,
  ConsoleLine,
  StepStarted,
  StepEnded,
  Picture,
  Log,
  ProcessChanged,
  Traffic,
  Dropped
])

/** One thing that happened in a run. */
export type RunRecord = typeof RunRecord.Type

/** The record of a type. */
export type Of<Type extends RunRecord["type"]> = Extract<RunRecord, { readonly type: Type }>

const types: ReadonlySet<string> = new Set(RunRecord.members.map(({ fields }) => fields.type.literal))

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(RunRecord))
const decodeType = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Struct({ type: Schema.String })))

/** A line of `--json` as a record; `"unknown"` for a record of a type that a later version has, undefined for what is no record. */
export const fromLine = (line: string): RunRecord | "unknown" | undefined => {
  const decoded = decode(line)
  if (Option.isSome(decoded)) return decoded.value
  const type = decodeType(line)
  return Option.isSome(type) && !types.has(type.value.type) ? "unknown" : undefined
}
