import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as TestConsole from "effect/testing/TestConsole"
import * as Failure from "../../src/driver/Failure.ts"
import { type RunEvent, report } from "../../src/driver/RunEvent.ts"
import type { TestResult } from "../../src/driver/TestResult.ts"
import { CommandFailed } from "../../src/guest/Command.ts"
import * as TerminalReport from "../../src/report/TerminalReport.ts"

const error = new CommandFailed({
  machine: "web",
  command: "false",
  wanted: "success",
  exitCode: 1,
  stdout: "",
  stderr: "no\n"
})
// As if it were made in the library.
error.stack = ""
const failure = Failure.fromCause(Cause.fail(error), [{ file: "/nowhere/script.ts", line: 12, column: 5 }])

const passed: TestResult = {
  name: "one",
  status: "passed",
  startedAt: 0,
  millis: 3210,
  excludedMillis: 0,
  subtests: [],
  machines: [],
  failure: undefined,
  folder: undefined,
  value: undefined
}
const failed: TestResult = { ...passed, name: "two", status: "failed", millis: 125_000, failure }

const told = (events: ReadonlyArray<RunEvent>, options: TerminalReport.TerminalOptions = {}) =>
  Effect.gen(function* () {
    for (const event of events) {
      yield* report(event)
      yield* TestClock.adjust("1500 millis")
    }
    return { out: yield* TestConsole.logLines, err: yield* TestConsole.errorLines }
  }).pipe(Effect.provide(TerminalReport.layer({ colors: false, ...options })))

const machine = (event: Extract<RunEvent, { _tag: "MachineEvent" }>["event"]): RunEvent => ({
  _tag: "MachineEvent",
  test: "one",
  event
})

