import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { DriverService } from "../../src/driver/Driver.ts"
import * as Failure from "../../src/driver/Failure.ts"
import { Reporter } from "../../src/driver/RunEvent.ts"
import { type TestServices, test } from "../../src/driver/TestCase.ts"
import { asValue } from "../../src/driver/UnrunEffect.ts"
import type { Machine } from "../../src/machine/Machine.ts"
import { offline, runOnMock } from "./support.ts"

type Body = (
  web: Machine,
  driver: DriverService
) => Generator<Effect.Effect<unknown, unknown, TestServices>, void, never>

const guests = { web: { commands: [[/^deny$/, { exitCode: 1 }]] } } as const

/** Runs a body on a machine of the mock; gives its result and what was logged. */
const runBody = (body: Body, unrun?: "fail" | "warn" | "ignore") =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    const declared = test("t", { machines: { web: offline() }, unrun }, ({ web }, driver) =>
      Effect.gen(() => body(web, driver))
    )
    const [result] = yield* runOnMock([declared], { guests }).pipe(
      Effect.provideService(Reporter, (event) =>
        Effect.sync(() => {
          if (event._tag === "Log") lines.push(event.line)
        })
      )
    )
    return { result: result!, lines }
  })

describe("an Effect of a machine's or the driver's method that the body never ran", () => {
  const forgets: Body = function* (web, driver) {
    yield* web.succeed("one")
    web.succeed("two")
    driver.log("three")
  }

  it.live("fails the test, each with its line", () =>
    Effect.gen(function* () {
      const { failure, status } = (yield* runBody(forgets)).result
      assert.strictEqual(status, "failed")
      assert.strictEqual(failure?.kind, "UnrunEffect")
      assert.match(
        failure?.message ?? "",
        /^web\.succeed\("two"\) was called, but its Effect was never run; write yield\* before it/
      )
      assert.strictEqual(failure?.place?.text.trim(), `web.succeed("two")`)
      const text = Failure.render(failure!)
      assert.match(text, /another error:\n\s+\S*tracked\.test\.ts:\d+:\d+\n[\s\S]*driver\.log\("three"\) was called/)
    })
  )

  it.live("fails the test also for a Stream, which says how it is run", () =>
    Effect.gen(function* () {
      const { result } = yield* runBody(function* (web) {
        web.executeStream("one")
        asValue(web.executeStream("two"))
        yield* Stream.runDrain(web.executeStream("three"))
      })
      assert.match(
        result.failure?.message ?? "",
        /^web\.executeStream\("one"\) was called, but its Stream was never run; run it, for example with yield\* Stream\.runCollect/
      )
      assert.lengthOf(result.failure?.evidence ?? [], 0)
    })
  )

  it.live("is a warning, or nothing, if the test says so", () =>
    Effect.gen(function* () {
      const warned = yield* runBody(forgets, "warn")
      assert.strictEqual(warned.result.status, "passed")
      assert.match(warned.lines[0] ?? "", /^warning: \S*tracked\.test\.ts:\d+: web\.succeed\("two"\) was called/)
      assert.lengthOf(warned.lines, 2)
      const ignored = yield* runBody(forgets, "ignore")
      assert.deepStrictEqual([ignored.result.status, ignored.lines], ["passed", []])
    })
  )

  it.live("is none of those that asValue, a combinator or a method of the driver took, or that ran in a fork", () =>
    Effect.gen(function* () {
      const { result } = yield* runBody(function* (web, driver) {
        yield* Effect.when(asValue(web.succeed("one")), Effect.succeed(false))
        yield* Effect.forkScoped(web.succeed("two"))
        yield* Effect.all([web.succeed("three"), web.succeed("four")], { concurrency: 2 })
        yield* driver.pollingCondition("five", web.succeed("five"), { schedule: Schedule.spaced("1 hour") })
        yield* driver.subtest("six", web.succeed("six").pipe(Effect.asVoid))
        yield* Effect.sleep("20 millis")
      })
      assert.strictEqual(result.failure, undefined)
    })
  )

  it.live("is not told of a test that fails anyway: what comes after the failure is not run", () =>
    Effect.gen(function* () {
      const { result } = yield* runBody(function* (web) {
        yield* Effect.all([web.succeed("deny"), web.succeed("two")])
      })
      assert.strictEqual(result.failure?.kind, "CommandFailed")
      assert.notInclude(Failure.render(result.failure!), "never run")
    })
  )
})

describe("a method of a machine that fails", () => {
  const check = (web: Machine) => web.succeed("deny")

  it.live("names the line of its call, and those that called that one", () =>
    Effect.gen(function* () {
      const { failure } = (yield* runBody(function* (web) {
        yield* web.succeed("one")
        yield* check(web)
      })).result
      assert.strictEqual(failure?.place?.text.trim(), `const check = (web: Machine) => web.succeed("deny")`)
      assert.strictEqual(failure?.callers[0]?.text.trim(), "yield* check(web)")
    })
  )

  it.live("names its line also where the body is an expression", () =>
    Effect.gen(function* () {
      const [result] = yield* runOnMock(
        [
          test("t", { machines: { web: offline() } }, ({ web }) =>
            // The call is not on the line of test(.
            web.succeed("deny")
          )
        ],
        { guests }
      )
      assert.strictEqual(result?.failure?.place?.text.trim(), `web.succeed("deny")`)
    })
  )

  it.live(
    "names the line that declares its test, and those that called that one, where the body is a plain failure",
    () =>
      Effect.gen(function* () {
        const declare = (name: string) => test(name, {}, () => Effect.fail("plain"))
        const [result] = yield* runOnMock([declare("t")])
        assert.match(result?.failure?.place?.text ?? "", /const declare = /)
        assert.match(result?.failure?.callers[0]?.text ?? "", /runOnMock\(\[declare\("t"\)\]\)/)
      })
  )

  it.live("has that line in the stack of its error, for reporters of other tools", () =>
    Effect.gen(function* () {
      const { result } = yield* runBody(function* (web) {
        const error: unknown = yield* Effect.flip(check(web))
        const [first] = (error instanceof Error ? (error.stack ?? "") : "")
          .split("\n")
          .filter((line) => /^\s+at /.test(line))
        assert.include(first, "tracked.test.ts")
      })
      assert.strictEqual(result.failure, undefined)
    })
  )
})
