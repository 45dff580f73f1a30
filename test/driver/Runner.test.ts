import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as TestConsole from "effect/testing/TestConsole"
import type * as Mock from "../../src/backends/mock/Mock.ts"
import { Driver, type DriverService } from "../../src/driver/Driver.ts"
import * as Failure from "../../src/driver/Failure.ts"
import { currentLabel, labelsOf, Reporter, type RunEvent } from "../../src/driver/RunEvent.ts"
import * as Runner from "../../src/driver/Runner.ts"
import { fromEffect, fromExport, type TestCase, test } from "../../src/driver/TestCase.ts"
import { Deadlines } from "../../src/guest/Deadlines.ts"
import * as Image from "../../src/images/Image.ts"
import type { Machine } from "../../src/machine/Machine.ts"
import * as TerminalReport from "../../src/report/TerminalReport.ts"
import { offline, runOnMock as run } from "./support.ts"

describe("a run", () => {
  it.effect("gives waits that do not say the time that the test says, stretched on a slow backend", () =>
    Effect.gen(function* () {
      const never = { commands: [[/never/, { delay: "1 day" }]] } as const
      const machines = { a: offline() }
      const body: Parameters<typeof test<typeof machines>>[2] = ({ a }) => a.waitForFile("/never")
      const running = yield* Effect.forkChild(
        run(
          [
            test("its own", { machines, waitTimeout: "10 seconds" }, body),
            test("none", { machines }, body),
            test("a call's", { machines, waitTimeout: "10 seconds" }, ({ a }) =>
              a.waitForFile("/never", { timeout: "1 second" })
            )
          ],
          { guests: { a: never }, timeScale: 3 }
        ).pipe(Effect.provideService(Deadlines, { ...(yield* Deadlines), wait: Duration.seconds(20) }))
      )
      yield* TestClock.adjust("3 minutes")
      const results = yield* Fiber.join(running)
      assert.deepStrictEqual(
        results.map(({ failure }) => /waited (\S+)/.exec(failure?.message ?? "")?.[1]),
        ["30s", "1m", "1s"]
      )
    })
  )

  it.effect("refuses a time for waits that is none", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        run([test("soon", { waitTimeout: "soon" as Duration.Input }, () => Effect.void)])
      )
      assert.include(error.message, "waitTimeout must be a duration above zero")
    })
  )

  it.effect("refuses options that it does not have, or that are of a wrong type", () =>
    Effect.gen(function* () {
      const wrong = (options: object) => Effect.map(Effect.flip(run([], {}, 0, options)), ({ message }) => message)
      assert.strictEqual(
        yield* wrong({ concurency: 2 }),
        'Runner.run: unknown option "concurency"; did you mean "concurrency"?'
      )
      assert.strictEqual(
        yield* wrong({ concurrency: 0 }),
        'Runner.run: concurrency must be a whole number of at least 1, or "auto", got 0'
      )
      assert.strictEqual(yield* wrong({ evidence: "no" }), 'Runner.run: evidence must be true or false, got "no"')
      assert.strictEqual(
        yield* wrong({ snapshots: { fodler: "x" } }),
        'Runner.run: unknown option "fodler" of snapshots; did you mean "folder"?'
      )
    })
  )

  it.effect("refuses a test that is declared in words it does not know, before anything is started", () =>
    Effect.gen(function* () {
      const nodes = { nodes: { a: offline() } } as object
      const error = yield* Effect.flip(run([test("nixos", nodes, () => Effect.void)]))
      assert.strictEqual(error._tag, "InvalidTest")
      assert.match(
        error.message,
        /^test\/driver\/Runner\.test\.ts:\d+:\d+: test "nixos": unknown option "nodes"; did you mean "machines"\?$/
      )
      const half = yield* Effect.flip(
        run([test("half", { machines: { a: offline({ cpus: 0.5 }) } }, () => Effect.void)])
      )
      assert.match(half.message, /^test\/driver\/Runner\.test\.ts:\d+:\d+: a: cpus must be a whole number/)
    })
  )

  it.effect("fails a test whose body gives no Effect, or one that nobody ran, and says what to write", () =>
    Effect.gen(function* () {
      const example = "write ({ web }) => Effect.gen(function* () { … })"
      const wrong: ReadonlyArray<readonly [body: () => unknown, words: string]> = [
        [() => undefined, `what the body returns, "undefined" is not an Effect; ${example}`],
        [() => Promise.resolve(1), "is a Promise, not an Effect; write Effect.gen"],
        [
          () => Effect.succeed(Effect.never),
          'the value of the body, "Effect" is an Effect that was never run; write return yield*'
        ],
        [
          () => Effect.sync(() => Effect.fail("never")),
          'the value of the body, "Failure(Cause([Fail(\\"never\\")]))" is a failure that was returned, not raised; write return yield* Effect.fail'
        ]
      ]
      const results = yield* run(wrong.map(([body], index) => test(`${index}`, {}, body as () => Effect.Effect<void>)))
      for (const [index, [, words]] of wrong.entries()) {
        assert.strictEqual(results[index]?.status, "failed")
        assert.include(results[index]?.failure?.message ?? "", words)
      }
    })
  )

  it.effect("passes a test whose value is an error, or an Exit of success", () =>
    Effect.gen(function* () {
      const results = yield* run([
        test("error", {}, () => Effect.flip(Effect.fail(new Runner.InvalidTest({ test: "", reason: "" })))),
        test("exit", {}, () => Effect.exit(Effect.succeed(1)))
      ])
      assert.deepStrictEqual(
        results.map(({ status }) => status),
        ["passed", "passed"]
      )
    })
  )

  it.effect("gives a result for each test, in order, and goes on after a failure", () =>
    Effect.gen(function* () {
      const results = yield* run([
        test("fails", {}, () => Effect.fail("no")),
        test("dies", {}, () => Effect.die(new Error("a defect"))),
        test("throws", {}, () => {
          throw new Error("no Effect at all")
        }),
        test("passes", { machines: { a: offline() } }, ({ a }) => a.succeed("true"))
      ])
      assert.deepStrictEqual(
        results.map(({ failure, name, status }) => [name, status, failure?.message]),
        [
          ["fails", "failed", "no"],
          ["dies", "failed", "a defect"],
          ["throws", "failed", "no Effect at all"],
          ["passes", "passed", undefined]
        ]
      )
    })
  )

  it.effect("ends a test that takes too long, and says so", () =>
    Effect.gen(function* () {
      const running = yield* Effect.forkChild(
        run([
          test("hangs", { machines: { a: offline() }, timeout: "1 minute" }, () => Effect.never),
          test("goes on", {}, () => Effect.void)
        ])
      )
      yield* TestClock.adjust("2 minutes")
      const results = yield* Fiber.join(running)
      assert.deepStrictEqual(
        results.map(({ status }) => status),
        ["timedOut", "passed"]
      )
      assert.include(results[0]?.failure?.message, "the test timed out after 1m")
    })
  )

  /** What comes of a test of five seconds whose time goes by from the event on that is waited for. */
  const late = Effect.fnUntraced(function* (
    machines: ReadonlyArray<string>,
    body: TestCase["body"],
    from: (event: RunEvent) => boolean
  ) {
    const seen = Deferred.makeUnsafe<void>()
    const declared = Object.fromEntries(machines.map((name) => [name, offline()]))
    const guests = ({ name }: { readonly name: string }) =>
      name === "slow" ? { bootTime: Infinity } : { commands: [[/sleep \d00$/, { delay: "1 day" }]] as const }
    const running = yield* run([test("late", { machines: declared, timeout: "5 seconds" }, body)], { guests }).pipe(
      Effect.provideService(Reporter, (event) => (from(event) ? Deferred.succeed(seen, undefined) : Effect.void)),
      Effect.forkChild
    )
    // A boot has short pauses.
    const passing = Effect.andThen(TestClock.adjust("1 millis"), TestClock.withLive(Effect.sleep("5 millis")))
    yield* Effect.raceFirst(Deferred.await(seen), Effect.forever(passing))
    yield* TestClock.adjust("1 minute")
    return (yield* Fiber.join(running))[0]!
  })
  const toSubtest = ({ _tag }: RunEvent) => _tag === "SubtestStarted"
  const tooLate = "the test timed out after 5s"

  it.effect("says what was under way when a test's time was up, of the subtest that it was in as well", () =>
    Effect.gen(function* () {
      const sleeping = (web: Machine | undefined) => Effect.delay(web!.succeed("sleep 100"), "2 seconds")
      const { failure, status, subtests } = yield* late(
        ["web"],
        ({ web }, driver) => Effect.andThen(web!.succeed("true"), driver.subtest("part", sleeping(web))),
        toSubtest
      )
      assert.strictEqual(status, "timedOut")
      assert.strictEqual(failure?.message, `${tooLate} while running "sleep 100" on web for 3s`)
      assert.deepStrictEqual(failure?.subtest, ["part"])
      assert.deepStrictEqual(
        subtests.map((part) => [part.status, part.failure?.kind, part.failure?.message]),
        [["failed", "TestTimeout", failure?.message]]
      )
    })
  )

  it.effect("says all that was under way when a test's time was up", () =>
    Effect.gen(function* () {
      const both = yield* late(
        ["web", "client"],
        ({ client, web }, driver) =>
          Effect.gen(function* () {
            yield* web!.succeed("true")
            yield* client!.succeed("true")
            const all = [web!.succeed("sleep 100"), client!.succeed("sleep 200")]
            yield* driver.subtest("part", Effect.all(all, { concurrency: "unbounded" }))
          }),
        toSubtest
      )
      const lines = ['running "sleep 100" on web for 5s', 'running "sleep 200" on client for 5s']
      assert.strictEqual(both.failure?.message, `${tooLate}\nwhile:\n${lines.map((line) => `  ${line}`).join("\n")}`)
      const boots = (event: RunEvent) => event._tag === "MachineEvent" && event.event._tag === "MachineState"
      const slow = yield* late(["slow"], () => Effect.void, boots)
      assert.strictEqual(slow.failure?.message, `${tooLate} while starting slow for 5s`)
    })
  )

  it.effect("says of a subtest that the script interrupts that it was", () =>
    Effect.gen(function* () {
      const part = (_: unknown, driver: DriverService) =>
        Effect.raceFirst(driver.subtest("part", Effect.never), Effect.sleep("1 second"))
      const { status, subtests } = yield* late([], part, toSubtest)
      assert.strictEqual(status, "passed")
      assert.strictEqual(subtests[0]?.failure?.message, "interrupted before it ended")
    })
  )

  it.effect("does not count the building of images against a test's time", () =>
    Effect.gen(function* () {
      const building = (after: Duration.Input) =>
        test(`builds, and sleeps for ${String(after)}`, { timeout: "1 minute" }, (_, driver) =>
          Effect.gen(function* () {
            yield* Effect.sleep("30 seconds")
            yield* driver.machine("m", offline({ autoStart: false }))
            yield* Effect.sleep(after)
          })
        )
      const running = yield* Effect.forkChild(run([building("20 seconds"), building("40 seconds")], {}, "10 minutes"))
      yield* TestClock.adjust("1 hour")
      const results = yield* Fiber.join(running)
      assert.deepStrictEqual(
        results.map(({ excludedMillis, millis, status }) => [status, millis, excludedMillis]),
        [
          ["passed", 50_000, 600_000],
          ["timedOut", 60_000, 600_000]
        ]
      )
    })
  )

  it.effect("fails a test whose machine does not boot", () =>
    Effect.gen(function* () {
      const running = yield* Effect.forkChild(
        run([test("boots", { machines: { a: offline() } }, () => Effect.void)], {
          guests: { a: { bootTime: Infinity } }
        })
      )
      yield* TestClock.adjust("10 minutes")
      const [result] = yield* Fiber.join(running)
      assert.strictEqual(result?.failure?.kind, "BootFailed")
    })
  )

  it.effect("fails a test at its end for subtests that failed softly", () =>
    Effect.gen(function* () {
      const [result] = yield* run([
        test("soft", {}, (_, driver) =>
          driver
            .subtest("one", Effect.fail("the first"), { softFail: true })
            .pipe(Effect.andThen(driver.subtest("two", Effect.void)))
        )
      ])
      assert.strictEqual(result?.status, "failed")
      assert.strictEqual(result?.failure?.message, "the first")
      assert.deepStrictEqual(
        result?.subtests.map(({ status }) => status),
        ["failed", "passed"]
      )
    })
  )

  it.effect("shows all subtests that failed softly, and where the test is when nothing tells more", () =>
    Effect.gen(function* () {
      const results = yield* run([
        test("soft", {}, (_, driver) =>
          driver
            .subtest("one", Effect.fail("the first"), { softFail: true })
            .pipe(Effect.andThen(driver.subtest("two", Effect.fail("the second"), { softFail: true })))
        ),
        test("both", {}, (_, driver) =>
          driver
            .subtest("one", Effect.fail("the first"), { softFail: true })
            .pipe(Effect.andThen(Effect.fail("the end")))
        )
      ])
      const [soft, both] = results.map(({ failure }) => (failure === undefined ? "" : Failure.render(failure)))
      for (const words of ["the first", 'subtest "two" failed too', "the second"]) assert.include(soft, words)
      for (const words of ["the end", 'subtest "one" failed too', "the first"]) assert.include(both, words)
      for (const { failure } of results[0]?.subtests ?? []) assert.include(failure?.place?.file, "Runner.test.ts")
    })
  )

  it.effect("tells the evidence of subtests that failed softly once, in the result of the test", () =>
    Effect.gen(function* () {
      const lines = Array.from({ length: 20 }, (_, line) => `console <${line}>`)
      const guest: Mock.MockGuest = { console: lines.join("\n"), commands: [["crash", { ends: { exitCode: 1 } }]] }
      const softly = { softFail: true } as const
      yield* run(
        [
          test("soft", { machines: { a: offline() } }, ({ a }, driver) =>
            Effect.gen(function* () {
              yield* driver.subtest("outer", driver.subtest("inner", a.succeed("true")))
              yield* driver.subtest("dies", a.succeed("crash"), softly)
              yield* driver.subtest("is dead", a.waitForFile("/there"), softly)
            })
          )
        ],
        { guests: { a: guest } }
      ).pipe(Effect.provide(TerminalReport.layer({ colors: false })))
      const [out, err] = [yield* TestConsole.logLines, yield* TestConsole.errorLines].map((said) => said.join("\n"))
      for (const line of lines) assert.deepStrictEqual([out?.split(line).length, err?.split(line).length], [2, 1], line)
      assert.include(out, 'subtest "is dead" failed too')
      assert.include(out, "console: as above")
      assert.match(
        err ?? "",
        /✘ dies .*\n {4}MachineDied: a died while .*: its hypervisor exited with 1\n {2}subtest: is dead/
      )
    })
  )

  it.effect("shows subtests within others as such, and tells what each failed with once", () =>
    Effect.gen(function* () {
      const softly = { softFail: true } as const
      const nested = test("nested", {}, (_, driver) =>
        Effect.gen(function* () {
          yield* driver.subtest(
            "outer",
            Effect.gen(function* () {
              yield* driver.subtest("passes", Effect.void)
              yield* driver.subtest("is soft", Effect.fail(new Error("the first")), softly)
            })
          )
          yield* driver.subtest("soft around", driver.subtest("is hard", Effect.fail(new Error("the second"))), softly)
          yield* driver.subtest("handles", Effect.ignore(driver.subtest("is ignored", Effect.fail("nothing"))))
          yield* driver.subtest("hard around", driver.subtest("ends it", Effect.fail(new Error("the last"))))
        })
      )
      const [result] = yield* run([nested]).pipe(Effect.provide(TerminalReport.layer({ colors: false })))
      const [out, err] = [yield* TestConsole.logLines, yield* TestConsole.errorLines].map((said) => said.join("\n"))
      const marks = (err ?? "").split("\n").filter((line) => /^ *[✔✘] /.test(line))
      assert.deepStrictEqual(
        marks.map((line) => line.replace(/ \(.*/, "")),
        [
          "    ✔ passes",
          "    ✘ is soft",
          "  ✘ outer",
          "    ✘ is hard",
          "  ✘ soft around",
          "    ✘ is ignored",
          "  ✔ handles",
          "    ✘ ends it",
          "  ✘ hard around"
        ]
      )
      assert.include(err, "\n    subtest: passes\n")
      for (const words of ["the first", "the second", "the last"]) {
        assert.lengthOf((err ?? "").split(`\n      ${words}`), 2, words)
        assert.lengthOf((out ?? "").split(`  ${words}`), 2, words)
      }
      assert.match(out ?? "", /✘ nested failed .*\n {2}subtest "hard around › ends it":\n/)
      assert.include(out, 'subtest "outer › is soft" failed too:')
      assert.include(out, 'subtest "soft around › is hard" failed too:')
      assert.deepStrictEqual(result?.subtests.map(({ name, within }) => [...within, name].join("/")).slice(0, 3), [
        "outer/passes",
        "outer/is soft",
        "outer"
      ])
    })
  )

  it.effect("says how the machines of a failed test are opened, in words that a shell takes as they are", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const failing = (name: string) => test(name, { machines: { a: offline() } }, () => Effect.fail("no"))
      const told = Effect.provideService(Reporter, (event) =>
        Effect.sync(() => void (event._tag === "Log" && lines.push(event.line)))
      )
      for (const output of ["plain", "$HOME"]) {
        yield* told(run([failing("fails")], {}, 0, { output, snapshotOnFailure: true }))
      }
      assert.match(lines[0] ?? "", /^saved the machines; inspect them with: npx vmtest resume [^'"]*\/plain\/fails$/)
      assert.match(lines[1] ?? "", /^saved the machines; inspect them with: npx vmtest resume '[^'"]*\/\$HOME\/fails'$/)
    })
  )

  it.effect("saves the machines also of a test whose only failure is an Effect that it never ran", () =>
    Effect.gen(function* () {
      const forgets = (name: string, unrun?: "warn") =>
        test(name, { machines: { a: offline() }, unrun }, ({ a }) => Effect.sync(() => void a.succeed("true")))
      const lines: Array<string> = []
      const told = Effect.provideService(Reporter, (event) =>
        Effect.sync(() => void (event._tag === "Log" && lines.push(event.line)))
      )
      const results = yield* told(run([forgets("fails"), forgets("warns", "warn")], {}, 0, { snapshotOnFailure: true }))
      assert.deepStrictEqual(
        results.map(({ failure, status }) => [status, failure?.kind]),
        [
          ["failed", "UnrunEffect"],
          ["passed", undefined]
        ]
      )
      assert.lengthOf(
        lines.filter((line) => line.startsWith("saved the machines")),
        1
      )
    })
  )

  it.effect("passes a test that dealt with its subtest's failure itself", () =>
    Effect.gen(function* () {
      const [result] = yield* run([
        test("handles", {}, (_, driver) => Effect.ignore(driver.subtest("x", Effect.fail("no"))))
      ])
      assert.strictEqual(result?.status, "passed")
      assert.strictEqual(result?.subtests[0]?.status, "failed")
    })
  )

  it.effect("takes a plain Effect that asks for the driver, and gives its value", () =>
    Effect.gen(function* () {
      const [result] = yield* run(
        [
          fromEffect(
            "eval",
            Effect.gen(function* () {
              const driver = yield* Driver
              const machine = yield* driver.machine("m", offline())
              return yield* machine.succeed("hello")
            })
          )
        ],
        { guests: { m: { commands: [["hello", "hi\n"]] } } }
      )
      assert.strictEqual(result?.value, "hi\n")
    })
  )

  it.effect("tells apart what tests of one short name report and log", () =>
    Effect.gen(function* () {
      const logged: Array<string | undefined> = []
      const events: Array<RunEvent> = []
      const same = (name: string) =>
        test(name, {}, (_, driver) =>
          Effect.andThen(
            driver.log("a line"),
            Effect.sync(() => logged.push(currentLabel()))
          )
        )
      yield* run([
        same("boots"),
        { ...same("boots"), file: "another.ts" },
        same(`${"x".repeat(40)} one`),
        same(`${"x".repeat(40)} two`)
      ]).pipe(Effect.provideService(Reporter, (event) => Effect.sync(() => void events.push(event))))
      assert.deepStrictEqual(labelsOf(["boots", "boots", "boots (2)", "boots"]), [
        "boots",
        "boots (2)",
        "boots (2) (2)",
        "boots (3)"
      ])
      const long = `${"x".repeat(29)}…`
      assert.deepStrictEqual(logged, ["boots", "boots (2)", long, `${long} (2)`])
      assert.deepStrictEqual(
        events.flatMap(({ _tag, label }) => (_tag === "Log" ? [label] : [])),
        [undefined, "boots (2)", undefined, `${long} (2)`]
      )
    })
  )

  it.effect("refuses a body that asks for a machine which is not declared, before anything starts", () =>
    Effect.gen(function* () {
      const taken = ({ wbe }: Record<string, Machine>) => wbe!.succeed("true")
      const used = (machines: Record<string, Machine>) =>
        Effect.gen(function* () {
          yield* machines.web!.succeed("true")
          yield* machines.wbe!.succeed("true")
        })
      const events: Array<RunEvent> = []
      const refused = (
        machines: TestCase["machines"],
        body: (machines: Record<string, Machine>) => Effect.Effect<unknown, unknown>
      ) =>
        Effect.flip(run([test("fine", {}, () => Effect.void), test("near", { machines }, body)])).pipe(
          Effect.provideService(Reporter, (event) => Effect.sync(() => void events.push(event))),
          Effect.map(({ message }) => message.slice(message.indexOf("test ")))
        )
      const machines = { web: offline(), client: offline() }
      const message =
        'test "near": the body asks for the machine "wbe"; its machines are web, client; did you mean "web"?'
      assert.strictEqual(yield* refused(machines, taken), message)
      assert.strictEqual(yield* refused(machines, used), message)
      assert.strictEqual(
        yield* refused({}, taken),
        'test "near": the body asks for the machine "wbe"; the test declares none'
      )
      assert.deepStrictEqual(events, [])
    })
  )

  it.effect("says which machines there are when a body asks for another one while it runs", () =>
    Effect.gen(function* () {
      // The name is not in the text of the body.
      const name = "wbe"
      const misspelt = (machines: Record<string, Machine>) => machines[name]!.succeed("true")
      const results = yield* run([
        test("near", { machines: { web: offline(), client: offline() } }, misspelt),
        test("none", {}, misspelt),
        test("of the driver", { machines: { web: offline() } }, (_, driver) =>
          (driver.machines as Record<string, Machine>).wbe!.succeed("true")
        ),
        test("made later", {}, (_, driver) =>
          Effect.andThen(driver.machine("late", offline()), () => driver.machines.late!.succeed("true"))
        )
      ])
      assert.deepStrictEqual(
        results.map(({ failure }) => failure?.message),
        [
          'the test has no machine "wbe"; its machines are client, web; did you mean "web"?',
          'the test has no machine "wbe"; the test declares none',
          'the test has no machine "wbe"; its machines are web; did you mean "web"?',
          undefined
        ]
      )
      assert.include(results[0]?.failure?.place?.text, "machines[name]")
      // vitest and others show the first frame of the stack.
      const thrown = Failure.errorOf(results[0]!.failure!.cause) as Error
      assert.include(
        thrown.stack?.split("\n").find((line) => /^\s+at /.test(line)),
        "Runner.test.ts"
      )
    })
  )

  it.effect("fails only the tests that need an image which cannot be built", () =>
    Effect.gen(function* () {
      const bad = { machines: { a: offline({ image: { _tag: "TinyImage", kernelParameters: "x" } }) } } as const
      let bodies = 0
      const body = () => Effect.sync(() => void bodies++)
      const results = yield* run([
        test("bad", bad, body),
        test("good", { machines: { a: offline() } }, body),
        test("worse", bad, body)
      ])
      assert.deepStrictEqual(
        results.map(({ failure, status }) => [status, failure?.kind]),
        [
          ["failed", "ImageUnavailable"],
          ["passed", undefined],
          ["failed", "ImageUnavailable"]
        ]
      )
      assert.include(results[0]?.failure?.message, "not to be had")
      assert.include(results[0]?.failure?.place?.file, "Runner.test.ts")
      assert.strictEqual(bodies, 1)
    })
  )

  it.effect("fails only the tests that need a program which is not installed", () =>
    Effect.gen(function* () {
      const { PATH } = process.env
      yield* Effect.addFinalizer(() => Effect.sync(() => (process.env.PATH = PATH)))
      process.env.PATH = "/nowhere"
      const results = yield* run([
        test(
          "sealed",
          { machines: { a: offline({ image: Image.tiny({ kernel: "generic" }), devices: ["tpm"] }) } },
          () => Effect.void
        ),
        test("good", { machines: { a: offline() } }, () => Effect.void),
        test("joined", { machines: { a: { image: Image.startScript("/bin/true"), vlans: [1] } } }, () => Effect.void)
      ])
      assert.deepStrictEqual(
        results.map(({ failure, status }) => [status, failure?.kind, failure?.message]),
        [
          ["failed", "ToolMissing", "swtpm is not installed: apt-get install swtpm"],
          ["passed", undefined, undefined],
          ["failed", "ToolMissing", "vde_switch is not installed: apt-get install vde2"]
        ]
      )
      assert.include(results[0]?.failure?.place?.file, "Runner.test.ts")
    })
  )

  for (const [what, declared, says] of [
    ["a machine that cannot be meant", test("t", { machines: { a_b: offline() } }, () => Effect.void), /host name/],
    [
      "more machines than addresses",
      test(
        "t",
        { machines: Object.fromEntries(Array.from({ length: 255 }, (_, n) => [`m${n}`, offline()])) },
        () => Effect.void
      ),
      /a test can have at most 254 machines, got 255/
    ],
    [
      "a network that cannot be",
      test("t", { networks: { lan: { vlan: 300 } } }, () => Effect.void),
      /test "t": networks\.lan\.vlan must be a whole number from 1 to 254, got 300$/
    ],
    [
      "two networks with one number",
      test("t", { networks: { lan: { vlan: 7 }, dmz: { vlan: 7 } } }, () => Effect.void),
      /test "t": networks\.dmz\.vlan must be a number that no other network has, got 7, which lan has$/
    ],
    [
      "a network with an unknown option",
      test("t", { networks: { lan: { mtuu: 9000 } as object } }, () => Effect.void),
      /test "t": unknown option "mtuu" of networks\.lan; did you mean "mtu"\?$/
    ],
    [
      "a machine on a network that it does not declare",
      test("t", { networks: { lan: {} }, machines: { web: offline({ vlans: ["lna"] }) } }, () => Effect.void),
      /web: unknown network "lna"; did you mean "lan"\?$/
    ],
    [
      "two machines with one address",
      test(
        "t",
        { machines: { a: offline({ vlans: [{ vlan: 1, ipv4: "192.168.1.2" }] }), b: offline({ vlans: [1] }) } },
        () => Effect.void
      ),
      /b: eth1 must have an address of its own, got 192\.168\.1\.2 on VLAN 1, which eth1 of a has$/
    ],
    [
      "a timeout that is no time",
      test("t", { timeout: "soon" as "1 minute" }, () => Effect.void),
      /timeout must be a duration above zero.*got "soon"/
    ]
  ] as const) {
    it.effect(`starts nothing when one test has ${what}`, () =>
      Effect.gen(function* () {
        let ran = false
        const error = yield* Effect.flip(run([test("first", {}, () => Effect.sync(() => (ran = true))), declared]))
        assert.match(error.message, says)
        assert.isFalse(ran)
      })
    )
  }
})

describe("a script's default export", () => {
  const one = test("one", {}, () => Effect.void)
  it("is a test, an array of tests, or an Effect", () => {
    assert.deepStrictEqual(fromExport("s", one), [one])
    assert.deepStrictEqual(fromExport("s", [one, one]), [one, one])
    assert.strictEqual(fromExport("s", Effect.void)?.[0]?.name, "s")
    for (const none of [undefined, 1, {}, [1], () => Effect.void]) assert.isUndefined(fromExport("s", none))
  })
})
