/**
 * The report of a run for people, on a terminal or in a log.
 *
 * Progress goes to standard error, results to standard output. Colours are used only on a terminal, and not if NO_COLOR is set.
 *
 * **Example** (Reporting the tests of an application)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { DriverLayer, Runner, TerminalReport } from "vmtest"
 *
 * Runner.run(tests, { output: "vmtest-output" }).pipe(
 *   Effect.tap((results) => Console.log(TerminalReport.summary(results))),
 *   Effect.provide(TerminalReport.layer({ quiet: true })),
 *   Effect.provide(DriverLayer.host)
 * )
 * ```
 *
 * @since 0.1.0
 */
import { styleText } from "node:util"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Failure from "../driver/Failure.ts"
import { Reporter, type RunEvent, shortName } from "../driver/RunEvent.ts"
import { isFailed, isFlaky, type TestResult } from "../driver/TestResult.ts"
import type { MachineEvent } from "../guest/MachineEvent.ts"
import * as OutputFolder from "../host/OutputFolder.ts"
import { quote } from "../host/Quote.ts"

/** Options of the report. */
export interface TerminalOptions {
  /** Whether to print every step of every machine as well, with its time. Default false. */
  readonly verbose?: boolean
  /** Whether to print the lines of the guests' consoles as well. Default: as `verbose`. */
  readonly console?: boolean | undefined
  /** Whether to print only failures and the summary. Default false. */
  readonly quiet?: boolean
  /** Whether tests run at once: lines begin with the name of their test then. Default false. */
  readonly atOnce?: boolean
  /** Whether to use colours. Default: on a terminal, if NO_COLOR is not set. */
  readonly colors?: boolean
}

type Style = "red" | "green" | "yellow" | "cyan" | "bold" | "dim"

/** A time for people, in seconds below two minutes: `"3.2 s"`, `"2 min 5 s"`. */
export const duration = (millis: number): string => {
  if (millis < 120_000) return `${(millis / 1000).toFixed(1)} s`
  const seconds = Math.round(millis / 1000)
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
}

/** The time that is not in a test's own: `, and 26.2 s for its snapshot`. */
const besides = (millis: number | undefined, what: string): string =>
  millis === undefined || millis < 50 ? "" : `, and ${duration(millis)} for ${what}`

const indented = (text: string, by = "  ") => text.replace(/^(?=.)/gm, by)

/** The indentation of a subtest's lines. */
const depthOf = (within: ReadonlyArray<string>) => "  ".repeat(within.length + 1)

