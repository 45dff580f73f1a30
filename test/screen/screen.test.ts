import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type { Hypervisor } from "../../src/backends/Backend.ts"
import * as Terminal from "../../src/guest/Terminal.ts"
import { DisplayUnavailable } from "../../src/screen/Display.ts"
import type { Frame } from "../../src/screen/internal/frame.ts"
import * as HardwareDisplay from "../../src/screen/internal/hardwareDisplay.ts"
import type { Reading } from "../../src/screen/internal/textMode.ts"
import * as Keyboard from "../../src/screen/Keyboard.ts"
import * as Mouse from "../../src/screen/Mouse.ts"
import * as Recording from "../../src/screen/Recording.ts"
import * as Screen from "../../src/screen/Screen.ts"
import { controlOf, guestOn, shellOf } from "../machine/support.ts"
import { qmpOf } from "../transport/qmpOf.ts"
import { never, pictureOf, showing } from "./displays.ts"

const reading = (text: string): Reading => ({ text, boxes: [...text].map(() => ({ x: 0, y: 0, width: 1, height: 1 })) })

/** A reader that is asked in three ways, and counts. */
const counting = (texts: Readonly<Record<string, string>>, slow: Effect.Effect<void> = Effect.void) => {
  const asked: Array<string> = []
  const reader: Screen.Reader = {
    ways: () => ["layout", "exchanged", "sparse"],
    read: (frame, way) => {
      const key = `${pictureOf(frame)} ${way}`
      asked.push(key)
      return Effect.as(way === "layout" ? Effect.void : slow, reading(texts[key] ?? ""))
    }
  }
  return { asked, reader }
}

describe("waiting for a text", () => {
  it.effect("reads each picture in each way once, the likeliest of a new one first", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(never)
      const { display, show } = showing(1)
      const { asked, reader } = counting({ "2 sparse": "here: it is" })
      const waiting = yield* Effect.forkChild(Screen.make(guest, display, reader).waitForText(/it i\w/g))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(asked, ["1 layout", "1 exchanged", "1 sparse"])
      yield* show(2)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Fiber.join(waiting), "it is")
      assert.deepStrictEqual(asked.slice(3), ["2 layout", "2 exchanged", "2 sparse"])
    })
  )

  it.effect("leaves an old picture for a new one", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(never)
      const { display, show } = showing(1)
      const { asked, reader } = counting({ "2 layout": "new" }, Effect.never)
      const waiting = yield* Effect.forkChild(Screen.make(guest, display, reader).waitForText("new"))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(asked, ["1 layout", "1 exchanged"])
      yield* show(2)
      yield* TestClock.adjust("200 millis")
      assert.strictEqual(yield* Fiber.join(waiting), "new")
    })
  )

  it.effect("leaves a picture for a newer one once, so that a screen that never rests is read as well", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(never)
      const { display, show } = showing(1)
      const asked: Array<number> = []
      const reader: Screen.Reader = {
        ways: () => ["layout"],
        read: (frame) => {
          asked.push(pictureOf(frame))
          return Effect.delay(Effect.succeed(reading(pictureOf(frame) === 4 ? "at last" : "")), "2 seconds")
        }
      }
      const waiting = yield* Effect.forkChild(Screen.make(guest, display, reader).waitForText("at last"))
      yield* TestClock.adjust("500 millis")
      yield* show(2)
      yield* TestClock.adjust("200 millis")
      assert.deepStrictEqual(asked, [1, 2])
      yield* show(3)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(asked, [1, 2])
      yield* TestClock.adjust("1 second")
      yield* show(4)
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* Fiber.join(waiting), "at last")
      assert.deepStrictEqual(asked, [1, 2, 3, 4])
    })
  )

  it.effect("says at the deadline what was read last, and loses against the machine's death", () =>
    Effect.gen(function* () {
      const { die, guest } = yield* guestOn(never)
      const { display } = showing(1)
      const { reader } = counting({ "1 layout": "login:" })
      const screen = Screen.make(guest, display, reader)
      const late = yield* Effect.forkChild(Effect.flip(screen.waitForText("never", { timeout: "3 seconds" })))
      yield* TestClock.adjust("4 seconds")
      const error = yield* Fiber.join(late)
      assert.strictEqual(error._tag, "WaitTimeout")
      assert.include(error.message, '"never" on the screen')
      assert.include(error.message, "login:")
      const dying = yield* Effect.forkChild(Effect.flip(screen.waitForText("never")))
      yield* TestClock.adjust("1 second")
      yield* die
      assert.strictEqual((yield* Fiber.join(dying))._tag, "MachineDied")
    })
  )

  it.effect("ends when a picture cannot be read", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(never)
      const { display } = showing(1)
      const reader: Screen.Reader = {
        ways: () => ["layout"],
        read: () => Effect.fail(new Screen.OcrFailed({ reason: "no language" }))
      }
      const error = yield* Effect.flip(Screen.make(guest, display, reader).waitForText("x"))
      assert.include(error.message, "no language")
    })
  )
})

