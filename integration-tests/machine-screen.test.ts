import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { PNG } from "pngjs"
import * as Image from "../src/images/Image.ts"
import type { Machine as MachineOf } from "../src/machine/Machine.ts"
import { keyNames } from "../src/screen/internal/keys.ts"
import { UpdateReferences } from "../src/screen/ScreenImage.ts"
import { Machine, machines } from "../src/vitest.ts"

class Box extends Machine<Box>()("box", { image: Image.debian(), memory: "512 MiB" }) {}

class Victim extends Machine<Victim>()("victim", { image: Image.tiny(), memory: "256 MiB", autoStart: false }) {}

type Failing = Effect.Effect<unknown, { readonly _tag: string; readonly message: string }, Scope.Scope>

const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index)).join("")

const folder = mkdtempSync(join(tmpdir(), "vmtest-screen-test-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const sizeOf = (file: string) => {
  const { height, width } = PNG.sync.read(readFileSync(file))
  return { width, height }
}

/** An empty tty1 in which nothing moves: no getty, no cursor that blinks. */
const quietScreen = (box: MachineOf, text: string) =>
  box.succeed("systemctl stop getty@tty1", `printf '\\033c\\033[?25l%b' '${text}' > /dev/tty1`)

/** What the guest's kernel says that the pointer did: `[type, code, value]` (linux/input-event-codes.h). */
const pointerEvents = (box: MachineOf, act: ReturnType<MachineOf["mouseMove"]>) =>
  Effect.gen(function* () {
    const device = yield* box.succeed(
      "grep -A5 'QEMU Virtio Tablet' /proc/bus/input/devices | grep -o 'event[0-9]*' | head -n 1"
    )
    yield* box.succeed(
      `cat /dev/input/${device.trim()} > /tmp/events & echo $! > /tmp/reader`,
      "until [ -s /tmp/reader ] && [ -e /proc/$(cat /tmp/reader)/fd/0 ]; do sleep 0.05; done; sleep 0.3"
    )
    yield* act
    yield* box.succeed("sleep 0.3; kill $(cat /tmp/reader)")
    const bytes = Buffer.from(yield* box.readFileBytes("/tmp/events"))
    return Array.from({ length: Math.floor(bytes.length / 24) }, (_, index) => [
      bytes.readUInt16LE(index * 24 + 16),
      bytes.readUInt16LE(index * 24 + 18),
      bytes.readInt32LE(index * 24 + 20)
    ])
  })

const [EV_KEY, EV_ABS, ABS_X, ABS_Y, BTN_LEFT, BTN_RIGHT] = [1, 3, 0, 1, 0x110, 0x111]

machines(Box)("a machine's screen", (it) => {
  it.effect("has a prompt, at which one logs in with keys, and reads what commands say", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.waitForText("login:")
      yield* box.sendChars("root\n")
      yield* box.waitForText(/root@box:.*# *$/m)
      yield* box.sendChars("echo The answer is $((6 * 7)).\n")
      assert.strictEqual(yield* box.waitForText(/^The answer is \d+\.$/m), "The answer is 42.")
      assert.include(yield* box.getScreenText(), "root@box:~# echo The answer is $((6 * 7)).\nThe answer is 42.\n")
      assert.include((yield* box.getScreenTextVariants())[0] ?? "", "The answer is 42.")
      assert.include(yield* box.getTtyText(1), "The answer is 42.")
    })
  )

  it.effect("gets every printable character that is typed, many times over", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.sendChars("cat > /tmp/typed; touch /tmp/typed.done\n")
      const text = Array.from({ length: 5 }, () => `${printable}\n`).join("")
      yield* box.sendChars(text)
      yield* box.sendKey("ctrl-d")
      yield* box.waitForFile("/tmp/typed.done", { timeout: "20 seconds" })
      assert.strictEqual(yield* box.readFile("/tmp/typed"), text)
    })
  )

  it.effect("gets them even when the guest is too busy to look", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.sendChars("cat > /tmp/typed2; touch /tmp/typed2.done\n")
      const load = yield* box.spawn("while :; do :; done")
      yield* box.sendChars(`${printable}\n`)
      yield* load.signal("KILL")
      yield* box.sendKey("ctrl-d")
      yield* box.waitForFile("/tmp/typed2.done", { timeout: "20 seconds" })
      assert.strictEqual(yield* box.readFile("/tmp/typed2"), `${printable}\n`)
    })
  )

  it.effect("refuses keys that do not exist, with the nearest that do", () =>
    Effect.gen(function* () {
      const box = yield* Box
      assert.include((yield* Effect.flip(box.sendKey("ctrl-alt-delet"))).message, 'did you mean "delete"')
      assert.include((yield* Effect.flip(box.sendKey("Return"))).message, 'did you mean "ret"')
      assert.include(
        (yield* Effect.flip(box.sendChars("né"))).message,
        'must have only characters of the keyboard layout "us", got "é"'
      )
      const schema = JSON.stringify(yield* box.qmp("query-qmp-schema"))
      const codes = /"values":\[([^\]]*"grave_accent"[^\]]*)\]/.exec(schema)?.[1] ?? ""
      assert.deepStrictEqual(
        [...keyNames].filter((key) => !codes.includes(`"${key}"`)),
        []
      )
    })
  )

  it.effect("notices a text within three seconds of its coming, and says at the deadline what was there", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const waiting = yield* Effect.forkChild(
        Effect.andThen(box.waitForText(/appeared at (\d+)/, { timeout: "1 minute" }), Clock.currentTimeMillis)
      )
      yield* Effect.sleep("1 second")
      const printed = yield* Clock.currentTimeMillis
      yield* box.succeed("echo appeared at 12 > /dev/tty1")
      assert.isBelow((yield* Fiber.join(waiting)) - printed, 3000)
      const error = yield* Effect.flip(box.waitForText("never shown", { timeout: "1 second" }))
      assert.strictEqual(error._tag, "WaitTimeout")
      assert.include(error.message, '"never shown" on the screen')
      assert.include(error.message, "appeared at 12")
    })
  )

  it.effect("is read by tesseract as well", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* quietScreen(box, "The quick brown fox\\r\\njumps over the lazy dog\\r\\n")
      const text = yield* box.getScreenText({ reader: "tesseract" })
      assert.include(text, "quick brown fox")
      assert.include(text, "lazy dog")
      const coming = yield* Effect.forkChild(
        box.waitForText(/slow turtle/, { reader: "tesseract", timeout: "1 minute" }),
        { startImmediately: true }
      )
      yield* box.succeed("printf 'while a slow turtle sleeps\\r\\n' > /dev/tty1")
      assert.strictEqual(yield* Fiber.join(coming), "slow turtle")
      const [found] = yield* box.findText("brown", { reader: "tesseract" })
      assert.closeTo(found?.box.x ?? 0, 10 * 9, 9)
      assert.closeTo(found?.box.y ?? 0, 0, 8)
    })
  )

  it.effect("says where texts are, and clicks on them", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* quietScreen(box, "\\r\\n  OK   Cancel   \\033[7mOK\\033[0m\\r\\n")
      assert.deepStrictEqual(yield* box.findText("OK"), [
        { text: "OK", box: { x: 18, y: 16, width: 18, height: 16 } },
        { text: "OK", box: { x: 16 * 9, y: 16, width: 18, height: 16 } }
      ])
      assert.deepStrictEqual(yield* box.findText(/Help/), [])
      const events = yield* pointerEvents(box, Effect.orDie(box.clickText("Cancel", { timeout: "10 seconds" })))
      const middle = { x: (7 + 3) * 9, y: 24 }
      const x = events.find(([type, code]) => type === EV_ABS && code === ABS_X)?.[2] ?? 0
      const y = events.find(([type, code]) => type === EV_ABS && code === ABS_Y)?.[2] ?? 0
      assert.closeTo((x / 32767) * 719, middle.x, 1)
      assert.closeTo((y / 32767) * 399, middle.y, 1)
      const presses = events.filter(([type]) => type === EV_KEY).map(([, code, value]) => [code, value])
      assert.deepStrictEqual(presses, [
        [BTN_LEFT, 1],
        [BTN_LEFT, 0]
      ])
    })
  )

  it.effect("is pointed at, clicked and dragged on", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const drag = yield* pointerEvents(box, box.mouseDrag({ x: 100, y: 50 }, { x: 300, y: 250 }))
      const xs = drag.filter(([type, code]) => type === EV_ABS && code === ABS_X).map(([, , value]) => value ?? 0)
      assert.isAtLeast(xs.length, 10)
      assert.deepStrictEqual(
        xs,
        [...xs].sort((a, b) => a - b)
      )
      assert.closeTo(((xs.at(-1) ?? 0) / 32767) * 719, 300, 1)
      const down = drag.findIndex(([type, code, value]) => type === EV_KEY && code === BTN_LEFT && value === 1)
      const up = drag.findIndex(([type, code, value]) => type === EV_KEY && code === BTN_LEFT && value === 0)
      assert.isAbove(down, 0)
      assert.isAbove(up, down + 10)
      const double = yield* pointerEvents(box, box.mouseClick({ x: 10, y: 10 }, { button: "right", count: 2 }))
      assert.deepStrictEqual(
        double.filter(([type, code]) => type === EV_KEY && code === BTN_RIGHT).map(([, , value]) => value),
        [1, 0, 1, 0]
      )
      yield* box.mouseMove({ x: 719, y: 399 })
      const outside = yield* Effect.flip(box.mouseMove({ x: 720, y: 0 }))
      assert.include(outside.message, "must be on the screen, which has 720x400 pixels, got 720, 0")
    })
  )

  it.effect("is compared with references: equal, masked, different, of another size, missing, no picture", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const reference = join(folder, "references", "panel.png")
      yield* quietScreen(box, "Status: \\033[32mready\\033[0m\\r\\n")
      const missing = yield* Effect.flip(box.expectScreenshot(reference, { timeout: "1 second" }))
      assert.strictEqual(missing._tag, "ReferenceMissing")
      assert.include(missing.message, "--update-references")

      yield* Effect.provideService(box.expectScreenshot(reference), UpdateReferences, true)
      assert.deepStrictEqual(sizeOf(reference), { width: 720, height: 400 })
      yield* box.expectScreenshot(reference, { timeout: "1 second" })

      yield* quietScreen(box, "Status: \\033[31mbroken\\033[0m\\r\\n")
      const differs = yield* Effect.flip(box.expectScreenshot(reference, { timeout: "1 second" }))
      assert.strictEqual(differs._tag, "ScreenDiffers")
      if (differs._tag !== "ScreenDiffers") return
      assert.isAbove(differs.pixels, 50)
      assert.deepStrictEqual(sizeOf(differs.diff), { width: 720, height: 400 })
      assert.isTrue(existsSync(differs.actual))
      yield* box.expectScreenshot(reference, { masks: [{ x: 8 * 9, y: 0, width: 7 * 9, height: 16 }] })
      yield* box.expectScreenshot(reference, { tolerance: 0.01 })

      const soon = yield* Effect.forkChild(box.expectScreenshot(reference, { timeout: "1 minute" }))
      yield* quietScreen(box, "Status: \\033[32mready\\033[0m\\r\\n")
      yield* Fiber.join(soon)

      const small = join(folder, "small.png")
      writeFileSync(small, PNG.sync.write(new PNG({ width: 10, height: 20 })))
      const size = yield* Effect.flip(box.expectScreenshot(small, { timeout: "1 second" }))
      assert.include(size.message, "it has 720x400 pixels, the reference has 10x20")
      const noPicture = join(folder, "text.png")
      writeFileSync(noPicture, "no picture")
      const bad = yield* Effect.flip(box.expectScreenshot(noPicture))
      assert.include(bad.message, "is not a PNG")
      const wrong = yield* Effect.flip(box.expectScreenshot(reference, { threshold: 2 }))
      assert.strictEqual(wrong._tag, "InvalidArgument")
    })
  )

  it.effect("has pictures in it that can be waited for", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* quietScreen(box, "\\033[3;11H\\033[44;33m Install \\033[0m")
      const shot = PNG.sync.read(readFileSync(yield* box.screenshot("button")))
      const button = new PNG({ width: 9 * 9, height: 16 })
      PNG.bitblt(shot, button, 10 * 9, 2 * 16, 9 * 9, 16, 0, 0)
      const file = join(folder, "button.png")
      writeFileSync(file, PNG.sync.write(button))
      assert.deepStrictEqual(yield* box.waitForImage(file), { x: 90, y: 32, width: 81, height: 16 })
      yield* quietScreen(box, "nothing here")
      const waiting = yield* Effect.forkChild(box.waitForImage(file, { timeout: "1 minute" }))
      yield* quietScreen(box, "\\033[5;1H\\033[44;33m Install \\033[0m")
      assert.strictEqual((yield* Fiber.join(waiting)).y, 64)
      yield* quietScreen(box, "gone")
      const error = yield* Effect.flip(box.waitForImage(file, { timeout: "500 millis" }))
      assert.include(error.message, "without the picture of 81x16")
    })
  )

  it.effect("is photographed into the output folder, and nowhere else", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const file = yield* box.screenshot("folder/screen")
      assert.deepStrictEqual(sizeOf(file), { width: 720, height: 400 })
      const outside = yield* Effect.flip(box.screenshot("../../screen"))
      assert.include(outside.message, "is outside the output folder")
    })
  )

  it.effect("is recorded", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const video = (format: "webm" | "apng") =>
        Effect.scoped(
          Effect.gen(function* () {
            yield* quietScreen(box, "one")
            const recording = yield* box.recordVideo(`video-${format}`, { format })
            yield* Effect.sleep("500 millis")
            yield* quietScreen(box, "two")
            yield* Effect.sleep("500 millis")
            return yield* recording.stop
          })
        )
      const apng = readFileSync(yield* video("apng"))
      assert.isAtLeast(apng.readUInt32BE(apng.indexOf("acTL") + 4), 2)
      assert.strictEqual(PNG.sync.read(apng).width, 720)
      const webm = readFileSync(yield* video("webm"))
      // EBML's magic number.
      assert.strictEqual(webm.readUInt32BE(0), 0x1a45dfa3)
    })
  )

  it.effect("has terminals behind it that can be read without being seen", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const waiting = yield* Effect.forkChild(box.waitUntilTtyMatches(4, /job (\w+) done/, { timeout: "1 minute" }))
      yield* box.succeed("printf '\\033c\\342\\224\\214 first\\r\\n\\r\\njob x1 done' > /dev/tty4")
      assert.strictEqual(yield* Fiber.join(waiting), "job x1 done")
      assert.strictEqual(yield* box.getTtyText(4), "┌ first\n\njob x1 done")
      assert.strictEqual(readFileSync(yield* box.dumpTtyContents(4), "utf8"), "┌ first\n\njob x1 done\n")
      // A terminal that is not there until somebody opens it.
      const opening = yield* Effect.forkChild(box.waitUntilTtyMatches(23, "opened late", { timeout: "1 minute" }))
      yield* Effect.sleep("1 second")
      assert.isUndefined(opening.pollUnsafe())
      yield* box.succeed("echo opened late > /dev/tty23")
      assert.strictEqual(yield* Fiber.join(opening), "opened late")
      const late = yield* Effect.flip(box.waitUntilTtyMatches(4, "job x2", { timeout: "2 seconds" }))
      assert.strictEqual(late._tag, "WaitTimeout")
      assert.include(late.message, "job x1 done")
      const none = yield* Effect.flip(box.getTtyText(64))
      assert.strictEqual(none._tag, "InvalidArgument")
    })
  )

  it.effect("refuses what is none of its files, places, buttons, formats or terminals", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const noPicture = join(folder, "no-picture.png")
      writeFileSync(noPicture, "no picture")
      const picture = join(folder, "dot.png")
      writeFileSync(picture, PNG.sync.write(new PNG({ width: 2, height: 2 })))
      const inside = { x: 1, y: 1 }
      const outside = { x: 1, y: 400 }
      const refused: ReadonlyArray<[tag: string, said: string, use: Failing]> = [
        ["HostFileError", "outside the output folder", box.recordVideo("../../video")],
        ["InvalidArgument", "format", box.recordVideo("v", { format: "gif" as "apng" })],
        ["InvalidArgument", "framesPerSecond", box.recordVideo("v", { framesPerSecond: 0 })],
        ["ReferenceMissing", "cut it out of a screenshot()", box.waitForImage(join(folder, "none.png"))],
        ["HostFileError", "is not a PNG", box.waitForImage(noPicture)],
        ["HostFileError", "could not be read", box.waitForImage(folder)],
        ["HostFileError", "could not be read", box.expectScreenshot(folder)],
        ["InvalidArgument", "tolerance", box.waitForImage(picture, { tolerance: 2 })],
        ["InvalidArgument", "masks[0].width", box.expectScreenshot(picture, { masks: [{ ...inside } as never] })],
        ["InvalidArgument", "button", box.mouseClick(inside, { button: "side" as "left" })],
        ["InvalidArgument", "count", box.mouseClick(inside, { count: 0 })],
        ["InvalidArgument", "point must be on the screen", box.mouseClick(outside)],
        ["InvalidArgument", "point must be on the screen", box.mouseDrag(inside, outside)],
        ["InvalidArgument", "button", box.mouseDrag(inside, inside, { button: "side" as "left" })],
        ["InvalidArgument", "count", box.clickText("x", { count: 1.5 })],
        ["WaitTimeout", "nowhere to be seen", box.clickText("nowhere to be seen", { timeout: "1 second" })],
        ["InvalidArgument", "unknown key", box.sendKey("")],
        ["InvalidArgument", "got 0", box.waitUntilTtyMatches(0, "x")],
        ["InvalidArgument", "got 64", box.dumpTtyContents(64)],
        ["HostFileError", "outside the output folder", box.dumpTtyContents(1, "../../tty")],
        ["CommandFailed", "/dev/vcsa63", box.getTtyText(63)],
        ["CommandFailed", "/dev/vcsa63", box.dumpTtyContents(63)]
      ]
      for (const [tag, said, use] of refused) {
        const error = yield* Effect.flip(use)
        assert.strictEqual(error._tag, tag, error.message)
        assert.include(error.message, said)
      }
    })
  )

  it.effect("needs tesseract only for graphics, and says how to get it", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const path = process.env.PATH ?? ""
      yield* Effect.addFinalizer(() => Effect.sync(() => Object.assign(process.env, { PATH: path })))
      process.env.PATH = "/nonexistent"
      yield* box.getScreenText()
      const error = yield* Effect.flip(box.getScreenText({ reader: "tesseract" }))
      assert.strictEqual(error._tag, "ToolMissing")
      assert.include(error.message, "apt-get install tesseract-ocr")
      const waits: ReadonlyArray<Failing> = [
        box.getScreenTextVariants({ reader: "tesseract" }),
        box.findText("x", { reader: "tesseract" }),
        box.waitForText("x", { reader: "tesseract" }),
        box.clickText("x", { reader: "tesseract" }),
        box.recordVideo("v", { format: "webm" })
      ]
      for (const wait of waits) assert.strictEqual((yield* Effect.flip(wait))._tag, "ToolMissing")
    })
  )
})

machines(Victim)("a machine that ends", (it) => {
  it.effect("fails whatever looks at its screen within a second", () =>
    Effect.gen(function* () {
      const victim = yield* Victim
      yield* victim.start()
      yield* victim.succeed("echo tiny text > /dev/tty1")
      yield* victim.waitForText("tiny text", { timeout: "10 seconds" })
      const waits = yield* Effect.forEach(
        [
          victim.waitForText("never"),
          victim.waitUntilTtyMatches(1, "never"),
          victim.clickText("never"),
          victim.waitForText("never", { reader: "tesseract" })
        ],
        (wait) => Effect.forkChild(Effect.flip(wait as Effect.Effect<unknown, Error & { readonly _tag: string }>))
      )
      yield* Effect.sleep("2 seconds")
      yield* Effect.forkChild(victim.execute("poweroff -f"))
      yield* victim.waitForShutdown({ timeout: "1 minute" })
      const errors = yield* Effect.forEach(waits, Fiber.join).pipe(Effect.timeout("1 second"))
      for (const error of errors) assert.strictEqual(error._tag, "MachineDied")
    })
  )
})
