import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { MachineState } from "../src/guest/MachineEvent.ts"
import * as Image from "../src/images/Image.ts"
import type { Machine as MachineOf } from "../src/machine/Machine.ts"
import { Machine, machines } from "../src/vitest.ts"

const image = Image.tiny()

class Box extends Machine<Box>()("box", { image, memory: "256 MiB", autoStart: false, allowReboot: true }) {}

class Mortal extends Machine<Mortal>()("mortal", { image, memory: "256 MiB", autoStart: false }) {}

/** A guest whose kernel says all that it has to say, fast. */
class Talkative extends Machine<Talkative>()("talkative", {
  image: Image.tiny({ kernelParameters: "ignore_loglevel" }),
  memory: "256 MiB",
  autoStart: false,
  snapshot: false
}) {}

/** A guest whose kernel has nothing to run. */
const broken = {
  image: Image.tiny({ kernelParameters: "rdinit=/nonexistent panic=1" }),
  memory: "256 MiB",
  autoStart: false
} as const

class Broken extends Machine<Broken>()("broken", broken) {}

/** One that would begin again and again. */
class Restless extends Machine<Restless>()("restless", { ...broken, allowReboot: true }) {}

/** The states from now on, up to and with one of them. */
const statesUntil = (machine: MachineOf, last: MachineState) =>
  machine.state.pipe(
    Stream.takeUntil((state) => state === last),
    Stream.runCollect,
    Effect.forkChild({ startImmediately: true })
  )

