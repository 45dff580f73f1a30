/**
 * What the guest's display shows, and the text on it.
 *
 * A text screen (80x25, as after a boot without graphics) is read exactly, by comparing its cells with the VGA's font, in milliseconds.
 * Anything else is read by tesseract, in a second or two, and with its errors. A picture is never read twice: waits look at the
 * display ten times a second, and read what they have not seen.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import { guard } from "../guest/Action.ts"
import * as Artefact from "../guest/Artefact.ts"
import type { Guest, WaitOptions } from "../guest/Guest.ts"
import { InvalidArgument, type WaitTimeout } from "../guest/MachineError.ts"
import * as Pattern from "../guest/Pattern.ts"
import { wait } from "../guest/Wait.ts"
import { lastLines } from "../host/Evidence.ts"
import type { ToolMissing } from "../host/HostProcess.ts"
import { type Display, type DisplayError, interval, nextFrame } from "./Display.ts"
import { type Box, type Frame, hashOf, toPng } from "./internal/frame.ts"
import * as Ocr from "./internal/ocr.ts"
import * as TextMode from "./internal/textMode.ts"

export type { Box } from "./internal/frame.ts"
export { OcrFailed } from "./internal/ocr.ts"

/**
 * What reading a display can fail with; `ToolMissing` when it shows graphics and tesseract is not installed, `InvalidArgument` for a reader
 * that there is not, or an empty pattern.
 */
export type ReadError = DisplayError | ToolMissing | Ocr.OcrFailed | InvalidArgument

/** How a display is read. */
export interface ReadOptions {
  /** `auto`: exactly where it is a text screen, else by tesseract. Default `auto`. */
  readonly reader?: "auto" | "tesseract"
}

/** A text that was found on a display. */
export interface FoundText {
  readonly text: string
  /** Where it is; of a text on several lines, all of them. */
  readonly box: Box
}

/** The display of a machine. */
export interface ScreenMethods {
  /** Takes a picture of the display into the output folder, as `<name>.png` (the ending may be there), and gives its path. Default name: the machine's. */
  readonly screenshot: (name?: string) => Effect.Effect<string, DisplayError | InvalidArgument>
  /** The text on the display. Spaces at the ends of lines, and empty lines at the end, are not in it. */
  readonly getScreenText: (options?: ReadOptions) => Effect.Effect<string, ReadError | InvalidArgument>
  /**
   * The text on the display as different ways of reading see it, the likeliest first: one for a text screen, three by tesseract (by layout;
   * with dark and light exchanged; words wherever they are).
   */
  readonly getScreenTextVariants: (
    options?: ReadOptions
  ) => Effect.Effect<ReadonlyArray<string>, ReadError | InvalidArgument>
  /**
   * Waits until a pattern is somewhere in the text on the display, and gives what it matched.
   *
   * The pattern sees all lines at once; `^` and `$` match at line ends if it has the flag `m`. A string is taken literally. On graphics
   * all variants count. An X server that is not up yet, or restarts, is waited for.
   */
  readonly waitForText: (
    pattern: RegExp | string,
    options?: WaitOptions & ReadOptions
  ) => Effect.Effect<string, ReadError | WaitTimeout | InvalidArgument>
  /** Where a pattern is on the display, from the top left; empty when it is nowhere. */
  readonly findText: (
    pattern: RegExp | string,
    options?: ReadOptions
  ) => Effect.Effect<ReadonlyArray<FoundText>, ReadError | InvalidArgument>
}

type Way = "exact" | "layout" | "exchanged" | "sparse"
const ways: ReadonlyArray<Way> = ["layout", "exchanged", "sparse"]

/** More than one picture: a cursor that blinks makes two. */
const remembered = 32

/** All places of a pattern in a reading. */
export const findIn = (pattern: RegExp | string, { boxes, text }: TextMode.Reading): ReadonlyArray<FoundText> => {
  const source =
    typeof pattern === "string"
      ? new RegExp(pattern.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "g")
      : new RegExp(pattern.source, `${pattern.flags.replace(/[gy]/g, "")}g`)
  return [...text.matchAll(source)].flatMap((match): ReadonlyArray<FoundText> => {
    const places = boxes.slice(match.index, match.index + match[0].length).filter((box) => box !== undefined)
    if (places.length === 0) return []
    const x = Math.min(...places.map((box) => box.x))
    const y = Math.min(...places.map((box) => box.y))
    const right = Math.max(...places.map((box) => box.x + box.width))
    const bottom = Math.max(...places.map((box) => box.y + box.height))
    return [{ text: match[0], box: { x, y, width: right - x, height: bottom - y } }]
  })
}

const readers: ReadonlyArray<unknown> = ["auto", "tesseract"] satisfies ReadonlyArray<ReadOptions["reader"]>

/** Before anything is looked at. */
const checkReader = (guest: Guest, options: ReadOptions | undefined): Effect.Effect<void, InvalidArgument> => {
  const { reader = "auto" } = options ?? {}
  const reason = `is not one of ${readers.join(", ")}`
  return readers.includes(reader)
    ? Effect.void
    : Effect.fail(new InvalidArgument({ machine: guest.name, argument: "reader", value: String(reader), reason }))
}

/** Reads frames, each only once; what it said is kept for some more frames. */
export interface Reader {
  readonly ways: (frame: Frame, options: ReadOptions | undefined) => ReadonlyArray<Way>
  readonly read: (frame: Frame, way: Way) => Effect.Effect<TextMode.Reading, ToolMissing | Ocr.OcrFailed>
}