describe("a reader", () => {
  it.effect("reads a picture once, however many ask for it", () =>
    Effect.gen(function* () {
      const reader = Screen.makeReader()
      const frame: Frame = { width: 720, height: 400, data: new Uint8Array(720 * 400 * 4) }
      assert.deepStrictEqual(reader.ways(frame, undefined), ["exact"])
      assert.deepStrictEqual(reader.ways(frame, { reader: "tesseract" }), ["layout", "exchanged", "sparse"])
      const [first, second] = yield* Effect.all([reader.read(frame, "exact"), reader.read({ ...frame }, "exact")], {
        concurrency: 2
      })
      assert.strictEqual(first, second)
    })
  )
})

describe("a picture", () => {
  it.effect("has its ending once, whether it was named with it or not", () =>
    Effect.gen(function* () {
      const output = mkdtempSync(join(tmpdir(), "vmtest-picture-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(output, { recursive: true })))
      const { guest } = yield* guestOn(never, { output })
      const screen = Screen.make(guest, showing(1).display, counting({}).reader)
      assert.strictEqual(yield* screen.screenshot("shot.png"), join(output, "shot.png"))
      assert.strictEqual(yield* screen.screenshot("other"), join(output, "other.png"))
      assert.deepStrictEqual(readdirSync(output).sort(), ["other.png", "shot.png"])
    })
  )
})

describe("a pointer", () => {
  it.effect("presses where a text is, as often as asked", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(never)
      const { display, touched } = showing(1)
      const { reader } = counting({ "1 layout": "OK" })
      const found = yield* Mouse.make(guest, display, reader).clickText("OK", { button: "right", count: 2 })
      assert.strictEqual(found.text, "OK")
      assert.deepStrictEqual(
        touched.map(({ _tag }) => _tag),
        ["Move", "Press", "Release", "Press", "Release"]
      )
      const outside = yield* Effect.flip(Mouse.make(guest, display, reader).mouseMove({ x: Number.NaN, y: 0 }))
      assert.strictEqual(outside._tag, "InvalidArgument")
      // As a script that no compiler checked may have it.
      const button = JSON.parse('"thumb"')
      const mouse = Mouse.make(guest, display, reader)
      for (const wrong of [
        mouse.mouseClick({ x: 1, y: 1 }, { button }),
        mouse.mouseDrag({ x: 1, y: 1 }, { x: 2, y: 2 }, { button }),
        mouse.clickText("never there", { button }),
        mouse.mouseClick({ x: 1, y: 1 }, { count: 0 })
      ]) {
        assert.strictEqual((yield* Effect.flip(wrong))._tag, "InvalidArgument")
      }
      assert.strictEqual(touched.length, 5)
    })
  )
})

describe("a pointer of the hypervisor's", () => {
  it.effect("is let go of when what it drags is interrupted", () =>
    Effect.gen(function* () {
      const sent: Array<unknown> = []
      const control = qmpOf((_, { events }) => Effect.sync(() => sent.push(...(events as ReadonlyArray<unknown>))))
      const hypervisor = { directory: "" } as Partial<Hypervisor> as Hypervisor
      const { guest } = yield* guestOn(never, {
        hypervisor: Effect.succeed(hypervisor),
        control: Effect.succeed(controlOf(control))
      })
      const { touch } = HardwareDisplay.make(guest)
      const press = { _tag: "Press", button: "left" } as const
      const dragging = yield* Effect.forkChild(touch([press, press, { _tag: "Release", button: "left" }]), {
        startImmediately: true
      })
      yield* TestClock.adjust("10 millis")
      yield* Fiber.interrupt(dragging)
      const button = (down: boolean) => ({ type: "btn", data: { down, button: "left" } })
      assert.deepStrictEqual(sent, [button(true), button(false)])
      yield* Effect.forkChild(touch([press, { _tag: "Release", button: "left" }]), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(sent.slice(2), [button(true), button(false)])
    })
  )
})

describe("keys", () => {
  it.effect("are not sent at a pace that is none", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(never)
      const keyboard = Keyboard.make(guest, showing(1).display)
      for (const delay of [Number.NaN, -5, Number.POSITIVE_INFINITY, JSON.parse('"soon"')]) {
        for (const sending of [keyboard.sendKey("a", { delay }), keyboard.sendChars("ab", { delay })]) {
          assert.strictEqual((yield* Effect.flip(sending))._tag, "InvalidArgument")
        }
      }
    })
  )
})

