import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { StartFailed } from "../../src/backends/BackendError.ts"
import { Driver } from "../../src/driver/Driver.ts"
import * as Failure from "../../src/driver/Failure.ts"
import type { TestServices } from "../../src/driver/TestCase.ts"
import { fromEffect, test } from "../../src/driver/TestCase.ts"
import type { TestResult } from "../../src/driver/TestResult.ts"
import { collecting } from "./storeSupport.ts"
import { offline, runOnMock } from "./support.ts"

type Body = Effect.Effect<unknown, unknown, TestServices>

const boom = Effect.fail(new Error("boom"))
/** Two timers, so that what was forked has its turn between them however late they are. */
const wait = Effect.andThen(Effect.sleep("1 millis"), Effect.sleep("5 millis"))

const resultOf = (body: Body) => Effect.map(runOnMock([fromEffect("forks", body)]), ([result]) => result as TestResult)

describe("a fiber that a test forks, and that fails", () => {
  const unheard: Record<string, Body> = {
    "forkScoped, with a defect": Effect.andThen(Effect.forkScoped(Effect.die(new Error("boom"))), wait),
    "forkScoped, with an error": Effect.andThen(Effect.forkScoped(boom), wait),
    forkChild: Effect.andThen(Effect.forkChild(boom), wait),
    "forkChild, at once": Effect.andThen(Effect.forkChild(boom, { startImmediately: true }), wait),
    forkDetach: Effect.andThen(Effect.forkDetach(boom), wait),
    "forkScoped, at once": Effect.andThen(Effect.forkScoped(boom, { startImmediately: true }), wait),
    runFork: Effect.andThen(
      Effect.sync(() => Effect.runFork(boom)),
      wait
    ),
    "runFork, later": Effect.andThen(
      Effect.sync(() => Effect.runFork(Effect.andThen(Effect.yieldNow, boom))),
      wait
    ),
    "interrupted when it had failed": Effect.flatMap(Effect.forkChild(boom), (fiber) =>
      Effect.andThen(wait, Fiber.interrupt(fiber))
    )
  }
  for (const [how, body] of Object.entries(unheard)) {
    it.live(`fails the test if nothing joins it: ${how}`, () =>
      Effect.gen(function* () {
        const { failure, status } = yield* resultOf(body)
        assert.strictEqual(status, "failed")
        assert.strictEqual(failure?.kind, "ForkedFiberFailed")
        assert.include(failure?.message ?? "", "a forked fiber failed, and nothing joined it: Error: boom")
      })
    )
  }

  const bad = Stream.fromEffect(Effect.andThen(wait, Effect.fail("bad")))
  const good = Stream.make(1, 2, 3)
  const heard: Record<string, Body> = {
    "joined while it runs": Effect.flatMap(Effect.forkChild(Effect.andThen(wait, boom)), Fiber.join),
    "joined after its end": Effect.flatMap(Effect.forkChild(boom), (fiber) => Effect.andThen(wait, Fiber.join(fiber))),
    "awaited after its end": Effect.flatMap(Effect.forkScoped(boom), (fiber) =>
      Effect.andThen(wait, Fiber.await(fiber))
    ),
    "awaited after its end at once": Effect.flatMap(Effect.forkScoped(boom, { startImmediately: true }), (fiber) =>
      Effect.andThen(wait, Fiber.await(fiber))
    ),
    "asked once after its end at once": Effect.flatMap(Effect.forkChild(boom, { startImmediately: true }), (fiber) =>
      Effect.sync(() => fiber.pollUnsafe())
    ),
    "of Effect.runSyncExit": Effect.sync(() => Effect.runSyncExit(boom)),
    "of Effect.runPromiseExit": Effect.promise(() => Effect.runPromiseExit(boom)),
    "of Effect.cached": Effect.flatten(Effect.cachedWithTTL(boom, "1 minute")),
    "of Effect.cached, ended at once": Effect.flatMap(Effect.cachedWithTTL(boom, "1 minute"), (cached) =>
      Effect.all([Effect.exit(cached), Effect.exit(cached)], { concurrency: 2 })
    ),
    "of Effect.all": Effect.all([boom, Effect.andThen(wait, boom), wait], { concurrency: "unbounded" }),
    "of Effect.raceFirst": Effect.raceFirst(boom, wait),
    "of Effect.timeout": Effect.timeout(Effect.never, 1),
    "of Stream.mergeAll": Stream.runDrain(Stream.mergeAll([bad, bad], { concurrency: 2 })),
    "of Stream.buffer": Stream.runDrain(Stream.buffer(bad, { capacity: 4 })),
    "of Stream.flatMap": Stream.runDrain(Stream.flatMap(Stream.make(1, 2), () => bad, { concurrency: 2 })),
    "of Stream.merge": Stream.runDrain(Stream.merge(bad, Stream.never)),
    "of Stream.debounce": Stream.runDrain(Stream.debounce(bad, 1)),
    "of Stream.groupByKey": Stream.runDrain(Stream.groupByKey(bad, () => 1)),
    "of Stream.zipLatest": Stream.runDrain(Stream.zipLatest(bad, bad)),
    "of Stream.share": Effect.scoped(Effect.flatMap(Stream.share(bad, { capacity: 4 }), Stream.runDrain)),
    ...Object.fromEntries(
      Object.entries({
        buffer: Stream.buffer(good, { capacity: 4 }),
        merge: Stream.merge(good, good),
        flatMap: Stream.flatMap(good, () => good, { concurrency: 2 }),
        mergeAll: Stream.mergeAll([good, good], { concurrency: 2 })
      }).map(([name, stream]) => [`of Stream.${name} at its end`, Effect.andThen(Stream.runDrain(stream), wait)])
    ),
    "of a copy to a machine": Effect.gen(function* () {
      const driver = yield* Driver
      const a = yield* driver.machine("a", offline())
      yield* a.writeFile("/text", "x".repeat(200_000))
      yield* wait
    }),
    "that is interrupted": Effect.flatMap(Effect.forkChild(Effect.never), Fiber.interrupt),
    "that its scope ends": Effect.andThen(Effect.forkScoped(Effect.never), wait)
  }
  for (const [how, body] of Object.entries(heard)) {
    it.live(`is the script's business if it is heard of: ${how}`, () =>
      Effect.gen(function* () {
        const { status } = yield* resultOf(Effect.exit(body).pipe(Effect.asVoid))
        assert.strictEqual(status, "passed")
      })
    )
  }

  it.live("fails nothing when its test had ended, but is told with the test's name", () =>
    Effect.gen(function* () {
      const { layer, lines } = collecting()
      const late = fromEffect("late", Effect.forkDetach(Effect.andThen(Effect.sleep("50 millis"), boom)))
      const asks = Effect.andThen(
        Effect.sleep("50 millis"),
        Effect.sync(() => Effect.runSyncExit(boom))
      )
      const seen = fromEffect("looks at the end of what it runs", Effect.forkDetach(asks))
      const results = yield* runOnMock([late, seen, fromEffect("last", Effect.sleep("400 millis"))]).pipe(
        Effect.provide(layer)
      )
      assert.deepStrictEqual(
        results.map(({ status }) => status),
        ["passed", "passed", "passed"]
      )
      assert.deepStrictEqual(lines, [
        'a fiber that the test "late" forked failed after the test had ended: Error: boom'
      ])
    })
  )

  it.live("is not the program itself, nor a machine that does not start: those fail the test", () =>
    Effect.gen(function* () {
      const { layer, lines } = collecting()
      const startError = new StartFailed({ machine: "a", backend: "mock", reason: "no such machine type", output: "" })
      const tests = [
        test("does not boot", { machines: { a: offline() } }, ({ a }) => a.succeed("true")),
        fromEffect("fails", Effect.andThen(wait, boom)),
        fromEffect("dies", Effect.andThen(wait, Effect.die("boom"))),
        fromEffect("forks and fails", Effect.andThen(Effect.forkScoped(Effect.never), boom))
      ]
      const results = yield* runOnMock(tests, { guests: { a: { startError } } }).pipe(Effect.provide(layer))
      assert.isTrue(results.every(({ status }) => status === "failed"))
      yield* wait
      assert.deepStrictEqual(lines, [])
    })
  )

  it.live("fails nothing when all it met was the end of its test's machines", () =>
    Effect.gen(function* () {
      const { layer, lines } = collecting()
      const polls = test("polls", { machines: { a: offline() } }, ({ a }) =>
        Effect.gen(function* () {
          yield* a.succeed("true")
          yield* Effect.forkDetach(a.succeed("sleep 600"))
          yield* wait
        })
      )
      const [result] = yield* runOnMock([polls], {
        guests: { a: { commands: [["sleep 600", { delay: "10 minutes" }]] } }
      }).pipe(Effect.provide(layer))
      assert.strictEqual(result?.status, "passed")
      assert.match(
        lines.join("\n"),
        /^a fiber that the test "polls" forked failed after the test had ended: MachineDied: a died while the test was running "sleep 600": the test ended it, .* by its own end$/
      )
    })
  )

  it.live("is told beside what the test failed with", () =>
    Effect.gen(function* () {
      const { failure } = yield* resultOf(
        Effect.gen(function* () {
          yield* Effect.forkScoped(Effect.die(new Error("boom")))
          yield* wait
          yield* Effect.fail(new Error("the body's"))
        })
      )
      const text = Failure.render(failure!)
      assert.include(text, "the body's")
      assert.include(text, "nothing joined it: Error: boom")
    })
  )

  it.live("is told once if it is what the test failed with", () =>
    Effect.gen(function* () {
      const error = new Error("boom")
      const { failure } = yield* resultOf(
        Effect.gen(function* () {
          yield* Effect.forkScoped(Effect.fail(error))
          yield* wait
          yield* Effect.fail(error)
        })
      )
      assert.strictEqual(Cause.squash(failure!.cause), error)
      assert.deepStrictEqual(failure?.evidence, [])
    })
  )
})

