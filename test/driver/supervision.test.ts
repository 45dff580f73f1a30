import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as GenServer from "../../src/actors/GenServer.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import { driverOf, offline } from "./support.ts"

/** The live process with this label. */
const labelled = (label: string) =>
  Effect.map(ActorSystem.ActorSystem, (system) => {
    const found = [...system.processes].filter((process) => String(process).endsWith(` ${label}>`))
    assert.lengthOf(found, 1, `${label} among ${[...system.processes].map(String).join(" ")}`)
    return found[0] as Pid.Any
  })

/** Each test in an actor system of its own, so that its processes are the only ones. */
const alone = <A, E, R>(test: Effect.Effect<A, E, R>) => ActorSystem.scoped(test)

/** A machine on which a command runs for longer than any test waits. */
const hanging = Effect.gen(function* () {
  const made = yield* driverOf({ a: offline() }, { guests: { a: { commands: [["hang", { delay: "1 hour" }]] } } })
  yield* made.machines.a!.start()
  const running = Effect.flip(made.machines.a!.execute("hang", { timeout: "2 hours" }))
  const waiting = yield* Effect.forkChild(running, { startImmediately: true })
  yield* TestClock.adjust(0)
  return { ...made, waiting }
})

/** A message that no process of a machine knows: its handler fails with a defect. */
const Unknown = GenServer.protocol({ nonsense: GenServer.Cast() })

