import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { WaitTimeout } from "../../src/guest/MachineError.ts"
import { type Frame, fromPng } from "../../src/screen/internal/frame.ts"
import type { ExpectScreenshotOptions } from "../../src/screen/ScreenImage.ts"
import * as ScreenImage from "../../src/screen/ScreenImage.ts"
import { guestOn } from "../machine/support.ts"
import { never, pictureOf, showing } from "./displays.ts"

describe("a reference picture", () => {
  it.effect("that is missing is written by --update-references for a whole screen alone", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(never)
      const images = ScreenImage.make(guest, showing(1).display)
      const updating = Effect.provideService(ScreenImage.UpdateReferences, true)
      const part = yield* Effect.flip(updating(images.waitForImage("/proc/nonexistent/button.png")))
      assert.strictEqual(part._tag, "ReferenceMissing")
      assert.include(part.message, "cut it out of a screenshot()")
      const whole = yield* Effect.flip(images.expectScreenshot("/proc/nonexistent/desk.png"))
      assert.include(whole.message, "vmtest run --update-references writes it")
    })
  )

  /** Writes a reference of what a display shows that changes every second. */
  const updating = Effect.fnUntraced(function* (pictures: ReadonlyArray<number>, options: ExpectScreenshotOptions) {
    const base = mkdtempSync(join(tmpdir(), "vmtest-reference-"))
    yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(base, { recursive: true })))
    const reference = join(base, "references", "desk.png")
    const { guest } = yield* guestOn(never)
    let looks = 0
    const capture = Effect.sync((): Frame => {
      const red = pictures[Math.min(looks++, pictures.length - 1)] ?? 0
      return { width: 2, height: 1, data: Uint8Array.from([red, 0, 0, 255, 0, 0, 0, 255]) }
    })
    const { expectScreenshot } = ScreenImage.make(guest, { ...showing(1).display, capture })
    const writing = yield* Effect.forkChild(
      Effect.exit(Effect.provideService(expectScreenshot(reference, options), ScreenImage.UpdateReferences, true))
    )
    yield* TestClock.adjust("1 minute")
    return { exit: yield* Fiber.join(writing), reference, looks }
  })

  it.effect("is written once two pictures in a row are the same", () =>
    Effect.gen(function* () {
      const { exit, looks, reference } = yield* updating([1, 2, 3, 3, 4], {})
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual([pictureOf(fromPng(readFileSync(reference))), looks], [3, 4])
    })
  )

  it.effect("is written of a screen that moves where it is masked alone, and of no other", () =>
    Effect.gen(function* () {
      const moving = Array.from({ length: 1000 }, (_, index) => 1 + (index % 250))
      const masks = [{ x: 0, y: 0, width: 1, height: 1 }]
      const { exit, reference } = yield* updating(moving, { masks })
      assert.isTrue(Exit.isSuccess(exit))
      assert.strictEqual(pictureOf(fromPng(readFileSync(reference))), 2)
      const restless = yield* updating(moving, { timeout: "5 seconds" })
      assert.isFalse(existsSync(restless.reference))
      const error = Exit.isFailure(restless.exit) ? Cause.squash(restless.exit.cause) : undefined
      assert.instanceOf(error, WaitTimeout)
      assert.match(error.message, /waited 5s for the screen to stop changing, to write the reference .*desk.png/)
      assert.include(error.message, "1 pixel differs between the last two pictures; mask what moves")
    })
  )

  it.effect("is not compared for a time that is none", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(never)
      for (const timeout of [Number.NaN, -5, JSON.parse('"soon"')]) {
        const images = ScreenImage.make(guest, showing(1).display)
        const error = yield* Effect.flip(images.expectScreenshot("/proc/nonexistent/desk.png", { timeout }))
        assert(error._tag === "InvalidArgument", error._tag)
        assert.strictEqual(error.argument, "timeout")
      }
    })
  )
})
