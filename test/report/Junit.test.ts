import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Junit from "../../src/report/Junit.ts"
import type { RunRecord } from "../../src/report/RunRecord.ts"
import { needs } from "../needs.ts"
import { events, recordsOf } from "./records.ts"

/** Of Jenkins' xUnit plugin; its license is in it. */
const schema = fileURLToPath(new URL("fixtures/junit-10.xsd", import.meta.url))

const reportOf = (records: ReadonlyArray<RunRecord>, form: Junit.Form = "script") => {
  const report = Junit.make(form)
  for (const record of records) report.hear(record)
  report.close()
  return report.text()
}

const casesOf = (xml: string) =>
  [...xml.matchAll(/<testcase name="([^"]*)" classname="([^"]*)" time="([^"]*)">(.*?)<\/testcase>/gs)].map(
    ([, name = "", classname = "", time = "", content = ""]) => ({ name, classname, time, content })
  )

/** The records up to the one where a test is in the middle of its subtests. */
const cut = recordsOf(events.slice(0, 12))

describe("a report in JUnit's XML", () => {
  it("has a suite for each script, and a case for each test and subtest with its own time", () => {
    const xml = reportOf(recordsOf())
    assert.deepStrictEqual(
      casesOf(xml).map(({ classname, name, time }) => [classname, name, time]),
      [
        ["a.ts", "fails", "1.300"],
        ["a.ts", "fails › outer", "0.400"],
        ["a.ts", "fails › outer › inner", "0.300"],
        ["b &amp; c.ts", "passes", "1.500"],
        ["b &amp; c.ts", "later", "0.000"]
      ]
    )
    assert.deepStrictEqual(
      [...xml.matchAll(/<testsuite [^>]*>/g)].map(([suite]) => suite),
      [
        '<testsuite name="a.ts" tests="3" failures="3" errors="0" time="2.000" skipped="0" timestamp="1970-01-01T00:16:40" file="a.ts">',
        '<testsuite name="b &amp; c.ts" tests="2" failures="0" errors="0" time="1.500" skipped="1" timestamp="1970-01-01T00:16:42" file="b &amp; c.ts">'
      ]
    )
    assert.match(xml, /<testsuites tests="5" failures="3" errors="0" time="3.500">/)
  })

  it("says why, where, and what was logged, without characters that XML cannot have", () => {
    const [test, , inner] = casesOf(reportOf(recordsOf()))
    assert.match(inner?.content ?? "", /<failure type="Error" message="it is off &amp; &lt;out&gt;">/)
    assert.include(inner?.content, "/nowhere/a.ts:3:7")
    assert.include(inner?.content, "<system-out>in the inner part</system-out>")
    assert.include(test?.content, "waits for memory\nweb: booting\nweb: ready")
    assert.notInclude(test?.content, "Linux")
  })

  it("tells of attempts before a test passed, and why a test was skipped", () => {
    const [passes, later] = casesOf(reportOf(recordsOf())).slice(-2)
    assert.match(passes?.content ?? "", /^<flakyFailure type="Error" message="not yet"><stackTrace>[^<]*not yet/)
    assert.include(later?.content, '<skipped message="not on Mondays"></skipped>')
  })

  it("in the form of the NixOS test driver is one suite, with the lines of consoles", () => {
    const only = recordsOf(events.filter((event) => !/"(passes|later)"/.test(JSON.stringify(event))))
    const xml = reportOf(only, "nixos")
    assert.deepStrictEqual(
      casesOf(xml).map(({ classname, name }) => [classname, name]),
      [
        ["fails", "main"],
        ["fails", "outer"],
        ["fails", "inner"]
      ]
    )
    assert.include(casesOf(xml)[0]?.content, "web # Linux version")
  })

  it("tells of tests and subtests that were interrupted", () => {
    const cases = casesOf(reportOf(cut))
    assert.deepStrictEqual(
      cases.map(({ content, name }) => [name, /message="([^"]*)"/.exec(content)?.[1]]),
      [
        ["fails", "the test was interrupted"],
        ["fails › outer", "the subtest was interrupted"],
        ["fails › outer › inner", "the subtest was interrupted"]
      ]
    )
  })

  describe("is valid", () => {
    needs(spawnSync("xmllint", ["--version"]).status === 0, "xmllint is not installed (Debian: libxml2-utils)")

    for (const [what, records] of [
      ["of a run that failed", recordsOf()],
      ["of a run that was interrupted", cut],
      ["of a run without tests", recordsOf([])]
    ] as const) {
      for (const form of ["script", "nixos"] as const) {
        it(`${what}, in the form ${form}, by the schema of Jenkins`, () => {
          const { stderr, status } = spawnSync("xmllint", ["--noout", "--nonet", "--schema", schema, "-"], {
            input: reportOf(records, form),
            encoding: "utf8"
          })
          assert.strictEqual(status, 0, stderr)
        })
      }
    }
  })
})
