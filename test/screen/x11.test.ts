import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as TestClock from "effect/testing/TestClock"
import { toPng } from "../../src/screen/internal/frame.ts"
import { titlesOf } from "../../src/screen/internal/windowTitles.ts"
import * as X11Display from "../../src/screen/internal/x11Display.ts"
import * as Mouse from "../../src/screen/Mouse.ts"
import * as Screen from "../../src/screen/Screen.ts"
import * as ScreenImage from "../../src/screen/ScreenImage.ts"
import { guestOn, shellOf } from "../machine/support.ts"
import { blue, showing } from "./displays.ts"

describe("the titles of windows", () => {
  it("are read in any encoding, whatever is in them, in their order", () => {
    const said = Buffer.concat([
      Buffer.from(`
xwininfo: Window id: 0x50d (the root window) (has no name)

  Root window id: 0x50d (the root window) (has no name)
  Parent window id: 0x0 (none)
     6 children:
     0xa0000a "Größe – 日本": ("xclock" "XClock")  164x164+0+0  +0+0
        1 child:
        0xa0000b (has no name): ()  164x164+0+0  +1+1
     0xb0000a (name in unsupported encoding COMPOUND_TEXT): ("xterm" "XTerm")  484x316+0+0  +0+0
     0xc0000a "has "quotes": (x) and (y)": ("xclock" "XClock")  164x164+-5+0  +-5+0
     0xd0000a "of two
lines": ()  10x10+0+0  +0+0
     0xe0000a "": ("a" "B")  10x10+0+0  +0+0
     0x40000a "`),
      Buffer.from("Gr\xf6\xdfe", "latin1"),
      Buffer.from(`": ("xclock" "XClock")  164x164+0+0  +0+0

0xb0000a WM_NAME = "日本 Gr\\303\\266\\303\\237e \\"quoted\\" \\\\303 \\\\o/"
`)
    ])
    assert.deepStrictEqual(titlesOf(said), [
      "Größe – 日本",
      '日本 Größe "quoted" \\303 \\o/',
      'has "quotes": (x) and (y)',
      "of two\nlines",
      "",
      "Größe"
    ])
  })
})

/** A guest whose X server is there when the test says so: a display, and its methods. */
const desk = Effect.gen(function* () {
  const folder = mkdtempSync(join(tmpdir(), "vmtest-x11-"))
  // At once: the clock of a test does not wait for real files.
  const fs = FileSystem.makeNoop({
    exists: () => Effect.succeed(true),
    readFile: () => Effect.succeed(toPng({ ...blue, data: Uint8Array.from([1, 0, 0, 255]) })),
    makeDirectory: () => Effect.void,
    writeFile: () => Effect.void
  })
  yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
  const { guest } = yield* guestOn(
    shellOf(() => Effect.succeed({ exitCode: 1, stdout: "", stderr: "xwd: unable to open display ':1'" })),
    { output: folder, fs }
  )
  const down = X11Display.make(guest, ":1")
  const up = showing(1)
  let server = down
  const display = { ...up.display, capture: Effect.suspend(() => server.capture) }
  const reader: Screen.Reader = {
    ways: () => ["exact"],
    read: () => Effect.succeed({ text: "OK", boxes: [blue, blue].map((size) => ({ x: 0, y: 0, ...size })) })
  }
  const reference = join(folder, "desk.png")
  const { clickText } = Mouse.make(guest, display, reader)
  const { expectScreenshot, waitForImage } = ScreenImage.make(guest, display)
  const { screenshot, waitForText } = Screen.make(guest, display, reader)
  const timeout = "5 seconds"
  return {
    start: Effect.sync(() => {
      server = up.display
    }),
    screenshot,
    waits: [
      waitForText("OK", { timeout }),
      clickText("OK", { timeout }),
      waitForImage(reference, { timeout }),
      expectScreenshot(reference, { timeout }),
      Effect.provideService(expectScreenshot(reference, { timeout }), ScreenImage.UpdateReferences, true)
    ]
  }
})

describe("an X server that is not up", () => {
  it.effect("is waited for by whatever waits on its display", () =>
    Effect.gen(function* () {
      const { screenshot, start, waits } = yield* desk
      assert.strictEqual((yield* Effect.flip(screenshot()))._tag, "DisplayUnavailable")
      const all: ReadonlyArray<Effect.Effect<unknown, { readonly message: string }>> = waits
      const waiting = yield* Effect.forEach(all, (wait) => Effect.forkChild(wait))
      yield* TestClock.adjust("3 seconds")
      assert.isTrue(waiting.every((fiber) => fiber.pollUnsafe() === undefined))
      yield* start
      yield* TestClock.adjust("1 second")
      yield* Effect.forEach(waiting, (fiber) => Fiber.join(fiber))
    })
  )

  it.effect("is waited for until the deadline, whose error says what is wrong with it", () =>
    Effect.gen(function* () {
      const { waits } = yield* desk
      const all: ReadonlyArray<Effect.Effect<unknown, { readonly message: string }>> = waits
      const waiting = yield* Effect.forEach(all, (wait) => Effect.forkChild(Effect.flip(wait)))
      yield* TestClock.adjust("6 seconds")
      for (const fiber of waiting) assert.include((yield* Fiber.join(fiber)).message, "unable to open display ':1'")
    })
  )

  it.effect("is not waited for in a guest that has no program to look at it", () =>
    Effect.gen(function* () {
      const { guest } = yield* guestOn(
        shellOf(() => Effect.succeed({ exitCode: 127, stdout: "", stderr: "the guest has no xwd" }))
      )
      const screen = Screen.make(guest, X11Display.make(guest, ":1"), Screen.makeReader())
      assert.include((yield* Effect.flip(screen.waitForText("OK"))).message, "the guest has no xwd")
    })
  )
})
