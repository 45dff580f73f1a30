import NodeAssert from "node:assert"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Failure from "../../src/driver/Failure.ts"
import { BootFailed, MachineDied, WaitTimeout } from "../../src/guest/MachineError.ts"
import { CommandTimeout } from "../../src/transport/ShellError.ts"

describe("a failure", () => {
  it("is the first error of the cause", () => {
    const cause = Cause.combine(Cause.die(new Error("defect")), Cause.fail("typed"))
    assert.strictEqual(Failure.fromCause(cause, undefined).message, "typed")
  })

  it("shows a value that is no error", () => {
    const failure = Failure.fromCause(Cause.fail({ code: 7 }), undefined)
    assert.strictEqual(failure.kind, "Error")
    assert.include(failure.message, "code: 7")
  })

  it("has the evidence that the message does not show", () => {
    const died = new MachineDied({
      machine: "web",
      exitCode: 1,
      signal: "",
      doing: "",
      ended: "",
      hypervisor: "",
      console: "one\ntwo"
    })
    // All of this console is in the message already.
    assert.deepStrictEqual(Failure.fromCause(Cause.fail(died), undefined).evidence, [])
    const long = Array.from({ length: 15 }, (_, line) => `line ${line}`).join("\n")
    const failed = new BootFailed({ machine: "web", reason: "no shell", console: long })
    assert.deepStrictEqual(Failure.fromCause(Cause.fail(failed), undefined).evidence, [
      { title: "console", text: long }
    ])
  })

  it("shows the console once, however long it is and however its lines end", () => {
    const died = (console: string) =>
      Failure.fromCause(
        Cause.fail(
          new MachineDied({
            machine: "web",
            exitCode: 1,
            signal: "",
            doing: "",
            ended: "",
            hypervisor: "",
            console
          })
        ),
        undefined
      )
    assert.deepStrictEqual(died("one\r\n\r\ntwo\r\n").evidence, [])
    const lines = Array.from({ length: 15 }, (_, line) => `line <${line}>`)
    const text = Failure.render(died(lines.join("\r\n")))
    for (const line of lines) assert.lengthOf(text.split(line), 2, line)
  })

  it("shows the console once, when it is also what a wait saw last", () => {
    const console = Array.from({ length: 20 }, (_, line) => `line <${line}>`).join("\r\n")
    const timeout = new WaitTimeout({
      machine: "web",
      awaited: "/ready/ on the console",
      waited: Duration.seconds(5),
      lastSeen: console,
      console
    })
    const text = Failure.render(Failure.fromCause(Cause.fail(timeout), undefined))
    for (const line of console.split("\r\n")) assert.lengthOf(text.split(line), 2, line)
    assert.include(text, "web: waited 5s for /ready/ on the console\nconsole:\n  line <0>")
  })

  it("shows the console once, when the message has the line that explains it, and output once", () => {
    const console = ["Kernel panic - not syncing: x", ...Array.from({ length: 20 }, (_, line) => `trace <${line}>`)]
    const died = new MachineDied({
      machine: "web",
      exitCode: 0,
      signal: "",
      doing: "",
      ended: "reset",
      hypervisor: "",
      console: console.join("\n")
    })
    assert.include(died.message, "panic - not syncing: x\n  …\n  trace <12>")
    // The lines around the place are this file's.
    const rendered = Failure.render({ ...Failure.fromCause(Cause.fail(died), undefined), place: undefined })
    for (const line of console) assert.lengthOf(rendered.split(line), 2, line)
    const output = Array.from({ length: 20 }, (_, line) => `said <${line}>`)
    const timeout = new CommandTimeout({
      machine: "web",
      command: "x",
      timeout: Duration.seconds(1),
      stdout: output.join("\n"),
      stderr: ""
    })
    const late = Failure.render(Failure.fromCause(Cause.fail(timeout), undefined))
    for (const line of output) assert.lengthOf(late.split(line), 2, line)
  })

  it("has a headline of one line", () => {
    const error = new BootFailed({ machine: "web", reason: "no shell", console: "one\ntwo" })
    assert.strictEqual(
      Failure.headline(Failure.fromCause(Cause.fail(error), undefined)),
      "BootFailed: web did not boot: no shell"
    )
  })

  it("names the line that made the error, if that is the script's, else the step", () => {
    const step = { file: "/home/me/script.ts", line: 3, column: 1 }
    const error = new Error("boom")
    error.stack = "Error: boom\n    at helper (/home/me/lib.ts:10:7)\n    at node:internal/timers:5:5"
    const made = Failure.fromCause(Cause.die(error), [step]).place
    assert.deepInclude(made, { file: "/home/me/lib.ts", line: 10, column: 7 })
    error.stack = "Error: boom\n    at run (/x/node_modules/effect/dist/Effect.js:10:7)"
    assert.deepInclude(Failure.fromCause(Cause.die(error), [step]).place, step)
  })

  it("keeps its evidence when rendered", () => {
    const failure = Failure.fromCause(Cause.fail("no such page"), undefined)
    assert.strictEqual(Failure.render(failure), "no such page")
  })

  it("shows an error's class, and its causes with theirs", () => {
    class NoConnection extends Error {}
    const hangUp = new TypeError("socket hang up", { cause: "reset by peer" })
    const failure = Failure.fromCause(Cause.die(new NoConnection("no connection", { cause: hangUp })))
    assert.strictEqual(failure.kind, "NoConnection")
    const text = Failure.render({ ...failure, place: undefined })
    assert.match(
      text,
      /^NoConnection: no connection\ncaused by:\n {2}TypeError: socket hang up\n[\s\S]*\n {2}reset by peer$/
    )
    const several = new AggregateError([new RangeError("one"), new TypeError("two")], "both failed")
    assert.match(
      Failure.render(Failure.fromCause(Cause.die(several))),
      /AggregateError: both failed\ncaused by:\n {2}RangeError: one\n[\s\S]*\n {2}TypeError: two/
    )
  })

  it("shows the fields of an error that has no message, and the cause of a plain object", () => {
    class Refused extends Data.TaggedError("Refused")<{ readonly why: string }> {}
    assert.strictEqual(
      Failure.render(Failure.fromCause(Cause.fail(new Refused({ why: "closed" }))))
        .split("\n")
        .at(-1),
      "Refused: { why: 'closed' }"
    )
    const plain = { _tag: "Plain", message: "as it is", cause: new TypeError("its root") }
    assert.match(
      Failure.render(Failure.fromCause(Cause.fail(plain))),
      /Plain: as it is\ncaused by:\n {2}TypeError: its root/
    )
  })

  it("says from where a test calls a helper that is in another file, or before it", () => {
    const failure = Failure.fromCause(Cause.fail("plain"), [{ file: "/helpers.ts", line: 3, column: 1 }])
    const test = { file: "/script.ts", line: 7, column: 5 }
    const called = Failure.calledFrom(failure, [test])
    assert.strictEqual(called.place?.file, "/helpers.ts")
    assert.include(Failure.render(called), "called at /script.ts:7:5")
    assert.strictEqual(Failure.calledFrom(called, [{ ...test, line: 1 }]), called)
    assert.lengthOf(Failure.calledFrom(called, [{ ...test, line: 9 }]).callers, 2)
  })

  it("shows all errors of its cause, each once", () => {
    const body = new Error("of the body")
    const cause = Cause.combine(
      Cause.die(new Error("of the finalizer")),
      Cause.combine(Cause.fail(body), Cause.die(body))
    )
    const failure = Failure.fromCause(cause)
    assert.strictEqual(failure.message, "of the body")
    assert.deepStrictEqual(
      failure.evidence.map(({ title }) => title),
      ["another error"]
    )
    assert.include(failure.evidence[0]?.text, "of the finalizer")
  })

  it("shows how what an assertion of chai or vitest compared differs, and leaves Node's own to its message", () => {
    const list = Array.from({ length: 30 }, (_, index) => `line ${index}`)
    const compared = (actual: unknown, expected: unknown) => {
      const fields = { name: "AssertionError", actual, expected, showDiff: true }
      return Failure.fromCause(Cause.die(Object.assign(new Error("expected a to equal b"), fields))).evidence
    }
    const [difference] = compared(list.join("\n"), list.with(20, "other").join("\n"))
    assert.deepStrictEqual(difference, {
      title: "difference (- expected, + actual)",
      text: ["  …", "  line 18", "  line 19", "+ line 20", "- other", "  line 21", "  line 22", "  …"].join("\n")
    })
    assert.include(
      compared({ a: 1, b: [1, 2] }, { a: 1, b: [1, 3], c: "long enough for a line of its own" })[0]?.text,
      "-   c:"
    )
    assert.deepStrictEqual(compared(1, 2), [])
    assert.deepStrictEqual(compared("a", "a"), [])
    try {
      NodeAssert.deepStrictEqual(list, list.with(20, "other"))
    } catch (error) {
      assert.deepStrictEqual(Failure.fromCause(Cause.die(error)).evidence, [])
    }
  })

  it("shows the lines around its place with a mark below the column, then the lines that called it", () => {
    const [place, caller] = [3, 9].map((line) =>
      Failure.placeIn(
        { file: "/s.ts", line, column: 5 },
        Array.from({ length: 12 }, (_, row) => `row ${row + 1}`).join("\n")
      )
    )
    const failure = { ...Failure.fromCause(Cause.fail("no")), place, callers: [caller!] }
    assert.strictEqual(
      Failure.render(failure),
      `/s.ts:3:5
  1 | row 1
  2 | row 2
> 3 | row 3
    |     ^
  4 | row 4
  5 | row 5
called at /s.ts:9:5  row 9
no`
    )
  })
})
