import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Driver } from "../src/driver/Driver.ts"
import * as Image from "../src/images/Image.ts"
import * as KeyboardLayout from "../src/screen/KeyboardLayout.ts"
import { Machine, machines } from "../src/vitest.ts"

/** With Debian's own tools for keyboards, which vmtest does not need. */
class Desk extends Machine<Desk>()("desk", {
  image: Image.debian({
    packages: ["console-setup", "kbd", "xvfb", "xdotool", "x11-utils", "xterm", "x11-xkb-utils"]
  }),
  memory: "1 GiB",
  keyboardLayout: "de"
}) {}

/** What stands on a key of the console, in the words of `ckbcomp`. */
const words: Readonly<Record<number, string>> = Object.fromEntries(
  ["grave", "acute", "circumflex", "tilde", "diaeresis", "cedilla"].map((name, index) => [
    0x400 + index,
    `dead_${name}`
  ])
)

const inWords = (value: number): string => {
  const word = words[value]
  if (word !== undefined) return word
  const code = value >= 0xf000 || value >> 8 > 14 ? value ^ 0xf000 : value & 0xff
  return `U+${code.toString(16).padStart(4, "0")}`
}

machines(Desk)("keyboard layouts", (it) => {
  it.effect("are those of Debian's own keymaps", () =>
    Effect.gen(function* () {
      const desk = yield* Desk
      for (const layout of KeyboardLayout.names) {
        const keymap = yield* desk.succeed(`ckbcomp -layout ${layout} 2>/dev/null`)
        const lines = [...keymap.matchAll(/^keycode (\d+) = (.*)$/gm)]
        const theirs = new Map(lines.map(([, code, keys]) => [Number(code), keys?.split(" ") ?? []]))
        const wrong = KeyboardLayout.consoleKeys(layout)
          // With AltGr some have a space that does not break, which nobody types; here it is a space.
          .filter(({ code, table, value }) => table < 4 && value >> 8 !== 7 && !(code === 57 && table > 1))
          .flatMap(({ code, table, value }) => {
            const [is, should] = [inWords(value), theirs.get(code)?.[table]?.replace(/^\+/, "")]
            return is.toLowerCase() === should?.toLowerCase() ? [] : [`${code}.${table}: ${is}, not ${should}`]
          })
        assert.deepStrictEqual(wrong, [], layout)
      }
    })
  )

  it.effect("are set on the console of a guest before its programs start, and known to its X servers", () =>
    Effect.gen(function* () {
      const desk = yield* Desk
      yield* desk.waitForUnit("console-setup")
      assert.include(yield* desk.readFile("/etc/default/keyboard"), 'XKBLAYOUT="de"')
      yield* desk.waitForText("desk login:")
      yield* desk.sendChars("root\n")
      // console-setup has loaded a font of its own, so the screen is read by OCR.
      yield* desk.waitForText(/root@desk/)
      yield* desk.sendChars("printf '%s' 'zäöüß@|{}€ y' >/tmp/typed; cat >/tmp/key\n")
      yield* desk.waitUntilSucceeds("[ -s /tmp/typed ] && [ -e /tmp/key ]", { timeout: "2 minutes" })
      assert.strictEqual(yield* desk.readFile("/tmp/typed"), "zäöüß@|{}€ y")
      yield* desk.sendKey("ü")
      yield* desk.sendKey("ret")
      yield* desk.waitUntilSucceeds("grep -qx ü /tmp/key")
      // By what is on the key: on an American keyboard, this is the one right of the left shift key.
      yield* desk.sendKey("ctrl-z")
      yield* desk.waitUntilSucceeds("ps -C cat -o stat= | grep -q ^T")
    })
  )

  it.effect("do not count on an X display, which takes the characters of an American keyboard and refuses others", () =>
    Effect.gen(function* () {
      const desk = yield* Desk
      yield* desk.succeed(
        "systemd-run --unit=screen --quiet Xvfb :1 -screen 0 640x480x24",
        "until xwininfo -display :1 -root >/dev/null 2>&1; do sleep 0.1; done",
        "systemd-run --unit=term --quiet --setenv=DISPLAY=:1 --setenv=LC_ALL=C.UTF-8 xterm -T typed -e sh -c 'cat >/tmp/heard'"
      )
      yield* desk.waitForWindow("typed", { display: ":1" })
      yield* desk.succeed("sleep 1")
      const display = desk.xDisplay(":1")
      const refused = yield* Effect.flip(display.sendChars("grün"))
      assert.include(refused.message, 'the keyboard layout "us", got "ü"; X displays take no others')
      yield* display.sendChars("z@[]{}|~ y\n")
      yield* desk.waitUntilSucceeds("grep -Fx 'z@[]{}|~ y' /tmp/heard", { timeout: "2 minutes" })
    })
  )
})

class Other extends Machine<Other>()("other", { image: Image.tiny(), memory: "128 MiB" }) {}

machines(Other)("every character of a keyboard layout", (it) => {
  it.effect("is refused by a machine with another layout, with the names of both", () =>
    Effect.gen(function* () {
      const other = yield* Other
      const refused = yield* Effect.flip(other.sendChars("über"))
      assert.strictEqual(refused._tag, "InvalidArgument")
      assert.match(
        refused.message,
        /^other.sendChars: text must have only characters of the keyboard layout "us", got "ü"; a machine with keyboardLayout "gb", "de", .* has it$/
      )
    })
  )

  for (const layout of KeyboardLayout.names) {
    it.effect(`is typed on a guest's console with the layout ${layout}`, () =>
      Effect.gen(function* () {
        const driver = yield* Driver
        const declaration = { image: Image.tiny(), memory: "128 MiB", snapshot: false, vlans: [] } as const
        const box = yield* driver.machine(`with-${layout}`, { ...declaration, keyboardLayout: layout })
        yield* box.succeed("cat </dev/tty1 >/tmp/typed & sleep 0.2")
        // In lines that no terminal cuts.
        const lines = KeyboardLayout.charactersOf(layout)
          .filter((character) => !/\s/.test(character))
          .join("")
          .match(/.{1,50}/gu)
        const text = `${(lines ?? []).join("\n")}\nend of it\n`
        yield* box.sendChars(text)
        yield* box.waitUntilSucceeds("grep -qx 'end of it' /tmp/typed", { timeout: "2 minutes" })
        assert.strictEqual(yield* box.readFile("/tmp/typed"), text)
        yield* box.crash()
      })
    )
  }
})
