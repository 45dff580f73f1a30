import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { Detailed, Reporter, type RunEvent, report } from "../../src/driver/RunEvent.ts"
import * as RecordedRun from "../../src/report/RecordedRun.ts"
import * as Reports from "../../src/report/Reports.ts"
import { events } from "./records.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "vmtest-report-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

const started: RunEvent = { _tag: "TestStarted", test: "fails", file: "a.ts", machines: [] }

describe("reports in files", () => {
  it.effect("have everything that was reported, which others hear as well, with what is told only on request", () =>
    Effect.gen(function* () {
      const json = join(yield* folder, "e.jsonl")
      const heard: Array<RunEvent> = []
      const run = Effect.gen(function* () {
        assert.isTrue(yield* Detailed)
        yield* Effect.forEach(events, report)
        return 3
      })
      const value = yield* Reports.written({ json })(run).pipe(
        Effect.provideService(Reporter, (event) => Effect.sync(() => heard.push(event)))
      )
      assert.strictEqual(value, 3)
      assert.deepStrictEqual(heard, events)
      const records = yield* RecordedRun.read(json)
      assert.lengthOf(records, events.length + 2)
      assert.deepInclude(records.at(-1), { type: "run-ended", interrupted: false })
    })
  )

  it.effect("are complete when the run is interrupted, and can be followed meanwhile", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const [json, junit, html] = [join(path, "e.jsonl"), join(path, "j.xml"), join(path, "r.html")]
      const all = Effect.andThen(Effect.forEach(events.slice(0, 18), report), Effect.never)
      const running = yield* Effect.forkChild(Reports.written({ json, junit, html })(all), { startImmediately: true })
      assert.match(readFileSync(json, "utf8"), /"type":"test-ended"/)
      yield* Effect.andThen(report(started), Fiber.interrupt(running))
      assert.deepInclude((yield* RecordedRun.read(json)).at(-1), { type: "run-ended", interrupted: true })
      assert.include(readFileSync(junit, "utf8"), 'name="fails"')
      assert.include(readFileSync(html, "utf8"), '"interrupted":true')
    })
  )

  it.effect("have a page for each test that an interruption ended, and none for those that passed before", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const begin = (test: string): RunEvent => ({ ...started, test, folder: join(path, test) })
      const passed = {
        name: "passes",
        status: "passed",
        startedAt: 0,
        millis: 1,
        excludedMillis: 0,
        subtests: []
      } as const
      const ended: RunEvent = {
        _tag: "TestEnded",
        result: { ...passed, machines: [], failure: undefined, folder: undefined, value: 1 }
      }
      const all = Effect.forEach([begin("passes"), ended, begin("one"), begin("two")], report)
      const running = yield* Effect.forkChild(
        Reports.written({}, { traces: true })(Effect.andThen(all, Effect.never)),
        {
          startImmediately: true
        }
      )
      assert.isFalse(existsSync(join(path, "one")))
      yield* Fiber.interrupt(running)
      for (const name of ["one", "two"]) {
        const page = readFileSync(join(path, name, "trace.html"), "utf8")
        assert.include(page, '"interrupted":true')
        assert.include(page, `"name":"${name}"`)
      }
      assert.isFalse(existsSync(join(path, "passes")))
    })
  )

  it.effect("that cannot be written keep the run from starting", () =>
    Effect.gen(function* () {
      let ran = false
      const run = Effect.sync(() => {
        ran = true
      })
      const error = yield* Effect.flip(Reports.written({ html: "/proc/nothing/r.html" })(run))
      assert.strictEqual(error._tag, "ReportUnwritable")
      assert.match(error.message, /^--html: could not write \/proc\/nothing\/r\.html: /)
      assert.isFalse(ran)
    })
  )

  it.effect("do not overwrite each other, or an input", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const [script, link, html] = [join(path, "a.ts"), join(path, "link"), join(path, "r.html")]
      writeFileSync(script, "1")
      symlinkSync(script, link)
      const refused = (files: Reports.Files) =>
        Effect.map(Effect.flip(Reports.written(files, { inputs: [script] })(Effect.void)), ({ message }) => message)
      assert.strictEqual(
        yield* refused({ junit: link }),
        `--junit: could not write ${link}: it is an input of this command`
      )
      assert.strictEqual(
        yield* refused({ html, json: join(path, ".", "r.html") }),
        `--html: could not write ${html}: --json writes that file, too`
      )
      assert.strictEqual(readFileSync(script, "utf8"), "1")
      yield* Reports.written({ html: "/dev/null", json: "/dev/null" })(Effect.void)
      const error = yield* Effect.flip(Reports.write([], { html: script }, [script]))
      assert.include(error.message, "it is an input of this command")
    })
  )

  it.effect("that fail later change nothing about the run", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const run = Effect.gen(function* () {
        rmSync(join(path, "gone"), { recursive: true })
        yield* Effect.forEach(events, report)
        return "done"
      })
      const problems: Array<string> = []
      const value = yield* Reports.written(
        { json: join(path, "gone", "e.jsonl"), junit: join(path, "j.xml") },
        { onUnwritten: (problem) => Effect.sync(() => void problems.push(problem)) }
      )(run)
      assert.strictEqual(value, "done")
      assert.match(problems.join(), /^could not write the report .*e\.jsonl: /)
      assert.include(readFileSync(join(path, "j.xml"), "utf8"), 'name="fails"')
    })
  )

  it.effect("name the page of a test that could not be written", () =>
    Effect.gen(function* () {
      const path = yield* folder
      writeFileSync(join(path, "fails"), "a file, where the folder would be")
      const problems: Array<string> = []
      yield* Reports.written(
        {},
        { traces: true, onUnwritten: (problem) => Effect.sync(() => void problems.push(problem)) }
      )(report({ ...started, folder: join(path, "fails") }))
      assert.lengthOf(problems, 1)
      assert.isTrue(
        problems[0]?.startsWith(`could not write the report ${join(path, "fails", "trace.html")}: `),
        problems[0]
      )
    })
  )

  it.effect("are a page in the folder of each test that failed, in the place of a link that a guest left there", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const place = join(path, "fails")
      const mine = join(path, "mine")
      writeFileSync(mine, "mine")
      const result = events.flatMap((event) => (event._tag === "TestEnded" ? [event.result] : []))[0]
      assert.isDefined(result)
      const failing = { ...result, name: "fails", folder: undefined, status: "failed" } as const
      const heard: Array<RunEvent> = []
      const run = Effect.gen(function* () {
        yield* report({ ...started, folder: place })
        yield* report({ _tag: "TestEnded", result: failing })
        yield* report({ ...started, test: "passes", folder: join(path, "passes") })
        yield* report({ _tag: "TestEnded", result: { ...failing, name: "passes", status: "passed" } })
        rmSync(join(place, "trace.html"))
        symlinkSync(mine, join(place, "trace.html"))
        yield* report({ ...started, folder: place })
        yield* report({ _tag: "TestEnded", result: failing })
      })
      yield* Reports.written(
        {},
        { traces: true }
      )(run).pipe(Effect.provideService(Reporter, (event) => Effect.sync(() => heard.push(event))))
      const page = readFileSync(join(place, "trace.html"), "utf8")
      assert.include(page, '"name":"fails"')
      assert.notInclude(page, '"name":"passes"')
      assert.isFalse(existsSync(join(path, "passes")))
      assert.strictEqual(readFileSync(mine, "utf8"), "mine")
      const folders = heard.flatMap((event) => (event._tag === "TestEnded" ? [event.result.folder] : []))
      assert.deepStrictEqual(folders, [place, undefined, place])
    })
  )
})
