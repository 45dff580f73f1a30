import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { raceDeathStream } from "../../src/guest/Action.ts"
import { InvalidArgument } from "../../src/guest/MachineError.ts"
import * as PollingCondition from "../../src/guest/PollingCondition.ts"
import * as Spawn from "../../src/guest/Spawn.ts"
import type { Machine } from "../../src/machine/Machine.ts"
import * as Recording from "../../src/screen/Recording.ts"
import { temporaryFolder } from "../driver/storeSupport.ts"
import { driverOf, offline } from "../driver/support.ts"
import { guestOn, shellOf } from "../machine/support.ts"
import { untyped } from "../untyped.ts"

const broken = (after: string) => Effect.delay(Effect.fail(new Error("it is dark")), after as "1 second")

describe("a polling condition", () => {
  it.effect("that breaks between two waits ends the next one", () =>
    Effect.gen(function* () {
      const conditions = yield* PollingCondition.make
      yield* conditions.add("the light is on", broken("80 millis"))
      const rounds = Effect.gen(function* () {
        for (let round = 0; round < 40; round++) {
          yield* conditions.guard(Effect.sleep("50 millis"))
          yield* Effect.sleep("60 millis")
        }
      })
      const running = yield* Effect.forkChild(Effect.flip(rounds))
      yield* TestClock.adjust("160 millis")
      const error = running.pollUnsafe()
      assert.isDefined(error)
      assert.include((yield* Fiber.join(running)).message, '"the light is on" no longer holds: it is dark')
    })
  )

  it.effect("ends one wait for each time that it was found broken", () =>
    Effect.gen(function* () {
      const conditions = yield* PollingCondition.make
      let holds = false
      yield* conditions.add(
        "the light is on",
        Effect.delay(
          Effect.sync(() => holds),
          "80 millis"
        ),
        {
          schedule: Schedule.spaced("1 second")
        }
      )
      const short = conditions.guard(Effect.sleep("50 millis"))
      yield* Effect.forkChild(short)
      yield* TestClock.adjust("100 millis")
      assert.strictEqual((yield* Effect.flip(short))._tag, "PollingConditionFailed")
      const next = yield* Effect.forkChild(short)
      yield* TestClock.adjust("50 millis")
      yield* Fiber.join(next)
      // Found broken again when that wait was over.
      const checking = yield* Effect.forkChild(conditions.guard(Effect.sleep("1 second")))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(checking)
      yield* TestClock.adjust("100 millis")
      holds = true
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Effect.flip(short))._tag, "PollingConditionFailed")
      const last = yield* Effect.forkChild(conditions.guard(Effect.sleep("3 seconds")))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(last)
    })
  )

  it.effect("is forgotten with its scope", () =>
    Effect.gen(function* () {
      const conditions = yield* PollingCondition.make
      const scoped = Effect.gen(function* () {
        yield* conditions.add("the light is on", Effect.succeed(false).pipe(Effect.delay("80 millis")))
        yield* conditions.guard(Effect.sleep("50 millis"))
        yield* Effect.sleep("50 millis")
      })
      const running = yield* Effect.forkChild(Effect.scoped(scoped))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(running)
      yield* conditions.guard(Effect.void)
    })
  )

  it.effect("holds for the part of a test that it was added in, and for no wait after that", () =>
    Effect.gen(function* () {
      const { machines, service } = yield* driverOf(
        { box: offline() },
        { guests: { box: { commands: [["short", { delay: "50 millis" }]] } } }
      )
      const box = machines.box!
      yield* box.start()
      let on = true
      const light = Effect.sync(() => on)
      const part = Effect.gen(function* () {
        yield* service.pollingCondition("the light is on", light, { schedule: Schedule.spaced("20 millis") })
        yield* box.succeed("short")
        on = false
        return yield* Effect.flip(box.succeed("short"))
      })
      const running = yield* Effect.forkChild(Effect.scoped(part))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(running))._tag, "PollingConditionFailed")
      const after = yield* Effect.forkChild(box.succeed("short"))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(after)
    })
  )

  it.effect("does not hold when its check ends in a way that is none", () =>
    Effect.gen(function* () {
      const conditions = yield* PollingCondition.make
      const checks: Readonly<Record<string, Effect.Effect<unknown>>> = {
        "it is dark": Effect.die(new Error("it is dark")),
        "Not a valid effect": Effect.suspend(() => untyped<Effect.Effect<void>>(undefined)),
        interrupted: Effect.interrupt
      }
      for (const [reason, check] of Object.entries(checks)) {
        const waiting = Effect.andThen(conditions.add("the light is on", check), conditions.guard(Effect.never))
        const failing = yield* Effect.forkChild(Effect.flip(Effect.scoped(waiting)))
        yield* TestClock.adjust("3 seconds")
        assert.isDefined(failing.pollUnsafe(), reason)
        assert.include((yield* Fiber.join(failing)).message, reason)
      }
    })
  )

  it.effect("is refused when its check is no Effect, which would be no check", () =>
    Effect.gen(function* () {
      const { service } = yield* driverOf({})
      const added = (check: unknown) => service.pollingCondition("the light is on", check as Effect.Effect<void>)
      for (const [check, reason] of [
        [() => Effect.void, "is a function, not an Effect"],
        [function* () {}, "wrap it in Effect.gen"],
        [Promise.resolve(true), "is a Promise, not an Effect"]
      ]) {
        const exit = yield* Effect.exit(added(check))
        assert.isTrue(Exit.isFailure(exit))
        const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        assert.instanceOf(error, InvalidArgument)
        assert.include(String(error), "driver.pollingCondition: the check")
        assert.include(String(error), String(reason))
      }
    })
  )

  it.effect("is checked every two seconds, by any other schedule, and no more once that ends", () =>
    Effect.gen(function* () {
      const conditions = yield* PollingCondition.make
      const checks = { default: 0, growing: 0, ending: 0 }
      const count = (name: keyof typeof checks) => Effect.sync(() => checks[name]++)
      yield* conditions.add("default", count("default"))
      yield* conditions.add("growing", count("growing"), { schedule: Schedule.exponential("1 second") })
      yield* conditions.add("ending", count("ending"), { schedule: Schedule.recurs(2) })
      yield* Effect.forkChild(conditions.guard(Effect.never))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(checks, { default: 1, growing: 2, ending: 3 })
      // After 1, 2, 4 and 8 seconds.
      yield* TestClock.adjust("14 seconds")
      assert.deepStrictEqual(checks, { default: 8, growing: 5, ending: 3 })
    })
  )

  it.effect("is refused with a schedule that is none, or an option that there is not", () =>
    Effect.gen(function* () {
      const { service } = yield* driverOf({})
      for (const [options, message] of [
        [{ schedule: "2 seconds" }, 'must be a Schedule, such as Schedule.spaced("2 seconds")'],
        [{ interval: "2 seconds" }, 'unknown option "interval"; the options are schedule']
      ] as const) {
        const exit = yield* Effect.exit(service.pollingCondition("x", Effect.void, options as {}))
        assert.include(Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "", message)
      }
    })
  )

  it.effect("ends what waits for a boot, and what is read as a stream", () =>
    Effect.gen(function* () {
      const { machines, service } = yield* driverOf(
        { slow: offline({ autoStart: false }), box: offline() },
        { guests: { slow: { bootTime: "1 hour" }, box: { commands: [["hang", { delay: "1 hour" }]] } } }
      )
      const { box, slow } = machines as { readonly box: Machine; readonly slow: Machine }
      yield* box.start()
      const spawned = yield* box.spawn("hang")
      const waits: Readonly<Record<string, Effect.Effect<unknown, { readonly _tag: string }>>> = {
        start: slow.start(),
        command: slow.succeed("true"),
        spawn: slow.spawn("true", { detached: true }),
        stdout: Stream.runDrain(spawned.stdout),
        stderr: Stream.runDrain(spawned.stderr),
        console: Stream.runDrain(box.console),
        state: Stream.runDrain(box.state),
        fork: service.fork(() => Effect.void),
        joinAll: service.joinAll()
      }
      const waiting = yield* Effect.forEach(Object.entries(waits), ([name, wait]) =>
        Effect.map(Effect.forkChild(Effect.flip(wait)), (fiber) => [name, fiber] as const)
      )
      yield* TestClock.adjust("1 second")
      for (const [name, fiber] of waiting) assert.isUndefined(fiber.pollUnsafe(), name)
      yield* service.pollingCondition("the light is on", broken("1 second"))
      yield* TestClock.adjust("2 seconds")
      for (const [name, fiber] of waiting) {
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "PollingConditionFailed", name)
      }
    })
  )

  it.effect("ends what is done to a command that runs", () =>
    Effect.gen(function* () {
      const shell = shellOf(() => Effect.never)
      const stuck = (command: string) =>
        Effect.map(shell.spawn(command), (process) => ({
          ...process,
          write: () => Effect.never,
          end: Effect.never,
          signal: () => Effect.never
        }))
      const { conditions, guest } = yield* guestOn({ ...shell, spawn: stuck })
      const spawned = yield* Spawn.make(guest).spawn("hang")
      yield* conditions.add("the light is on", broken("1 second"))
      const all: ReadonlyArray<Effect.Effect<void, { readonly _tag: string }>> = [
        spawned.write("x"),
        spawned.end(),
        spawned.signal("INT")
      ]
      const waiting = yield* Effect.forEach(all, (one) => Effect.forkChild(Effect.flip(one)))
      yield* TestClock.adjust("2 seconds")
      for (const fiber of waiting) {
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "PollingConditionFailed")
      }
    })
  )

  it.effect("is as good as a network that is given up: that ends streams, too", () =>
    Effect.gen(function* () {
      const { conditions, guest } = yield* guestOn(shellOf(() => Effect.never))
      const reading = yield* Effect.forkChild(
        Effect.flip(Stream.runDrain(raceDeathStream(guest, "reading", Stream.never)))
      )
      yield* TestClock.adjust("1 second")
      yield* conditions.abort("VLAN 1 is up", "its switch ended")
      yield* TestClock.adjust("1 second")
      assert.include((yield* Fiber.join(reading)).message, "its switch ended")
    })
  )
})

