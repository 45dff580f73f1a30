/** A run that was made up, of as many records as wanted, for what is measured of reports. */
import type { RunRecord } from "../src/report/RunRecord.ts"

const start = Date.UTC(2026, 0, 1)

/** About `count` records of one test with two machines: steps with output, lines of consoles, traffic, processes and subtests, ten milliseconds apart. */
export const recordsOf = (count: number): ReadonlyArray<RunRecord> => {
  const records: Array<RunRecord> = [
    { type: "run-started", at: start, version: 1, vmtest: "0.1.0" },
    { type: "test-started", at: start, test: 0, name: "many things happen", file: "many.ts", machines: ["web", "db"] },
    { type: "process", at: start, test: 0, change: "started", process: 1, name: "Driver", kind: "Supervisor" },
    { type: "machine", at: start, test: 0, machine: "web", state: "booting", detail: "" },
    { type: "machine", at: start + 5, test: 0, machine: "db", state: "booting", detail: "" },
    { type: "machine", at: start + 100, test: 0, machine: "web", state: "ready", detail: "" },
    { type: "machine", at: start + 110, test: 0, machine: "db", state: "ready", detail: "" }
  ]
  let at = start + 120
  for (let index = 0; records.length < count - 3; index++) {
    const machine = index % 2 === 0 ? "web" : "db"
    const part = Math.floor(index / 50)
    const within = [`part ${part}`]
    at += 10
    if (index % 50 === 0) records.push({ type: "subtest-started", at, test: 0, name: `part ${part}`, within: [] })
    const command = `curl --fail http://web/${index}`
    const step = { at, test: 0, machine, step: index, within, action: `running "${command}"`, command }
    records.push({ type: "step-started", ...step })
    for (let line = 0; line < 4; line++)
      records.push({
        ...{ type: "console", at: at + line, test: 0, machine },
        line: `[${String(at - start).padStart(8)}] systemd[1]: Started unit-${index}-${line}.service, and said so.`
      })
    records.push({
      ...{ type: "step-ended", at: at + 8, test: 0, machine, step: index, millis: 8, failed: false },
      ...{ outcome: "exit code 0", exitCode: 0, stdout: `page ${index}\n`.repeat(20), stderr: "" }
    })
    if (index % 10 === 0)
      records.push({ type: "traffic", at, test: 0, network: "lan", packets: 12, bytes: 4000 + index, millis: 250 })
    if (index % 50 === 49)
      records.push({
        ...{ type: "subtest-ended", at: at + 9, test: 0, name: `part ${part}`, within: [] },
        ...{ status: "passed", millis: 500 }
      })
  }
  const failure = { kind: "Error", message: "it is enough", evidence: [], callers: [] }
  const ended = { name: "many things happen", file: "many.ts", status: "failed", startedAt: start, millis: at - start }
  records.push({
    ...{ type: "test-ended", at: at + 20, test: 0, ...ended, excludedMillis: 0, subtests: [], failure },
    machines: [{ name: "web", state: "ready", came: "booted" }]
  })
  records.push({ type: "run-ended", at: at + 30, interrupted: false })
  return records
}
