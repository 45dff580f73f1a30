/**
 * Reports of a run in files: JUnit's XML, JSON lines, HTML.
 *
 * They are complete when the run ends, however it ends. A file that cannot be written ends the run before anything starts; what goes wrong later is said, and
 * fails no test.
 *
 * **Example** (The reports of an application's tests)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { DriverLayer, Reports, Runner } from "vmtest"
 *
 * const program = Runner.run(tests, { output: "out" }).pipe(
 *   Reports.written({ junit: "out/junit.xml", json: "out/events.jsonl" }),
 *   Effect.provide(DriverLayer.host)
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Detailed, Reporter } from "../driver/RunEvent.ts"
import * as Disk from "../host/Disk.ts"
import * as jsonLines from "./internal/jsonLines.ts"
import * as Recorder from "./internal/recorder.ts"
import * as Junit from "./Junit.ts"
import { type RunRecord, version } from "./RunRecord.ts"

/** The file of a report cannot be written. */
export class ReportUnwritable extends Schema.TaggedError<ReportUnwritable>()("ReportUnwritable", {
  /** The option that named the file: `--junit`. */
  option: Schema.String,
  file: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.option}: could not write ${this.file}: ${this.reason}`
  }
}

/** The files of a run's reports; those that are undefined are not written. */
export interface Files {
  /** JUnit's XML. */
  readonly junit?: string | undefined
  /** Everything that happens, as JSON lines: see `RunRecord`. */
  readonly json?: string | undefined
}

/** How the reports are. */
export interface Options {
  /** Default `script`. */
  readonly junitForm?: Junit.Form | undefined
  /** What errors call the options that name the files. Default `--junit`, … */
  readonly junitOption?: string | undefined
  /** The version of vmtest, for the first record. */
  readonly vmtest?: string | undefined
}

/** What takes records, and has a file when they end. */
export interface Sink {
  readonly hear: (record: RunRecord) => void
  readonly end: () => void
}

/** Opens the file of a report, with what is in it at first. */
const opened = (option: string, file: string, write: () => void) =>
  Disk.attempt(
    () => {
      Fs.mkdirSync(Path.dirname(file), { recursive: true })
      write()
    },
    (reason) => new ReportUnwritable({ option, file, reason })
  )

const junitSink = Effect.fnUntraced(function* (
  file: string,
  { junitForm = "script", junitOption = "--junit" }: Options
) {
  const report = Junit.make(junitForm)
  const write = () => Fs.writeFileSync(file, report.text())
  yield* opened(junitOption, file, write)
  return {
    hear: report.hear,
    end: () => {
      report.close()
      write()
    }
  } satisfies Sink as Sink
})

const jsonSink = Effect.fnUntraced(function* (file: string) {
  yield* opened("--json", file, () => Fs.writeFileSync(file, ""))
  return jsonLines.make((text) => Fs.appendFileSync(file, text)) as Sink
})

/** Runs an effect with the records of its events going to a sink. */
const recorded =
  (sink: Sink, vmtest: string) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.gen(function* () {
      const record = Recorder.make()
      sink.hear({ type: "run-started", at: yield* Clock.currentTimeMillis, version, vmtest })
      return yield* effect.pipe(
        Effect.updateService(
          Reporter,
          (others) => (event) =>
            Effect.flatMap(Clock.currentTimeMillis, (now) => {
              sink.hear(record(event, now))
              return others(event)
            })
        ),
        Effect.provideService(Detailed, true),
        Effect.onExit((exit) =>
          Effect.map(Clock.currentTimeMillis, (at) =>
            sink.hear({ type: "run-ended", at, interrupted: Exit.isFailure(exit) })
          )
        )
      )
    })

/** Sinks as one: what one of them throws keeps nothing from the others, and is said once. */
const together = (sinks: ReadonlyArray<readonly [file: string, sink: Sink]>, say: (line: string) => void): Sink => {
  const broken = new Set<Sink>()
  const each = (use: (sink: Sink) => void) => {
    for (const [file, sink] of sinks.filter(([, one]) => !broken.has(one))) {
      const done = Result.try(() => use(sink))
      if (Result.isSuccess(done)) continue
      broken.add(sink)
      say(`could not write the report ${file}: ${Disk.reasonOf(done.failure)}`)
    }
  }
  return { hear: (record) => each((sink) => sink.hear(record)), end: () => each((sink) => sink.end()) }
}

/** Writes the reports of what an effect runs to files when it ends, however it ends. Fails before that if one cannot be written. */
export const written =
  (files: Files, options: Options = {}) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const { json, junit } = files
      const sinks: Array<readonly [string, Sink]> = []
      if (junit !== undefined) sinks.push([junit, yield* junitSink(junit, options)])
      if (json !== undefined) sinks.push([json, yield* jsonSink(json)])
      if (sinks.length === 0) return yield* effect
      const problems: Array<string> = []
      const sink = together(sinks, (line) => problems.push(line))
      return yield* recorded(
        sink,
        options.vmtest ?? ""
      )(effect).pipe(
        Effect.onExit(() => Effect.sync(sink.end)),
        // Here, so that it is seen below everything else.
        Effect.onExit(() => Effect.forEach(problems, (line) => Effect.logWarning(line), { discard: true }))
      )
    })
