/** Tests that are tried again, that are not run, and the end of a run at its first failure. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { Reporter, type RunEvent } from "../../src/driver/RunEvent.ts"
import { fromExport, test } from "../../src/driver/TestCase.ts"
import { isFlaky } from "../../src/driver/TestResult.ts"
import { offline, runOnMock as run } from "./support.ts"

const hearing = () => {
  const events: Array<RunEvent> = []
  const heard = Effect.provideService(Reporter, (event) => Effect.sync(() => void events.push(event)))
  return { events, heard }
}

/** Fails until it has been run so often. */
const passesAt = (attempt: number, machines = {}) => {
  let runs = 0
  return test("sometimes", { machines }, () =>
    Effect.suspend(() => (++runs < attempt ? Effect.fail(`attempt ${runs}`) : Effect.succeed(runs)))
  )
}

describe("retries", () => {
  it.effect("run a failed test again on fresh machines, and a test that passes then is flaky", () =>
    Effect.gen(function* () {
      const { events, heard } = hearing()
      const [result] = yield* run([passesAt(3, { a: offline() })], {}, 0, { retries: 2 }).pipe(heard)
      assert.strictEqual(result?.status, "passed")
      assert.isTrue(isFlaky(result!))
      assert.deepStrictEqual(
        result?.earlier?.map(({ failure, status }) => [status, failure?.message]),
        [
          ["failed", "attempt 1"],
          ["failed", "attempt 2"]
        ]
      )
      const boots = events.filter(
        (event) => event._tag === "MachineEvent" && event.event._tag === "MachineState" && event.event.state === "ready"
      )
      assert.lengthOf(boots, 3)
      assert.deepStrictEqual(
        events.flatMap((event) => (event._tag === "TestStarted" ? [event.attempt] : [])),
        [1, 2, 3]
      )
      assert.lengthOf(
        events.filter(({ _tag }) => _tag === "TestEnded"),
        1
      )
    })
  )

  it.effect("end with the failure of the last attempt", () =>
    Effect.gen(function* () {
      const [result] = yield* run([passesAt(5)], {}, 0, { retries: 1 })
      assert.deepStrictEqual(
        [result?.status, result?.failure?.message, result?.earlier?.length],
        ["failed", "attempt 2", 1]
      )
    })
  )

  it.effect("are not needed by a test that passes", () =>
    Effect.gen(function* () {
      const [result] = yield* run([passesAt(1)], {}, 0, { retries: 3 })
      assert.deepInclude(result, { status: "passed", value: 1 })
      assert.isUndefined(result?.earlier)
    })
  )
})

describe("a test that is not run", () => {
  it.effect("is skipped without a machine, and its body does not run", () =>
    Effect.gen(function* () {
      const { events, heard } = hearing()
      let ran = false
      const body = () =>
        Effect.sync(() => {
          ran = true
        })
      const results = yield* run(
        [
          test.skip("later", { machines: { a: offline() } }, body),
          test.fixme("broken", {}, body),
          test("now", {}, () => Effect.void)
        ],
        {},
        0
      ).pipe(heard)
      assert.deepStrictEqual(
        results.map(({ skipped, status }) => [status, skipped]),
        [
          ["skipped", "test.skip"],
          ["skipped", "test.fixme"],
          ["passed", undefined]
        ]
      )
      assert.isFalse(ran)
      assert.deepStrictEqual(
        events.flatMap((event) => (event._tag === "TestStarted" ? [event.test] : [])),
        ["now"]
      )
    })
  )

  it.effect("is still checked", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(run([test.skip(" ", {}, () => Effect.void)]))
      assert.include(error.message, "the name must be a string that is not blank")
    })
  )
})

describe("failFast", () => {
  it.effect("interrupts the tests that run when one fails, and starts no other", () =>
    Effect.gen(function* () {
      const started = yield* Deferred.make<void>()
      let cleaned = false
      const results = yield* run(
        [
          test("slow", {}, () =>
            Deferred.succeed(started, undefined).pipe(
              Effect.andThen(Effect.never),
              Effect.ensuring(
                Effect.sync(() => {
                  cleaned = true
                })
              )
            )
          ),
          test("fails", {}, () => Effect.andThen(Deferred.await(started), Effect.fail("no"))),
          test("last", {}, () => Effect.void)
        ],
        {},
        0,
        { failFast: true, concurrency: 2 }
      )
      assert.deepStrictEqual(
        results.map(({ skipped, status }) => [status, skipped]),
        [
          ["skipped", "interrupted because another test failed (--fail-fast)"],
          ["failed", undefined],
          ["skipped", "not run because another test failed (--fail-fast)"]
        ]
      )
      assert.isTrue(cleaned)
    })
  )
})

