/**
 * Reads a picture of text with tesseract.
 *
 * Tesseract was trained on dark print on white paper, with letters about 30 pixels high. So the picture is converted first: it is doubled
 * smoothly, and each pixel becomes as dark as the colour that differs most from the background. More than one thread makes tesseract slower on
 * pictures as small as a screen, but two halves of the picture, read side by side, take half the time.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { ToolMissing } from "../../host/HostProcess.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import type { Frame } from "./frame.ts"
import type { Reading } from "./textMode.ts"

/** tesseract failed; `reason` is what it printed. */
export class OcrFailed extends Schema.TaggedError<OcrFailed>()("OcrFailed", { reason: Schema.String }) {
  override get message() {
    return `tesseract could not read the screen: ${this.reason}`
  }
}

/** How tesseract looks for text (`--psm`): as one block, by the page's layout, or anywhere. */
export type Layout = "block" | "page" | "sparse"
const layouts: Readonly<Record<Layout, string>> = { block: "6", page: "3", sparse: "11" }

/** What a picture is taken for when it is made dark on light. */
export type Polarity = "dark-on-light" | "light-on-dark"

/** The likely polarity of a picture. */
export const polarityOf = ({ data }: Frame): Polarity => {
  let dark = 0
  // A prime step, so that it does not follow the columns of the picture.
  const step = 4 * 97
  for (let at = 0; at + 2 < data.length; at += step) {
    if ((data[at] ?? 0) + (data[at + 1] ?? 0) + (data[at + 2] ?? 0) < 384) dark++
  }
  return dark * step * 2 > data.length ? "light-on-dark" : "dark-on-light"
}

/** One byte a pixel, 0 for ink. */
const ink = ({ data }: Frame, polarity: Polarity): Uint8Array => {
  const out = new Uint8Array(data.length / 4)
  for (let index = 0; index < out.length; index++) {
    const at = index * 4
    const red = data[at] ?? 0
    const green = data[at + 1] ?? 0
    const blue = data[at + 2] ?? 0
    out[index] = polarity === "light-on-dark" ? 255 - Math.max(red, green, blue) : Math.min(red, green, blue)
  }
  return out
}

/** Twice as large, between four pixels weighted 9:3:3:1; as a binary PGM. */
const doubled = (pixels: Uint8Array, width: number, height: number): Buffer => {
  const head = Buffer.from(`P5\n${width * 2} ${height * 2}\n255\n`)
  const out = Buffer.alloc(head.length + width * height * 4)
  head.copy(out)
  let to = head.length
  for (let y = 0; y < height * 2; y++) {
    const near = (y >> 1) * width
    const far = Math.min(height - 1, Math.max(0, (y >> 1) + (y & 1 ? 1 : -1))) * width
    for (let x = 0; x < width * 2; x++) {
      const column = x >> 1
      const other = Math.min(width - 1, Math.max(0, column + (x & 1 ? 1 : -1)))
      out[to++] =
        (9 * (pixels[near + column] ?? 0) +
          3 * (pixels[near + other] ?? 0) +
          3 * (pixels[far + column] ?? 0) +
          (pixels[far + other] ?? 0)) >>
        4
    }
  }
  return out
}

/** Tesseract's table: one row for each word (level 5), with its block, paragraph and line, and its box in pixels of the doubled picture. */
export const fromTable = (table: string): Reading => {
  let text = ""
  const boxes: Array<Reading["boxes"][number]> = []
  let last = ""
  for (const row of table.split("\n").slice(1)) {
    const cells = row.split("\t")
    const [level, , block, paragraph, line, , left, top, width, height] = cells.map(Number)
    const word = cells.slice(11).join("\t").trim()
    if (level !== 5 || word === "") continue
    const place = `${block} ${paragraph} ${line}`
    if (last !== "") {
      text += place === last ? " " : "\n"
      boxes.push(undefined)
    }
    last = place
    text += word
    const each = (width ?? 0) / 2 / word.length
    for (let index = 0; index < word.length; index++) {
      boxes.push({ x: (left ?? 0) / 2 + index * each, y: (top ?? 0) / 2, width: each, height: (height ?? 0) / 2 })
    }
  }
  return { text, boxes }
}

