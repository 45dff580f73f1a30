/**
 * Reports in JUnit's XML, which CI systems read. A report is valid by the schema of Jenkins' xUnit plugin, junit-10.xsd.
 *
 * A script is a suite, with a case for each test, and one for each of its subtests: `boots › serves pages`. The time of a case is its own, without that of the
 * subtests in it, so that times of a suite add up. What fails is reported once, at the innermost subtest that it came from, and at the test.
 *
 * In the form of the NixOS test driver, all tests are one suite. A test is the case `main`, subtests of one name are one case, and each case has the lines that were
 * logged in it, those of consoles included.
 *
 * **Example** (A report of records)
 *
 * ```ts
 * const report = Junit.make("script")
 * for (const record of records) report.hear(record)
 * const xml = report.text()
 * ```
 *
 * @since 0.1.0
 */
import * as Failure from "../driver/Failure.ts"
import * as Xml from "../host/Xml.ts"
import type { Of, RecordedFailure, RecordedSubtest, RunRecord } from "./RunRecord.ts"

/** A suite for each script, or the one suite of the NixOS test driver. */
export type Form = "script" | "nixos"

/** A case of the report. */
interface Case {
  readonly name: string
  readonly classname: string
  readonly lines: Array<string>
  /** Elements, of what failed in it or why it was skipped. */
  readonly outcomes: Array<string>
  millis: number
}

/** What is known of a test. */
interface Told {
  readonly name: string
  readonly file: string | undefined
  readonly startedAt: number
  readonly cases: Map<string, Case>
  readonly main: Case
  /** The paths of the subtests that run, the last that began at the end. */
  readonly running: Array<ReadonlyArray<string>>
  /** What came of subtests, if the test does not come to its end. */
  readonly ended: Array<RecordedSubtest>
  result: Of<"test-ended"> | undefined
}

const failureOf = (failure: RecordedFailure | undefined, otherwise: string): string =>
  failure === undefined
    ? Xml.element("failure", { message: otherwise }, "")
    : Xml.element(
        "failure",
        { type: failure.kind, message: failure.message.split("\n")[0] },
        Xml.text(Failure.render(failure))
      )

/** The line of a record in a case. Consoles are long, and have files of their own: only the NixOS test driver has them here. */
const lineOf = (record: RunRecord, form: Form): string | undefined => {
  if (record.type === "log") return record.line
  if (record.type === "machine") return `${record.machine}: ${record.state}`
  return record.type === "console" && form === "nixos" ? `${record.machine} # ${record.line}` : undefined
}

const inSeconds = (millis: number) => (Math.max(0, millis) / 1000).toFixed(3)

const testCase = ({ classname, lines, millis, name, outcomes }: Case): string => {
  const said = lines.length === 0 ? "" : Xml.element("system-out", {}, Xml.text(lines.join("\n")))
  return Xml.element("testcase", { name, classname, time: inSeconds(millis) }, outcomes.join("") + said)
}

const samePath = (one: ReadonlyArray<string>, other: ReadonlyArray<string>) =>
  one.length === other.length && one.every((name, index) => name === other[index])

/** The cases of the tests of a form. */
const casesIn = (form: Form) => {
  const keyOf = (path: ReadonlyArray<string>) => (form === "nixos" ? (path.at(-1) ?? "") : path.join("\n"))

  const subtestOf = ({ cases, file, name }: Told, path: ReadonlyArray<string>): Case => {
    const key = keyOf(path)
    const made: Case = cases.get(key) ?? {
      name: form === "nixos" ? key : Failure.subtestName([name, ...path]),
      classname: form === "nixos" ? name : (file ?? "vmtest"),
      lines: [],
      outcomes: [],
      millis: 0
    }
    cases.set(key, made)
    return made
  }

  /** What came of a subtest. Its time counts for it alone, and not for what it is a part of. */
  const addResult = (told: Told, { failure, handled, millis, name, status, within }: RecordedSubtest): void => {
    const of = subtestOf(told, [...within, name])
    of.millis += millis
    const outer = within.length === 0 ? told.main : subtestOf(told, within)
    outer.millis -= millis
    // One that the script has dealt with does not fail the run.
    if (status === "failed" && handled !== true) of.outcomes.push(failureOf(failure, "a subtest of it failed"))
  }

  return { addResult, subtestOf }
}

const counted = (cases: ReadonlyArray<Case>, millis: number) => {
  const with_ = (element: string) => cases.filter(({ outcomes }) => outcomes.some((one) => one.startsWith(element)))
  return {
    counts: { tests: cases.length, failures: with_("<failure").length, errors: 0, time: inSeconds(millis) },
    skipped: with_("<skipped").length
  }
}

const suite = (name: string, tests: ReadonlyArray<Told>, more: Xml.Attributes = {}) => {
  const cases = tests.flatMap(({ cases, main }) => [main, ...cases.values()])
  const millis = tests.reduce((sum, { result }) => sum + (result?.millis ?? 0), 0)
  const { counts, skipped } = counted(cases, millis)
  const content = cases.map((one) => `    ${testCase(one)}\n`).join("")
  return { cases, millis, text: Xml.element("testsuite", { name, ...counts, skipped, ...more }, `\n${content}  `) }
}

