import { assert, describe, it } from "@effect/vitest"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type { BackendService, Hypervisor } from "../../src/backends/Backend.ts"
import type { Combination, Display } from "../../src/screen/Display.ts"
import * as Displays from "../../src/screen/Displays.ts"
import { type } from "../../src/screen/internal/ps2.ts"
import * as Keyboard from "../../src/screen/Keyboard.ts"
import * as KeyboardLayout from "../../src/screen/KeyboardLayout.ts"
import type { ShellService } from "../../src/transport/Shell.ts"
import { controlOf, guestOn, shellOf } from "../machine/support.ts"
import { qmpOf } from "../transport/qmpOf.ts"

interface KeyEvent {
  readonly data: { readonly down: boolean; readonly key: { readonly data: string } }
}

/** A PS/2 keyboard of 16 bytes, which the guest empties when the test says so, and counts. */
const keyboard = Effect.gen(function* () {
  const counts = yield* Queue.unbounded<number>()
  let taken = 100
  let waiting: Array<string> = []
  const got: Array<string> = []
  const lost: Array<string> = []
  const slow: Array<Combination> = []
  let most = 0
  const control = qmpOf((command, { events = [], keys }) =>
    Effect.sync(() => {
      if (command === "send-key") slow.push(keys as Combination)
      for (const { data } of events as ReadonlyArray<KeyEvent>) {
        const code = `${data.key.data} ${data.down ? "down" : "up"}`
        if (waiting.length < 16) waiting.push(code)
        else lost.push(code)
        most = Math.max(most, waiting.length)
      }
    })
  )
  const shell: ShellService = {
    ...shellOf(() => Effect.never),
    executeStream: () =>
      Stream.fromQueue(counts).pipe(
        Stream.map((count) => ({ _tag: "Stdout", bytes: new TextEncoder().encode(`${count}\n`) }) as const)
      )
  }
  const empty = Effect.suspend(() => {
    got.push(...waiting)
    taken += waiting.length
    waiting = []
    return Queue.offer(counts, taken)
  })
  return { control, shell, empty, got, lost, slow, most: () => most }
})

const combinations = (text: string) =>
  [...text].flatMap((character) => KeyboardLayout.combinationsOf("us", character) ?? [])