describe("a finalizer that fails", () => {
  const finalizer = Effect.addFinalizer(() => Effect.die(new Error("the finalizer's")))
  const bodies: Record<string, Body> = {
    "when its test timed out": Effect.andThen(finalizer, Effect.never),
    "when the body failed": Effect.andThen(finalizer, Effect.fail(new Error("the body's")))
  }
  for (const [how, body] of Object.entries(bodies)) {
    it.live(`is told once, as another error, ${how}`, () =>
      Effect.gen(function* () {
        const declared = test("finalizer", { timeout: "50 millis" }, () => body as Effect.Effect<unknown, unknown>)
        const [result] = yield* runOnMock([declared])
        const text = Failure.render(result!.failure!)
        assert.notStrictEqual(result!.status, "passed")
        assert.match(text, /timed out after 50ms|the body's/)
        assert.lengthOf(text.match(/\n {2}the finalizer's/g) ?? [], 1, text)
      })
    )
  }
})

describe("a value that cannot be read", () => {
  const evil = Object.defineProperty(new Error(), "message", {
    get: () => {
      throw new Error("while it is read")
    }
  })
  const values: Record<string, unknown> = {
    "an object without a prototype": Object.create(null),
    "an error whose message throws": evil,
    "an error whose stack is a number": Object.assign(new Error("odd"), { stack: 5 }),
    "an error whose name is a symbol": Object.assign(new Error("odd"), { name: Symbol("name") }),
    "an error with an odd list of errors": Object.assign(new AggregateError([], "odd"), { errors: 5 }),
    "a frozen error": Object.freeze(new Error("frozen")),
    "a revoked proxy": (() => {
      const { proxy, revoke } = Proxy.revocable({}, {})
      revoke()
      return proxy
    })()
  }
  for (const [what, value] of Object.entries(values)) {
    it.live(`fails only its test: ${what}`, () =>
      Effect.gen(function* () {
        const bodies: ReadonlyArray<Body> = [
          Effect.fail(value),
          Effect.die(value),
          Effect.andThen(Effect.forkScoped(Effect.fail(value)), wait),
          Effect.flatMap(Driver, (driver) => driver.subtest("inner", Effect.fail(value)))
        ]
        const results = yield* runOnMock(bodies.map((body, index) => fromEffect(`${index}`, body)))
        for (const { failure, status } of results) {
          assert.strictEqual(status, "failed")
          assert.isNotEmpty(Failure.render(failure!))
        }
      })
    )
  }
})
