import { writeFileSync } from "node:fs"
import { join } from "node:path"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { InvalidArgument } from "../../src/guest/MachineError.ts"
import type { Machine } from "../../src/machine/Machine.ts"
import { toPng } from "../../src/screen/internal/frame.ts"
import { driverOf, offline } from "../driver/support.ts"

type Parameter<Method> = Method extends (...args: infer Args extends ReadonlyArray<unknown>) => unknown
  ? Args[number]
  : never

/** Whether an argument is a time, or has one among its options; what takes any property is not one. */
type HasTime<Argument, Name extends string> = Argument extends object
  ? string extends keyof Argument
    ? false
    : Name extends keyof Argument
      ? true
      : false
  : false

type MethodsWith<Name extends string> = {
  [Key in keyof Machine]: true extends HasTime<NonNullable<Parameter<Machine[Key]>>, Name> ? Key : never
}[keyof Machine]

type Failing = Effect.Effect<unknown, { readonly _tag: string; readonly message: string }, Scope.Scope>
type Call = (machine: Machine, time: Duration.Input, picture: string) => Failing

/** Every method with a timeout: the compiler says when one is missing. */
const timeouts: Readonly<Record<MethodsWith<"timeout">, Call>> = {
  execute: (box, timeout) => box.execute("true", { timeout }),
  executeBytes: (box, timeout) => box.executeBytes("true", { timeout }),
  executeStream: (box, timeout) => Stream.runDrain(box.executeStream("true", { timeout })),
  succeed: (box, timeout) => box.succeed("true", "true", { timeout }),
  fail: (box, timeout) => box.fail("false", { timeout }),
  spawn: (box, timeout) => box.spawn("true", { timeout }),
  waitUntilSucceeds: (box, timeout) => box.waitUntilSucceeds("false", { timeout }),
  waitUntilFails: (box, timeout) => box.waitUntilFails("true", { timeout }),
  waitForUnit: (box, timeout) => box.waitForUnit("never", { timeout }),
  waitForFile: (box, timeout) => box.waitForFile("/never", { timeout }),
  waitUntilFileIsGone: (box, timeout) => box.waitUntilFileIsGone("/always", { timeout }),
  waitForOpenPort: (box, timeout) => box.waitForOpenPort(80, { timeout }),
  waitForClosedPort: (box, timeout) => box.waitForClosedPort(22, "other", { timeout }),
  waitForOpenUnixSocket: (box, timeout) => box.waitForOpenUnixSocket("/run/never", { timeout }),
  waitForConsoleText: (box, timeout) => box.waitForConsoleText("never", { timeout }),
  waitUntilTtyMatches: (box, timeout) => box.waitUntilTtyMatches(1, "never", { timeout }),
  waitForText: (box, timeout) => box.waitForText("never", { timeout }),
  clickText: (box, timeout) => box.clickText("never", { timeout }),
  waitForImage: (box, timeout, picture) => box.waitForImage(picture, { timeout }),
  expectScreenshot: (box, timeout, picture) => box.expectScreenshot(picture, { timeout }),
  waitForX: (box, timeout) => box.waitForX({ timeout }),
  waitForWindow: (box, timeout) => box.waitForWindow("never", { timeout }),
  waitForQmpEvent: (box, timeout) => box.waitForQmpEvent(Schema.Unknown, { timeout }),
  unplug: (box, timeout) => box.unplug("stick", { timeout }),
  shutdown: (box, timeout) => box.shutdown({ timeout }),
  reboot: (box, timeout) => box.reboot({ timeout }),
  waitForReboot: (box, timeout) => box.waitForReboot({ timeout }),
  switchRoot: (box, timeout) => box.switchRoot({ timeout }),
  waitForShutdown: (box, timeout) => box.waitForShutdown({ timeout })
}

const intervals: Readonly<Record<MethodsWith<"interval">, Call>> = {
  waitForFile: (box, interval) => box.waitForFile("/never", { interval }),
  waitUntilFileIsGone: (box, interval) => box.waitUntilFileIsGone("/", { interval }),
  waitForOpenPort: (box, interval) => box.waitForOpenPort(9, { interval }),
  waitForClosedPort: (box, interval) => box.waitForClosedPort(22, "other", { interval }),
  waitForOpenUnixSocket: (box, interval) => box.waitForOpenUnixSocket("/run/never", { interval }),
  waitForX: (box, interval) => box.waitForX({ interval }),
  waitUntilTtyMatches: (box, interval) => box.waitUntilTtyMatches(1, "never", { interval })
}

const delays: Readonly<Record<MethodsWith<"delay">, Call>> = {
  sendKey: (box, delay) => box.sendKey("a", { delay }),
  sendChars: (box, delay) => box.sendChars("ab", { delay })
}