describe("typing", () => {
  it.effect("never puts more into the keyboard than it remembers, and waits until the guest has taken it", () =>
    Effect.gen(function* () {
      const { control, empty, got, lost, most, shell } = yield* keyboard
      const { guest } = yield* guestOn(shell)
      const typing = yield* Effect.forkChild(type(guest, control, combinations("Hello, World!\n"), undefined))
      for (let round = 0; round < 40; round++) {
        yield* TestClock.adjust("1 second")
        yield* empty
      }
      yield* Fiber.join(typing)
      assert.deepStrictEqual(lost, [])
      assert.isAtMost(most(), 12)
      assert.deepStrictEqual(got.slice(0, 6), ["shift down", "h down", "h up", "shift up", "e down", "e up"])
      assert.strictEqual(got.filter((code) => code.endsWith("down")).length, "hello, world!\n".length + 3)
    })
  )

  it.effect("says when the guest stops taking keys", () =>
    Effect.gen(function* () {
      const { control, empty, shell } = yield* keyboard
      const { guest } = yield* guestOn(shell)
      const typing = yield* Effect.forkChild(Effect.flip(type(guest, control, combinations("a long text"), undefined)))
      for (let round = 0; round < 2; round++) {
        yield* TestClock.adjust("1 second")
        yield* empty
      }
      yield* TestClock.adjust("32 seconds")
      const error = yield* Fiber.join(typing)
      assert.strictEqual(error._tag, "KeysLost")
      assert.include(error.message, "the guest took 6 of 11")
    })
  )

  it.effect("gives no keys to a guest that stands still", () =>
    Effect.gen(function* () {
      const { control, shell, slow } = yield* keyboard
      // A shell that is silent for half a minute is lost.
      const executeStream: ShellService["executeStream"] = () =>
        Stream.drain(Stream.fromEffect(Effect.sleep("30 seconds")))
      const { guest } = yield* guestOn({ ...shell, executeStream }, { isPaused: Effect.succeed(true) })
      const press: Display["press"] = (keys, delay) => type(guest, control, keys, delay)
      const display: Display = { name: "the screen", capture: Effect.never, press, touch: () => Effect.void }
      const typing = yield* Effect.forkChild(Effect.flip(Keyboard.make(guest, display).sendChars("abc")))
      yield* TestClock.adjust("31 seconds")
      const error = yield* Fiber.join(typing)
      assert.strictEqual(error._tag, "KeysLost")
      assert.include(error.message, "the guest took 0 of 3, then no more for 30s (the machine is paused")
      assert.deepStrictEqual(slow, [])
    })
  )

  it.effect("says for how long no more keys were taken, when the guest ended before its patience did", () =>
    Effect.gen(function* () {
      const { control, shell } = yield* keyboard
      const counts = yield* Queue.unbounded<number, Cause.Done>()
      const ending: ShellService = {
        ...shell,
        executeStream: () =>
          Stream.map(
            Stream.fromQueue(counts),
            (count) => ({ _tag: "Stdout", bytes: Buffer.from(`${count}\n`) }) as const
          )
      }
      const { guest } = yield* guestOn(ending)
      const typing = yield* Effect.forkChild(Effect.flip(type(guest, control, combinations("a long text"), undefined)))
      yield* Queue.offer(counts, 100)
      yield* TestClock.adjust("4 seconds")
      yield* Queue.end(counts)
      yield* TestClock.adjust("1 millis")
      assert.include((yield* Fiber.join(typing)).message, "the guest took 0 of 11, then no more for 4s")
    })
  )

  it.effect("goes at a fixed pace where the guest has no shell, or the caller says so", () =>
    Effect.gen(function* () {
      const { control, shell, slow } = yield* keyboard
      const booting = yield* guestOn(shell, { shell: Effect.never })
      const typing = yield* Effect.forkChild(type(booting.guest, control, combinations("abc"), undefined))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(typing)
      assert.strictEqual(slow.length, 3)
      const { guest } = yield* guestOn(shell)
      const paced = yield* Effect.forkChild(type(guest, control, combinations("abc"), "2 seconds"))
      yield* TestClock.adjust("5 seconds")
      assert.isUndefined(paced.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(paced)
      assert.strictEqual(slow.length, 6)
    })
  )

  it.effect("checks a lone key, too, so that many of them one by one are not lost", () =>
    Effect.gen(function* () {
      const { control, empty, lost, most, shell } = yield* keyboard
      const { guest } = yield* guestOn(shell)
      const typing = yield* Effect.forkChild(
        Effect.flip(
          Effect.forEach(Array.from({ length: 20 }), () => type(guest, control, combinations("a"), undefined))
        )
      )
      yield* empty
      yield* TestClock.adjust("31 seconds")
      const error = yield* Fiber.join(typing)
      assert.strictEqual(error._tag, "KeysLost")
      assert.include(error.message, "the guest took 0 of 1, then no more for 30s")
      assert.deepStrictEqual(lost, [])
      assert.isAtMost(most(), 12)
    })
  )

  it.effect("does not ask after keys that end the guest, nor after those that ended it", () =>
    Effect.gen(function* () {
      const { control, shell, slow } = yield* keyboard
      const { guest } = yield* guestOn(shell)
      for (const keys of [["ctrl", "alt", "delete"], ["alt", "sysrq", "b"], ["power"]]) {
        const typing = yield* Effect.forkChild(type(guest, control, [keys], undefined))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(typing)
      }
      assert.strictEqual(slow.length, 3)
      const going: ShellService = {
        ...shell,
        executeStream: () => Stream.make({ _tag: "Stdout", bytes: new TextEncoder().encode("1\n") } as const)
      }
      yield* type((yield* guestOn(going)).guest, control, combinations("\n"), undefined)
    })
  )

  it.effect("is done by one call at a time: nothing mixes, nothing is lost", () =>
    Effect.gen(function* () {
      const { control, empty, got, lost, shell } = yield* keyboard
      const { guest } = yield* guestOn(shell)
      const connected = {
        control: Effect.succeed(controlOf(control)),
        hypervisor: Effect.succeed({ directory: "" } as Partial<Hypervisor> as Hypervisor)
      }
      const backend: BackendService = { ...guest.backend, capabilities: new Set(["screen", "qmp"]) }
      const hands = Keyboard.make(guest, Displays.make({ ...guest, ...connected, backend }).own)
      const sending = [hands.sendChars("aaaaaaaaaaaa"), hands.sendKey("b"), hands.sendChars("cccccccccccc")]
      const typing = yield* Effect.forkChild(Effect.all(sending, { concurrency: "unbounded" }))
      for (let round = 0; round < 40; round++) {
        yield* TestClock.adjust("1 second")
        yield* empty
      }
      yield* Fiber.join(typing)
      assert.deepStrictEqual(lost, [])
      const typed = got.filter((code) => code.endsWith(" down")).map((code) => code[0])
      assert.strictEqual(typed.join(""), `${"a".repeat(12)}b${"c".repeat(12)}`)
    })
  )

  it.effect("and pointing are for one call at a time on an X server, whatever its screen is called", () =>
    Effect.gen(function* () {
      let under = 0
      let most = 0
      let calls = 0
      const shell = shellOf(() =>
        Effect.gen(function* () {
          calls++
          most = Math.max(most, ++under)
          yield* Effect.sleep("1 second")
          under--
          return { exitCode: 0, stdout: "", stderr: "" }
        })
      )
      const { own, x11 } = Displays.make((yield* guestOn(shell)).guest)
      const using = yield* Effect.forkChild(
        Effect.all(
          [
            own.press([["a"]], undefined),
            x11(":0").press([["a"]], undefined),
            x11(":0.0").touch([{ _tag: "Press", button: "left" }])
          ],
          { concurrency: "unbounded" }
        )
      )
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(using)
      assert.deepStrictEqual([calls, most], [3, 1])
      const both = yield* Effect.forkChild(
        Effect.all([x11(":1").press([["a"]], undefined), x11(":2").press([["a"]], undefined)], { concurrency: 2 })
      )
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(both)
    })
  )
})