describe("a recording", () => {
  it.effect("keeps what differs, with its time, and is written once", () =>
    Effect.gen(function* () {
      const output = mkdtempSync(join(tmpdir(), "vmtest-recording-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(output, { recursive: true })))
      const { guest } = yield* guestOn(never, { output })
      const { display, show } = showing(1)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const recording = yield* Recording.make(guest, display).recordVideo("film", { format: "apng" })
          yield* TestClock.adjust("1 second")
          yield* show(2)
          yield* TestClock.adjust("1 second")
          const stopping = yield* Effect.forkChild(Effect.all([recording.stop, recording.stop], { concurrency: 2 }))
          yield* TestClock.adjust("3 seconds")
          assert.deepStrictEqual(yield* Fiber.join(stopping), [join(output, "film.png"), join(output, "film.png")])
        })
      )
      assert.deepStrictEqual(readdirSync(output), ["film.png"])
      const wrong = yield* Effect.flip(
        Effect.scoped(Recording.make(guest, display).recordVideo("x", { framesPerSecond: 0 }))
      )
      assert.strictEqual(wrong._tag, "InvalidArgument")
      const format = JSON.parse('"avi"')
      const unknown = yield* Effect.flip(Effect.scoped(Recording.make(guest, display).recordVideo("x", { format })))
      assert.include(unknown.message, 'format must be "webm" or "apng", got "avi"')
      const away = yield* Effect.flip(Effect.scoped(Recording.make(guest, display).recordVideo("../x")))
      assert.strictEqual(away._tag, "HostFileError")
    })
  )
})

describe("a recording that cannot be written", () => {
  for (const format of ["webm", "apng"] as const) {
    it.live(`as ${format} says why when it is stopped, each time`, () =>
      Effect.gen(function* () {
        const output = mkdtempSync(join(tmpdir(), "vmtest-recording-"))
        yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(output, { recursive: true })))
        const { guest } = yield* guestOn(never, { output })
        const recording = yield* Recording.make(guest, showing(1).display).recordVideo("film", { format })
        mkdirSync(recording.path)
        for (let time = 0; time < 2; time++) {
          const error = yield* Effect.flip(recording.stop)
          assert.strictEqual(error._tag, "HostFileError")
          assert.include(error.message, `${recording.path} on the host cannot be used: Path is a directory`)
        }
      })
    )
  }
})

describe("a recording of a display that fails for a while", () => {
  it.effect("goes on with what comes after", () =>
    Effect.gen(function* () {
      const output = mkdtempSync(join(tmpdir(), "vmtest-recording-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(output, { recursive: true })))
      const { guest } = yield* guestOn(never, { output })
      const { display, show } = showing(1)
      let dark = false
      const capture = Effect.suspend(() =>
        dark ? Effect.fail(new DisplayUnavailable({ machine: "box", reason: "it is dark" })) : display.capture
      )
      const recording = yield* Recording.make(guest, { ...display, capture }).recordVideo("film", { format: "apng" })
      yield* TestClock.adjust("1 second")
      dark = true
      yield* TestClock.adjust("1 second")
      dark = false
      yield* show(2)
      yield* TestClock.adjust("1 second")
      const stopping = yield* Effect.forkChild(recording.stop)
      yield* TestClock.adjust("3 seconds")
      const film = readFileSync(yield* Fiber.join(stopping))
      assert.strictEqual(film.readUInt32BE(film.indexOf("acTL") + 4), 2)
    })
  )
})

describe("a terminal", () => {
  it.effect("is lines as wide as it is, and says when the guest has none", () =>
    Effect.gen(function* () {
      const cells = (text: string) => [...text].map((character) => `${character}\u0007`).join("")
      const screen = `\u0002\u0005\u0000\u0000${cells("ab   cde  ")}`
      const { guest } = yield* guestOn(shellOf(() => Effect.succeed({ exitCode: 0, stdout: screen, stderr: "" })))
      assert.strictEqual(yield* Terminal.make(guest).getTtyText(1), "ab\ncde")
      const answered = yield* Deferred.make<void>()
      const none = yield* guestOn(
        shellOf(() =>
          Effect.as(Deferred.succeed(answered, undefined), { exitCode: 1, stdout: "", stderr: "no such file" })
        )
      )
      const error = yield* Effect.flip(Terminal.make(none.guest).waitUntilTtyMatches(9, "x"))
      assert.strictEqual(error._tag, "CommandFailed")
    })
  )
})
