/**
 * Reads a text screen exactly: its characters are glyphs of the VGA's font on a grid, so each cell is compared with the font.
 *
 * That takes milliseconds and makes no mistakes, also with colours and reverse video. Tesseract reads pictures that are not such a grid.
 */

import { codePage } from "../../guest/CodePage.ts"
import type { Box, Frame } from "./frame.ts"
import { glyphs } from "./vgaFont.ts"

/** A text, and where each of its characters (UTF-16 units) is on the screen; line ends have no box. */
export interface Reading {
  readonly text: string
  readonly boxes: ReadonlyArray<Box | undefined>
}

const rows = 16
/** The hardware cursor covers the two rows above the last. A cell under it is recognized by the rows above: most often a blank. */
const cursorRows = 3

const blank = 0x20
const block = 0xdb
const black = 0

const place = (code: number): string => codePage[code] ?? " "

/** Bits of a cell's rows as a string, the key of the tables below. */
const keyOf = (bits: ArrayLike<number>, from: number, count: number): string => {
  let key = ""
  for (let row = 0; row < count; row++) key += String.fromCharCode(bits[from + row] ?? 0)
  return key
}

/** ASCII last, so that it wins where two characters look the same. */
const order = Array.from({ length: 256 }, (_, index) => (index + 127) % 256)

const tableOf = (count: number): ReadonlyMap<string, number> =>
  new Map(order.map((code) => [keyOf(glyphs, code * rows, count), code]))

const whole = tableOf(rows)
const upper = new Map([...tableOf(rows - cursorRows), [keyOf(glyphs, blank * rows, rows - cursorRows), blank]])

/** What a cell under the cursor shows. */
const underCursor = (cell: Uint8Array): number | undefined =>
  cell[rows - 2] === 0xff && cell[rows - 3] === 0xff ? upper.get(keyOf(cell, 0, rows - cursorRows)) : undefined

const colourAt = ({ data }: Frame, pixel: number): number => {
  const at = pixel * 4
  return ((data[at] ?? 0) << 16) | ((data[at + 1] ?? 0) << 8) | (data[at + 2] ?? 0)
}

/** The most frequent colour. */
const mostOf = (colours: ReadonlyArray<number>): number => {
  const counts = new Map<number, number>()
  for (const colour of colours) counts.set(colour, (counts.get(colour) ?? 0) + 1)
  return [...counts].reduce((most, entry) => (entry[1] > most[1] ? entry : most), [black, 0])[0]
}

const bits = new Uint8Array(rows)
const inverse = new Uint8Array(rows)

interface Cell {
  /** Its character code; undefined if it has more than two colours, or is not in the font. */
  readonly code: number | undefined
  readonly paper: number
  /** The colour of the letter; undefined if there is none, or if it cannot be told from the paper (half blocks, a cursor). */
  readonly ink: number | undefined
  /** One colour all over. */
  readonly solid: boolean
}

const readCell = (frame: Frame, x: number, y: number): Cell => {
  const first = colourAt(frame, y * frame.width + x)
  let second = -1
  for (let row = 0; row < rows; row++) {
    let line = 0
    for (let column = 0; column < 8; column++) {
      const colour = colourAt(frame, (y + row) * frame.width + x + column)
      if (colour === first) continue
      if (second === -1) second = colour
      else if (colour !== second) return { code: undefined, paper: first, ink: undefined, solid: false }
      line |= 0x80 >> column
    }
    bits[row] = line
    inverse[row] = line ^ 0xff
  }
  if (second === -1) return { code: blank, paper: first, ink: undefined, solid: true }
  const [plain, reversed] = [whole.get(keyOf(bits, 0, rows)), whole.get(keyOf(inverse, 0, rows))]
  if (plain !== undefined && reversed === undefined) return { code: plain, paper: first, ink: second, solid: false }
  if (plain === undefined && reversed !== undefined) return { code: reversed, paper: second, ink: first, solid: false }
  const code = plain ?? underCursor(bits) ?? underCursor(inverse)
  return { code, paper: first, ink: undefined, solid: false }
}

/**
 * A cell of one colour is a blank on that colour, or a full block: both have the same pixels. It is read as a block if letters on its line have
 * that colour and none has it as its paper, unless it is the colour of most such cells (`ground`), or black, as shadows are.
 */
const withBlocks = (line: ReadonlyArray<Cell>, ground: number): ReadonlyArray<number | undefined> => {
  const inks = new Set(line.map(({ ink }) => ink))
  for (const { ink, paper } of line) if (ink !== undefined) inks.delete(paper)
  return line.map(({ code, paper, solid }) =>
    solid && inks.has(paper) && paper !== ground && paper !== black ? block : code
  )
}

/** The share of cells that may not be in the font, such as a user's own characters; with more it is not a text screen. */
const unknownShare = 0.02

const readGrid = (frame: Frame, cellWidth: number): Reading | undefined => {
  const columns = Math.floor(frame.width / cellWidth)
  const lines = Math.floor(frame.height / rows)
  const cells = Array.from({ length: lines }, (_, line) =>
    Array.from({ length: columns }, (_, column) => readCell(frame, column * cellWidth, line * rows))
  )
  const ground = mostOf(cells.flatMap((line) => line.flatMap(({ paper, solid }) => (solid ? [paper] : []))))
  let text = ""
  const boxes: Array<Box | undefined> = []
  let unknown = 0
  let shown = 0
  for (const [line, row] of cells.entries()) {
    let characters = ""
    for (const code of withBlocks(row, ground)) {
      if (code === undefined) unknown++
      else if (place(code) !== " ") shown++
      characters += code === undefined ? "\ufffd" : place(code)
    }
    const trimmed = characters.trimEnd()
    for (let column = 0; column < trimmed.length; column++) {
      boxes.push({ x: column * cellWidth, y: line * rows, width: cellWidth, height: rows })
    }
    boxes.push(undefined)
    text += `${trimmed}\n`
  }
  if (unknown > Math.max(1, (shown + unknown) * unknownShare)) return undefined
  const end = text.trimEnd().length
  return { text: text.slice(0, end), boxes: boxes.slice(0, end) }
}

/** Cells are nine pixels wide on a VGA's own text screen, and eight if Linux draws the same font itself. */
const cellWidths = [9, 8]

/** Whether a picture has the size of a text screen; widths of graphics are multiples of 8, and so are those of 8-pixel cells. */
const fits = (frame: Frame, cellWidth: number): boolean =>
  frame.width % cellWidth === 0 && (cellWidth === 8 ? frame.height >= rows : frame.height % rows === 0)

/** The text of a text screen, without blanks at the ends of lines and empty lines at its end; undefined if it is not one. */
export const read = (frame: Frame): Reading | undefined => {
  for (const cellWidth of cellWidths) {
    const reading = fits(frame, cellWidth) ? readGrid(frame, cellWidth) : undefined
    if (reading !== undefined) return reading
  }
  return undefined
}
