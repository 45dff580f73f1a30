/** When waits look at a display again. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import type { Guest } from "../../src/guest/Guest.ts"
import type { Display } from "../../src/screen/Display.ts"
import { toPng } from "../../src/screen/internal/frame.ts"
import * as Screen from "../../src/screen/Screen.ts"
import * as ScreenImage from "../../src/screen/ScreenImage.ts"
import * as X11 from "../../src/screen/X11.ts"
import { guestOn, shellOf } from "../machine/support.ts"
import { blue, never, showing } from "./displays.ts"

const output = mkdtempSync(join(tmpdir(), "vmtest-"))
const reference = join(output, "reference.png")
afterAll(() => rmSync(output, { recursive: true }))

/** Has the reference at once: the time of a test does not pass while a real file is read. */
const fs = FileSystem.makeNoop({
  exists: () => Effect.succeed(true),
  readFile: () => Effect.succeed(toPng(blue))
})

/** Sees every picture as an empty text screen. */
const reader: Screen.Reader = { ways: () => ["exact"], read: () => Effect.succeed({ text: "", boxes: [] }) }

type Wait = (guest: Guest, display: Display, options: object) => Effect.Effect<unknown, unknown>

const waits: Readonly<Record<string, Wait>> = {
  waitForText: (guest, display, options) => Screen.make(guest, display, reader).waitForText("never", options),
  waitForImage: (guest, display, options) => ScreenImage.make(guest, display).waitForImage(reference, options),
  expectScreenshot: (guest, display, options) => ScreenImage.make(guest, display).expectScreenshot(reference, options),
  waitForWindow: (guest, _, options) => X11.make(guest, () => assert.fail("no display")).waitForWindow("never", options)
}

const setUp = Effect.gen(function* () {
  let looks = 0
  const count = Effect.sync(() => void looks++)
  const windows = shellOf(() => Effect.as(count, { exitCode: 0, stdout: "", stderr: "" }))
  const { display } = showing(1)
  const counted = { ...display, capture: Effect.andThen(count, display.capture) }
  return { looks: () => looks, windows, display: counted }
})

for (const [name, wait] of Object.entries(waits)) {
  describe(name, () => {
    it.effect("looks again after 100 ms, or by the schedule that it was given", () =>
      Effect.gen(function* () {
        const { display, looks, windows } = yield* setUp
        const { guest } = yield* guestOn(name === "waitForWindow" ? windows : never, { output, fs })
        const first = yield* Effect.forkChild(Effect.ignore(wait(guest, display, {})))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(looks(), 11)
        yield* Fiber.interrupt(first)
        const schedule = Schedule.exponential("1 second")
        yield* Effect.forkChild(Effect.ignore(wait(guest, display, { schedule, timeout: "1 minute" })))
        // After 1, 2, 4 and 8 seconds.
        yield* TestClock.adjust("15 seconds")
        assert.strictEqual(looks(), 11 + 5)
      })
    )

    it.effect("fails when the schedule ends, as at its deadline", () =>
      Effect.gen(function* () {
        const { display, looks, windows } = yield* setUp
        const { guest } = yield* guestOn(name === "waitForWindow" ? windows : never, { output, fs })
        const schedule = Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 2 }))
        const waiting = yield* Effect.forkChild(Effect.flip(wait(guest, display, { schedule, timeout: "1 minute" })))
        yield* TestClock.adjust("2 seconds")
        const tag = name === "expectScreenshot" ? "ScreenDiffers" : "WaitTimeout"
        assert.propertyVal(yield* Fiber.join(waiting), "_tag", tag)
        assert.strictEqual(looks(), 3)
      })
    )
  })
}
