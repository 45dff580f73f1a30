import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type { Capability } from "../../src/backends/Backend.ts"
import { Deadlines } from "../../src/guest/Deadlines.ts"
import type { Machine, WaitOptions } from "../../src/machine/Machine.ts"
import { CommandRejected } from "../../src/transport/ShellError.ts"
import { driverOf, offline } from "../driver/support.ts"

type Failing = Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>

/** Every kind of wait, on something that does not happen. */
const waits: Readonly<Record<string, (machine: Machine, options?: WaitOptions) => Failing>> = {
  waitForUnit: (machine, options) => machine.waitForUnit("never.service", options),
  waitForFile: (machine, options) => machine.waitForFile("/never", options),
  waitUntilFileIsGone: (machine, options) => machine.waitUntilFileIsGone("/always", options),
  waitForOpenPort: (machine, options) => machine.waitForOpenPort(80, undefined, options),
  waitForClosedPort: (machine, options) => machine.waitForClosedPort(22, "other", options),
  waitForOpenUnixSocket: (machine, options) => machine.waitForOpenUnixSocket("/run/never", options),
  waitForConsoleText: (machine, options) => machine.waitForConsoleText("never", options),
  waitUntilSucceeds: (machine, options) => machine.waitUntilSucceeds("never", options),
  waitUntilFails: (machine, options) => machine.waitUntilFails("always", options)
}

/** Commands that may take long, too, but have a deadline of their own. */
const commands: Readonly<Record<string, (machine: Machine) => Failing>> = {
  execute: (machine) => machine.execute("hang"),
  executeStream: (machine) => Stream.runDrain(machine.executeStream("hang")),
  succeed: (machine) => machine.succeed("hang"),
  startJob: (machine) => machine.startJob("slow.service"),
  readFile: (machine) => machine.readFile("/dev/tty"),
  sleep: (machine) => machine.sleep("1 hour")
}

/** A machine whose commands never end, once it is ready. */
const hanging = Effect.fnUntraced(function* (timeScale = 1) {
  const driver = yield* driverOf(
    { box: offline({ allowReboot: true }) },
    {
      timeScale,
      guests: {
        box: { commands: [[/\/proc\/sys\/kernel\/hostname|^:$/, ""]], otherwise: { delay: "30 days" } }
      }
    }
  )
  const box = driver.machines.box as Machine
  yield* box.start()
  return { ...driver, box, guest: yield* driver.mock.machine("box") }
})

/** How long a wait takes to its end; asking what it saw last takes a hanging guest 5 seconds more. */
const begin = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })

for (const [name, wait] of Object.entries({
  ...waits,
  waitForShutdown: (m: Machine, o?: WaitOptions) => m.waitForShutdown(o)
})) {
  describe(name, () => {
    it.effect("ends after five minutes, stretched where the backend is slow", () =>
      Effect.gen(function* () {
        const { box } = yield* hanging(3)
        const waiting = yield* begin(Effect.flip(wait(box)))
        yield* TestClock.adjust("899 seconds")
        assert.isUndefined(waiting.pollUnsafe())
        yield* TestClock.adjust("8 seconds")
        const error = yield* Fiber.join(waiting)
        assert.strictEqual(error._tag, "WaitTimeout")
        assert.match(error.message, /^box: waited 15m/)
      })
    )

    it.effect("ends after the time of the run or the test, or after its own, which is not stretched", () =>
      Effect.gen(function* () {
        const { box } = yield* hanging(3)
        const settings = yield* Deadlines
        const test = yield* begin(
          Effect.flip(wait(box)).pipe(Effect.provideService(Deadlines, { ...settings, wait: Duration.seconds(20) }))
        )
        const own = yield* begin(Effect.flip(wait(box, { timeout: "30 seconds" })))
        yield* TestClock.adjust("38 seconds")
        assert.match((yield* Fiber.join(own)).message, /waited 30s/)
        assert.isUndefined(test.pollUnsafe())
        yield* TestClock.adjust("30 seconds")
        assert.match((yield* Fiber.join(test)).message, /waited 1m/)
      })
    )
  })
}

