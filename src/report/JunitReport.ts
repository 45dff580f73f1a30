/**
 * The results of tests as JUnit's XML, which services for continuous integration read.
 *
 * Each test is a suite. It has a case for the test itself and one for each of its subtests; the times of the cases add up to that of the test.
 *
 * **Example** (A report of a run)
 *
 * ```ts
 * Fs.writeFileSync("junit.xml", JunitReport.render(results))
 * ```
 *
 * @since 0.1.0
 */
import * as Failure from "../driver/Failure.ts"
import type { SubtestResult, TestResult } from "../driver/TestResult.ts"
import * as Xml from "../host/Xml.ts"

const seconds = (millis: number): string => (Math.max(0, millis) / 1000).toFixed(3)

/** The names from the outermost subtest in. */
const pathOf = ({ name, within }: SubtestResult): ReadonlyArray<string> => [...within, name]

/** The subtests of one within another, or within the test. */
const partsOf = (subtests: ReadonlyArray<SubtestResult>, path: ReadonlyArray<string>) =>
  subtests.filter(({ within }) => within.length === path.length && within.every((name, index) => name === path[index]))

/** The time that was spent in no part. Parts that ran at once can take longer together. */
const ownMillis = (millis: number, parts: ReadonlyArray<SubtestResult>) =>
  millis - parts.reduce((sum, part) => sum + part.millis, 0)

const failure = (of: Failure.Failure | undefined): string =>
  of === undefined
    ? ""
    : Xml.element("failure", { type: of.kind, message: of.message.split("\n")[0] }, Xml.text(Failure.render(of)))

const testCase = (test: TestResult, name: string, millis: number, content: string) =>
  `    ${Xml.element("testcase", { name, classname: test.name, file: test.file, time: seconds(millis) }, content)}\n`

const subtestCase = (test: TestResult, subtest: SubtestResult) => {
  const path = pathOf(subtest)
  // Part of a test that went on is no failure of the run.
  const failed = subtest.status === "failed" && subtest.handled !== true
  const why = subtest.failure === undefined ? Xml.element("failure", { message: "a subtest of it failed" }, "") : ""
  return testCase(
    test,
    Failure.subtestName(path),
    ownMillis(subtest.millis, partsOf(test.subtests, path)),
    failed ? failure(subtest.failure) + why : ""
  )
}

const suite = (test: TestResult, output: string): string => {
  const cases = [
    testCase(test, test.name, ownMillis(test.millis, partsOf(test.subtests, [])), failure(test.failure)),
    ...test.subtests.map((subtest) => subtestCase(test, subtest))
  ]
  const attributes = {
    name: test.name,
    tests: cases.length,
    failures: cases.filter((one) => one.includes("<failure")).length,
    errors: 0,
    time: seconds(test.millis),
    timestamp: new Date(test.startedAt).toISOString().slice(0, 19)
  }
  const said = output === "" ? "" : `    ${Xml.element("system-out", {}, Xml.text(output))}\n`
  return `  ${Xml.element("testsuite", attributes, `\n${cases.join("")}${said}  `)}\n`
}

/** The report. `output` gives the lines that a test has logged; by default none. */
export const render = (results: ReadonlyArray<TestResult>, output: (test: TestResult) => string = () => ""): string => {
  const suites = results.map((test) => suite(test, output(test)))
  return `<?xml version="1.0" encoding="utf-8"?>\n${Xml.element("testsuites", {}, `\n${suites.join("")}`)}\n`
}
