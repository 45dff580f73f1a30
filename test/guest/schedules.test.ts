/** When waits look again: by schedules of the host, which the clock drives, and by intervals in the guest. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import * as Command from "../../src/guest/Command.ts"
import * as File from "../../src/guest/File.ts"
import type { Guest } from "../../src/guest/Guest.ts"
import * as Port from "../../src/guest/Port.ts"
import * as Socket from "../../src/guest/Socket.ts"
import * as Terminal from "../../src/guest/Terminal.ts"
import { guestOn, shellOf } from "../machine/support.ts"

/** A shell whose commands all fail, and what it ran. */
const failing = () => {
  const ran: Array<string> = []
  const shell = shellOf((command) => {
    ran.push(command)
    return Effect.succeed({ exitCode: 1, stdout: "", stderr: "no such thing\n" })
  })
  return { ran, shell }
}

describe("a command that is run until it succeeds", () => {
  it.effect("is run again 50 ms after it ended", () =>
    Effect.gen(function* () {
      const { ran, shell } = failing()
      const { guest } = yield* guestOn(shell)
      const waiting = yield* Effect.forkChild(Command.make(guest).waitUntilSucceeds("false"))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(ran.length, 21)
      yield* Fiber.interrupt(waiting)
    })
  )

  it.effect("is run again by the schedule that it was given", () =>
    Effect.gen(function* () {
      const { ran, shell } = failing()
      const { guest } = yield* guestOn(shell)
      const schedule = Schedule.exponential("1 second")
      const waiting = yield* Effect.forkChild(Command.make(guest).waitUntilSucceeds("false", { schedule }))
      yield* TestClock.adjust("999 millis")
      assert.strictEqual(ran.length, 1)
      // After 1, 2, 4 and 8 seconds.
      yield* TestClock.adjust("14001 millis")
      assert.strictEqual(ran.length, 5)
      yield* Fiber.interrupt(waiting)
    })
  )

  it.effect("ends as at its deadline when the schedule ends", () =>
    Effect.gen(function* () {
      const { ran, shell } = failing()
      const { guest } = yield* guestOn(shell)
      const schedule = Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 3 }))
      const waiting = yield* Effect.forkChild(Effect.flip(Command.make(guest).waitUntilSucceeds("false", { schedule })))
      yield* TestClock.adjust("3 seconds")
      const error = yield* Fiber.join(waiting)
      assert.strictEqual(error._tag, "WaitTimeout")
      assert.include(error.message, 'box: waited 3s for "false" to succeed')
      assert.include(error.message, "no such thing")
      assert.strictEqual(ran.length, 4)
    })
  )
})

describe("a wait that loops in the guest", () => {
  const waits: Readonly<Record<string, (guest: Guest, options: object) => Effect.Effect<unknown, unknown>>> = {
    waitForFile: (guest, options) => File.make(guest).waitForFile("/x", options),
    waitUntilFileIsGone: (guest, options) => File.make(guest).waitUntilFileIsGone("/x", options),
    waitForOpenPort: (guest, options) => Port.make(guest).waitForOpenPort(80, options),
    waitForClosedPort: (guest, options) => Port.make(guest).waitForClosedPort(80, "web", options),
    waitForOpenUnixSocket: (guest, options) => Socket.make(guest).waitForOpenUnixSocket("/x", options),
    waitUntilTtyMatches: (guest, options) => Terminal.make(guest).waitUntilTtyMatches(1, "x", options)
  }
  for (const [name, wait] of Object.entries(waits)) {
    it.effect(`${name} looks every 20 ms, or as often as it was told`, () =>
      Effect.gen(function* () {
        const { ran, shell } = failing()
        const { guest } = yield* guestOn(shell)
        yield* Effect.exit(wait(guest, {}))
        assert.include(ran[0], "sleep 0.020")
        const before = ran.length
        yield* Effect.exit(wait(guest, { interval: "2 seconds" }))
        assert.include(ran[before], "sleep 2.000")
      })
    )
  }
})