for (const [name, wait] of Object.entries({ ...waits, ...commands })) {
  describe(name, () => {
    it.effect("ends within a second of the machine's death, which it tells", () =>
      Effect.gen(function* () {
        const { box, guest } = yield* hanging()
        const waiting = yield* begin(Effect.flip(wait(box)))
        yield* TestClock.adjust("1 minute")
        yield* guest.emit("Kernel panic - not syncing\n")
        yield* guest.exit({ exitCode: 3 })
        yield* TestClock.adjust("1 second")
        const error = yield* Fiber.join(waiting)
        assert.strictEqual(error._tag, "MachineDied")
        assert.include(error.message, "exited with 3")
        assert.include(error.message, "Kernel panic")
      })
    )
  })
}

for (const [name, wait] of Object.entries({
  ...waits,
  ...commands,
  waitForShutdown: (machine: Machine) => machine.waitForShutdown()
})) {
  describe(name, () => {
    it.effect(
      "has polling conditions checked on schedule while it runs, and ends with the error of the one that breaks",
      () =>
        Effect.gen(function* () {
          const { box, service } = yield* hanging()
          let checks = 0
          let broken = false
          yield* service.pollingCondition(
            "the light is on",
            Effect.suspend(() => {
              checks++
              return broken ? Effect.fail(new Error("it is dark")) : Effect.void
            }),
            { schedule: Schedule.spaced("10 seconds") }
          )
          yield* TestClock.adjust("10 minutes")
          assert.strictEqual(checks, 0)
          const waiting = yield* begin(Effect.flip(wait(box)))
          yield* TestClock.adjust("35 seconds")
          assert.strictEqual(checks, 4)
          broken = true
          yield* TestClock.adjust("5 seconds")
          const error = yield* Fiber.join(waiting)
          assert.strictEqual(error._tag, "PollingConditionFailed")
          assert.include(error.message, '"the light is on" no longer holds: it is dark')
          checks = 0
          yield* TestClock.adjust("10 minutes")
          assert.isAtMost(checks, 1)
        })
    )
  })
}