/** Methods that take a time itself. */
const durations: Readonly<Record<"sleep", Call>> = { sleep: (box, duration) => box.sleep(duration) }

/** No times at all. */
const senseless: ReadonlyArray<unknown> = [Number.NaN, -1, -Infinity, "5 minuts", "300", "-5 seconds", "soon", true]
const endless: ReadonlyArray<unknown> = [Number.POSITIVE_INFINITY, "Infinity"]

const unstarted = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const picture = join(yield* fs.makeTempDirectoryScoped(), "picture.png")
  writeFileSync(picture, toPng({ width: 1, height: 1, data: new Uint8Array(4) }))
  const { machines, states } = yield* driverOf({ box: offline({ allowReboot: true }) })
  return { box: machines.box as Machine, picture, states }
}).pipe(Effect.provide(NodeFileSystem.layer))

const tables: ReadonlyArray<[argument: string, calls: Readonly<Record<string, Call>>, wrong: ReadonlyArray<unknown>]> =
  [
    ["timeout", timeouts, senseless],
    ["interval", intervals, [...senseless, ...endless]],
    ["delay", delays, [...senseless, ...endless]],
    ["duration", durations, [...senseless, ...endless]]
  ]

describe("a time that makes no sense is refused before the machine is started", () => {
  for (const [argument, calls, wrong] of tables) {
    for (const [method, call] of Object.entries(calls)) {
      it.effect(`by ${method}, as its ${argument}`, () =>
        Effect.gen(function* () {
          const { box, picture, states } = yield* unstarted
          // One look takes no time; a wait of none could not be meant.
          const none = argument === "timeout" && method !== "expectScreenshot" ? [0, "0 seconds"] : []
          for (const time of [...wrong, ...none]) {
            const error = yield* Effect.flip(call(box, time as Duration.Input, picture))
            assert(error instanceof InvalidArgument, `${String(time)}: ${error._tag}`)
            assert.deepInclude(error, { machine: "box", argument })
            assert.include(error.message, typeof time === "string" ? JSON.stringify(time) : String(time))
          }
          assert.isFalse(yield* box.isUp())
          assert.deepStrictEqual(states("box"), [])
        })
      )
    }
  }

  it.effect("and a text that is none is told what one looks like", () =>
    Effect.gen(function* () {
      const { box } = yield* unstarted
      const typo = yield* Effect.flip(box.succeed("true", { timeout: "5 minuts" as "5 minutes" }))
      assert.strictEqual(
        typo.message,
        'box.succeed: timeout must be a duration above zero, such as "5 seconds" or 5000 (milliseconds), got "5 minuts"'
      )
      const negative = yield* Effect.flip(box.waitForFile("/never", { interval: -5 }))
      assert.strictEqual(
        negative.message,
        'box.waitForFile: interval must be a duration of at least zero that ends, such as "5 seconds" or 5000 (milliseconds), got -5'
      )
    })
  )
})

describe("of a machine that runs, a time that makes no sense", () => {
  it.effect("runs no command, and ends nothing", () =>
    Effect.gen(function* () {
      const { machines, mock } = yield* driverOf({ box: offline({ allowReboot: true }) })
      const box = machines.box as Machine
      yield* box.start()
      const guest = yield* mock.machine("box")
      const before = (yield* guest.commands).length
      for (const [method, call] of Object.entries(timeouts)) {
        if (method === "waitForImage" || method === "expectScreenshot") continue
        const error = yield* Effect.flip(call(box, "5 minuts" as "5 minutes", ""))
        assert.strictEqual(error._tag, "InvalidArgument", method)
      }
      assert.strictEqual((yield* guest.commands).length, before)
      const cat = yield* box.spawn("cat")
      const error = yield* Effect.flip(cat.wait({ timeout: Number.NaN }))
      assert.deepInclude(error, { _tag: "InvalidArgument", argument: "timeout" })
      assert.isTrue(yield* box.isUp())
    })
  )

  it.effect("ends no command: undefined and for ever are times", () =>
    Effect.gen(function* () {
      const { machines } = yield* driverOf({ box: offline() }, { guests: { box: { otherwise: { stdout: "hi" } } } })
      const box = machines.box as Machine
      assert.strictEqual(yield* box.succeed("x", { timeout: undefined }), "hi")
      assert.strictEqual(yield* box.succeed("x", { timeout: "Infinity" }), "hi")
      assert.strictEqual((yield* box.execute("x", { timeout: Number.POSITIVE_INFINITY })).stdout, "hi")
      yield* box.spawn("x", { timeout: undefined })
    })
  )
})