machines(
  Box,
  Mortal,
  Talkative,
  Broken,
  Restless
)("the life of a machine", (it) => {
  it.effect("has no use for pausing what was never started", () =>
    Effect.gen(function* () {
      const box = yield* Box
      for (const action of [box.pause(), box.resume()]) {
        assert.strictEqual((yield* Effect.flip(action))._tag, "MachineNotRunning")
      }
      yield* box.shutdown()
      yield* box.crash()
      yield* box.waitForShutdown({ timeout: "1 second" })
      assert.isFalse(yield* box.isUp())
    })
  )

  it.effect("starts once, pauses and goes on, and tells each state", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const states = yield* statesUntil(box, "paused")
      yield* Effect.all([box.start(), box.start(), box.succeed("true")], { concurrency: "unbounded" })
      assert.isTrue(yield* box.isUp())
      yield* box.start()
      const uptime = Effect.map(box.succeed("read up rest < /proc/uptime; echo $up"), Number)
      const before = yield* uptime
      const began = performance.now()
      const stopped = yield* Effect.forkChild(
        box.waitForQmpEvent(Schema.Struct({ event: Schema.Literal("STOP") }), { timeout: "1 minute" }),
        { startImmediately: true }
      )
      yield* box.pause()
      yield* box.pause()
      assert.deepStrictEqual(yield* Fiber.join(stopped), { event: "STOP" })
      assert.deepStrictEqual(yield* Fiber.join(states), ["stopped", "booting", "ready", "paused"])
      const stuck = yield* Effect.flip(box.waitForFile("/etc/passwd", { timeout: "500 millis" }))
      assert.strictEqual(stuck._tag, "WaitTimeout")
      assert.include(stuck.message, "the machine is paused; call resume()")
      yield* Effect.sleep("2 seconds")
      const again = yield* statesUntil(box, "ready")
      const resumed = yield* Effect.forkChild(
        Stream.runHead(Stream.filter(box.qmpEvents, ({ event }) => event === "RESUME")),
        { startImmediately: true }
      )
      yield* Effect.sleep("50 millis")
      yield* box.resume()
      yield* box.resume()
      assert.strictEqual(Option.getOrThrow(yield* Fiber.join(resumed)).event, "RESUME")
      assert.deepStrictEqual(yield* Fiber.join(again), ["paused", "ready"])
      const passed = (yield* uptime) - before
      assert.isBelow(passed, (performance.now() - began) / 1000 - 1.5)
    })
  )

  it.effect("reboots when it is asked to, and when the guest does it itself", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const id = box.succeed("cat /proc/sys/kernel/random/boot_id")
      const first = yield* id
      const states = yield* statesUntil(box, "booting")
      yield* box.reboot()
      assert.deepStrictEqual(yield* Fiber.join(states), ["ready", "booting"])
      const second = yield* id
      assert.notStrictEqual(second, first)
      const booting = yield* statesUntil(box, "booting")
      const lost = yield* Effect.flip(box.execute("reboot -f; sleep 600"))
      assert.strictEqual(lost._tag, "ShellLost")
      yield* Fiber.join(booting)
      yield* box.waitForReboot({ timeout: "2 minutes" })
      const third = yield* id
      assert.notStrictEqual(third, second)
      assert.strictEqual(yield* box.succeed("hostname"), "box\n")
    })
  )

  it.effect("takes no command from the moment at which its guest was asked to reboot until its next boot", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const id = box.succeed("cat /proc/sys/kernel/random/boot_id")
      const boots = new Set([yield* id])
      // Process 1 takes the signal of `reboot` when it gets a processor.
      const busy = "renice -n 19 -p 1; for i in 1 2 3 4 5 6; do (while :; do :; done) >/dev/null 2>&1 & done"
      for (const again of [2, 3, 4]) {
        if (again > 2) yield* box.succeed(busy)
        yield* box.succeed("reboot")
        boots.add(yield* id)
        assert.strictEqual(boots.size, again)
        yield* box.waitForReboot({ timeout: "1 minute" })
      }
      const none = yield* Effect.flip(box.waitForReboot({ timeout: "1 second" }))
      assert.match(none.message, /waited 1s.* for the guest to reboot/)
      assert.include(none.message, "it has not rebooted")
    })
  )

  it.effect("is not taken for rebooted when its kernel panics, and can be started again", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.succeed("echo 1 > /proc/sys/kernel/sysrq")
      const waiting = yield* Effect.forkChild(Effect.flip(box.waitForReboot()))
      const states = yield* statesUntil(box, "crashed")
      const died = yield* Effect.flip(box.execute("echo c > /proc/sysrq-trigger; sleep 600"))
      assert.strictEqual(died._tag, "MachineDied")
      assert.include(died.message, "its kernel panicked: sysrq triggered crash")
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "MachineDied")
      assert.deepStrictEqual(yield* Fiber.join(states), ["ready", "crashed"])
      yield* box.start()
      yield* box.succeed("true")
    })
  )

  it.effect("is not rebooted where that is not declared; a guest that does it ends", () =>
    Effect.gen(function* () {
      const mortal = yield* Mortal
      yield* mortal.start()
      const refused = yield* Effect.flip(mortal.reboot())
      assert.strictEqual(refused._tag, "RebootNotAllowed")
      assert.include(refused.message, "allowReboot")
      assert.strictEqual((yield* Effect.flip(mortal.waitForReboot()))._tag, "RebootNotAllowed")
      assert.isTrue(yield* mortal.isUp())
      const states = yield* statesUntil(mortal, "crashed")
      const died = yield* Effect.flip(mortal.execute("reboot -f; sleep 600"))
      assert.strictEqual(died._tag, "MachineDied")
      assert.include(died.message, "the guest reset itself; declare it with allowReboot: true if it may reboot")
      assert.deepStrictEqual(yield* Fiber.join(states), ["ready", "crashed"])
      for (const use of [mortal.execute("true"), mortal.pause(), mortal.reboot()]) {
        const tag = (yield* Effect.flip(use as Effect.Effect<unknown, { readonly _tag: string }>))._tag
        assert.include(["MachineDied", "RebootNotAllowed"], tag)
      }
    })
  )

  it.effect("is waited for to its end, which the test or the guest brings about", () =>
    Effect.gen(function* () {
      const mortal = yield* Mortal
      yield* mortal.start()
      const late = yield* Effect.flip(mortal.waitForShutdown({ timeout: "1 second" }))
      assert.strictEqual(late._tag, "WaitTimeout")
      assert.include(late.message, "waited 1s")
      const waiting = yield* Effect.forkChild(mortal.waitForShutdown({ timeout: "1 minute" }))
      const states = yield* statesUntil(mortal, "stopped")
      yield* mortal.shutdown({ timeout: "1 minute" })
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(yield* Fiber.join(states), ["ready", "stopped"])
      const error = yield* Effect.flip(mortal.execute("true"))
      assert.strictEqual(error._tag, "MachineNotRunning")
      assert.include(error.message, "call start() first")

      yield* mortal.start()
      yield* mortal.succeed("{ sleep 0.5; poweroff -f; } >/dev/null 2>&1 &")
      yield* mortal.waitForShutdown({ timeout: "1 minute" })
      assert.isFalse(yield* mortal.isUp())
    })
  )

  it.effect("has every character on its console that its kernel wrote", () =>
    Effect.gen(function* () {
      const talkative = yield* Talkative
      yield* talkative.start()
      const written = (yield* talkative.succeed("dmesg")).split("\n")
      assert.isAbove(written.length, 200)
      const seen = (yield* talkative.getConsoleLog()).replaceAll("\r", "")
      assert.deepStrictEqual(
        written.filter((line) => !seen.includes(line.trimEnd())),
        []
      )
    })
  )

  it.effect("may be ended by a crash of the test's own, and begin again", () =>
    Effect.gen(function* () {
      const mortal = yield* Mortal
      yield* mortal.start()
      const running = yield* Effect.forkChild(Effect.flip(mortal.succeed("sleep 600")))
      yield* Effect.sleep("300 millis")
      const states = yield* statesUntil(mortal, "stopped")
      yield* mortal.crash()
      assert.deepStrictEqual(yield* Fiber.join(states), ["ready", "stopped"])
      assert.strictEqual((yield* Fiber.join(running))._tag, "MachineDied")
      yield* mortal.start()
      yield* mortal.succeed("true")
    })
  )

  it.effect("does not begin for a guest that has nothing to run, and says so with its console", () =>
    Effect.gen(function* () {
      for (const machine of [yield* Broken, yield* Restless]) {
        const error = yield* Effect.flip(machine.start())
        assert.strictEqual(error._tag, "BootFailed")
        // It is far above the end of the trace that follows it.
        assert.include(error.message, `${machine.name} did not boot: its kernel panicked: VFS: Unable to mount root fs`)
        assert.isFalse(yield* machine.isUp())
      }
    })
  )
})
