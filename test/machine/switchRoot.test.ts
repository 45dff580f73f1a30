import { execFileSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type { Rule } from "../../src/backends/mock/Mock.ts"
import * as SwitchRoot from "../../src/machine/internal/switchRoot.ts"
import { driverOf, offline } from "../driver/support.ts"

const inInitrd: Rule = [SwitchRoot.untilReady, { delay: "2 seconds" }]
const begins: Rule = [SwitchRoot.begin, ""]

const machineWith = Effect.fnUntraced(function* (...commands: ReadonlyArray<Rule>) {
  const driver = yield* driverOf({ a: offline() }, { guests: { a: { commands } } })
  yield* driver.machines.a!.start()
  return driver
})

describe("switching the root", () => {
  it.effect("waits until another shell answers than the initrd's, and makes the guest ready in its new root", () =>
    Effect.gen(function* () {
      const { machines, mock, states } = yield* machineWith(
        inInitrd,
        begins,
        [SwitchRoot.whoAnswers, "91 500\n"],
        [SwitchRoot.whoAnswersInRoot, ["91 500\n", { exitCode: 1 }, { delay: "1 hour" }, "204 900\n"]]
      )
      const switching = yield* Effect.forkChild(machines.a!.switchRoot())
      yield* TestClock.adjust("3 seconds")
      const meanwhile = yield* Effect.forkChild(machines.a!.succeed("later"))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(switching.pollUnsafe())
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(switching)
      yield* Fiber.join(meanwhile)
      assert.deepStrictEqual(states("a"), ["booting", "ready", "booting", "ready"])
      const commands = yield* (yield* mock.machine("a")).commands
      assert.isAbove(commands.indexOf("later"), commands.lastIndexOf(SwitchRoot.whoAnswersInRoot))
    })
  )

  it.effect("is refused outside of an initrd", () =>
    Effect.gen(function* () {
      const { machines, states } = yield* machineWith([SwitchRoot.untilReady, { exitCode: 3 }])
      const error = yield* Effect.flip(machines.a!.switchRoot())
      assert.strictEqual(error._tag, "NotInInitrd")
      assert.include(error.message, "a is not in an initrd")
      assert.notInclude(states("a").slice(2), "booting")
      yield* machines.a!.succeed("true")
    })
  )

  it.effect("fails with what systemd says, and the guest can be used", () =>
    Effect.gen(function* () {
      const { machines } = yield* machineWith(
        inInitrd,
        [SwitchRoot.whoAnswers, "91 500\n"],
        [SwitchRoot.begin, { exitCode: 1, stderr: "Unit initrd-switch-root.target not found." }]
      )
      const failing = yield* Effect.forkChild(Effect.flip(machines.a!.switchRoot()))
      yield* TestClock.adjust("3 seconds")
      const error = yield* Fiber.join(failing)
      assert.strictEqual(error._tag, "CommandFailed")
      assert.include(error.message, "initrd-switch-root.target not found")
      yield* machines.a!.succeed("true")
    })
  )

  it.effect("is given up at its deadline when the initrd stays", () =>
    Effect.gen(function* () {
      const { machines } = yield* machineWith(
        inInitrd,
        begins,
        [SwitchRoot.whoAnswers, "91 500\n"],
        [SwitchRoot.whoAnswersInRoot, { exitCode: 1 }]
      )
      const failing = yield* Effect.forkChild(Effect.flip(machines.a!.switchRoot({ timeout: "20 seconds" })))
      yield* TestClock.adjust("25 seconds")
      const error = yield* Fiber.join(failing)
      assert.strictEqual(error._tag, "WaitTimeout")
      assert.include(error.message, "waited 20s for the guest to be in its real root")
      yield* machines.a!.succeed("true")
    })
  )

  for (const shell of ["bash", "sh"]) {
    it(`finds the ancestor below process 1 in ${shell}`, () => {
      const [pid, started] = execFileSync(shell, ["-c", SwitchRoot.whoAnswers], { encoding: "utf8" }).split(" ")
      const stat = execFileSync("cat", [`/proc/${pid}/stat`], { encoding: "utf8" })
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
      assert.isAtMost(Number(fields[1]), 1)
      assert.strictEqual(Number(started), Number(fields[19]))
    })
  }
})
