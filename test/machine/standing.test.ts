/** Waits that stand in a guest: how many at once, and what is said of one whose guest is lost. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as File from "../../src/guest/File.ts"
import { ShellLost } from "../../src/transport/ShellError.ts"
import { guestOn, shellOf } from "./support.ts"

const isLoop = (command: string) => command.includes("do pause; done")

describe("waits that stand in a guest", () => {
  it.effect("leave it two commands at once, and one that finds no place says so", () =>
    Effect.gen(function* () {
      let standing = 0
      const shell = shellOf((command) =>
        isLoop(command)
          ? Effect.sync(() => standing++).pipe(
              Effect.andThen(Effect.never),
              Effect.ensuring(Effect.sync(() => standing--))
            )
          : Effect.succeed({ exitCode: 0, stdout: "", stderr: "" })
      )
      const files = File.make((yield* guestOn(shell)).guest)
      const first = yield* Effect.forEach(Array.from({ length: 8 }), (_, at) =>
        Effect.forkChild(files.waitForFile(`/${at}`, { timeout: "1 hour" }), { startImmediately: true })
      )
      const late = yield* Effect.forkChild(Effect.flip(files.waitForFile("/late", { timeout: "1 minute" })))
      const next = yield* Effect.forkChild(Effect.flip(files.waitForFile("/next", { timeout: "2 minutes" })))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(standing, 8)
      const error = yield* Fiber.join(late)
      assert.strictEqual(error._tag, "WaitTimeout")
      assert.include(error.message, "this wait has not started")
      yield* Fiber.interrupt(first[0]!)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(standing, 8)
      yield* TestClock.adjust("1 minute")
      assert.notInclude((yield* Fiber.join(next)).message, "has not started")
    }).pipe(Effect.scoped)
  )

  it.effect("hear of a guest that is lost before they had a place in it", () =>
    Effect.gen(function* () {
      const lost = yield* Deferred.make<string>()
      const files = File.make((yield* guestOn(shellOf(() => Effect.never, Deferred.await(lost)))).guest)
      const waiting = yield* Effect.forEach(Array.from({ length: 9 }), (_, at) =>
        Effect.forkChild(Effect.flip(files.waitForFile(`/${at}`, { timeout: "1 hour" })), { startImmediately: true })
      )
      yield* Deferred.succeed(lost, "the guest rebooted")
      yield* TestClock.adjust("1 minute")
      for (const fiber of waiting) assert.include((yield* Fiber.join(fiber)).message, "while waiting")
    }).pipe(Effect.scoped)
  )

  it.effect("say what was awaited when the guest is lost, not what looked for it", () =>
    Effect.gen(function* () {
      const lost = yield* Deferred.make<never, ShellLost>()
      const shell = {
        ...shellOf(() => Effect.die("nothing is run")),
        execute: (command: string) =>
          Effect.mapError(Deferred.await(lost), (error) => new ShellLost({ ...error, command }))
      }
      const files = File.make((yield* guestOn(shell)).guest)
      const waiting = yield* Effect.forkChild(Effect.flip(files.waitForFile("/never")), { startImmediately: true })
      const said = { stdout: "", stderr: "bash: line 3: noise", console: "" }
      yield* Deferred.fail(lost, new ShellLost({ machine: "box", command: "", reason: "the guest rebooted", ...said }))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(
        (yield* Fiber.join(waiting)).message,
        "box: lost the shell while waiting for the file /never to exist: the guest rebooted"
      )
    }).pipe(Effect.scoped)
  )
})
