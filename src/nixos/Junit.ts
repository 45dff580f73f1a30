/**
 * The report of `--junit-xml`, in the form that the NixOS test driver gives it: a suite with a case for each subtest, and the case `main` for what runs
 * outside of subtests. Each has the lines that were logged in it.
 *
 * **Example** (A report beside the test's other files)
 *
 * ```ts
 * const program = Junit.reported("out/junit.xml")(Runner.run(tests, options))
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Failure from "../driver/Failure.ts"
import { Reporter, type RunEvent } from "../driver/RunEvent.ts"
import type { SubtestResult, TestResult } from "../driver/TestResult.ts"
import * as Disk from "../host/Disk.ts"
import * as Xml from "../host/Xml.ts"
import { LogUnwritable } from "./XmlLog.ts"

/** The line of an event in the report. */
const lineOf = (event: RunEvent): string | undefined => {
  if (event._tag === "Log") return event.line
  if (event._tag !== "MachineEvent") return undefined
  const { event: of } = event
  if (of._tag === "ConsoleLine") return `${of.machine} # ${of.line}`
  return of._tag === "MachineState" ? `${of.machine}: ${of.state}` : undefined
}

/** A case of the report: what ran outside of subtests, or subtests of one name. */
interface Case {
  readonly name: string
  readonly lines: Array<string>
  /** Elements, of what failed in it. */
  readonly failures: Array<string>
  millis: number
}

/** What is known of a test. */
interface Told {
  readonly name: string
  readonly cases: Map<string, Case>
  readonly main: Case
  /** The subtests that run, the last that began at the end. */
  readonly running: Array<string>
  /** What came of subtests, if the test does not come to its end. */
  readonly ended: Array<SubtestResult>
  result: TestResult | undefined
}

const caseOf = (name: string): Case => ({ name, lines: [], failures: [], millis: 0 })

const begin = (name: string): Told => ({
  name,
  cases: new Map(),
  main: caseOf("main"),
  running: [],
  ended: [],
  result: undefined
})

const subtestOf = ({ cases }: Told, name: string): Case => {
  const made = cases.get(name) ?? caseOf(name)
  cases.set(name, made)
  return made
}

const failureOf = (failure: Failure.Failure | undefined, otherwise: string): string =>
  failure === undefined
    ? Xml.element("failure", { message: otherwise }, "")
    : Xml.element(
        "failure",
        { type: failure.kind, message: failure.message.split("\n")[0] },
        Xml.text(Failure.render(failure))
      )

const leave = ({ running }: Told, subtest: string): void => {
  const at = running.lastIndexOf(subtest)
  if (at !== -1) running.splice(at, 1)
}

/** What came of a subtest. Its time counts for it alone, and not for what it is a part of. */
const addResult = (told: Told, { failure, handled, millis, name, status, within }: SubtestResult): void => {
  const of = subtestOf(told, name)
  of.millis += millis
  const outer = within.at(-1)
  if (outer === undefined) told.main.millis -= millis
  else subtestOf(told, outer).millis -= millis
  // One that the script has dealt with does not fail the run.
  if (status === "failed" && handled !== true) of.failures.push(failureOf(failure, "a subtest of it failed"))
}

const testCase = (classname: string, { failures, lines, millis, name }: Case): string => {
  const time = (Math.max(0, millis) / 1000).toFixed(3)
  const said = lines.length === 0 ? "" : Xml.element("system-out", {}, Xml.text(lines.join("\n")))
  return Xml.element("testcase", { name, classname, time }, failures.join("") + said)
}

const casesOf = ({ cases, main, name, result }: Told, only: boolean): ReadonlyArray<string> =>
  [
    {
      ...main,
      name: only ? main.name : name,
      millis: main.millis + (result?.millis ?? 0),
      failures: result === undefined ? [failureOf(undefined, "the test was interrupted")] : main.failures
    },
    ...cases.values()
  ].map((one) => testCase(name, one))

/** One suite, of the name that it has there: `main`, and a case for the subtests of each name. Several tests have their names instead of `main`. */
const render = (tests: ReadonlyArray<Told>): string => {
  const cases = tests.flatMap((one) => casesOf(one, tests.length === 1))
  const millis = tests.reduce((sum, { result }) => sum + (result?.millis ?? 0), 0)
  const counts = {
    tests: cases.length,
    failures: cases.filter((one) => one.includes("<failure")).length,
    errors: 0,
    time: (millis / 1000).toFixed(3)
  }
  const suite = Xml.element(
    "testsuite",
    { name: "NixOS integration test", ...counts, skipped: 0 },
    `\n${cases.map((one) => `    ${one}\n`).join("")}  `
  )
  return `<?xml version="1.0" encoding="utf-8"?>\n${Xml.element("testsuites", counts, `\n  ${suite}\n`)}\n`
}

const make = () => {
  const tests: Array<Told> = []
  /** The test that runs: they do so one after the other. */
  const current = (name: string): Told => {
    const last = tests.at(-1)
    if (last !== undefined && last.result === undefined) return last
    const begun = begin(name)
    tests.push(begun)
    return begun
  }
  const log = (test: string, line: string) => {
    const told = current(test)
    const subtest = told.running.at(-1)
    const of = subtest === undefined ? told.main : subtestOf(told, subtest)
    of.lines.push(line)
  }
  return {
    hear: (event: RunEvent): void => {
      switch (event._tag) {
        case "TestStarted":
          tests.push(begin(event.test))
          break
        case "SubtestStarted":
          subtestOf(current(event.test), event.subtest)
          current(event.test).running.push(event.subtest)
          break
        case "SubtestEnded":
          leave(current(event.test), event.result.name)
          current(event.test).ended.push(event.result)
          break
        case "TestEnded": {
          const told = current(event.result.name)
          told.result = event.result
          // Only the end of the test tells whether the script has dealt with what failed in it.
          for (const subtest of event.result.subtests) addResult(told, subtest)
          if (event.result.failure !== undefined) told.main.failures.push(failureOf(event.result.failure, ""))
          break
        }
        case "Log":
        case "MachineEvent": {
          const line = lineOf(event)
          if (line !== undefined) log(event.test, line)
          break
        }
      }
    },
    /** Nothing more comes: a test that runs was interrupted, and with it the subtests that run. */
    close: (): void => {
      for (const told of tests.filter(({ result }) => result === undefined)) {
        for (const subtest of told.ended) addResult(told, subtest)
        for (const name of told.running) {
          subtestOf(told, name).failures.push(failureOf(undefined, "the subtest was interrupted"))
        }
      }
    },
    text: () => render(tests)
  }
}

/** Writes a report of what an effect runs to a file when it ends, however it ends. Fails before that if the file cannot be written. */
export const reported =
  (file: string) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const report = make()
      yield* Disk.attempt(
        () => {
          Fs.mkdirSync(Path.dirname(file), { recursive: true })
          Fs.writeFileSync(file, report.text())
        },
        (reason) => new LogUnwritable({ setting: "--junit-xml", file, reason })
      )
      yield* Effect.addFinalizer(() =>
        Disk.quietly(() => {
          report.close()
          Fs.writeFileSync(file, report.text())
        })
      )
      return yield* Effect.updateService(
        effect,
        Reporter,
        (others) => (event) =>
          Effect.andThen(
            Effect.sync(() => report.hear(event)),
            others(event)
          )
      )
    }).pipe(Effect.scoped)
