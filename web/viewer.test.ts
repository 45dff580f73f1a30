/** The page of a report, in the real Chromium. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import type { Page } from "playwright-core"
import { afterAll, assert, beforeAll, beforeEach, describe, it } from "vitest"
import { recordsOf as manyRecords } from "../bench/reportRecords.ts"
import * as HtmlReport from "../src/report/HtmlReport.ts"
import type { RunRecord } from "../src/report/RunRecord.ts"
import { events, recordsOf } from "../test/report/records.ts"
import * as Browser from "./browser.ts"

/** One white pixel. */
const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8/5+hHgAHggJ/PchI7wAAAABJRU5ErkJggg=="

const start = 1_000_000
const machine = { test: 0, machine: "web" }

/** A test that passes, then one that fails at a command, on a machine with a console, a screen and a network. */
const records: ReadonlyArray<RunRecord> = [
  ...recordsOf(events.filter((event) => /"(passes|later)"/.test(JSON.stringify(event)))).map((record) =>
    "test" in record ? { ...record, test: record.test + 10 } : record
  ),
  { type: "test-started", at: start, test: 0, name: "serves </script> pages", file: "web.ts", machines: ["web"] },
  { type: "process", at: start, test: 0, change: "started", process: 1, name: "Driver", kind: "Supervisor" },
  { type: "process", at: start, test: 0, change: "started", process: 2, name: "Script", kind: "Task", parent: 1 },
  { type: "machine", at: start, ...machine, state: "booting", detail: "" },
  { type: "console", at: start + 10, ...machine, line: "Linux \u001b[1mversion\u001b[0m 6.1" },
  { type: "machine", at: start + 1000, ...machine, state: "ready", detail: "" },
  { type: "step-started", at: start + 1000, ...machine, step: 1, action: "waiting for port 80 to be open" },
  { type: "step-ended", at: start + 1500, ...machine, step: 1, millis: 500, failed: false, outcome: "" },
  { type: "picture", at: start + 1510, ...machine, path: "/out/web.png", png },
  { type: "subtest-started", at: start + 1600, test: 0, name: "a page", within: [] },
  {
    ...{ type: "step-started", at: start + 1700, ...machine, step: 2, action: 'running "curl http://web/"' },
    ...{ command: "curl http://web/", within: ["a page"] }
  },
  { type: "traffic", at: start + 1750, test: 0, network: "lan", packets: 4, bytes: 300, millis: 250 },
  { type: "console", at: start + 1760, ...machine, line: "httpd: not found" },
  {
    ...{ type: "step-ended", at: start + 1800, ...machine, step: 2, millis: 100, failed: false },
    ...{ outcome: "exit code 22", exitCode: 22, stdout: "<b>404</b>", stderr: "curl: (22)" }
  },
  { type: "console", at: start + 1900, ...machine, line: "after that" },
  {
    ...{ type: "subtest-ended", at: start + 1900, test: 0, name: "a page", within: [], status: "failed" },
    millis: 300
  },
  {
    ...{ type: "test-ended", at: start + 2000, test: 0, name: "serves </script> pages", file: "web.ts" },
    ...{ status: "failed", startedAt: start, millis: 2000, excludedMillis: 0, subtests: [] },
    machines: [{ name: "web", state: "ready", came: "booted" }],
    failure: {
      ...{ kind: "CommandFailed", message: "web: `curl http://web/` failed", evidence: [], callers: [] },
      place: { file: "/home/web.ts", line: 7, column: 3, text: "yield* web.succeed(…)", before: ["{"], after: ["}"] }
    }
  },
  { type: "run-ended", at: start + 2100, interrupted: false }
]