/** Control characters of a guest's console would move the reader's cursor. */
const printable = (line: string) =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is taken out
  line.replace(/\u001b\[[0-9;?]*[ -/]*[@-~]|\u001b[@-_]|[\u0000-\u0008\u000b-\u001f\u007f]/g, "")

/** The script, as it follows the line about its test. */
const inFile = (paint: (style: Style, text: string) => string, file: string | undefined) =>
  file === undefined ? "" : `  ${paint("dim", file)}`

/** What a test that takes long is doing. */
const stillRunning = (event: Extract<RunEvent, { readonly _tag: "TestSlow" }>): string => {
  const quiet = event.quietMillis < 30_000 ? "" : `; nothing has happened for ${duration(event.quietMillis)}`
  const [only, ...others] = event.doing
  const doing =
    only === undefined ? "" : others.length === 0 ? `: ${only}` : `:\n${indented(event.doing.join("\n"), "    ")}`
  return `still running after ${duration(event.millis)}${quiet}${doing}`
}

const testOf = (event: RunEvent): string | undefined =>
  event._tag === "ImageProgress" ? undefined : event._tag === "TestEnded" ? event.result.name : event.test

type Paint = (style: Style, text: string) => string

const painting =
  (options: TerminalOptions, stream: NodeJS.WriteStream): Paint =>
  (style, text) => {
    if (options.colors === false) return text
    return styleText(style, text, options.colors === true ? { validateStream: false } : { stream })
  }

/** The line for an event of a machine, if it has one; it starts with the machine's name. */
const machineLines = (options: TerminalOptions, err: Paint) => {
  const bootedAt = new Map<string, number>()
  /** How deep the steps are that run, by their numbers. */
  const depths = new Map<number, number>()
  const stepDepth = (within: number | undefined) => (within === undefined ? 0 : (depths.get(within) ?? 0) + 1)

  return (test: string, event: MachineEvent, now: number, within: ReadonlyArray<string> = []): string | undefined => {
    // Tests that run at once may call their machines alike.
    const key = `${test}\n${event.machine}`
    const prefix = err("cyan", `${event.machine}:`)
    const step = (depth: number, text: string) =>
      options.verbose === true ? `${depthOf(within)}${"  ".repeat(depth)}${prefix} ${text}` : undefined
    switch (event._tag) {
      case "MachineState": {
        if (event.state === "booting") bootedAt.set(key, now)
        // The line for its end says that it was forked.
        if (event.state === "booting" && event.detail === "forked") return undefined
        const since = bootedAt.get(key)
        const took =
          event.state === "ready" && since !== undefined
            ? duration(Math.max(0, now - since - (event.excludedMillis ?? 0)))
            : undefined
        if (event.state === "ready") bootedAt.delete(key)
        if (took !== undefined)
          return `  ${prefix} ${event.detail === "forked" ? `forked in ${took}` : `ready after ${took}`}${besides(event.excludedMillis, "its snapshot")}`
        const detail = event.detail === "" ? "" : `: ${event.detail}`
        return `  ${prefix} ${event.state === "crashed" ? err("red", "crashed") : event.state}${detail}`
      }
      case "ConsoleLine":
        return (options.console ?? options.verbose) === true
          ? `  ${prefix} ${err("dim", printable(event.line))}`
          : undefined
      case "StillBooting":
        return `  ${prefix} ${printable(event.detail.replaceAll("\r", "")).replaceAll("\n", "\n    ")}`
      case "ActionStarted": {
        const depth = stepDepth(event.within)
        depths.set(event.id, depth)
        return step(depth, event.action)
      }
      case "ActionEnded": {
        const depth = depths.get(event.id) ?? 0
        depths.delete(event.id)
        const outcome = event.outcome === "" ? "done" : event.outcome
        return step(depth, err("dim", `${event.action}: ${outcome} after ${duration(event.millis)}`))
      }
      case "Picture":
        return undefined
    }
  }
}

/** The lines for an event of the run, if it has any. */
const progressLines = (options: TerminalOptions, err: Paint) => {
  const machineLine = machineLines(options, err)

  const untold = (event: RunEvent, now: number): string | undefined => {
    switch (event._tag) {
      case "ImageProgress":
        return `${err("dim", `image ${event.image}:`)} ${event.line.replace(/[:\s]+$/, "")}`
      case "TestStarted": {
        const machines = event.machines.length === 0 ? "" : ` ${err("dim", `(${event.machines.join(", ")})`)}`
        const label = event.label === undefined ? "" : ` ${err("dim", `as ${event.label}`)}`
        const attempt =
          event.attempt === undefined || event.attempt === 1 ? "" : ` ${err("yellow", `retry ${event.attempt - 1}`)}`
        return `${err("bold", event.test)}${label}${attempt}${machines}${inFile(err, event.file)}`
      }
      case "MachineEvent":
        return machineLine(event.test, event.event, now, event.within)
      case "SubtestStarted":
        return `${depthOf(event.within)}${err("dim", "subtest:")} ${event.subtest}`
      case "SubtestEnded": {
        const { failure, millis, name, status, within } = event.result
        const depth = depthOf(within)
        const mark = status === "passed" ? err("green", "✔") : err("red", "✘")
        // A subtest that failed because a subtest within it failed was reported there. The end of the test has the rest.
        const itself = failure !== undefined && (failure.subtest?.length ?? 0) <= within.length + 1
        const why = itself ? `\n${indented(Failure.headline(failure), `${depth}  `)}` : ""
        return `${depth}${mark} ${name} ${err("dim", `(${duration(millis)})`)}${why}`
      }
      case "Log":
        return `  ${event.line}`
      case "TestSlow":
        return `  ${err("yellow", stillRunning(event))}`
      // Results are for the standard output.
      case "AttemptFailed":
      case "TestEnded":
      case "ProcessChange":
      case "Traffic":
        return undefined
    }
  }

  /** Each line after the name of its test, if several tests run at once. */
  return (event: RunEvent, now: number): string | undefined => {
    const lines = untold(event, now)
    const test = testOf(event)
    if (lines === undefined || options.atOnce !== true || test === undefined || event._tag === "TestStarted")
      return lines
    const whose = err("dim", `${event.label ?? shortName(test)} │`)
    return lines.replace(/^/gm, () => whose)
  }
}

/** What failed in subtests without failing the test: the script handled it, and it is shown only here. */
const handledFailures = (test: TestResult): string => {
  const left = test.subtests.filter(({ handled }) => handled === true)
  return left
    .map(({ failure, name, within }) => {
      const title = `\n  subtest ${JSON.stringify(Failure.subtestName([...within, name]))} failed, and the test continued:`
      return failure === undefined ? "" : `${title}\n${indented(Failure.render(failure), "    ")}`
    })
    .join("")
}

/** The lines for the end of a test. */
const resultLines =
  (out: Paint) =>
  (test: TestResult): string => {
    const took = `${out("dim", `(${duration(test.millis)}${besides(test.excludedMillis, "images and snapshots")})`)}${inFile(out, test.file)}`
    const kept = test.folder === undefined ? "" : `\n  its files are in ${OutputFolder.shown(test.folder)}/`
    if (test.status === "skipped")
      return `${out("yellow", "-")} ${test.name} ${out("dim", `skipped: ${test.skipped ?? ""}`)}${inFile(out, test.file)}`
    const flaky = isFlaky(test)
      ? ` ${out("yellow", `flaky: passed at attempt ${(test.earlier?.length ?? 0) + 1}`)}`
      : ""
    if (test.status === "passed")
      return `${out("green", "✔")} ${test.name}${flaky} ${took}${handledFailures(test)}${kept}`
    const how = test.status === "timedOut" ? "timed out" : "failed"
    const subtest = test.failure?.subtest
    const where = subtest === undefined ? "" : `\n  subtest ${JSON.stringify(Failure.subtestName(subtest))}:`
    const why = test.failure === undefined ? "" : `${where}\n${indented(Failure.render(test.failure))}`
    const machines = test.machines.map(
      ({ came, failed, name, state }) =>
        `\n  ${name} ${failed ?? `was ${state}`}${came === undefined ? "" : ` (${came})`}`
    )
    return `${out("red", "✘")} ${out("bold", test.name)} ${how} ${took}${why}${handledFailures(test)}${machines.join("")}${kept}`
  }

/** What follows an attempt: a suite whose tests share machines is run again as a whole, so that each test finds what those before it have left. */
const nextAttempt = ({ result, suite }: Extract<RunEvent, { readonly _tag: "AttemptFailed" }>): string => {
  if (suite === undefined) return "trying again"
  const all = `all tests of the suite ${JSON.stringify(suite)} run again on fresh machines`
  return isFailed(result) ? all : `another test failed, so ${all}`
}

/** Reports on the terminal. */
export const layer = (options: TerminalOptions = {}): Layer.Layer<never> =>
  Layer.sync(Reporter, () => {
    const progress = progressLines(options, painting(options, process.stderr))
    const result = resultLines(painting(options, process.stdout))
    return (event) =>
      Effect.gen(function* () {
        if (event._tag === "TestEnded") {
          if (options.quiet === true && !isFailed(event.result) && !isFlaky(event.result)) return
          return yield* Console.log(result(event.result))
        }
        // One that passed is shown again with the next attempt.
        if (event._tag === "AttemptFailed" && options.quiet === true && !isFailed(event.result)) return
        if (event._tag === "AttemptFailed")
          return yield* Console.log(
            `${result(event.result)}\n  attempt ${event.attempt} of ${event.attempts}; ${nextAttempt(event)}`
          )
        if (options.quiet === true) return
        const line = progress(event, yield* Clock.currentTimeMillis)
        if (line !== undefined) yield* Console.error(line)
      })
  })

/** The lines for the ends of tests, as they are printed when they end. */
export const results = (tests: ReadonlyArray<TestResult>, options: TerminalOptions = {}): string => {
  const shown = options.quiet === true ? tests.filter((one) => isFailed(one) || isFlaky(one)) : tests
  return shown.map(resultLines(painting(options, process.stdout))).join("\n")
}

/** The command that runs the tests that failed again; undefined where they are in no script. */
const again = (failed: ReadonlyArray<TestResult>, { machineConfig, machines }: MachineFiles): string | undefined => {
  const files = [...new Set(failed.flatMap(({ file }) => file ?? []))]
  if (files.length === 0) return undefined
  const names = [...new Set(failed.map(({ name }) => name))].flatMap((name) => ["-t", quote(name)])
  const declared = [
    ...(machines === undefined ? [] : ["--machines", quote(machines)]),
    ...(machineConfig === undefined ? [] : ["--machine-config", quote(machineConfig)])
  ]
  return ["npx vmtest run", ...names, ...declared, ...files.map(quote)].join(" ")
}

/** What a run that was interrupted did not come to. */
export interface CutShort {
  /** The tests that ran when it was interrupted, and for how long they had. */
  readonly interrupted: ReadonlyArray<Pick<TestResult, "name" | "file" | "startedAt" | "millis">>
  /** How many tests had not started. */
  readonly notRun: number
}

/** Where machines come from that scripts do not declare. */
export interface MachineFiles {
  /** The module that declares the machines of Python scripts, if there is one. */
  readonly machines?: string | undefined
  /** The file in JSON that describes machines of all scripts, if there is one. */
  readonly machineConfig?: string | undefined
}

/** What is printed beside the results of a run. */
export interface SummaryOptions extends Partial<CutShort>, MachineFiles {}

/**
 * The last lines of a run: the tests that failed and how to run them again, then `"2 passed, 1 failed (31.0 s)"`, with the time from the first test's
 * start to the last test's end. Of a run that was interrupted also the tests that this interrupted, and how many had not started.
 */
export const summary = (
  results: ReadonlyArray<TestResult>,
  { interrupted = [], notRun = 0, ...files }: SummaryOptions = {}
): string => {
  const failed = results.filter(isFailed)
  const flaky = results.filter(isFlaky)
  const skipped = results.filter(({ status }) => status === "skipped")
  const spans = [
    ...results.map(
      ({ excludedMillis, millis, startedAt }) => [startedAt, startedAt + millis + excludedMillis] as const
    ),
    ...interrupted.map(({ millis, startedAt }) => [startedAt, startedAt + millis] as const)
  ]
  const millis =
    spans.length === 0 ? 0 : Math.max(...spans.map(([, end]) => end)) - Math.min(...spans.map(([start]) => start))
  const command = again(failed, files)
  const line = (mark: string, { file, name }: Pick<TestResult, "name" | "file">, after = "") =>
    `  ${mark} ${name}${after}${file === undefined ? "" : `  ${file}`}`
  const counts = [
    `${results.length - failed.length - skipped.length} passed`,
    `${failed.length} failed`,
    ...(flaky.length > 0 ? [`${flaky.length} flaky`] : []),
    ...(skipped.length > 0 ? [`${skipped.length} skipped`] : []),
    ...(interrupted.length > 0 ? [`${interrupted.length} interrupted`] : []),
    ...(notRun > 0 ? [`${notRun} not run`] : [])
  ]
  return [
    ...(results.length > 1 && failed.length > 0 ? ["failed:", ...failed.map((one) => line("✘", one))] : []),
    ...(flaky.length > 0 ? ["flaky:", ...flaky.map((one) => line("✔", one))] : []),
    ...(command === undefined ? [] : [`to run ${failed.length === 1 ? "it" : "them"} again: ${command}`]),
    ...(interrupted.length > 0
      ? ["interrupted:", ...interrupted.map((one) => line("-", one, ` (${duration(one.millis)})`))]
      : []),
    `${counts.join(", ")} (${duration(millis)})`
  ].join("\n")
}