describe("waiting", () => {
  it.effect("for the end of a machine is over when it dies", () =>
    Effect.gen(function* () {
      const { box, guest } = yield* hanging()
      const waiting = yield* begin(box.waitForShutdown())
      yield* TestClock.adjust("1 minute")
      yield* guest.exit({ signal: "SIGKILL" })
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(waiting)
    })
  )

  it.effect("to shut down or to reboot ends in time, too, when the guest does not even take the command", () =>
    Effect.gen(function* () {
      const { box, states } = yield* hanging()
      for (const [action, awaited] of [
        [box.shutdown({ timeout: "10 seconds" }), "the machine to shut down"],
        [box.reboot({ timeout: "10 seconds" }), "the guest to be ready again"]
      ] as ReadonlyArray<readonly [Failing, string]>) {
        const waiting = yield* begin(Effect.flip(action))
        yield* TestClock.adjust("12 seconds")
        const error = yield* Fiber.join(waiting)
        assert.include(error.message, `waited 10s for ${awaited}`)
      }
      // It did not go down, so it can still be used.
      assert.strictEqual(states("box").at(-1), "ready")
      const file = yield* begin(Effect.flip(box.waitForFile("/never", { timeout: "1 second" })))
      yield* TestClock.adjust("7 seconds")
      assert.strictEqual((yield* Fiber.join(file))._tag, "WaitTimeout")
    })
  )

  it.effect(
    "to shut down presses the power button where no lane is free, says so at the deadline, and is asked no more",
    () =>
      Effect.gen(function* () {
        const busy = (command: string) =>
          new CommandRejected({ machine: "box", command, reason: "Busy", detail: "all 10 lanes are in use" })
        const boxOf = (capabilities: ReadonlyArray<Capability>) =>
          driverOf(
            { box: offline() },
            { capabilities, guests: { box: { commands: [[/poweroff/, (c) => Effect.delay(busy(c), "1 second")]] } } }
          )
        const able = yield* boxOf(["powerdown"])
        yield* able.machines.box!.start()
        const down = yield* Effect.forkChild(able.machines.box!.shutdown())
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.join(down)
        assert.deepStrictEqual(able.states("box"), ["booting", "ready", "stopped"])

        const { machines, mock, states } = yield* boxOf([])
        const box = machines.box!
        yield* box.start()
        const late = yield* Effect.forkChild(Effect.flip(box.shutdown({ timeout: "30 seconds" })))
        yield* TestClock.adjust("31 seconds")
        const error = yield* Fiber.join(late)
        assert.strictEqual(error._tag, "WaitTimeout")
        assert.include(error.message, "all 10 lanes are in use")
        // Nobody asks for its end any more: it is news again.
        yield* (yield* mock.machine("box")).exit({ signal: "SIGKILL" })
        yield* TestClock.adjust("1 second")
        assert.strictEqual(states("box").at(-1), "crashed")
        assert.strictEqual((yield* Effect.flip(box.succeed("true")))._tag, "MachineDied")
      })
  )

  it.effect("begins again in the next boot of a guest that reboots, and keeps its deadline", () =>
    Effect.gen(function* () {
      for (const [name, wait] of Object.entries(waits)) {
        const { box, guest } = yield* hanging()
        const waiting = yield* begin(Effect.flip(wait(box, { timeout: "3 minutes" })))
        yield* TestClock.adjust("1 minute")
        const before = (yield* guest.commands).length
        yield* guest.loseShell("the guest rebooted")
        yield* TestClock.adjust("10 seconds")
        assert.isUndefined(waiting.pollUnsafe(), name)
        // Two commands make the guest ready; the console goes on.
        const again = (yield* guest.commands).length - before - 2
        if (name === "waitForConsoleText") assert.strictEqual(again, 0)
        else assert.isAbove(again, 0, name)
        yield* TestClock.adjust("2 minutes")
        const error = yield* Fiber.join(waiting)
        assert.strictEqual(error._tag, "WaitTimeout", name)
        assert.include(error.message, "waited 3m", name)
      }
    })
  )

  it.effect("is another matter for commands: a guest that reboots has lost them", () =>
    Effect.gen(function* () {
      for (const [name, command] of Object.entries(commands)) {
        const { box, guest } = yield* hanging()
        const running = yield* begin(Effect.flip(command(box)))
        yield* TestClock.adjust("1 minute")
        yield* guest.loseShell("the guest rebooted")
        yield* TestClock.adjust("1 second")
        const error = yield* Fiber.join(running)
        assert.strictEqual(error._tag, "ShellLost", name)
        assert.include(error.message, "the guest rebooted")
      }
    })
  )

  it.effect("under a condition lets the condition itself wait without being checked again", () =>
    Effect.gen(function* () {
      const { box, service } = yield* hanging()
      yield* service.pollingCondition("it answers", box.waitForFile("/never", { timeout: "2 seconds" }))
      const waiting = yield* begin(Effect.flip(box.waitForOpenPort(80)))
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(waiting)
      assert.include(error.message, '"it answers" no longer holds: box: waited 2s for the file /never to exist')
    })
  )
})

describe("a guest that does not come up", () => {
  for (const [what, console, silent] of [
    ["a silent console", " \n", true],
    ["something on its console", "Waiting for the root\n", false]
  ] as const) {
    it.effect(`is told with ${what}${silent ? ", and how to hear more" : ""}`, () =>
      Effect.gen(function* () {
        const { machines } = yield* driverOf({ box: offline() }, { guests: { box: { bootTime: Infinity, console } } })
        const starting = yield* begin(Effect.flip((machines.box as Machine).start()))
        yield* TestClock.adjust("11 minutes")
        const error = yield* Fiber.join(starting)
        assert.strictEqual(error._tag, "BootFailed")
        const advice =
          'its console shows nothing: to see more of the boot, give the image kernelParameters: "loglevel=7 systemd.show_status=1"'
        assert.strictEqual(error.message.includes(advice), silent, error.message)
        assert.strictEqual(error.message.includes("Waiting for the root"), !silent)
      })
    )
  }
})
