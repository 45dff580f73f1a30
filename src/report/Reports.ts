/**
 * Reports of a run in files: JUnit's XML, JSON lines, HTML.
 *
 * They are complete when the run ends, however it ends. A file that cannot be written ends the run before anything starts; what goes wrong later is said, and
 * fails no test. (The command `vmtest` has the exit code 1 then.)
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
import { Detailed, Reporter, type RunEvent } from "../driver/RunEvent.ts"
import { isFailed } from "../driver/TestResult.ts"
import * as Disk from "../host/Disk.ts"
import * as OutputFolder from "../host/OutputFolder.ts"
import * as HtmlReport from "./HtmlReport.ts"
import * as jsonLines from "./internal/jsonLines.ts"
import * as Kept from "./internal/kept.ts"
import * as Recorder from "./internal/recorder.ts"
import * as Junit from "./Junit.ts"
import { type Of, type RunRecord, version } from "./RunRecord.ts"

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
  /** A page with the timeline of each test. */
  readonly html?: string | undefined
}

/** How the reports are. */
export interface Options {
  /** Default `script`. */
  readonly junitForm?: Junit.Form | undefined
  /** What errors call the options that name the files. Default `--junit`, … */
  readonly junitOption?: string | undefined
  /** Whether each test that failed or was interrupted has a page of its own, `trace.html`, in its folder. Default false. */
  readonly traces?: boolean | undefined
  /** The version of vmtest, for the first record. */
  readonly vmtest?: string | undefined
  /** Files that a report must not overwrite, such as scripts. Default none. */
  readonly inputs?: ReadonlyArray<string> | undefined
  /** What happens if a report cannot be written later. Default: a warning is logged. */
  readonly onUnwritten?: ((problem: string) => Effect.Effect<void>) | undefined
}

/** What takes records, and has a file when they end. */
export interface Sink {
  readonly hear: (record: RunRecord) => void
  readonly end: () => void
  /** The file that it writes to, where that changes during the run. */
  readonly file?: () => string
}