describe("what goes on behind the test's back", () => {
  /** A machine, and a condition that was found broken while nothing was waited for. */
  const found = Effect.gen(function* () {
    const { machines, service } = yield* driverOf(
      { box: offline() },
      { guests: { box: { commands: [["short", { delay: "50 millis" }]] } } }
    )
    const box = machines.box!
    yield* box.start()
    yield* service.pollingCondition("the light is on", broken("80 millis"), { schedule: Schedule.spaced("1 hour") })
    const short = yield* Effect.forkChild(box.succeed("short"))
    yield* TestClock.adjust("100 millis")
    yield* Fiber.join(short)
    return { box, service }
  })

  it.effect("leaves a broken condition to the test: the names of a later machine", () =>
    Effect.gen(function* () {
      const { box, service } = yield* found
      yield* service.machine("late", offline({ autoStart: false }))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Effect.flip(box.succeed("true")))._tag, "PollingConditionFailed")
    })
  )

  it.effect(
    "leaves a broken condition to the test, which asks for the console of a machine that does not run yet",
    () =>
      Effect.gen(function* () {
        const { service } = yield* found
        const late = yield* service.machine("late", offline({ autoStart: false }))
        assert.strictEqual((yield* Effect.flip(late.getConsoleLog()))._tag, "PollingConditionFailed")
      })
  )

  it.effect("leaves a broken condition to the test: the start of a later machine", () =>
    Effect.gen(function* () {
      const { box, service } = yield* found
      yield* box.crash()
      const late = yield* service.machine("late", offline())
      yield* TestClock.adjust("1 second")
      assert.isTrue(yield* late.isUp())
      assert.strictEqual((yield* Effect.flip(late.succeed("true")))._tag, "PollingConditionFailed")
    })
  )

  it.effect("leaves a broken condition to the test: the looks of a recording", () =>
    Effect.gen(function* () {
      const { conditions, guest } = yield* guestOn(
        shellOf(() => Effect.never),
        { output: yield* temporaryFolder }
      )
      let looks = 0
      const frame = { width: 1, height: 1, data: new Uint8Array(4) }
      const capture = conditions.guard(
        Effect.sync(() => {
          looks += 1
          return frame
        })
      )
      const unused = () => Effect.void
      const display = { name: "the display", capture, press: unused, touch: unused }
      yield* Recording.make(guest, display).recordVideo("film", { format: "apng" })
      yield* conditions.add("the light is on", broken("80 millis"), { schedule: Schedule.spaced("1 hour") })
      const short = yield* Effect.forkChild(conditions.guard(Effect.sleep("50 millis")))
      yield* TestClock.adjust("100 millis")
      yield* Fiber.join(short)
      yield* TestClock.adjust("1 second")
      assert.isAbove(looks, 3)
      assert.strictEqual((yield* Effect.flip(conditions.guard(Effect.void)))._tag, "PollingConditionFailed")
    })
  )
})