const suitesOf = (tests: ReadonlyArray<Told>, form: Form) => {
  if (form === "nixos") return [suite("NixOS integration test", tests)]
  const files = [...new Set(tests.map(({ file }) => file))]
  return files.map((file) => {
    const own = tests.filter((one) => one.file === file)
    // Schemas of JUnit have no time zone here; it is UTC.
    const timestamp = new Date(Math.min(...own.map(({ startedAt }) => startedAt))).toISOString().slice(0, 19)
    return suite(file ?? "vmtest", own, { timestamp, file })
  })
}

const render = (tests: ReadonlyArray<Told>, form: Form): string => {
  const suites = suitesOf(tests, form)
  const { counts } = counted(
    suites.flatMap(({ cases }) => cases),
    suites.reduce((sum, { millis }) => sum + millis, 0)
  )
  const content = suites.map(({ text }) => `  ${text}\n`).join("")
  return `<?xml version="1.0" encoding="utf-8"?>\n${Xml.element("testsuites", counts, `\n${content}`)}\n`
}

const isOf = <Type extends RunRecord["type"]>(record: RunRecord, ...types: ReadonlyArray<Type>): record is Of<Type> =>
  (types as ReadonlyArray<string>).includes(record.type)

/** The attempts at a test before its last one, in the words of Maven: failures that a retry has mended, or not. */
const earlierOf = ({ file, name, result }: Told, all: ReadonlyArray<Told>): ReadonlyArray<string> => {
  if (result === undefined) return []
  const element = result.status === "passed" ? "flakyFailure" : "rerunFailure"
  const before = all.filter((one) => one.result?.retried === true && one.name === name && one.file === file)
  return before.map(({ result: earlier }) => {
    const { kind, message } = earlier?.failure ?? { kind: "Error", message: "it failed" }
    const trace = earlier?.failure === undefined ? "" : Failure.render(earlier.failure)
    const attributes = { type: kind, message: message.split("\n")[0] }
    return Xml.element(element, attributes, Xml.element("stackTrace", {}, Xml.text(trace)))
  })
}

/** The last attempts at tests, with what came of those before. */
const finalOf = (all: ReadonlyArray<Told>): ReadonlyArray<Told> =>
  all
    .filter(({ name, result }) => name !== "" && result?.retried !== true)
    .map((one) => ({ ...one, main: { ...one.main, outcomes: [...one.main.outcomes, ...earlierOf(one, all)] } }))

/** A report that is made of the records of a run, in their order. `text` is the report so far. */
export const make = (form: Form) => {
  const tests = new Map<number, Told>()
  const { addResult, subtestOf } = casesIn(form)

  const started = ({ at, file, name, test }: Of<"test-started">): void => {
    // What was logged of it before it began.
    const lines = tests.get(test)?.main.lines ?? []
    const main = { name, classname: form === "nixos" ? name : (file ?? "vmtest"), lines, outcomes: [], millis: 0 }
    tests.set(test, {
      ...{ name, file, startedAt: at, cases: new Map(), main, running: [], ended: [], result: undefined }
    })
  }

  const ended = (told: Told, record: Of<"test-ended">): void => {
    told.result = record
    told.main.millis += record.millis
    // Only the end of the test tells whether the script has dealt with what failed in it.
    for (const subtest of record.subtests) addResult(told, subtest)
    if (record.failure !== undefined) told.main.outcomes.push(failureOf(record.failure, ""))
    else if (record.status === "skipped")
      told.main.outcomes.push(Xml.element("skipped", { message: record.skipped }, ""))
  }

  const hearSubtest = (told: Told, record: Of<"subtest-started" | "subtest-ended">): void => {
    const path = [...record.within, record.name]
    if (record.type === "subtest-started") {
      subtestOf(told, path)
      told.running.push(path)
      return
    }
    const index = told.running.findLastIndex((one) => samePath(one, path))
    if (index !== -1) told.running.splice(index, 1)
    told.ended.push(record)
  }

  const hearTest = (record: Extract<RunRecord, { readonly test: number }>): void => {
    const known = tests.get(record.test)
    if (record.type === "test-started") started(record)
    // One that is skipped does not start.
    else if (known === undefined && record.type === "test-ended")
      started({ ...record, type: "test-started", machines: [] })
    // The log of a test that waits for others to end.
    else if (known === undefined && record.type === "log")
      started({ type: "test-started", at: record.at, test: record.test, name: "", machines: [] })
    const told = tests.get(record.test)
    if (told === undefined) return
    if (isOf(record, "subtest-started", "subtest-ended")) hearSubtest(told, record)
    else if (record.type === "test-ended") ended(told, record)
    const line = lineOf(record, form)
    const path = told.running.at(-1)
    if (line !== undefined) (path === undefined ? told.main : subtestOf(told, path)).lines.push(line)
  }

  return {
    hear: (record: RunRecord): void => {
      if (!isOf(record, "run-started", "run-ended", "image")) hearTest(record)
    },
    /** Nothing more comes: a test that runs was interrupted, and with it the subtests that run. */
    close: (): void => {
      for (const told of [...tests.values()].filter(({ result }) => result === undefined)) {
        told.main.outcomes.push(failureOf(undefined, "the test was interrupted"))
        for (const subtest of told.ended) addResult(told, subtest)
        for (const path of told.running) {
          subtestOf(told, path).outcomes.push(failureOf(undefined, "the subtest was interrupted"))
        }
      }
    },
    text: (): string => {
      const all = finalOf([...tests.values()])
      const only = form === "nixos" && all.length === 1
      return render(only ? all.map((one) => ({ ...one, main: { ...one.main, name: "main" } })) : all, form)
    }
  }
}