/** A part of a picture: all of its width, from a row on. */
interface Band {
  readonly top: number
  readonly frame: Frame
}

const bandOf = ({ data, width }: Frame, top: number, bottom: number): Band => ({
  top,
  frame: { width, height: bottom - top, data: data.subarray(top * width * 4, bottom * width * 4) }
})

const isBlank = ({ data, width }: Frame, row: number): boolean => {
  const start = row * width * 4
  for (let at = start + 4; at < start + width * 4; at++) if (data[at] !== data[at - 4]) return false
  return true
}

/** Two halves if a row of one colour near the middle separates them, so that no line of text is cut; else the whole. */
export const bandsOf = (frame: Frame): ReadonlyArray<Band> => {
  const middle = frame.height >> 1
  for (let distance = 0; distance < frame.height / 8; distance++) {
    for (const row of [middle - distance, middle + distance]) {
      if (isBlank(frame, row)) return [bandOf(frame, 0, row), bandOf(frame, row, frame.height)]
    }
  }
  return [bandOf(frame, 0, frame.height)]
}

/** The readings of a picture's bands as one. */
export const joined = (parts: ReadonlyArray<{ readonly top: number; readonly reading: Reading }>): Reading => {
  let text = ""
  const boxes: Array<Reading["boxes"][number]> = []
  for (const { reading, top } of parts) {
    if (reading.text === "") continue
    if (text !== "") {
      text += "\n"
      boxes.push(undefined)
    }
    text += reading.text
    for (const box of reading.boxes) boxes.push(box === undefined ? undefined : { ...box, y: box.y + top })
  }
  return { text, boxes }
}

interface ReadOptions {
  readonly layout: Layout
  readonly polarity: Polarity
}

const failed = (error: Error) => new OcrFailed({ reason: error.message })

const readBand = (command: string, frame: Frame, { layout, polarity }: ReadOptions) =>
  Effect.gen(function* () {
    const tesseract = yield* Effect.mapError(
      HostProcess.spawn({
        command,
        args: ["stdin", "stdout", "--psm", layouts[layout], "-l", "eng", "tsv"],
        env: { OMP_THREAD_LIMIT: "1" },
        stdin: "pipe",
        stdout: "pipe",
        stderr: "pipe",
        grace: 0
      }),
      failed
    )
    const stderr = yield* Effect.forkScoped(Stream.mkString(Stream.decodeText(tesseract.stderr)))
    const stdout = yield* Effect.forkScoped(Stream.mkString(Stream.decodeText(tesseract.stdout)))
    yield* Effect.mapError(tesseract.write(doubled(ink(frame, polarity), frame.width, frame.height)), failed)
    yield* tesseract.endInput
    const table = yield* Effect.mapError(Fiber.join(stdout), failed)
    const said = yield* Effect.mapError(Fiber.join(stderr), failed)
    const status = yield* tesseract.exited
    if (status.exitCode !== 0) {
      return yield* new OcrFailed({ reason: `${HostProcess.describeStatus(status)}: ${said.trim().slice(-500)}` })
    }
    return fromTable(table)
  }).pipe(Effect.scoped)

/** Reads a picture. Without tesseract it fails at once with `ToolMissing`, which says how to install it. */
export const read: (frame: Frame, options: ReadOptions) => Effect.Effect<Reading, ToolMissing | OcrFailed> =
  Effect.fnUntraced(function* (frame, options) {
    const command = yield* HostProcess.locate("tesseract")
    const parts = yield* Effect.forEach(
      bandsOf(frame),
      ({ frame: band, top }) => Effect.map(readBand(command, band, options), (reading) => ({ top, reading })),
      { concurrency: "unbounded" }
    )
    return joined(parts)
  })
