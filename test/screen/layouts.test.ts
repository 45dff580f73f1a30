import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Combination, Display } from "../../src/screen/Display.ts"
import * as Keyboard from "../../src/screen/Keyboard.ts"
import * as KeyboardLayout from "../../src/screen/KeyboardLayout.ts"
import { guestOn, shellOf } from "../machine/support.ts"
import { showing } from "./displays.ts"

const hands = (layout: KeyboardLayout.KeyboardLayout | undefined, american = false) =>
  Effect.gen(function* () {
    const { guest } = yield* guestOn(shellOf(() => Effect.never))
    const pressed: Array<Combination> = []
    const display: Display = {
      ...showing(1).display,
      press: (combinations) => Effect.sync(() => void pressed.push(...combinations)),
      ...(american && { american })
    }
    return { keyboard: Keyboard.make(guest, display, layout), pressed }
  })

describe("a keyboard with a layout", () => {
  it.effect("types its characters, with AltGr and dead keys", () =>
    Effect.gen(function* () {
      const { keyboard, pressed } = yield* hands("de")
      yield* keyboard.sendChars("üZ@ê^")
      assert.deepStrictEqual(pressed, [
        ["bracket_left"],
        ["shift", "y"],
        ["alt_r", "q"],
        ...[["grave_accent"], ["e"]],
        ...[["grave_accent"], ["spc"]]
      ])
    })
  )

  it.effect("refuses what it does not have, and says which layouts do", () =>
    Effect.gen(function* () {
      const { keyboard, pressed } = yield* hands(undefined)
      const error = yield* Effect.flip(keyboard.sendChars("über"))
      assert.match(
        error.message,
        /text must have only characters of the keyboard layout "us", got "ü"; a machine with keyboardLayout .*"de".* has it$/
      )
      const none = yield* Effect.flip((yield* hands("fr")).keyboard.sendChars("日本"))
      assert.include(none.message, 'of the keyboard layout "fr", got "日"; no keyboardLayout has it')
      assert.deepStrictEqual(pressed, [])
    })
  )

  it.effect("takes a single character as the key that it is on, and other names as places", () =>
    Effect.gen(function* () {
      const { keyboard, pressed } = yield* hands("de")
      for (const key of ["ctrl-z", "z", "Ä", "ctrl-alt-delete", "bracket_left", "ctrl-1"]) yield* keyboard.sendKey(key)
      assert.deepStrictEqual(pressed, [
        ["ctrl", "y"],
        ["y"],
        ["shift", "apostrophe"],
        ["ctrl", "alt", "delete"],
        ["bracket_left"],
        ["ctrl", "1"]
      ])
      const french = yield* hands("fr")
      yield* french.keyboard.sendKey("ctrl-1")
      assert.deepStrictEqual(french.pressed, [["ctrl", "1"]])
      const unknown = yield* Effect.flip(keyboard.sendKey("ctrl-ы"))
      assert.include(unknown.message, 'has the unknown key "ы"')
    })
  )

  it.effect("does not count on an X display, which takes the characters of an American keyboard alone", () =>
    Effect.gen(function* () {
      const { keyboard, pressed } = yield* hands("de", true)
      const error = yield* Effect.flip(keyboard.sendChars("zü"))
      assert.match(error.message, /of the keyboard layout "us", got "ü"; X displays take no others$/)
      yield* keyboard.sendChars("z@")
      yield* keyboard.sendKey("ctrl-z")
      assert.deepStrictEqual(pressed, [["z"], ["shift", "2"], ["ctrl", "z"]])
    })
  )
})

describe("the console's keymap of a layout", () => {
  it("has the modifiers in each of its tables, or their release would go unnoticed", () => {
    for (const layout of KeyboardLayout.names) {
      const keys = KeyboardLayout.consoleKeys(layout)
      for (const table of new Set(keys.map((key) => key.table))) {
        const codes = keys.filter((key) => key.table === table && key.value >> 8 === 7).map(({ code }) => code)
        assert.deepStrictEqual(codes.sort(), [29, 42, 54, 56, 97, 100].sort(), `${layout} ${table}`)
      }
      assert.isTrue(keys.every(({ value }) => value >= 0 && value < 0xffff))
    }
  })

  it("has control and a letter where the letter is", () => {
    const z = KeyboardLayout.consoleKeys("de").find(({ code, table }) => code === 21 && table === 4)
    assert.strictEqual(z?.value, 26)
  })
})