describe("the terminal's report", () => {
  it.effect("keeps what is under way on stderr and results on stdout", () =>
    Effect.gen(function* () {
      const { err, out } = yield* told([
        { _tag: "ImageProgress", image: "tiny", line: "packing" },
        { _tag: "TestStarted", test: "one", machines: ["web"] },
        machine({ _tag: "MachineState", machine: "web", state: "booting", detail: "" }),
        machine({ _tag: "ConsoleLine", machine: "web", line: "Linux version" }),
        machine({ _tag: "MachineState", machine: "web", state: "ready", detail: "" }),
        { _tag: "TestEnded", result: passed }
      ])
      assert.deepStrictEqual(err, ["image tiny: packing", "one (web)", "  web: booting", "  web: ready after 3.0 s"])
      assert.deepStrictEqual(out, ["✔ one (3.2 s)"])
    })
  )

  it.effect("says what runs again after an attempt that failed, of a suite also why tests that passed do", () =>
    Effect.gen(function* () {
      const attempt = (result: TestResult, suite?: string): RunEvent => ({
        ...{ _tag: "AttemptFailed", test: result.name, result, attempt: 1, attempts: 2, suite }
      })
      const lastLines = (lines: ReadonlyArray<unknown>) => lines.map((text) => String(text).split("\n").at(-1))
      const events = [attempt(failed), attempt(passed, "db"), attempt(failed, "db")]
      const alone = "  attempt 1 of 2; trying again"
      const all = 'all tests of the suite "db" run again on fresh machines'
      assert.deepStrictEqual(lastLines((yield* told(events)).out), [
        alone,
        `  attempt 1 of 2; another test failed, so ${all}`,
        `  attempt 1 of 2; ${all}`
      ])
      const quiet = yield* told(events, { quiet: true })
      assert.deepStrictEqual(lastLines(quiet.out).slice(-2), [alone, `  attempt 1 of 2; ${all}`])
    })
  )

  it.effect("tells a machine that was forked from one that booted", () =>
    Effect.gen(function* () {
      const { err } = yield* told([
        machine({ _tag: "MachineState", machine: "web", state: "booting", detail: "forked" }),
        machine({ _tag: "MachineState", machine: "web", state: "ready", detail: "forked" })
      ])
      assert.deepStrictEqual(err, ["  web: forked in 1.5 s"])
    })
  )

  it.effect("tells the time for images and snapshots apart from the test's, of a machine and of its test", () =>
    Effect.gen(function* () {
      const { err, out } = yield* told([
        machine({ _tag: "MachineState", machine: "web", state: "booting", detail: "" }),
        machine({ _tag: "MachineState", machine: "web", state: "ready", detail: "", excludedMillis: 500 }),
        { _tag: "TestEnded", result: { ...passed, excludedMillis: 26_200 } }
      ])
      assert.deepStrictEqual(err, ["  web: booting", "  web: ready after 1.0 s, and 0.5 s for its snapshot"])
      assert.deepStrictEqual(out, ["✔ one (3.2 s, and 26.2 s for images and snapshots)"])
      assert.strictEqual(TerminalReport.summary([{ ...passed, excludedMillis: 26_200 }]), "1 passed, 0 failed (29.4 s)")
    })
  )

  it.effect("says of each machine of a failed test what it was, or that it never was ready", () =>
    Effect.gen(function* () {
      const machines = [
        { name: "web", state: "ready", came: "booted" },
        { name: "db", state: "crashed", came: undefined, failed: "could not start" },
        { name: "old", state: "crashed", came: "forked from snapshot 1", failed: "did not boot" },
        { name: "off", state: "stopped", came: undefined }
      ] as const
      const { out } = yield* told([{ _tag: "TestEnded", result: { ...failed, machines } }])
      assert.deepStrictEqual(String(out[0]).split("\n").slice(-4), [
        "  web was ready (booted)",
        "  db could not start",
        "  old did not boot (forked from snapshot 1)",
        "  off was stopped"
      ])
    })
  )

  it.effect("leaves what is wrong with a subtest to the end of the test that is to fail with it", () =>
    Effect.gen(function* () {
      const result = { name: "part", within: [], status: "failed", millis: 1000, failure } as const
      const { err, out } = yield* told([
        { _tag: "SubtestEnded", test: "one", result, failsLater: true },
        { _tag: "SubtestEnded", test: "one", result, failsLater: false },
        { _tag: "TestEnded", result: failed }
      ])
      const headline = "  ✘ part (1.0 s)\n    CommandFailed: web: `false` failed with exit code 1"
      assert.deepStrictEqual(err, [headline, headline])
      assert.include(out[0], "script.ts:12:5\n  CommandFailed")
      assert.include(out[0], "stderr:\n    no")
    })
  )

  it.effect("indents what a console said last as it does the line before it", () =>
    Effect.gen(function* () {
      const detail = "no shell after 10 s; the console said last:\nRestarting system\r\nLinux version"
      const { err } = yield* told([machine({ _tag: "StillBooting", machine: "web", detail })])
      assert.deepStrictEqual(err.join("\n").split("\n"), [
        "  web: no shell after 10 s; the console said last:",
        "    Restarting system",
        "    Linux version"
      ])
    })
  )

  it.effect("does not mix up machines of one name in tests that run at once", () =>
    Effect.gen(function* () {
      const web = (test: string, state: "booting" | "ready"): RunEvent => ({
        _tag: "MachineEvent",
        test,
        event: { _tag: "MachineState", machine: "web", state, detail: "" }
      })
      const { err } = yield* told([
        web("one", "booting"),
        web("two", "booting"),
        web("one", "ready"),
        web("two", "ready")
      ])
      assert.deepStrictEqual(err.slice(2), ["  web: ready after 3.0 s", "  web: ready after 3.0 s"])
    })
  )

  it.effect("shows consoles when asked, without what would move the cursor", () =>
    Effect.gen(function* () {
      const event = machine({ _tag: "ConsoleLine", machine: "web", line: "\u001b[2J\u001b[32mok\u001b[0m\r" })
      const { err } = yield* told([event], { verbose: true })
      assert.deepStrictEqual(err, ["  web: ok"])
    })
  )

  it.effect("nests steps in the subtests and steps that they are a part of, and leaves consoles out when told to", () =>
    Effect.gen(function* () {
      const step = (id: number, action: string, within?: number) =>
        ({ _tag: "ActionStarted", machine: "web", action, id, within }) as const
      const ended = (id: number, action: string, outcome = "") =>
        ({ _tag: "ActionEnded", machine: "web", action, id, millis: 1500, outcome, failed: false }) as const
      const inPart = (event: RunEvent): RunEvent => ({ ...event, within: ["part"] }) as RunEvent
      const { err } = yield* told(
        [
          { _tag: "SubtestStarted", test: "one", subtest: "part", within: [] },
          inPart(machine(step(1, "waiting for the page"))),
          inPart(machine(step(2, 'running "curl"', 1))),
          machine({ _tag: "ConsoleLine", machine: "web", line: "Linux version" }),
          inPart(machine(ended(2, 'running "curl"', "exit code 0"))),
          inPart(machine(ended(1, "waiting for the page"))),
          machine(step(3, "taking a screenshot"))
        ],
        { verbose: true, console: false }
      )
      assert.deepStrictEqual(err, [
        "  subtest: part",
        "    web: waiting for the page",
        '      web: running "curl"',
        '      web: running "curl": exit code 0 after 1.5 s',
        "    web: waiting for the page: done after 1.5 s",
        "  web: taking a screenshot"
      ])
    })
  )

  it.effect("says of a failure where it was, what it was, and the evidence", () =>
    Effect.gen(function* () {
      const { out } = yield* told([{ _tag: "TestEnded", result: failed }])
      const text = out.join("\n")
      assert.include(text, "✘ two failed (2 min 5 s)")
      assert.include(text, "/nowhere/script.ts:12:5")
      assert.include(text, "CommandFailed: web: `false` failed with exit code 1")
      assert.include(text, "no")
    })
  )

  it.effect("says where the files of a test that failed are, from the working folder", () =>
    Effect.gen(function* () {
      const folder = Path.resolve("vmtest-output", "two")
      const { out } = yield* told([
        { _tag: "TestEnded", result: failed },
        { _tag: "TestEnded", result: { ...failed, folder } }
      ])
      assert.notInclude(out[0], "its files")
      assert.strictEqual(out[1], `${out[0]}\n  its files are in vmtest-output/two/`)
    })
  )

  it.effect("says only failures when quiet", () =>
    Effect.gen(function* () {
      const { err, out } = yield* told(
        [
          { _tag: "TestStarted", test: "one", machines: [] },
          { _tag: "TestEnded", result: passed },
          { _tag: "TestEnded", result: failed }
        ],
        { quiet: true }
      )
      assert.deepStrictEqual(err, [])
      assert.lengthOf(out, 1)
      assert.include(out[0], "✘ two failed")
    })
  )

  it.effect("shows at the end of the test what a subtest failed with that the script has dealt with", () =>
    Effect.gen(function* () {
      const result = { name: "part", within: ["all"], status: "failed", millis: 1, failure, handled: true } as const
      const { out } = yield* told([{ _tag: "TestEnded", result: { ...passed, subtests: [result] } }])
      assert.match(
        out[0] as string,
        /^✔ one \(3\.2 s\)\n {2}subtest "all › part" failed, and the test continued:\n {4}\S*script\.ts:12/
      )
    })
  )

  it.effect("begins each line with its test's name where tests run at once, and always names the script", () =>
    Effect.gen(function* () {
      const file = "tests/a.ts"
      const { err, out } = yield* told(
        [
          { _tag: "TestStarted", test: "one", file, machines: ["web"] },
          machine({ _tag: "StillBooting", machine: "web", detail: "it said last:\nLinux" }),
          { _tag: "Log", test: "a name that is much longer than that of most tests", line: "step one" },
          { _tag: "TestStarted", test: "one", label: "one (2)", file, machines: [] },
          { _tag: "Log", test: "one", label: "one (2)", line: "step $& one" },
          { _tag: "TestEnded", result: { ...passed, file } }
        ],
        { atOnce: true }
      )
      assert.deepStrictEqual(err, [
        "one (web)  tests/a.ts",
        "one │  web: it said last:\none │    Linux",
        "a name that is much longer th… │  step one",
        "one as one (2)  tests/a.ts",
        "one (2) │  step $& one"
      ])
      assert.deepStrictEqual(out, ["✔ one (3.2 s)  tests/a.ts"])
    })
  )

  it.effect("cuts long output in the middle, names the file that has all of it, and shows control characters", () =>
    Effect.gen(function* () {
      const stdout = ["\u001b[2J\u001b[31mred", ...Array.from({ length: 5000 }, (_, line) => `line ${line}`)].join("\n")
      const flood = new CommandFailed({ ...error, stdout, stderr: "x".repeat(5000) })
      const { evidence, ...rest } = Failure.fromCause(Cause.fail(flood))
      const kept = {
        ...rest,
        evidence: evidence.map((one) => ({ ...one, file: Path.resolve("out", `${one.title}.txt`) }))
      }
      const { out } = yield* told([{ _tag: "TestEnded", result: { ...failed, failure: kept } }])
      const text = out[0] as string
      assert.include(text, "stdout (the whole text is in out/stdout.txt):\n    ␛[2J␛[31mred\n    line 0\n")
      assert.match(text, /… 4941 lines left out \(\d+ kB\) …\n {4}line 4970\n/)
      assert.match(text, /x{300} … 4400 characters left out … x{300}$/m)
      assert.isBelow(text.length, 6000)
    })
  )

  it("sums up, with the tests that failed and how to run them again", () => {
    const later = { ...failed, startedAt: 3000 }
    assert.strictEqual(TerminalReport.summary([passed, later]), "failed:\n  ✘ two\n1 passed, 1 failed (2 min 8 s)")
    const file = "tests/it's.ts"
    assert.strictEqual(
      TerminalReport.summary([passed, { ...later, file }, { ...later, name: "a b", file }]),
      `failed:
  ✘ two  tests/it's.ts
  ✘ a b  tests/it's.ts
to run them again: npx vmtest run -t two -t 'a b' 'tests/it'\\''s.ts'
1 passed, 2 failed (2 min 8 s)`
    )
    assert.match(TerminalReport.summary([{ ...failed, file }]), /^to run it again: .*\n0 passed, 1 failed/)
    assert.include(
      TerminalReport.summary([{ ...failed, file: "a.py" }], { machines: "the machines.ts", machineConfig: "m.json" }),
      "--machines 'the machines.ts' --machine-config m.json a.py\n"
    )
    assert.strictEqual(TerminalReport.summary([passed, passed]), "2 passed, 0 failed (3.2 s)")
    assert.strictEqual(TerminalReport.summary([]), "0 passed, 0 failed (0.0 s)")
    assert.strictEqual(
      TerminalReport.summary([passed], {
        interrupted: [
          { name: "long", file, startedAt: 3210, millis: 6000 },
          { name: "other", startedAt: 3210, millis: 400 }
        ],
        notRun: 3
      }),
      `interrupted:\n  - long (6.0 s)  ${file}\n  - other (0.4 s)\n1 passed, 0 failed, 2 interrupted, 3 not run (9.2 s)`
    )
    assert.strictEqual(
      TerminalReport.summary([], { interrupted: [{ name: "only", startedAt: 5000, millis: 1500 }] }),
      "interrupted:\n  - only (1.5 s)\n0 passed, 0 failed, 1 interrupted (1.5 s)"
    )
    assert.strictEqual(
      TerminalReport.summary([], { interrupted: [], notRun: 1 }),
      "0 passed, 0 failed, 1 not run (0.0 s)"
    )
  })
})
