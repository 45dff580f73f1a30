/**
 * What the guest's display shows, and the text on it.
 *
 * A text screen (80x25, as after a boot without graphics) is read exactly, in milliseconds, by comparing its cells with the VGA's font. Anything
 * else is read by tesseract, in a second or two and with its mistakes. A wait looks at the display ten times a second, or by its `schedule`,
 * and reads no picture twice.
 *
 * **Example** (Waiting for a login screen)
 *
 * ```ts
 * yield* box.waitForText(/login:$/m, { timeout: "2 minutes" })
 * const path = yield* box.screenshot("login")
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { guard } from "../guest/Action.ts"
import * as Arguments from "../guest/Arguments.ts"
import * as Artefact from "../guest/Artefact.ts"
import type { Guest } from "../guest/Guest.ts"
import type { InvalidArgument, WaitTimeout } from "../guest/MachineError.ts"
import * as Pattern from "../guest/Pattern.ts"
import { PollOptions } from "../guest/Timeout.ts"
import * as Fields from "../host/Fields.ts"
import type { ToolMissing } from "../host/HostProcess.ts"
import type { Display, DisplayError } from "./Display.ts"
import { type Box, toPng } from "./internal/frame.ts"
import type { OcrFailed } from "./internal/ocr.ts"
import { findIn, type Reader, readNow } from "./internal/reader.ts"
import { waitForMatch } from "./internal/textWait.ts"

export type { Box } from "./internal/frame.ts"
export { OcrFailed } from "./internal/ocr.ts"
export { makeReader, type Reader } from "./internal/reader.ts"

/**
 * What reading a display can fail with; `ToolMissing` if it shows graphics and tesseract is not installed.
 */
export type ReadError = DisplayError | ToolMissing | OcrFailed | InvalidArgument

/** How to read a display. */
export const ReadOptions = Fields.options(
  {
    /** `auto` reads a text screen exactly, and anything else by tesseract. Default `auto`. */
    reader: Schema.optional(Schema.Literals(["auto", "tesseract"]))
  },
  '{ reader: "tesseract" }'
)

/** How to read a display. */
export interface ReadOptions extends Schema.Schema.Type<typeof ReadOptions> {}

/** How to wait for a text. */
export const WaitForTextOptions = Fields.options(
  { ...PollOptions.fields, ...ReadOptions.fields },
  '{ timeout: "5 seconds" }'
)

/** How to wait for a text. */
export interface WaitForTextOptions extends Schema.Schema.Type<typeof WaitForTextOptions> {}

/** A text that was found on a display. */
export interface FoundText {
  readonly text: string
  /** Where it is; for a text on several lines, the box around all of them. */
  readonly box: Box
}

/** The display of a machine. */
export interface ScreenMethods {
  /** Writes a picture of the display into the output folder, as `<name>.png` (`name` may have the ending), and returns its path. Default name: the machine's. */
  readonly screenshot: (name?: string) => Effect.Effect<string, DisplayError | InvalidArgument>
  /** The text on the display, without spaces at the ends of lines and empty lines at the end. */
  readonly getScreenText: (options?: ReadOptions) => Effect.Effect<string, ReadError | InvalidArgument>
  /**
   * The text on the display in different readings, the most likely first: one for a text screen, three by tesseract (by layout; with dark and
   * light swapped; words anywhere).
   */
  readonly getScreenTextVariants: (
    options?: ReadOptions
  ) => Effect.Effect<ReadonlyArray<string>, ReadError | InvalidArgument>
  /**
   * Waits until a pattern matches the text on the display, and returns the match.
   *
   * The pattern is matched against all lines at once; `^` and `$` match at line ends with the flag `m`. A string is matched literally. On
   * graphics all variants count. An X server that has not started yet, or restarts, is waited for.
   */
  readonly waitForText: (
    pattern: RegExp | string,
    options?: WaitForTextOptions
  ) => Effect.Effect<string, ReadError | WaitTimeout | InvalidArgument>
  /** All matches of a pattern on the display, from the top left. */
  readonly findText: (
    pattern: RegExp | string,
    options?: ReadOptions
  ) => Effect.Effect<ReadonlyArray<FoundText>, ReadError | InvalidArgument>
}

const read = Arguments.takes({ options: Schema.optional(ReadOptions) })

/** What its methods take. */
export const parameters = Arguments.of<ScreenMethods>({
  screenshot: Arguments.takes({ name: Schema.optional(Artefact.fileName(".png")) }),
  getScreenText: read,
  getScreenTextVariants: read,
  waitForText: Arguments.takes({ pattern: Pattern.Pattern, options: Schema.optional(WaitForTextOptions) }),
  findText: Arguments.takes({ pattern: Pattern.Pattern, options: Schema.optional(ReadOptions) })
})

/** The display methods of a guest. */
export const make = (guest: Guest, display: Display, reader: Reader): ScreenMethods =>
  Arguments.checked<ScreenMethods>(guest.name, parameters, {
    screenshot: Effect.fnUntraced(function* (name = guest.name) {
      const file = yield* Artefact.at(guest, name, ".png")
      yield* guard(
        guest,
        { name: "screenshot", doing: "taking a screenshot", attributes: { path: file.path } },
        Effect.flatMap(display.capture, (frame) => file.write(toPng(frame)))
      )
      return file.path
    }),
    getScreenText: Effect.fnUntraced(function* (options) {
      const what = { name: "getScreenText", doing: `reading ${display.name}` }
      const { text } = yield* guard(guest, what, readNow(display, reader, options))
      return text
    }),
    getScreenTextVariants: Effect.fnUntraced(function* (options) {
      const readings = Effect.flatMap(display.capture, (frame) =>
        Effect.forEach(reader.ways(frame, options), (way) => reader.read(frame, way))
      )
      const what = { name: "getScreenTextVariants", doing: `reading ${display.name}` }
      return (yield* guard(guest, what, readings)).map(({ text }) => text)
    }),
    waitForText: (pattern, options) =>
      waitForMatch(guest, display, reader, {
        name: "waitForText",
        pattern,
        options,
        pick: ({ text }) => Pattern.matchIn(pattern, text)
      }),
    findText: Effect.fnUntraced(function* (pattern, options) {
      const what = { name: "findText", doing: `looking for ${Pattern.shown(pattern)} on ${display.name}` }
      return findIn(pattern, yield* guard(guest, what, readNow(display, reader, options)))
    })
  })
