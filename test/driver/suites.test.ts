/** Tests that share machines, or the declaration of them. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { Reporter, type RunEvent } from "../../src/driver/RunEvent.ts"
import { focused } from "../../src/driver/Selection.ts"
import { suite } from "../../src/driver/Suite.ts"
import type { TestCase } from "../../src/driver/TestCase.ts"
import { untyped } from "../untyped.ts"
import { offline, runOnMock as run } from "./support.ts"

const machines = { a: offline() }

type Loose = (...args: ReadonlyArray<unknown>) => void
const js = untyped<Loose>
type Each = { readonly each: (cases: unknown) => Loose }

/** Runs tests, and gives with their results how often a machine booted and what was reported. */
const running = (tests: ReadonlyArray<TestCase>, options: Parameters<typeof run>[3] = {}, guests = {}) =>
  Effect.gen(function* () {
    const events: Array<RunEvent> = []
    const results = yield* run(tests, { guests }, 0, options).pipe(
      Effect.provideService(Reporter, (event) => Effect.sync(() => void events.push(event)))
    )
    const boots = events.filter(
      (event) => event._tag === "MachineEvent" && event.event._tag === "MachineState" && event.event.state === "booting"
    )
    return { results, events, boots: boots.length }
  })

const statuses = (results: ReadonlyArray<{ readonly name: string; readonly status: string }>) =>
  results.map(({ name, status }) => [name, status])