describe("a slow test", () => {
  it.effect("is named while it runs, ever more rarely, with what it is doing", () =>
    Effect.gen(function* () {
      const { events, heard } = hearing()
      const slow = test("slow", { machines: { a: offline() } }, ({ a }) =>
        a.succeed("work hard", { timeout: "1 hour" })
      )
      const guests = { a: { commands: [[/^work/, { delay: "10 minutes" }]] } } as const
      const running = yield* Effect.forkChild(run([slow], { guests }).pipe(heard))
      yield* TestClock.adjust("11 minutes")
      const [result] = yield* Fiber.join(running)
      assert.strictEqual(result?.failure?.message, undefined)
      const told = events.flatMap((event) => (event._tag === "TestSlow" ? [event] : []))
      assert.deepStrictEqual(
        told.map(({ millis }) => Math.round(millis / 60_000)),
        [1, 2, 4, 8]
      )
      assert.match(told[3]?.doing.join() ?? "", /running "work hard" on a for 8m/)
      assert.isAtLeast(told[3]?.quietMillis ?? 0, 7 * 60_000)
    })
  )
})

describe("test.each", () => {
  it("declares a test for each case, named by it", () => {
    const named = test.each([1, 64])("serves %s MiB", {}, (size) => Effect.succeed(size))
    assert.deepStrictEqual(
      named.map(({ name }) => name),
      ["serves 1 MiB", "serves 64 MiB"]
    )
    const keyed = test.each([{ fs: "ext4", cpus: 2 }])(
      "on $fs with $cpus processors, not $other",
      {},
      () => Effect.void
    )
    assert.deepStrictEqual(
      keyed.map(({ name }) => name),
      ["on ext4 with 2 processors, not $other"]
    )
    const computed = test.each(["a", "b"])(
      (one) => `boots ${one}`,
      (one) => ({ machines: { [one]: offline() }, tags: [one] }),
      () => Effect.void
    )
    assert.deepStrictEqual(
      computed.map(({ machines, name, tags }) => [name, Object.keys(machines), tags]),
      [
        ["boots a", ["a"], ["a"]],
        ["boots b", ["b"], ["b"]]
      ]
    )
    assert.lengthOf(fromExport("script.ts", [named, keyed, test("one", {}, () => Effect.void)]) ?? [], 4)
  })

  it.effect("gives its case to the body", () =>
    Effect.gen(function* () {
      const results = yield* run([...test.each(["x", "y"])("is %s", {}, (one) => Effect.succeed(one))])
      assert.deepStrictEqual(
        results.map(({ value }) => value),
        ["x", "y"]
      )
    })
  )

  it.effect("refuses one name for several cases", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(run([...test.each([1, 2])("boots", {}, () => Effect.void)]))
      assert.include(error.message, 'test "boots": test.each declares several tests of this name')
    })
  )
})

describe("the name of a test", () => {
  it.effect("is refused for two tests of a script, with both places, and taken by another script", () =>
    Effect.gen(function* () {
      const [first, second] = [test("boots", {}, () => Effect.void), test("boots", {}, () => Effect.void)]
      const error = yield* Effect.flip(run([first, second]))
      assert.match(
        error.message,
        /attempts\.test\.ts:(\d+):\d+: test "boots": another test of the script has this name, at line \1; give each a name of its own, or declare them with test\.each$/
      )
      const results = yield* run([first, { ...second, file: "another.ts" }])
      assert.deepStrictEqual(
        results.map(({ status }) => status),
        ["passed", "passed"]
      )
    })
  )
})

describe("a tag", () => {
  it.effect("must be a word", () =>
    Effect.gen(function* () {
      for (const tag of ["", "two words", "@slow"]) {
        const error = yield* Effect.flip(run([test("tagged", { tags: [tag] }, () => Effect.void)]))
        assert.include(error.message, 'must be a word without blanks and without "@"')
      }
    })
  )
})