/** A memory of readings, for all methods of a guest. */
export const makeReader = (): Reader => {
  const known = new Map<string, TextMode.Reading>()
  const one = Semaphore.makeUnsafe(1)
  const keep = (key: string, reading: TextMode.Reading) => {
    known.set(key, reading)
    for (const old of known.keys()) {
      if (known.size <= remembered) break
      known.delete(old)
    }
    return reading
  }
  const exact = (frame: Frame, hash: string): TextMode.Reading | undefined => {
    const found = known.get(`${hash} exact`) ?? TextMode.read(frame)
    return found === undefined ? undefined : keep(`${hash} exact`, found)
  }
  return {
    ways: (frame, options) =>
      options?.reader !== "tesseract" && exact(frame, hashOf(frame)) !== undefined ? ["exact"] : ways,
    // One at a time: who asks for the same picture meanwhile gets the answer.
    read: (frame, way) =>
      one.withPermits(1)(
        Effect.suspend(() => {
          const hash = hashOf(frame)
          const key = `${hash} ${way}`
          const found = way === "exact" ? exact(frame, hash) : known.get(key)
          if (found !== undefined) return Effect.succeed(found)
          const most = Ocr.polarityOf(frame)
          const other = most === "dark-on-light" ? "light-on-dark" : "dark-on-light"
          return Effect.map(
            Ocr.read(frame, {
              layout: way === "sparse" ? "sparse" : "page",
              polarity: way === "exchanged" ? other : most
            }),
            (reading) => keep(key, reading)
          )
        })
      )
  }
}

/** The text on a display in the likeliest way of reading it. */
const readNow = Effect.fnUntraced(function* (display: Display, reader: Reader, options: ReadOptions | undefined) {
  const frame = yield* display.capture
  return yield* reader.read(frame, reader.ways(frame, options)[0] ?? "layout")
})

/** Waits until a pattern is on a display: what it matched, and where, as far as that is known. */
export const waitForMatch = <A>(
  guest: Guest,
  name: string,
  display: Display,
  reader: Reader,
  pattern: RegExp | string,
  options: (WaitOptions & ReadOptions) | undefined,
  pick: (reading: TextMode.Reading) => A | undefined
): Effect.Effect<A, ReadError | WaitTimeout | InvalidArgument> => {
  let seen: string | undefined
  let missing: string | undefined
  const look = Effect.tap(
    nextFrame(display, ({ reason }) =>
      Effect.sync(() => {
        missing = reason
      })
    ),
    () =>
      Effect.sync(() => {
        missing = undefined
      })
  )
  /** A new picture is worth more than another way of reading an old one. */
  const changed = (hash: string): Effect.Effect<void, DisplayError> =>
    Effect.sleep(interval).pipe(
      Effect.andThen(look),
      Effect.flatMap((frame) => (hashOf(frame) === hash ? changed(hash) : Effect.void))
    )
  const until = Effect.gen(function* () {
    const done = new Set<string>()
    // What was left for a newer picture; that one is read to its end, or a screen that never rests would never be read.
    let left = false
    while (true) {
      const frame = yield* look
      const hash = hashOf(frame)
      // The likeliest way of a new picture comes before the others of one that is already known.
      const way = reader.ways(frame, options).find((name) => !done.has(`${hash} ${name}`))
      if (way === undefined) {
        yield* Effect.sleep(interval)
        continue
      }
      const whole: boolean = way === "exact" || (way === "layout" && left)
      const reading: TextMode.Reading | undefined = yield* whole
        ? reader.read(frame, way)
        : Effect.raceFirst(reader.read(frame, way), Effect.as(changed(hash), undefined))
      if (way === "layout") left = reading === undefined
      if (reading === undefined) continue
      done.add(`${hash} ${way}`)
      if (way === "exact" || way === "layout") seen = reading.text
      const picked = pick(reading)
      if (picked !== undefined) return picked
      if (way === "exact") yield* Effect.sleep(interval)
    }
  })
  const waiting = wait(guest, {
    name,
    attributes: { display: display.name },
    awaited: `${Pattern.shown(pattern)} on ${display.name}`,
    options,
    until,
    lastSeen: Effect.map(
      Effect.suspend(() => {
        const last = missing ?? seen
        return last === undefined
          ? Effect.map(readNow(display, reader, options), ({ text }) => text)
          : Effect.succeed(last)
      }),
      (text) => (text === "" ? "no text" : lastLines(text, 25))
    )
  })
  return Effect.andThen(checkReader(guest, options), Effect.andThen(Pattern.check(guest, "pattern", pattern), waiting))
}

/** The display methods of a guest. */
export const make = (guest: Guest, display: Display, reader: Reader): ScreenMethods => ({
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
    yield* checkReader(guest, options)
    const what = { name: "getScreenText", doing: `reading ${display.name}` }
    const { text } = yield* guard(guest, what, readNow(display, reader, options))
    return text
  }),
  getScreenTextVariants: Effect.fnUntraced(function* (options) {
    yield* checkReader(guest, options)
    const readings = Effect.flatMap(display.capture, (frame) =>
      Effect.forEach(reader.ways(frame, options), (way) => reader.read(frame, way))
    )
    const what = { name: "getScreenTextVariants", doing: `reading ${display.name}` }
    return (yield* guard(guest, what, readings)).map(({ text }) => text)
  }),
  waitForText: (pattern, options) =>
    waitForMatch(guest, "waitForText", display, reader, pattern, options, ({ text }) => Pattern.matchIn(pattern, text)),
  findText: Effect.fnUntraced(function* (pattern, options) {
    yield* checkReader(guest, options)
    yield* Pattern.check(guest, "pattern", pattern)
    const what = { name: "findText", doing: `looking for ${Pattern.shown(pattern)} on ${display.name}` }
    return findIn(pattern, yield* guard(guest, what, readNow(display, reader, options)))
  })
})
