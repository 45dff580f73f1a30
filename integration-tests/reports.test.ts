/** The reports of a suite of which many tests fail on purpose, run as a user would, compared with those in reports/golden. `VMTEST_UPDATE_DOCS=1` writes them. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as RunRecord from "../src/report/RunRecord.ts"

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const launcher = source("../src/cli/Launcher.ts")
const suite = source("reports/suite.ts")

let place = ""
let run: ReturnType<typeof vmtest>

const vmtest = (...args: ReadonlyArray<string>) =>
  spawnSync(process.execPath, [launcher, ...args], {
    ...{ cwd: source(".."), encoding: "utf8" as const, maxBuffer: 2 ** 26 },
    env: { ...process.env, NO_COLOR: "1" }
  })

/** A report without what differs from run to run: times, paths, the snapshots that machines came from. */
const masked = (text: string): string =>
  text
    .replaceAll(place, "PLACE")
    .replaceAll(source(".."), "ROOT/")
    .replaceAll(/ and \d+\.\d s for (images and snapshots|its snapshot)/g, "")
    .replaceAll(/\d+ min \d+ s|\d+\.\d s/g, "TIME")
    .replaceAll(/\((TIME),\)/g, "($1)")
    .replaceAll(/(\d+m )?\d+s( \d+ms)?|\d+ms/g, "TIME")
    .replaceAll(/time="[\d.]+"/g, 'time="TIME"')
    .replaceAll(/timestamp="[^"]*"/g, 'timestamp="TIME"')
    .replaceAll(/\((booted|forked from [^)]*\)?)\)/g, "(CAME)")
    .replaceAll(/[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d/g, "DATE")
    .replaceAll(/-[0-9a-f]{8}\b/g, "-DIGEST")
    .replaceAll(/(\w)\[\d+\]:/g, "$1[PID]:")
    // They start at once.
    .replaceAll(/server: (booting|ready)\nclient: \1/g, "client: $1\nserver: $1")

/** What a run wrote, or the page that it is to be compared with. */
const compare = (name: string, text: string) => {
  const file = source(`reports/golden/${name}`)
  if ((process.env.VMTEST_UPDATE_DOCS ?? "") !== "") {
    mkdirSync(source("reports/golden"), { recursive: true })
    writeFileSync(file, text)
  }
  assert.strictEqual(text, readFileSync(file, "utf8"))
}

const records = () =>
  readFileSync(join(place, "events.jsonl"), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const record = RunRecord.fromLine(line)
      assert(record !== undefined && record !== "unknown", line)
      return record
    })

describe("the reports of a run", () => {
  beforeAll(() => {
    place = mkdtempSync(join(tmpdir(), "vmtest-reports-"))
    const files = ["html", "junit", "json"].flatMap((kind) => [
      `--${kind}`,
      join(place, { html: "report.html", junit: "report.xml", json: "events.jsonl" }[kind] ?? "")
    ])
    run = vmtest("run", "--jobs", "1", "--output", join(place, "out"), ...files, suite)
  })
  afterAll(() => rmSync(place, { recursive: true, force: true }))

  it("are on the terminal as they should be", () => {
    assert.strictEqual(run.status, 1, run.stderr)
    compare("terminal.txt", masked(run.stdout))
  })

  it("are in JUnit's XML as they should be", () => {
    compare("junit.xml", masked(readFileSync(join(place, "report.xml"), "utf8")))
  })

  it("have the records that they should have", () => {
    const all = records()
    const of = (number: number) => {
      const own = all.filter((record) => "test" in record && record.test === number)
      const ended = own.find(({ type }) => type === "test-ended") as RunRecord.Of<"test-ended"> | undefined
      const steps = own.flatMap((record) => (record.type === "step-started" ? [`  ${record.action}`] : []))
      return [`${ended?.name}: ${ended?.status} ${ended?.failure?.kind ?? ""}`.trim(), ...steps].join("\n")
    }
    const numbers = [...new Set(all.flatMap((record) => ("test" in record ? [record.test] : [])))]
    compare("records.txt", `${numbers.map(of).join("\n")}\n`)
    for (const type of ["machine", "process", "traffic", "picture", "subtest-ended"] as const)
      assert(
        all.some((record) => record.type === type),
        type
      )
  })

  it("have the evidence of each failed test, and the page of each", () => {
    const ended = records().filter((one): one is RunRecord.Of<"test-ended"> => one.type === "test-ended")
    for (const { folder, machines, name, status } of ended.filter((one) => one.status !== "passed")) {
      assert.isDefined(folder, `${name} is ${status}`)
      assert(existsSync(join(folder ?? "", "trace.html")), name)
      for (const { name: machine, state } of machines) {
        const files = readdirSync(join(folder ?? "", machine))
        assert.includeMembers(files, ["console.log", "qemu.log"], name)
        if (state === "ready") assert.include(files, "screen.png", name)
        if (state === "ready" && machine === "deb") assert.include(files, "journal.log", name)
      }
    }
  })

  it("can be made again of the records", () => {
    const again = vmtest("report", join(place, "events.jsonl"), "--junit", join(place, "again.xml"))
    assert.strictEqual(again.status, 0, again.stderr)
    const body = (text: string) => text.replace(/\nwrote .*\n$/, "\n")
    assert.strictEqual(masked(body(again.stdout)), masked(body(run.stdout)))
    assert.strictEqual(readFileSync(join(place, "again.xml"), "utf8"), readFileSync(join(place, "report.xml"), "utf8"))
  })
})
