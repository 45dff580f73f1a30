import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { Reporter, type RunEvent, report } from "../../src/driver/RunEvent.ts"
import * as LiveLine from "../../src/report/LiveLine.ts"

/** Two streams of one terminal, and what it shows in the end: `\r\u001b[2K` erases the last line. */
const terminal = (isTTY: boolean, columns = 80) => {
  let written = ""
  const stream = (): LiveLine.Stream => ({
    isTTY,
    columns,
    write: ((chunk: string) => {
      written += chunk
      return true
    }) as LiveLine.Stream["write"]
  })
  const streams = { stdout: stream(), stderr: stream() }
  const shown = () =>
    written
      .split("\n")
      .map((line) => line.slice(line.lastIndexOf("\r\u001b[2K") + 1).replace("\u001b[2K", ""))
      .join("\n")
  return { streams, shown, written: () => written }
}

const booting: RunEvent = {
  _tag: "MachineEvent",
  test: "t",
  event: { _tag: "MachineState", machine: "web", state: "booting", detail: "" }
}

describe("the live line", () => {
  it.effect("says what takes time, and makes way for other lines", () =>
    Effect.gen(function* () {
      const { shown, streams } = terminal(true)
      const run = Effect.gen(function* () {
        yield* report(booting)
        yield* Effect.sleep("5 seconds")
        streams.stdout.write("a line\n")
        streams.stderr.write("half")
        yield* Effect.sleep("1 second")
        streams.stderr.write(" and half\n")
        yield* Effect.sleep("10 seconds")
      })
      const running = yield* Effect.forkChild(LiveLine.during(3, streams)(run))
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(shown(), "0 of 3 ended · web is booting (4 s)")
      yield* TestClock.adjust("1500 millis")
      assert.strictEqual(shown(), "a line\nhalf")
      yield* TestClock.adjust("3500 millis")
      assert.strictEqual(shown(), "a line\nhalf and half\n0 of 3 ended · web is booting (9 s)")
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(running)
      assert.strictEqual(shown(), "a line\nhalf and half\n")
    })
  )

  it.effect("is not there where the standard error is no terminal", () =>
    Effect.gen(function* () {
      const { streams, written } = terminal(false)
      const running = yield* Effect.forkChild(LiveLine.during(1, streams)(Effect.sleep("5 seconds")))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(running)
      assert.strictEqual(written(), "")
    })
  )

  it.effect("leaves reports and streams as they were", () =>
    Effect.gen(function* () {
      const { streams } = terminal(true)
      const { write } = streams.stdout
      const heard: Array<RunEvent> = []
      yield* LiveLine.during(
        1,
        streams
      )(report(booting)).pipe(Effect.provideService(Reporter, (event) => Effect.sync(() => void heard.push(event))))
      assert.deepStrictEqual(heard, [booting])
      assert.strictEqual(streams.stdout.write, write)
    })
  )

  it("names image builds, boots and steps until they end, and is as wide as the terminal", () => {
    const state = LiveLine.makeState(2)
    const step = { machine: "web", id: 1, action: "copying site", attributes: {}, within: undefined }
    state.hear({ _tag: "ImageProgress", image: "debian", line: "unpacking" }, 0)
    assert.strictEqual(state.line(2000, 80), "0 of 2 ended · image debian: unpacking (2 s)")
    state.hear({ _tag: "TestStarted", test: "t", machines: ["web"] }, 2000)
    state.hear(booting, 2000)
    state.hear({ ...booting, event: { ...booting.event, state: "ready" } as never }, 5000)
    state.hear({ _tag: "MachineEvent", test: "t", event: { _tag: "ActionStarted", ...step } as never }, 5000)
    assert.strictEqual(state.line(9000, 80), "0 of 2 ended · web: copying site (4 s)")
    assert.strictEqual(state.line(9000, 20), "0 of 2 ended · web…".slice(0, 18) + "…")
    state.hear(
      { _tag: "MachineEvent", test: "t", event: { _tag: "ActionEnded", ...step, outcome: "", millis: 1 } as never },
      9000
    )
    assert.strictEqual(state.line(19_000, 80), "0 of 2 ended")
  })
})
