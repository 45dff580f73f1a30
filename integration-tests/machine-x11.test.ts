import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { PNG } from "pngjs"
import * as Image from "../src/images/Image.ts"
import { Machine, machines } from "../src/vitest.ts"

class Desk extends Machine<Desk>()("desk", {
  image: Image.debian({
    packages: ["xvfb", "xauth", "xdotool", "x11-utils", "x11-apps", "xterm", "fonts-dejavu-core"]
  }),
  memory: "1 GiB"
}) {}

const folder = mkdtempSync(join(tmpdir(), "vmtest-x11-test-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const black = join(folder, "black.png")
const picture = new PNG({ width: 8, height: 8 })
picture.data.forEach((_, at) => {
  picture.data[at] = at % 4 === 3 ? 255 : 0
})
writeFileSync(black, PNG.sync.write(picture))

machines(Desk)("an X display of a guest", (it) => {
  it.effect("is waited for until its server answers, and has windows with names", () =>
    Effect.gen(function* () {
      const desk = yield* Desk
      const none = yield* Effect.flip(desk.waitForX({ timeout: "1 second" }))
      assert.strictEqual(none._tag, "WaitTimeout")
      const waiting = yield* Effect.forkChild(
        Effect.andThen(
          desk.waitForX({ display: ":1", timeout: "2 minutes" }),
          desk.waitForWindow(/^first/, { display: ":1", timeout: "2 minutes" })
        )
      )
      // Any piece of an empty screen; there is no server yet.
      const seeing = yield* Effect.forkChild(desk.xDisplay(":1").waitForImage(black, { timeout: "2 minutes" }))
      yield* desk.succeed(
        // With a key file of its own, as a display manager starts it.
        "xauth -f /run/key add :1 . $(mcookie)",
        "systemd-run --unit=screen --quiet Xvfb :1 -screen 0 800x480x24 -auth /run/key",
        "until [ -S /tmp/.X11-unix/X1 ]; do sleep 0.1; done",
        "systemd-run --unit=term --quiet --setenv=DISPLAY=:1 --setenv=XAUTHORITY=/run/key --setenv=LC_ALL=C.UTF-8 " +
          "xterm -T 'first window' -fa DejaVuSansMono -fs 14 -geometry 70x20+0+0 -e bash --norc"
      )
      assert.strictEqual(yield* Fiber.join(waiting), "first window")
      assert.include(yield* desk.getWindowNames({ display: ":1" }), "first window")
      yield* Fiber.join(seeing)
      // xterm gives its title in the old encoding alone; xprop sets a name as most programs do.
      yield* desk.succeed(
        "systemd-run --unit=other --quiet --setenv=DISPLAY=:1 --setenv=XAUTHORITY=/run/key --setenv=LC_ALL=C.UTF-8 " +
          "xterm -xrm '*utf8Title: false' -T 'Größe – 日本' -geometry 10x2+700+400 -e sleep infinity"
      )
      assert.strictEqual(yield* desk.waitForWindow("日本", { display: ":1" }), "Größe – 日本")
      const title = 'a "quoted": (x) ü'
      yield* desk.succeed(
        `DISPLAY=:1 XAUTHORITY=/run/key LC_ALL=C.UTF-8 xprop -name 'first window' -f _NET_WM_NAME 8u -set _NET_WM_NAME '${title}'`
      )
      assert.sameMembers([...(yield* desk.getWindowNames({ display: ":1" }))], ["Größe – 日本", title])
      yield* desk.succeed(
        `systemctl stop other; DISPLAY=:1 XAUTHORITY=/run/key xprop -name 'first window' -remove _NET_WM_NAME`
      )
      const other = yield* Effect.flip(desk.waitForWindow("second", { display: ":1", timeout: "10 seconds" }))
      assert.include(other.message, "first window")
      const wrong = yield* Effect.flip(desk.waitForX({ display: "somewhere" }))
      assert.strictEqual(wrong._tag, "InvalidArgument")
    })
  )

  it.effect("is seen, typed at, read and pointed at from inside the guest", () =>
    Effect.gen(function* () {
      const desk = yield* Desk
      const screen = desk.xDisplay(":1")
      const picture = PNG.sync.read(readFileSync(yield* screen.screenshot("x")))
      assert.deepStrictEqual([picture.width, picture.height], [800, 480])
      yield* screen.mouseMove({ x: 300, y: 200 })
      assert.include(yield* desk.succeed("DISPLAY=:1 XAUTHORITY=/run/key xdotool getmouselocation"), "x:300 y:200")
      const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index)).join("")
      yield* screen.sendChars("cat > /tmp/typed\n")
      yield* screen.sendChars(`${printable}\n`)
      yield* screen.sendKey("ctrl-d")
      yield* screen.sendChars("clear; echo Hello from the terminal; echo; echo Second line\n")
      assert.strictEqual(
        yield* screen.waitForText(/Hello from the terminal/, { timeout: "1 minute" }),
        "Hello from the terminal"
      )
      assert.strictEqual(yield* desk.readFile("/tmp/typed"), `${printable}\n`)
      const [found] = yield* screen.findText("Second")
      assert.isBelow(found?.box.x ?? 800, 30)
      yield* screen.clickText("Second", { count: 2, timeout: "1 minute" })
      const outside = yield* Effect.flip(screen.mouseClick({ x: 800, y: 0 }))
      assert.include(outside.message, "800x480")
    })
  )

  it.effect("says what is missing", () =>
    Effect.gen(function* () {
      const desk = yield* Desk
      const nobody = yield* Effect.flip(desk.xDisplay(":7").screenshot())
      assert.strictEqual(nobody._tag, "DisplayUnavailable")
      assert.include(nobody.message, ":7")
      for (const windows of [desk.getWindowNames(), desk.xDisplay(":7").getScreenText()]) {
        const error = yield* Effect.flip(windows as Effect.Effect<unknown, { readonly _tag: string }>)
        assert.strictEqual(error._tag, "DisplayUnavailable")
      }
      // An X server that is not there yet may come.
      const later = yield* Effect.flip(desk.waitForWindow("x", { display: ":7", timeout: "2 seconds" }))
      assert.strictEqual(later._tag, "WaitTimeout")
      for (const wrong of [
        desk.getWindowNames({ display: "somewhere" }),
        desk.waitForWindow("x", { display: "desk:0" })
      ]) {
        const error: object = yield* Effect.flip(wrong as Effect.Effect<unknown, { readonly _tag: string }>)
        assert.deepInclude(error, { _tag: "InvalidArgument", argument: "display" })
      }
      yield* desk.succeed("for tool in xdotool xwininfo xwd; do mv /usr/bin/$tool /usr/bin/$tool.away; done")
      const screen = desk.xDisplay(":1")
      const display = { display: ":1", timeout: "1 minute" } as const
      for (const [program, use] of [
        ["xdotool; add the package xdotool", screen.sendKey("a")],
        ["xwininfo; add the package x11-utils", desk.getWindowNames({ display: ":1" })],
        ["xwininfo; add the package x11-utils", desk.waitForWindow("first", display)],
        ["xwd; add the package x11-apps", screen.screenshot("none")],
        ["xwd; add the package x11-apps", screen.mouseMove({ x: 1, y: 1 })],
        ["xwd; add the package x11-apps", screen.waitForText("first", { timeout: "1 minute" })]
      ] as ReadonlyArray<[string, Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>]>) {
        const error = yield* Effect.flip(use)
        assert.strictEqual(error._tag, "DisplayUnavailable", program)
        assert.include(error.message, `the guest has no ${program} to its image`)
      }
    })
  )
})
