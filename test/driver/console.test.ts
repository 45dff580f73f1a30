import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type { Hypervisor } from "../../src/backends/Backend.ts"
import * as Console from "../../src/guest/Console.ts"
import { guestOn, hostShell } from "../machine/support.ts"
import { driverOf, offline } from "./support.ts"

const started = Effect.gen(function* () {
  const { machines, mock } = yield* driverOf({ a: offline() })
  yield* machines.a!.start()
  const { emit } = yield* mock.machine("a")
  const say = (text: string) => Effect.andThen(emit(text), TestClock.adjust("10 millis"))
  return { machine: machines.a!, say }
})

describe("waiting for text on the console", () => {
  it.effect("fails when the console ends and the machine goes on", () =>
    Effect.gen(function* () {
      const log = Effect.succeed("hello")
      const console = {
        stream: Stream.make("hello\n"),
        log,
        tail: () => log,
        write: () => Effect.void,
        inherited: undefined
      }
      const { guest } = yield* guestOn(hostShell("bash"), {
        hypervisor: Effect.succeed({ console } as Partial<Hypervisor> as Hypervisor)
      })
      const waiting = yield* Effect.forkChild(Effect.flip(Console.make(guest).waitForConsoleText("never said")))
      yield* TestClock.adjust("2 seconds")
      const error = yield* Fiber.join(waiting)
      assert.deepInclude(error, { _tag: "ConsoleEnded", machine: "box", awaited: '"never said"', console: "hello" })
    })
  )

  it.effect("waits for the rest of a number that comes in two pieces", () =>
    Effect.gen(function* () {
      const { machine, say } = yield* started
      const waiting = yield* Effect.forkChild(machine.waitForConsoleText(/answer: \d+/))
      yield* say("answer: 4")
      yield* say("2\n")
      yield* TestClock.adjust("50 millis")
      assert.strictEqual(yield* Fiber.join(waiting), "answer: 42")
    })
  )

  it.effect("takes a prompt without a line's end once nothing follows it", () =>
    Effect.gen(function* () {
      const { machine, say } = yield* started
      const waiting = yield* Effect.forkChild(machine.waitForConsoleText(/login: /))
      yield* say("box login: ")
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("100 millis")
      assert.strictEqual(yield* Fiber.join(waiting), "login: ")
    })
  )

  it.effect("says at the deadline what was there last, or that nothing was", () =>
    Effect.gen(function* () {
      const { machine, say } = yield* started
      const never = Effect.flip(machine.waitForConsoleText("never said", { timeout: "1 second" }))
      const first = yield* Effect.forkChild(never)
      yield* TestClock.adjust("2 seconds")
      assert.include((yield* Fiber.join(first)).message, "; last seen: the console is empty")
      yield* say("hello\n")
      const second = yield* Effect.forkChild(never)
      yield* TestClock.adjust("2 seconds")
      assert.include((yield* Fiber.join(second)).message, "; last seen: hello")
    })
  )

  it.effect("does not take a text that grows into something else", () =>
    Effect.gen(function* () {
      const { machine, say } = yield* started
      const waiting = yield* Effect.forkChild(machine.waitForConsoleText(/state: ok$/m))
      yield* say("state: ok")
      yield* say("ay no\n")
      yield* TestClock.adjust("1 second")
      assert.isUndefined(waiting.pollUnsafe())
      yield* say("state: ok\n")
      assert.strictEqual(yield* Fiber.join(waiting), "state: ok")
    })
  )
})
