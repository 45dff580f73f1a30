/** The events of a run of two tests, and their records. */
import * as Cause from "effect/Cause"
import * as Failure from "../../src/driver/Failure.ts"
import type { RunEvent } from "../../src/driver/RunEvent.ts"
import type { SubtestResult, TestResult } from "../../src/driver/TestResult.ts"
import * as Recorder from "../../src/report/internal/recorder.ts"
import type { RunRecord } from "../../src/report/RunRecord.ts"

const failureOf = (message: string, subtest?: ReadonlyArray<string>): Failure.Failure => {
  const error = new Error(message)
  error.stack = ""
  return { ...Failure.fromCause(Cause.fail(error), [{ file: "/nowhere/a.ts", line: 3, column: 7 }]), subtest }
}

const subtest = (name: string, within: ReadonlyArray<string>, millis: number, failure?: Failure.Failure) =>
  ({ name, within, millis, failure, status: failure === undefined ? "passed" : "failed" }) satisfies SubtestResult

const inner = subtest("inner", ["outer"], 300, failureOf("it is \u0007off\u001b[31m & <out>", ["outer", "inner"]))
const outer = subtest("outer", [], 700, failureOf("it is off", ["outer", "inner"]))

const result = (name: string, more: Partial<TestResult>): TestResult => ({
  ...{ name, file: "a.ts", status: "passed", startedAt: 1_000_000, millis: 2000, excludedMillis: 0, subtests: [] },
  ...{ failure: undefined, machines: [], folder: undefined, value: undefined },
  ...more
})

const on = (machine: string, event: object) =>
  ({ _tag: "MachineEvent", test: "fails", event: { machine, ...event } }) as RunEvent

/** What is reported of a test that fails in a subtest of a subtest, and of one that passes. */
export const events: ReadonlyArray<RunEvent> = [
  { _tag: "ImageProgress", image: "tiny", line: "packing" },
  { _tag: "Log", test: "fails", line: "waits for memory" },
  { _tag: "TestStarted", test: "fails", file: "a.ts", machines: ["web"] },
  {
    _tag: "ProcessChange",
    test: "fails",
    change: { change: "started", process: 7, name: "Driver", kind: "Supervisor" }
  },
  on("web", { _tag: "MachineState", state: "booting", detail: "" }),
  on("web", { _tag: "StillBooting", detail: "no shell after 10 s" }),
  on("web", { _tag: "ConsoleLine", line: "Linux \u001b[1mversion\u001b[0m" }),
  on("web", { _tag: "MachineState", state: "ready", detail: "", excludedMillis: 20 }),
  { _tag: "SubtestStarted", test: "fails", subtest: "outer", within: [] },
  { _tag: "SubtestStarted", test: "fails", subtest: "inner", within: ["outer"] },
  on("web", { _tag: "ActionStarted", action: 'running "id"', id: 1, command: "id" }),
  on("web", {
    ...{ _tag: "ActionEnded", action: 'running "id"', id: 1, millis: 12, outcome: "exit code 0", failed: false },
    ...{ exitCode: 0, stdout: "root\n", stderr: "" }
  }),
  on("web", { _tag: "Picture", path: "/nowhere/web.png" }),
  { _tag: "Log", test: "fails", line: "in the \u0000inner\uffff part" },
  { _tag: "Traffic", test: "fails", network: "lan", packets: 3, bytes: 180, millis: 250 },
  { _tag: "SubtestEnded", test: "fails", result: inner, failsLater: false },
  { _tag: "SubtestEnded", test: "fails", result: outer, failsLater: false },
  {
    _tag: "TestEnded",
    result: result("fails", {
      ...{ status: "failed", subtests: [inner, outer], failure: failureOf("it is off", ["outer", "inner"]) },
      ...{ machines: [{ name: "web", state: "ready", came: "booted" }], folder: "/out/fails" }
    })
  },
  { _tag: "TestStarted", test: "passes", file: "b & c.ts", machines: [] },
  {
    ...{ _tag: "AttemptFailed", test: "passes", attempt: 1, attempts: 2 },
    result: result("passes", { file: "b & c.ts", status: "failed", failure: failureOf("not yet") })
  },
  { _tag: "TestStarted", test: "passes", file: "b & c.ts", machines: [], attempt: 2 },
  { _tag: "TestSlow", test: "passes", millis: 60_000, quietMillis: 100, doing: ['running "sleep" on web for 3s'] },
  { _tag: "TestEnded", result: result("passes", { file: "b & c.ts", millis: 1500 }) },
  {
    _tag: "TestEnded",
    result: result("later", { file: "b & c.ts", status: "skipped", skipped: "not on Mondays", millis: 0 })
  }
]

/** Records of events, each 100 ms after the one before. */
export const recordsOf = (all: ReadonlyArray<RunEvent> = events): ReadonlyArray<RunRecord> => {
  const record = Recorder.make()
  const start = 1_000_000
  return [
    { type: "run-started", at: start, version: 1, vmtest: "0.1.0" },
    ...all.map((event, index) => record(event, start + index * 100)),
    { type: "run-ended", at: start + all.length * 100, interrupted: false }
  ]
}
