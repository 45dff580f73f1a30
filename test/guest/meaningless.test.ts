import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Console from "../../src/guest/Console.ts"
import * as Terminal from "../../src/guest/Terminal.ts"
import * as Keyboard from "../../src/screen/Keyboard.ts"
import * as Mouse from "../../src/screen/Mouse.ts"
import * as Recording from "../../src/screen/Recording.ts"
import * as Screen from "../../src/screen/Screen.ts"
import * as X11 from "../../src/screen/X11.ts"
import { guestOn } from "../machine/support.ts"
import { never, showing } from "../screen/displays.ts"

describe("what nobody can mean", () => {
  /** What an effect refuses, and why. */
  const refused = (effect: Effect.Effect<unknown, { readonly _tag: string; readonly message: string }>) =>
    Effect.map(Effect.flip(effect), ({ _tag, message }) => {
      assert.strictEqual(_tag, "InvalidArgument")
      return message
    })
  /** As a script that no compiler checked may have it. */
  const raw = (json: string) => JSON.parse(json)

  const everything = Effect.gen(function* () {
    const { guest } = yield* guestOn(never, { console: Effect.never, hypervisor: Effect.never })
    const { display } = showing(1)
    const reader = Screen.makeReader()
    return {
      ...Screen.make(guest, display, reader),
      ...Mouse.make(guest, display, reader),
      ...Keyboard.make(guest, display),
      ...Recording.make(guest, display),
      ...Terminal.make(guest),
      ...Console.make(guest),
      ...X11.make(guest, () => assert.fail("no display is wanted"))
    }
  })

  it.effect("is refused as a pattern: what is none, and what is in every text", () =>
    Effect.gen(function* () {
      const { clickText, findText, waitForConsoleText, waitForText, waitForWindow, waitUntilTtyMatches } =
        yield* everything
      for (const pattern of ["", /(?:)/, raw("null"), raw("5")]) {
        for (const use of [
          waitForText(pattern),
          findText(pattern),
          clickText(pattern),
          waitForConsoleText(pattern),
          waitForWindow(pattern),
          waitUntilTtyMatches(1, pattern)
        ]) {
          assert.match(yield* refused(use), /must be a string or a regular expression that is not empty/)
        }
      }
    })
  )

  it.effect("is refused as a reader", () =>
    Effect.gen(function* () {
      const { clickText, findText, getScreenText, getScreenTextVariants, waitForText } = yield* everything
      const options = raw('{ "reader": "foo" }')
      for (const use of [
        getScreenText(options),
        getScreenTextVariants(options),
        findText("x", options),
        waitForText("x", options),
        clickText("x", options)
      ]) {
        assert.include(yield* refused(use), 'reader must be "auto" or "tesseract", got "foo"')
      }
    })
  )

  it.effect("is refused as the name of a file", () =>
    Effect.gen(function* () {
      const { dumpTtyContents, recordVideo, screenshot } = yield* everything
      for (const name of ["", "folder/", "folder/.", "..", raw("5")]) {
        const video = Effect.scoped(recordVideo(name, { format: "apng" }))
        for (const use of [screenshot(name), dumpTtyContents(1, name), video]) {
          assert.include(yield* refused(use), "name must be the name of a file, got")
        }
      }
      assert.include(yield* refused(screenshot("folder/.png")), "name must be the name of a file, got")
    })
  )

  it.effect("is refused as a key, a text or a point", () =>
    Effect.gen(function* () {
      const { mouseClick, mouseDrag, mouseMove, sendChars, sendKey } = yield* everything
      const [none, point] = [raw("null"), { x: 0, y: 0 }]
      assert.include(yield* refused(sendKey(none)), "key must be the name of a key")
      assert.include(yield* refused(sendChars(none)), "text must be a string, got null")
      for (const use of [mouseMove(none), mouseClick(none), mouseDrag(point, none)]) {
        assert.include(yield* refused(use), "must be a point, { x, y }, got null")
      }
    })
  )
})
