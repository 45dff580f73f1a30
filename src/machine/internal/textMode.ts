/**
 * Reads a text screen exactly: its characters are the VGA's font on a grid, so each cell is compared with the font.
 *
 * That takes milliseconds and errs nowhere, colours and reverse video included. A picture that is no such grid is left to
 * tesseract.
 */
import type { Box, Frame } from "./frame.ts"
import { codePage, glyphs } from "./vgaFont.ts"

/** A text, and where each of its characters (UTF-16 units) is on the screen; line ends are nowhere. */
export interface Reading {
  readonly text: string
  readonly boxes: ReadonlyArray<Box | undefined>
}

const rows = 16
/** The hardware cursor covers the two rows above the last; a cell that has it is told by what is above: most often a blank. */
const cursorRows = 3

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
const upper = new Map([...tableOf(rows - cursorRows), [keyOf(glyphs, 0x20 * rows, rows - cursorRows), 0x20]])

/** What a cell under the cursor shows. */
const underCursor = (cell: Uint8Array): number | undefined =>
  cell[rows - 2] === 0xff && cell[rows - 3] === 0xff ? upper.get(keyOf(cell, 0, rows - cursorRows)) : undefined

const colourAt = ({ data }: Frame, pixel: number): number => {
  const at = pixel * 4
  return ((data[at] ?? 0) << 16) | ((data[at + 1] ?? 0) << 8) | (data[at + 2] ?? 0)
}

const bits = new Uint8Array(rows)
const inverse = new Uint8Array(rows)

/** The place in the font of what a cell shows; undefined when it shows more than two colours, or nothing in the font. */
const readCell = (frame: Frame, x: number, y: number): number | undefined => {
  const first = colourAt(frame, y * frame.width + x)
  let second = -1
  for (let row = 0; row < rows; row++) {
    let line = 0
    for (let column = 0; column < 8; column++) {
      const colour = colourAt(frame, (y + row) * frame.width + x + column)
      if (colour === first) continue
      if (second === -1) second = colour
      else if (colour !== second) return undefined
      line |= 0x80 >> column
    }
    bits[row] = line
    inverse[row] = line ^ 0xff
  }
  // One colour is a blank of that colour.
  if (second === -1) return 0x20
  return (
    whole.get(keyOf(bits, 0, rows)) ?? whole.get(keyOf(inverse, 0, rows)) ?? underCursor(bits) ?? underCursor(inverse)
  )
}

/** More cells than that which are not in the font, and it is no text screen; a few are a user's own characters. */
const strangers = 0.02

const readGrid = (frame: Frame, cellWidth: number): Reading | undefined => {
  const columns = Math.floor(frame.width / cellWidth)
  const lines = Math.floor(frame.height / rows)
  let text = ""
  const boxes: Array<Box | undefined> = []
  let unknown = 0
  let shown = 0
  for (let line = 0; line < lines; line++) {
    let characters = ""
    for (let column = 0; column < columns; column++) {
      const code = readCell(frame, column * cellWidth, line * rows)
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
  if (unknown > Math.max(1, (shown + unknown) * strangers)) return undefined
  const end = text.trimEnd().length
  return { text: text.slice(0, end), boxes: boxes.slice(0, end) }
}

/** Cells are nine pixels wide on a VGA's own text screen, and eight where Linux draws the same font itself. */
const cellWidths = [9, 8]

/** Whether a picture of that size may be one; the widths of graphics are multiples of 8, and so are those of 8-pixel cells. */
const fits = (frame: Frame, cellWidth: number): boolean =>
  frame.width % cellWidth === 0 && (cellWidth === 8 ? frame.height >= rows : frame.height % rows === 0)

/** What a text screen says; lines without what is blank at their ends, the screen without blank lines at its end. */
export const read = (frame: Frame): Reading | undefined => {
  for (const cellWidth of cellWidths) {
    const reading = fits(frame, cellWidth) ? readGrid(frame, cellWidth) : undefined
    if (reading !== undefined) return reading
  }
  return undefined
}