describe("the tree of a test", () => {
  for (const name of ["Control", "Shells", "Machine"]) {
    it.effect(`restarts ${name} when it is killed, and the guest never notices`, () =>
      alone(
        Effect.gen(function* () {
          const { machines, mock, states } = yield* driverOf({ a: offline() })
          yield* machines.a!.start()
          const before = yield* labelled(name)
          yield* Process.exit(before, ExitReason.kill)
          yield* TestClock.adjust("1 second")
          assert.notStrictEqual(yield* labelled(name), before)
          yield* machines.a!.succeed("true")
          assert.strictEqual(yield* mock.starts("a"), 1)
          assert.deepStrictEqual(states("a"), ["booting", "ready"])
        })
      )
    )
  }

  it.effect("keeps a boot and its commands when the machine's process crashes", () =>
    alone(
      Effect.gen(function* () {
        const { machines, mock, states } = yield* driverOf(
          { a: offline() },
          { guests: { a: { commands: [["slow", { delay: "5 seconds" }]] } } }
        )
        yield* machines.a!.start()
        const running = yield* Effect.forkChild(machines.a!.execute("slow"), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        yield* GenServer.cast((yield* labelled("Machine")) as Pid.Pid<typeof Unknown>, "nonsense")
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual((yield* Fiber.join(running)).exitCode, 0)
        assert.isTrue(yield* machines.a!.isUp())
        assert.strictEqual(yield* mock.starts("a"), 1)
        assert.deepStrictEqual(states("a"), ["booting", "ready"])
        yield* machines.a!.crash()
        assert.isFalse(yield* machines.a!.isUp())
      })
    )
  )

  it.effect("lets a start go on though the machine's process is killed again and again", () =>
    alone(
      Effect.gen(function* () {
        const { machines } = yield* driverOf(
          { a: offline({ autoStart: false }) },
          { guests: { a: { bootTime: "1 minute" } } }
        )
        const starting = yield* Effect.forkChild(machines.a!.start(), { startImmediately: true })
        for (let kill = 0; kill < 4; kill++) {
          yield* TestClock.adjust("9 seconds")
          yield* Process.exit(yield* labelled("Machine"), ExitReason.kill)
        }
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(starting)
      })
    )
  )

  it.effect("ends a wait that was the first use of the machine with the machine's death", () =>
    alone(
      Effect.gen(function* () {
        const { machines, mock } = yield* driverOf({ a: offline({ autoStart: false }) })
        const waiting = yield* Effect.forkChild(Effect.flip(machines.a!.waitForConsoleText("never")), {
          startImmediately: true
        })
        yield* TestClock.adjust("1 second")
        yield* (yield* mock.machine("a")).exit({ signal: "SIGSEGV" })
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual((yield* Fiber.join(waiting))._tag, "MachineDied")
      })
    )
  )

  it.effect("tells how a hypervisor ended that does so while the machine's process is restarted", () =>
    alone(
      Effect.gen(function* () {
        const { mock, waiting } = yield* hanging
        const process = yield* labelled("Machine")
        yield* Effect.all([Process.exit(process, ExitReason.kill), (yield* mock.machine("a")).exit({ exitCode: 3 })])
        yield* TestClock.adjust("2 seconds")
        assert.deepInclude(yield* Fiber.join(waiting), { _tag: "MachineDied", exitCode: 3 })
      })
    )
  )

  it.effect("is over when its supervisor gives up, and says so to whoever waits", () =>
    alone(
      Effect.gen(function* () {
        const { machines, states, waiting } = yield* hanging
        for (let crash = 0; crash < 11; crash++) {
          yield* Process.exit(yield* labelled("Machine"), ExitReason.kill)
          yield* TestClock.adjust("100 millis")
        }
        yield* TestClock.adjust("2 seconds")
        assert.include(["BootFailed", "MachineDied"], (yield* Fiber.join(waiting))._tag)
        assert.isFalse(yield* machines.a!.isUp())
        assert.deepStrictEqual(states("a"), ["booting", "ready", "crashed"])
        yield* machines.a!.crash()
      })
    )
  )

  it.effect("ends the machine with its hypervisor process: everything that waits fails at once", () =>
    alone(
      Effect.gen(function* () {
        const { states, waiting } = yield* hanging
        yield* Process.exit(yield* labelled("Hypervisor"), ExitReason.kill)
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Fiber.join(waiting))._tag, "MachineDied")
        assert.deepStrictEqual(states("a"), ["booting", "ready", "crashed"])
        const system = yield* ActorSystem.ActorSystem
        assert.isFalse([...system.processes].some((process) => String(process).includes("Shells")))
      })
    )
  )

  it.effect("gives a guest that has long been up the whole time of a boot when its processes are restarted", () =>
    alone(
      Effect.gen(function* () {
        const slowly = () => Effect.as(Effect.sleep("1 second"), "")
        const { machines, mock, states } = yield* driverOf({ a: offline() }, { guests: { a: { otherwise: slowly } } })
        const starting = yield* Effect.forkChild(machines.a!.start(), { startImmediately: true })
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(starting)
        yield* TestClock.adjust("1 hour")
        yield* Process.exit(yield* labelled("Shells"), ExitReason.kill)
        yield* TestClock.adjust("10 seconds")
        const command = yield* Effect.forkChild(machines.a!.succeed("true"), { startImmediately: true })
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(command)
        assert.strictEqual(yield* mock.starts("a"), 1)
        assert.deepStrictEqual(states("a"), ["booting", "ready"])
      })
    )
  )

  it.effect("gives a machine up whose shells crash again and again", () =>
    alone(
      Effect.gen(function* () {
        const { machines, states } = yield* driverOf({ a: offline() })
        yield* machines.a!.start()
        for (let crash = 0; crash < 11; crash++) {
          yield* Process.exit(yield* labelled("Shells"), ExitReason.kill)
          yield* TestClock.adjust("100 millis")
        }
        assert.deepStrictEqual(states("a"), ["booting", "ready", "crashed"])
      })
    )
  )

  it.effect(
    "gives a guest up that does not come back after its reboot, in the time of a boot; what waits has the error",
    () =>
      alone(
        Effect.gen(function* () {
          let hangs = false
          const answer = () => Effect.suspend(() => (hangs ? Effect.never : Effect.succeed("")))
          const { live, machines, states } = yield* driverOf(
            { a: offline({ allowReboot: true }) },
            { timeScale: 3, guests: { a: { commands: [[/reboot/, ""]], otherwise: answer } } }
          )
          const a = machines.a!
          yield* a.start()
          hangs = true
          const rebooting = yield* Effect.forkChild(Effect.flip(a.reboot({ timeout: "1 hour" })))
          yield* TestClock.adjust("1 second")
          const command = yield* Effect.forkChild(Effect.flip(a.succeed("true", { timeout: "5 seconds" })))
          yield* TestClock.adjust("14 minutes")
          assert.isUndefined(command.pollUnsafe())
          yield* TestClock.adjust("2 minutes")
          assert.isDefined(rebooting.pollUnsafe())
          assert.isDefined(command.pollUnsafe())
          const errors: ReadonlyArray<{ readonly _tag: string; readonly message: string }> = [
            yield* Fiber.join(rebooting),
            yield* Fiber.join(command)
          ]
          for (const error of errors) {
            assert.strictEqual(error._tag, "BootFailed")
            assert.include(error.message, "it did not come back after its reboot within 15m")
          }
          assert.deepStrictEqual(states("a"), ["booting", "ready", "booting", "crashed"])
          assert.strictEqual(live(), 0)
          // It can be started anew.
          hangs = false
          yield* a.start()
          yield* a.succeed("true")
        })
      )
  )

  it.effect("leaves no process when its scope closes", () =>
    alone(
      Effect.gen(function* () {
        const system = yield* ActorSystem.ActorSystem
        yield* Effect.scoped(Effect.flatMap(driverOf({ a: offline(), b: offline() }), ({ begin }) => begin))
        assert.strictEqual(system.processes.size, 0)
      })
    )
  )

  it.effect("runs the script as a process, and ends it when nobody wants its result any more", () =>
    alone(
      Effect.gen(function* () {
        const { script } = yield* driverOf({})
        assert.strictEqual(yield* script(Effect.succeed(42)), 42)
        let cleaned = false
        const running = yield* Effect.forkChild(
          script(
            Effect.ensuring(
              Effect.never,
              Effect.sync(() => (cleaned = true))
            )
          )
        )
        yield* TestClock.adjust(0)
        yield* labelled("Script")
        yield* Fiber.interrupt(running)
        assert.isTrue(cleaned)
      })
    )
  )
})
