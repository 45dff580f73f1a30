/** Reading a display: the ways to read a picture, and a memory of readings. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import type { ToolMissing } from "../../host/HostProcess.ts"
import type { Display } from "../Display.ts"
import type { FoundText, ReadOptions } from "../Screen.ts"
import { type Frame, hashOf } from "./frame.ts"
import * as Ocr from "./ocr.ts"
import * as TextMode from "./textMode.ts"

type Way = "exact" | "layout" | "exchanged" | "sparse"
const ways: ReadonlyArray<Way> = ["layout", "exchanged", "sparse"]

/** How many readings are kept: a cursor that blinks already makes two pictures. */
const remembered = 32

/** All matches of a pattern in a reading. */
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

/** Reads pictures, each only once: recent readings are kept. */
export interface Reader {
  readonly ways: (frame: Frame, options: ReadOptions | undefined) => ReadonlyArray<Way>
  readonly read: (frame: Frame, way: Way) => Effect.Effect<TextMode.Reading, ToolMissing | Ocr.OcrFailed>
}

/** A reader that all methods of a display share. */
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
    // One at a time, so that a second call for the same picture gets the first one's reading.
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

/** The most likely reading of a display. */
export const readNow = Effect.fnUntraced(function* (
  display: Display,
  reader: Reader,
  options: ReadOptions | undefined
) {
  const frame = yield* display.capture
  return yield* reader.read(frame, reader.ways(frame, options)[0] ?? "layout")
})