describe("the page of a report", () => {
  beforeEach(({ skip }) => skip(!Browser.isInstalled, "Chromium is not installed (Debian: chromium)"))

  let folder = ""
  let page: Page
  let close: () => Promise<void>
  const requests: Array<string> = []
  const errors: Array<string> = []

  const show = async (all: ReadonlyArray<RunRecord>): Promise<{ readonly bytes: number; readonly millis: number }> => {
    const file = join(folder, "report.html")
    const text = HtmlReport.page(
      all.map((record) => JSON.stringify(record)),
      "a run"
    )
    writeFileSync(file, text)
    await page.goto(pathToFileURL(file).href)
    await page.waitForFunction("document.documentElement.dataset.ready !== undefined")
    return {
      bytes: Buffer.byteLength(text),
      millis: Number(await page.evaluate("document.documentElement.dataset.ready"))
    }
  }
  /** Waits until the row of that title is selected: the page follows a key a moment later. */
  const isSelected = (title: string) =>
    page.locator('.row[aria-selected="true"]').filter({ hasText: title }).waitFor({ timeout: 10_000 })

  beforeAll(async () => {
    if (!Browser.isInstalled) return
    folder = mkdtempSync(join(tmpdir(), "vmtest-page-"))
    const opened = await Browser.open()
    page = opened.page
    close = opened.close
    page.on("request", (request) => requests.push(request.url()))
    page.on("pageerror", ({ message }) => errors.push(message))
  })
  afterAll(async () => {
    if (!Browser.isInstalled) return
    await close()
    rmSync(folder, { recursive: true, force: true })
  })

  it("opens at the failing step of the failed test, with what it ran and what that said", async () => {
    await show(records)
    assert.strictEqual(await page.locator(".head h2").innerText(), "✘ serves </script> pages")
    assert.strictEqual(await page.getByTestId("headline").innerText(), "CommandFailed: web: `curl http://web/` failed")
    await isSelected('running "curl http://web/"')
    assert.strictEqual(await page.getByTestId("exit-code").innerText(), "22")
    assert.deepStrictEqual(await page.locator(".pane .box").allInnerTexts(), [
      "curl http://web/",
      "<b>404</b>",
      "curl: (22)"
    ])
  })

  it("shows the console, the screen and the processes of that moment, and the failure in the script", async () => {
    await page.getByRole("tab", { name: "Console" }).click()
    assert.strictEqual(
      (await page.locator(".pane pre").innerText()).replaceAll("\n\n", "\n").trim(),
      "Linux version 6.1\nhttpd: not found\nat that moment\nafter that"
    )
    await page.getByRole("tab", { name: "Screen" }).click()
    await page.waitForFunction("document.querySelector('.pane img')?.naturalWidth === 1")
    await page.getByRole("tab", { name: "Processes" }).click()
    assert.strictEqual(await page.locator(".tree li li").innerText(), "Script Task")
    await page.getByRole("tab", { name: "Failure" }).click()
    assert.include(await page.locator(".frame .hit").innerText(), "7  yield* web.succeed(…)")
    assert.include(await page.locator(".pane").innerText(), "booted")
  })

  it("finds what is searched for, in output as well, and hides kinds of events", async () => {
    await page.keyboard.press("/")
    await page.keyboard.type("404")
    const areShown = (count: number) => page.waitForFunction(`document.querySelectorAll(".row").length === ${count}`)
    await areShown(1)
    assert.deepStrictEqual(await page.locator(".row .title").allInnerTexts(), ['running "curl http://web/"'])
    await page.keyboard.press("Escape")
    await areShown(9)
    await page.getByRole("button", { name: "Console", exact: true }).click()
    await areShown(6)
    await page.getByRole("button", { name: "Console", exact: true }).click()
  })

  it("is used with the keyboard alone: events, what went wrong, tests, themes", async () => {
    await page.keyboard.press("Home")
    await isSelected("web is booting")
    await page.keyboard.press("j")
    await isSelected("Linux version 6.1")
    await page.keyboard.press("n")
    await isSelected("a page")
    await page.keyboard.press("n")
    await isSelected('running "curl http://web/"')
    await page.keyboard.press("]")
    await page.locator(".head h2").filter({ hasNotText: "serves" }).waitFor({ timeout: 10_000 })
    await page.keyboard.press("[")
    const isThemed = (name: string) => page.waitForFunction(`document.documentElement.dataset.theme === "${name}"`)
    await isThemed("light")
    await page.keyboard.press("t")
    await isThemed("dark")
    await page.keyboard.press("?")
    await page.getByRole("dialog").waitFor({ timeout: 10_000 })
    await page.keyboard.press("Escape")
  })

  it("selects what is clicked on the timeline", async () => {
    await show(records)
    const box = await page.locator(".timeline canvas").boundingBox()
    assert.isNotNull(box)
    // The wait takes the quarter of the time after the boot: 1000 to 1500 of 2000 ms.
    const x = 118 + ((box?.width ?? 0) - 126) * (1250 / 2000)
    await page.mouse.click((box?.x ?? 0) + x, (box?.y ?? 0) + 20 + 20 + 8)
    await isSelected("waiting for port 80 to be open")
  })

  it("of 10,000 events has less than 5 MB, is there in 1.5 s, and has only the rows in sight in the page", async () => {
    const { bytes, millis } = await show(manyRecords(10_000))
    assert.isBelow(bytes, 5e6)
    assert.isBelow(millis, 1500)
    assert.include(await page.getByTestId("count").innerText(), "of ")
    await page.keyboard.press("End")
    await page.waitForFunction("document.querySelector('.list').scrollTop > 50000")
    assert.isBelow(await page.locator(".row").count(), 120)
    await page.keyboard.press("Home")
    await isSelected("web is booting")
  })

  it("opens at the step that ran while the subtest did that failed, if steps do not say in which subtest they are", async () => {
    await show(
      records.map((record) => {
        if (record.type === "step-started") {
          const { within: _, ...others } = record
          return others
        }
        return record.type === "test-ended" && record.failure !== undefined
          ? { ...record, failure: { ...record.failure, subtest: ["a page"] } }
          : record
      })
    )
    await isSelected('running "curl http://web/"')
  })

  it("asks for nothing but itself, and has no errors", () => {
    assert.deepStrictEqual(
      requests.filter((url) => !url.startsWith("file:") && !url.startsWith("data:")),
      []
    )
    assert.deepStrictEqual(errors, [])
  })
})
