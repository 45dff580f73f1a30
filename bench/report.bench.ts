/**
 * What reports cost: the page of 10,000 events in Chromium, an event on its way into all reports, and all reports of a run on a real guest against that run.
 */
import { mkdtempSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import * as Effect from "effect/Effect"
import { DriverLayer, Image, RecordedRun, Reports, RunEvent, Runner, test } from "../src/index.ts"
import { type Case, median, progress, report } from "./harness.ts"
import { recordsOf } from "./reportRecords.ts"

/** What is used of `web/browser.ts`, which is compiled with the types of browsers. */
interface Browser {
  readonly isInstalled: boolean
  readonly open: () => Promise<{
    readonly page: {
      readonly goto: (url: string) => Promise<unknown>
      readonly waitForFunction: (expression: string) => Promise<unknown>
      readonly evaluate: (expression: string) => Promise<unknown>
    }
    readonly close: () => Promise<void>
  }>
}

const Browser: Browser = await import(new URL("../web/browser.ts", import.meta.url).href)

const folder = mkdtempSync(join(tmpdir(), "vmtest-bench-"))
const many = recordsOf(10_000)
const html = join(folder, "many.html")

/** How long the page takes in the browser until it can be used, from the start of its navigation; undefined without Chromium. */
const readyAfter = async (rounds: number): Promise<number | undefined> => {
  if (!Browser.isInstalled) {
    progress("report: Chromium is not installed (Debian: chromium); the page is not opened")
    return undefined
  }
  const { close, page } = await Browser.open()
  const times: Array<number> = []
  for (let round = 0; round < rounds; round++) {
    await page.goto(pathToFileURL(html).href)
    await page.waitForFunction("document.querySelectorAll('.row').length > 10")
    times.push(Number(await page.evaluate("Math.round(performance.now())")))
  }
  await close()
  return median(times)
}

/** How long it takes to write all reports of records that are there, in milliseconds. */
const writing = (rounds: number) =>
  Effect.gen(function* () {
    const times: Array<number> = []
    for (let round = 0; round < rounds; round++) {
      const began = performance.now()
      yield* Reports.write(many, { html, junit: join(folder, "many.xml"), json: join(folder, "many.jsonl") })
      times.push(performance.now() - began)
    }
    return median(times)
  })

/** A run of commands on a guest, and how much of its time reports took: while events came, and at its end. */
const reporting = Effect.gen(function* () {
  const commands = 200
  let within = 0
  let events = 0
  let ran = 0
  const busy = test("runs commands", { machines: { box: { image: Image.tiny() } } }, ({ box }) =>
    Effect.forEach(
      Array.from({ length: commands }, (_, index) => index),
      (index) => box.succeed(`echo ${index} | tee /dev/console`),
      { discard: true }
    )
  )
  const began = performance.now()
  yield* Runner.run([busy], { output: join(folder, "out") }).pipe(
    Effect.tap((results) =>
      Effect.sync(() => {
        ran = performance.now() - began
        if (results.some(({ status }) => status !== "passed")) throw new Error("the run of the bench failed")
      })
    ),
    Effect.updateService(
      RunEvent.Reporter,
      (others) => (event) =>
        Effect.suspend(() => {
          const at = performance.now()
          events += 1
          return Effect.andThen(
            others(event),
            Effect.sync(() => {
              within += performance.now() - at
            })
          )
        })
    ),
    Reports.written(
      { html: join(folder, "r.html"), junit: join(folder, "r.xml"), json: join(folder, "r.jsonl") },
      { traces: true }
    ),
    Effect.provide(DriverLayer.host)
  )
  const reports = within + (performance.now() - began - ran)
  const { length } = yield* RecordedRun.read(join(folder, "r.jsonl"))
  progress(`report: a run of ${(ran / 1000).toFixed(1)} s with ${events} events, ${length} records`)
  return { reports, ran, events }
})

const cases: Array<Case> = []
const written = await Effect.runPromise(writing(5))
cases.push({ case: "all reports of 10,000 records", value: written, unit: "ms" })
cases.push({
  ...{ case: "page of 10,000 records", value: statSync(html).size / 1e6, unit: "MB" },
  goal: { of: "value", atMost: 5 }
})
const ready = await readyAfter(5)
if (ready !== undefined)
  cases.push({
    ...{ case: "until it can be used in Chromium", value: ready, unit: "ms" },
    goal: { of: "value", atMost: 1500 }
  })
progress("report: a run of 200 commands on a guest")
const { events, ran, reports } = await Effect.runPromise(reporting)
cases.push({ case: "one event of a run, into all reports", value: (reports * 1000) / events, unit: "µs" })
cases.push({
  ...{ case: "all reports of a run of 200 commands, against the run", value: reports, baseline: ran, unit: "ms" },
  goal: { of: "ratio", atMost: 0.02 }
})
rmSync(folder, { recursive: true, force: true })
report("report", cases)
