import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as RecordedRun from "../../src/report/RecordedRun.ts"
import * as Reports from "../../src/report/Reports.ts"
import type { RunRecord } from "../../src/report/RunRecord.ts"
import * as TerminalReport from "../../src/report/TerminalReport.ts"
import { recordsOf } from "./records.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "vmtest-report-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

const lines = (records: ReadonlyArray<RunRecord>) => records.map((one) => `${JSON.stringify(one)}\n`).join("")

const fileWith = (text: string) =>
  Effect.map(folder, (path) => {
    const file = join(path, "events.jsonl")
    writeFileSync(file, text)
    return file
  })

const problemOf = (text: string) =>
  Effect.flatMap(fileWith(text), (file) =>
    Effect.map(Effect.flip(RecordedRun.read(file)), ({ message }) => message.replace(file, "FILE"))
  )

describe("a run that is over", () => {
  it.effect("is read as it was written, and what a later version adds is left out", () =>
    Effect.gen(function* () {
      const [first, ...others] = recordsOf()
      const file = yield* fileWith(`${lines([first as RunRecord])}{"type":"weather","at":1}\n${lines(others)}`)
      assert.deepStrictEqual(yield* RecordedRun.read(file), recordsOf())
    })
  )

  it.effect("has no end of its last line if it was killed, and is interrupted then", () =>
    Effect.gen(function* () {
      const file = yield* fileWith(lines(recordsOf().slice(0, 8)).slice(0, -9))
      const records = RecordedRun.merge([yield* RecordedRun.read(file)])
      assert.deepInclude(records.at(-1), { type: "run-ended", interrupted: true })
      assert.deepStrictEqual(
        RecordedRun.interruptedOf(records).map(({ name }) => name),
        ["fails"]
      )
    })
  )

  it.effect("is refused if it is none, of a later format, or damaged", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* problemOf(""), "could not read the report FILE: it is empty")
      assert.strictEqual(
        yield* problemOf("<xml>\n"),
        "could not read the report FILE: it was not written by 'vmtest run --json'"
      )
      assert.strictEqual(
        yield* problemOf('{"type":"run-started","version":2,"at":0}\n'),
        "could not read the report FILE: its format has version 2; this vmtest reads version 1"
      )
      const [first, second] = recordsOf().map((one) => JSON.stringify(one))
      assert.strictEqual(
        yield* problemOf(`${first}\nnothing\n${second}\n`),
        "could not read the report FILE: line 2 is not a record of a run"
      )
    })
  )

  it("has the results that were reported: subtests, attempts, skipped tests, failures with their place", () => {
    const results = RecordedRun.resultsOf(recordsOf())
    assert.deepStrictEqual(
      results.map(({ earlier = [], name, status }) => `${name} ${status} ${earlier.length}`),
      ["fails failed 0", "passes passed 1", "later skipped 0"]
    )
    const text = TerminalReport.results(results, { colors: false })
    assert.include(text, "/nowhere/a.ts:3:7")
    assert.include(text, "passes flaky: passed at attempt 2")
    assert.match(TerminalReport.summary(results), /\n1 passed, 1 failed, 1 flaky, 1 skipped \(/)
  })

  it("with others is one run, in which tests, steps and processes have numbers of their own", () => {
    const one = recordsOf()
    const all = RecordedRun.merge([one, one])
    assert.lengthOf(all, 2 * (one.length - 2) + 2)
    assert.deepStrictEqual([all[0]?.type, all.at(-1)?.type], ["run-started", "run-ended"])
    const numbers = (of: (record: RunRecord) => number | undefined) =>
      new Set(all.flatMap((record) => of(record) ?? [])).size
    assert.strictEqual(
      numbers((record) => ("test" in record ? record.test : undefined)),
      8
    )
    assert.strictEqual(
      numbers((record) => (record.type === "step-started" ? record.step : undefined)),
      2
    )
    assert.strictEqual(
      numbers((record) => (record.type === "process" ? record.process : undefined)),
      2
    )
    const counts = RecordedRun.resultsOf(all).length
    assert.strictEqual(counts, 2 * RecordedRun.resultsOf(one).length)
  })

  it.effect("can be written as each report, and read again", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const files = { json: join(path, "new", "e.jsonl"), junit: join(path, "j.xml"), html: join(path, "r.html") }
      yield* Reports.write(recordsOf(), files)
      assert.deepStrictEqual(yield* RecordedRun.read(files.json), recordsOf())
      assert.match(readFileSync(files.junit, "utf8"), /<testsuites tests="5"/)
      assert.match(readFileSync(files.html, "utf8"), /^<!doctype html>[\s\S]*"type":"run-ended"/)
      const error = yield* Effect.flip(Reports.write(recordsOf(), { junit: "/proc/nothing/j.xml" }))
      assert.match(error.message, /^--junit: could not write \/proc\/nothing\/j\.xml: ENOENT/)
    })
  )
})