describe("a suite", () => {
  it.effect("starts its machines once, and runs its tests on them in their order", () =>
    Effect.gen(function* () {
      const ran: Array<string> = []
      const noted = (name: string) => Effect.sync(() => void ran.push(name))
      const tests = suite("the guest", { machines }, (test) => {
        test("first", ({ a }) => Effect.andThen(noted("first"), a.succeed("true")))
        test("second", { tags: ["slow"] }, ({ a }) => Effect.andThen(noted("second"), a.succeed("true")))
      })
      const { boots, events, results } = yield* running(tests, { concurrency: 4 }, { a: { commands: [["true", ""]] } })
      assert.deepStrictEqual(statuses(results), [
        ["the guest › first", "passed"],
        ["the guest › second", "passed"]
      ])
      assert.deepStrictEqual(ran, ["first", "second"])
      assert.strictEqual(boots, 1)
      assert.deepStrictEqual(results[1]?.tags, ["slow"])
      assert.deepStrictEqual(
        [...new Set(events.flatMap((event) => (event._tag === "MachineEvent" ? [event.test] : [])))],
        ["the guest › first", "the guest › second"]
      )
    })
  )

  it.effect("goes on after a test that fails, whose subtests and failures are its own", () =>
    Effect.gen(function* () {
      const tests = suite("s", { machines }, (test) => {
        test("fails", (_, driver) => driver.subtest("part", Effect.fail("no")))
        test("passes", (_, driver) => driver.subtest("other", Effect.succeed(1)))
        test("is soft", (_, driver) => driver.subtest("soft", Effect.fail("later"), { softFail: true }))
      })
      const { boots, results } = yield* running(tests)
      assert.deepStrictEqual(statuses(results), [
        ["s › fails", "failed"],
        ["s › passes", "passed"],
        ["s › is soft", "failed"]
      ])
      assert.deepStrictEqual(
        results.map(({ failure, subtests }) => [failure?.message, subtests.map(({ name }) => name).join()]),
        [
          ["no", "part"],
          [undefined, "other"],
          ["later", "soft"]
        ]
      )
      assert.strictEqual(boots, 1)
    })
  )

  it.effect("with the isolation fork gives each test machines of its own", () =>
    Effect.gen(function* () {
      const tests = suite("s", { machines, isolation: "fork" }, (test) => {
        test("one", ({ a }) => a.succeed("true"))
        test("two", ({ a }) => a.succeed("true"))
      })
      const { boots, results } = yield* running(tests, { concurrency: 2 }, { a: { commands: [["true", ""]] } })
      assert.deepStrictEqual(statuses(results), [
        ["s › one", "passed"],
        ["s › two", "passed"]
      ])
      assert.strictEqual(boots, 2)
    })
  )

  it.effect("is retried as a whole, on fresh machines", () =>
    Effect.gen(function* () {
      let runs = 0
      const tests = suite("s", { machines }, (test) => {
        test("steady", () => Effect.void)
        test("shaky", () => Effect.suspend(() => (++runs === 1 ? Effect.fail("no") : Effect.void)))
      })
      const { boots, events, results } = yield* running(tests, { retries: 1 })
      assert.deepStrictEqual(
        results.map(({ earlier, status }) => [status, earlier?.length]),
        [
          ["passed", undefined],
          ["passed", 1]
        ]
      )
      assert.strictEqual(boots, 2)
      assert.deepStrictEqual(
        events.flatMap((event) =>
          event._tag === "AttemptFailed" ? [[event.test, event.result.status, event.suite]] : []
        ),
        [
          ["s › steady", "passed", "s"],
          ["s › shaky", "failed", "s"]
        ]
      )
      assert.lengthOf(
        events.filter(({ _tag }) => _tag === "TestEnded"),
        2
      )
    })
  )

  it.effect("leaves out tests that are skipped, and stops at a failure if the run does", () =>
    Effect.gen(function* () {
      const tests = suite("s", { machines }, (test) => {
        test.skip("no", () => Effect.void)
        test("fails", () => Effect.fail("no"))
        test("last", () => Effect.void)
      })
      const { events, results } = yield* running(tests, { failFast: true })
      assert.deepStrictEqual(
        results.map(({ skipped, status }) => [status, skipped]),
        [
          ["skipped", "test.skip"],
          ["failed", undefined],
          ["skipped", "not run because another test failed (--fail-fast)"]
        ]
      )
      assert.lengthOf(
        events.filter(({ _tag }) => _tag === "TestEnded"),
        3
      )
    })
  )

  it.effect("has a folder with what its failed tests leave, one for each attempt", () =>
    Effect.gen(function* () {
      const tests = suite("s", { machines }, (test) => {
        test("fails", () => Effect.fail(new Error("x".repeat(100_000))))
      })
      const { results } = yield* running(tests, { retries: 1 })
      const folders = [...(results[0]?.earlier ?? []), ...results].map(({ folder }) =>
        folder?.split("/").slice(-2).join("/")
      )
      assert.deepStrictEqual(folders, ["s/fails", "s-retry1/fails"])
    })
  )

  it.effect("fails each of its tests if its machines do not start", () =>
    Effect.gen(function* () {
      const tests = suite("s", { machines }, (test) => {
        test("one", () => Effect.void)
        test("two", () => Effect.void)
      })
      const never = yield* Effect.forkChild(running(tests, {}, { a: { bootTime: Number.POSITIVE_INFINITY } }))
      yield* TestClock.adjust("20 minutes")
      const { results } = yield* Fiber.join(never)
      assert.deepStrictEqual(
        results.map(({ failure }) => failure?.kind),
        ["BootFailed", "BootFailed"]
      )
    })
  )

  it.effect("refuses what is declared wrongly before anything starts", () =>
    Effect.gen(function* () {
      const says = (tests: ReadonlyArray<TestCase>) => Effect.map(Effect.flip(run(tests)), ({ message }) => message)
      assert.include(yield* says(suite("s", { machines }, () => {})), "the suite has no tests")
      assert.include(
        yield* says(suite("s", { isolaton: "fork" } as object, (test) => test("t", () => Effect.void))),
        'unknown option "isolaton"; did you mean "isolation"?'
      )
      assert.include(
        yield* says(suite("s", { isolation: "vm" as "fork" }, (test) => test("t", () => Effect.void))),
        'isolation must be "shared" or "fork", got "vm"'
      )
      assert.include(
        yield* says(suite("s", {}, (test) => test("t", { machines } as object, () => Effect.void))),
        'unknown option "machines"'
      )
      assert.include(
        yield* says(suite("s", {}, (test) => test(" ", () => Effect.void))),
        "the name must be a string that is not blank"
      )
      assert.include(
        yield* says(suite("s", { machines }, (test) => test("t", (({ b }: { b: never }) => b) as never))),
        "the body asks for the machine"
      )
    })
  )

  it("has a test for each case, and says where each is declared", () => {
    const tests = suite("s", { machines }, (test) => {
      test.each([1, 64])("%s MiB", { tags: ["slow"] }, (size, { a }) => a.succeed(`true ${size}`))
      test.each(["x"])(
        (name) => `of ${name}`,
        () => Effect.void
      )
    })
    assert.deepStrictEqual(
      tests.map(({ name, problem, tags }) => [name, tags, problem]),
      [
        ["s › 1 MiB", ["slow"], undefined],
        ["s › 64 MiB", ["slow"], undefined],
        ["s › of x", [], undefined]
      ]
    )
  })

  it.effect("is skipped as a whole, and still checked", () =>
    Effect.gen(function* () {
      const define: Parameters<typeof suite>[2] = (test) => {
        test("one", () => Effect.die("ran"))
        test.fixme("two", () => Effect.die("ran"))
        test.only("three", () => Effect.die("ran"))
      }
      const { boots, results } = yield* running(suite.skip("s", { machines }, define))
      assert.deepStrictEqual(
        results.map(({ skipped }) => skipped),
        ["suite.skip", "test.fixme", "suite.skip"]
      )
      assert.strictEqual(boots, 0)
      const fixme = yield* running(suite.fixme("s", { machines }, define))
      assert.deepStrictEqual(
        fixme.results.map(({ skipped }) => skipped),
        ["suite.fixme", "test.fixme", "suite.fixme"]
      )
      assert.include(
        (yield* Effect.flip(run(suite.skip("s", { machines }, () => {})))).message,
        "the suite has no tests"
      )
    })
  )

  it("is the only one that runs, or the tests that are chosen in it", () => {
    const others = suite("others", { machines }, (test) => test("one", () => Effect.void))
    const names = (tests: ReadonlyArray<TestCase>) => focused([...others, ...tests]).map(({ name }) => name)
    assert.deepStrictEqual(
      names(
        suite.only("s", { machines }, (test) => {
          test("one", () => Effect.void)
          test.skip("two", () => Effect.void)
          test.each([1, 2])("of %s", () => Effect.void)
        })
      ),
      ["s › one", "s › of 1", "s › of 2"]
    )
    assert.deepStrictEqual(
      names(
        suite.only("s", { machines }, (test) => {
          test("one", () => Effect.void)
          test.only("two", () => Effect.void)
        })
      ),
      ["s › two"]
    )
  })

  it("says what is wrong with its declaration", () => {
    const problems = (define: Parameters<typeof suite>[2]) => suite("s", {}, define).map(({ problem }) => problem)
    assert.deepStrictEqual(
      problems((test) => js(test)("no body")),
      [
        "the body must be a function that returns an Effect, got undefined; write ({ web }) => Effect.gen(function* () { … })"
      ]
    )
    assert.deepStrictEqual(
      problems((test) => js(test)("null", null, () => Effect.void)),
      ['the options must be an object of options, such as { timeout: "1 minute" }, got null']
    )
    assert.deepStrictEqual(
      problems((test) => untyped<Each>(test).each({ a: 1 })("cases", () => Effect.void)),
      ["the cases of test.each must be an array, got { a: 1 }"]
    )
    assert.deepStrictEqual(problems(untyped<(test: unknown) => void>(async () => {})), [
      "the function of the tests must not be async: tests that it declares after an await would be lost"
    ])
  })

  it("refuses tests and suites at the wrong place", () => {
    let late = (_name: string, _body: () => Effect.Effect<void>): void => {}
    suite("s", {}, (test) => {
      late = test
      test("in time", () => Effect.void)
    })
    assert.throws(() => late("late", () => Effect.void), 'test("late") was called after the suite "s" was declared')
    assert.throws(
      () => suite("outer", {}, () => void suite("inner", {}, () => {})),
      'suite("inner") is in the suite "outer": suites cannot be nested'
    )
    assert.deepStrictEqual(
      suite("next", {}, (test) => test("works", () => Effect.void)).map(({ problem }) => problem),
      [undefined]
    )
  })
})
