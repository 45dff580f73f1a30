import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Journal from "../../src/guest/Journal.ts"
import type { ShellService } from "../../src/transport/Shell.ts"
import { ShellLost } from "../../src/transport/ShellError.ts"
import { guestOn, hostShell, shellOf } from "../machine/support.ts"

describe("a journal that is followed", () => {
  it.live("fails with the machine's death, as every stream of a machine does, and says what was read", () =>
    Effect.gen(function* () {
      const shell = { ...hostShell("bash"), executeStream: () => Stream.never }
      const { die, guest } = yield* guestOn(shell)
      const reading = yield* Effect.forkChild(Effect.flip(Stream.runDrain(Journal.make(guest).journal())), {
        startImmediately: true
      })
      yield* die
      const error = yield* Effect.timeout(Fiber.join(reading), "5 seconds")
      assert(error._tag === "MachineDied", error._tag)
      assert.strictEqual(error.doing, "reading the journal")
    })
  )
})

/** A guest whose `journalctl` ends so, and whose `systemctl is-system-running` says that it goes down, or not. */
const ending = (exitCode: number, stderr: string, down: boolean): ShellService => ({
  ...shellOf((command) =>
    command.startsWith("sleep") ? Effect.never : Effect.succeed({ exitCode: down ? 0 : 1, stdout: "", stderr: "" })
  ),
  executeStream: () =>
    Stream.make(
      { _tag: "Stdout", bytes: Buffer.from('{"MESSAGE":"one"}\n') } as const,
      { _tag: "Stderr", bytes: Buffer.from(stderr) } as const,
      { _tag: "Exit", exitCode } as const
    )
})

describe("a journalctl that ends", () => {
  it.effect("by itself ends the journal, and so does a guest that has none", () =>
    Effect.gen(function* () {
      for (const exitCode of [0, 127]) {
        const { guest } = yield* guestOn(ending(exitCode, "sh: journalctl: not found", false))
        const entries = yield* Stream.runCollect(Journal.make(guest).journal())
        assert.deepStrictEqual(
          [...entries].map(({ message }) => message),
          ["one"]
        )
      }
    })
  )

  it.effect("because it failed, or was killed, is an error with what it said", () =>
    Effect.gen(function* () {
      for (const [exitCode, stderr] of [
        [1, "Failed to open journal: Bad message"],
        [137, ""]
      ] as const) {
        const { guest } = yield* guestOn(ending(exitCode, stderr, false))
        const error = yield* Effect.flip(Stream.runDrain(Journal.make(guest).journal()))
        assert(error._tag === "CommandFailed", error._tag)
        assert.deepInclude(error, { exitCode, stderr })
        assert.include(error.message, "journalctl")
      }
    })
  )

  it.effect("because its guest goes down waits for what becomes of that", () =>
    Effect.gen(function* () {
      const { die, guest } = yield* guestOn(ending(143, "", true))
      const reading = yield* Effect.forkChild(Effect.flip(Stream.runDrain(Journal.make(guest).journal())))
      yield* TestClock.adjust("10 seconds")
      assert.isUndefined(reading.pollUnsafe())
      yield* die
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(reading))._tag, "MachineDied")
    })
  )
})

describe("a journal whose shell is lost", () => {
  it.live("says what was read, and shows neither the script nor entries in JSON", () =>
    Effect.gen(function* () {
      const said = { stdout: '{"MESSAGE":"one"}\n', stderr: "" }
      const lost = (command: string) =>
        new ShellLost({ machine: "box", command, reason: "the guest rebooted", ...said, console: "" })
      const shell = { ...shellOf(() => Effect.never), executeStream: (command: string) => Stream.fail(lost(command)) }
      const { guest } = yield* guestOn(shell)
      const error = yield* Effect.flip(Stream.runDrain(Journal.make(guest).journal()))
      assert.strictEqual(error._tag, "ShellLost")
      assert.strictEqual(error.message, "box: lost the shell while reading the journal: the guest rebooted")
    })
  )
})

describe("a user's unit", () => {
  it("is a service when its name ends in no suffix of systemd, dots or not", () => {
    const of = (unit: string) => Journal.command({ unit, user: "ann", output: "json" })
    assert.include(of("my.app"), "USER_UNIT=my.app.service")
    assert.include(of("my.socket"), "USER_UNIT=my.socket")
  })
})