/** Opens the file of a report, with what is in it at first. */
const opened = (option: string, file: string, write: () => void) =>
  Disk.attempt(
    () => {
      OutputFolder.makeFolder(Path.resolve(Path.dirname(file)), 0o777)
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

const htmlSink = Effect.fnUntraced(function* (file: string) {
  const kept = Kept.make()
  yield* opened("--html", file, () => Fs.writeFileSync(file, ""))
  const end = () => Fs.writeFileSync(file, HtmlReport.page(kept.all(), `vmtest: ${Path.basename(file)}`))
  return { hear: kept.hear, end } satisfies Sink as Sink
})

const traceFile = "trace.html"

/** Writes a page to the folder of each test that fails, and of each that has not ended when the run does. */
const traceSink = (): Sink => {
  const kept = Kept.make()
  const running = new Map<number, Of<"test-started">>()
  let file = traceFile
  const write = (test: number, name: string, folder: string) => {
    file = Path.join(folder, traceFile)
    OutputFolder.makeFolder(folder, 0o777)
    // What is there can be a link that a copy of a guest's tree left.
    Fs.rmSync(file, { force: true })
    Fs.writeFileSync(file, HtmlReport.page(kept.ofTest(test), name))
  }
  return {
    hear: (record) => {
      kept.hear(record)
      if (record.type === "test-started") running.set(record.test, record)
      if (record.type !== "test-ended") return
      const { folder, name, status, test } = record
      running.delete(test)
      if (isFailed({ status }) && folder !== undefined) write(test, name, folder)
      kept.forget(test)
    },
    end: () => {
      for (const { folder, name, test } of running.values()) if (folder !== undefined) write(test, name, folder)
    },
    file: () => file
  }
}

/** Gives a test that failed its folder, if it has none because nothing is in it yet: its page will be. */
const withFolders = () => {
  const folders = new Map<string, string | undefined>()
  return (event: RunEvent): RunEvent => {
    if (event._tag === "TestStarted") folders.set(event.label ?? event.test, event.folder)
    if (event._tag !== "TestEnded" && event._tag !== "AttemptFailed") return event
    const { result } = event
    const folder = folders.get(event.label ?? result.name)
    return result.folder === undefined && isFailed(result) ? { ...event, result: { ...result, folder } } : event
  }
}

/** Runs an effect with the records of its events going to a sink. */
const recorded =
  (sink: Sink, { traces = false, vmtest = "" }: Options) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.gen(function* () {
      const record = Recorder.make()
      const placed = traces ? withFolders() : (event: RunEvent) => event
      sink.hear({ type: "run-started", at: yield* Clock.currentTimeMillis, version, vmtest })
      return yield* effect.pipe(
        Effect.updateService(
          Reporter,
          (others) => (event) =>
            Effect.flatMap(Clock.currentTimeMillis, (now) => {
              const known = placed(event)
              sink.hear(record(known, now))
              return others(known)
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
      say(`could not write the report ${sink.file?.() ?? file}: ${Disk.reasonOf(done.failure)}`)
    }
  }
  return { hear: (record) => each((sink) => sink.hear(record)), end: () => each((sink) => sink.end()) }
}

/** The file itself, where its path leads through links. */
const realOf = (file: string): string =>
  Result.getOrElse(
    Result.try(() => Fs.realpathSync(file)),
    () => Path.resolve(file)
  )

/** Fails if a report would overwrite an input, or another report. Devices, such as /dev/null, can have several. */
const checkFiles = Effect.fnUntraced(function* (
  { html, json, junit }: Files,
  { inputs = [], junitOption = "--junit" }: Options
) {
  const taken = new Map(inputs.map((file) => [realOf(file), "it is an input of this command"]))
  for (const [option, file] of [
    [junitOption, junit],
    ["--json", json],
    ["--html", html]
  ] as const) {
    if (file === undefined || file.startsWith("/dev/")) continue
    const reason = taken.get(realOf(file))
    if (reason !== undefined) return yield* new ReportUnwritable({ option, file, reason })
    taken.set(realOf(file), `${option} writes that file, too`)
  }
})

/** The sinks of the files that were asked for, with their names. */
const sinksOf = Effect.fnUntraced(function* (files: Files, options: Options) {
  yield* checkFiles(files, options)
  const { html, json, junit } = files
  const sinks: Array<readonly [string, Sink]> = []
  if (junit !== undefined) sinks.push([junit, yield* junitSink(junit, options)])
  if (json !== undefined) sinks.push([json, yield* jsonSink(json)])
  if (html !== undefined) sinks.push([html, yield* htmlSink(html)])
  return sinks
})

/** Writes the reports of a run that is over, which `inputs` recorded. */
export const write = (
  records: ReadonlyArray<RunRecord>,
  files: Files,
  inputs: ReadonlyArray<string> = []
): Effect.Effect<void, ReportUnwritable> =>
  Effect.gen(function* () {
    const sinks = yield* sinksOf(files, { inputs })
    for (const [file, sink] of sinks) {
      yield* Disk.attempt(
        () => {
          for (const record of records) sink.hear(record)
          sink.end()
        },
        (reason) => new ReportUnwritable({ option: "report", file, reason })
      )
    }
  })

/** Writes the reports of what an effect runs to files when it ends, however it ends. Fails before that if one cannot be written. */
export const written =
  (files: Files, options: Options = {}) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const sinks = yield* sinksOf(files, options)
      if (options.traces === true) sinks.push([traceFile, traceSink()])
      if (sinks.length === 0) return yield* effect
      const problems: Array<string> = []
      const sink = together(sinks, (line) => problems.push(line))
      return yield* recorded(
        sink,
        options
      )(effect).pipe(
        Effect.onExit(() => Effect.sync(sink.end)),
        // Here, so that it is seen below everything else.
        Effect.onExit(() => Effect.forEach(problems, options.onUnwritten ?? Effect.logWarning, { discard: true }))
      )
    })
