import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Command from "../../src/guest/Command.ts"
import { Deadlines } from "../../src/guest/Deadlines.ts"
import * as Spawn from "../../src/guest/Spawn.ts"
import type { Machine } from "../../src/machine/Machine.ts"
import type { CommandOutput } from "../../src/transport/Shell.ts"
import { driverOf, offline } from "../driver/support.ts"
import { guestOn, shellOf } from "../machine/support.ts"

const started = Effect.gen(function* () {
  const driver = yield* driverOf(
    { box: offline() },
    {
      guests: {
        box: {
          commands: [
            ["speak", { stdout: "said", stderr: "moaned", exitCode: 3 }],
            ["hang", { delay: "30 days" }]
          ]
        }
      }
    }
  )
  const box = driver.machines.box as Machine
  yield* box.start()
  return { ...driver, box }
})

const words = ({ _tag, bytes }: CommandOutput) => `${_tag} ${Buffer.from(bytes)}`

describe("a command of a machine", () => {
  it.effect("is told of while it runs, whatever runs it", () =>
    Effect.gen(function* () {
      const { box } = yield* started
      const told: Array<string> = []
      const stream = (output: CommandOutput) => Effect.sync(() => void told.push(words(output)))
      yield* box.execute("speak", { stream })
      yield* box.executeBytes("speak", { stream })
      yield* box.fail("speak", { stream })
      assert.deepStrictEqual(told, Array.from({ length: 3 }, () => ["Stdout said", "Stderr moaned"]).flat())
    })
  )

  it.effect("is a stream of what it says, its exit code last, and is reported like the others", () =>
    Effect.gen(function* () {
      const { box, events } = yield* started
      const said = yield* Stream.runCollect(box.executeStream("speak"))
      assert.deepStrictEqual(
        said.map((event) => (event._tag === "Exit" ? event.exitCode : words(event))),
        ["Stdout said", "Stderr moaned", 3]
      )
      const actions = events.flatMap((event) =>
        event._tag === "MachineEvent" && event.event._tag.startsWith("Action") ? [event.event] : []
      )
      assert.deepInclude(actions.at(-2), { _tag: "ActionStarted", machine: "box", action: 'running "speak"' })
      assert.deepInclude(actions.at(-1), { _tag: "ActionEnded", action: 'running "speak"', outcome: "exit code 3" })
    })
  )

  it.effect("that is interrupted is reported as that, in no words about fibers", () =>
    Effect.gen(function* () {
      const { box, events } = yield* started
      const hangs = yield* Effect.forkChild(box.execute("hang"))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.interrupt(hangs)
      const ended = events.flatMap((event) =>
        event._tag === "MachineEvent" && event.event._tag === "ActionEnded" ? [event.event] : []
      )
      assert.deepInclude(ended.at(-1), { action: 'running "hang"', outcome: "interrupted" })
    })
  )

  it.effect("that is tried again is not tried in the guest that comes back from a reboot between two tries", () =>
    Effect.gen(function* () {
      const lost = yield* Deferred.make<string>()
      let tries = 0
      const failing = shellOf(
        () => Effect.sync(() => ({ exitCode: ++tries, stdout: "", stderr: "" })),
        Deferred.await(lost)
      )
      const { guest } = yield* guestOn(failing)
      const waiting = yield* Effect.forkChild(Effect.flip(Command.make(guest).waitUntilSucceeds("check")), {
        startImmediately: true
      })
      yield* TestClock.adjust("10 seconds")
      yield* Deferred.succeed(lost, "the guest rebooted")
      const before = tries
      yield* TestClock.adjust("10 seconds")
      const error = yield* Fiber.join(waiting)
      assert.strictEqual(error._tag, "ShellLost")
      assert.include(error.message, "the guest rebooted")
      assert.strictEqual(tries, before)
    }).pipe(Effect.scoped)
  )

  it.effect("has the deadline of the test when its own is undefined", () =>
    Effect.gen(function* () {
      const { box } = yield* started
      const settings = yield* Deadlines
      const options = { timeout: undefined }
      for (const command of [
        box.execute("hang", options),
        box.executeBytes("hang", options),
        Stream.runDrain(box.executeStream("hang", options))
      ]) {
        const running = yield* Effect.forkChild(
          Effect.flip(Effect.provideService(command, Deadlines, { ...settings, command: Duration.seconds(10) })),
          { startImmediately: true }
        )
        yield* TestClock.adjust("11 seconds")
        assert.strictEqual((yield* Fiber.join(running))._tag, "CommandTimeout")
      }
    })
  )
})

describe("a command that was spawned", () => {
  it.effect("is sent signals by their names, with SIG before them or not", () =>
    Effect.gen(function* () {
      const sent: Array<string> = []
      const shell = shellOf(() => Effect.never)
      const noting = (command: string) =>
        Effect.map(shell.spawn(command), (process) => ({
          ...process,
          signal: (name: string) => Effect.sync(() => void sent.push(name))
        }))
      const { guest } = yield* guestOn({ ...shell, spawn: noting })
      const spawned = yield* Spawn.make(guest).spawn("hang")
      yield* spawned.signal("SIGINT")
      yield* spawned.signal("INT")
      yield* spawned.signal()
      assert.deepStrictEqual(sent, ["INT", "INT", "TERM"])
      const wrong = yield* Effect.flip(spawned.signal(JSON.parse('"SIGSIGINT"')))
      assert.include(wrong.message, 'signal must be one of "HUP", "INT"')
    })
  )

  it.effect("and does not end says what of its output nobody reads", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(shellOf(() => Effect.never))
      const spawned = yield* Spawn.make(guest).spawn("seq 1000000")
      const late = Effect.gen(function* () {
        const waiting = yield* Effect.forkChild(Effect.flip(spawned.wait({ timeout: "1 second" })))
        yield* TestClock.adjust("2 seconds")
        return (yield* Fiber.join(waiting)).message
      })
      assert.include(yield* late, "the test does not read its stdout and stderr: it blocks after writing about 1 MiB")
      yield* Effect.forkChild(Stream.runDrain(spawned.stdout), { startImmediately: true })
      assert.include(yield* late, "the test does not read its stderr:")
      yield* Effect.forkChild(Stream.runDrain(spawned.stderr), { startImmediately: true })
      assert.match(yield* late, /it is running$/)
    })
  )
})
