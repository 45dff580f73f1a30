/**
 * Pictures as sixels, the graphics of DEC's terminals ("VT330/VT340 Programmer Reference Manual", volume 2, chapter 14): six rows at a time, and for
 * each colour of them a line of characters whose six bits say which rows have that colour.
 */

interface Pixels {
  readonly width: number
  readonly height: number
  /** Red, green, blue and opacity, a byte each. */
  readonly data: Uint8Array
}

/** Each of red, green and blue in six steps: terminals have at least the 216 colours of that, and screens of text look like themselves. */
const steps = 6

const colourAt = ({ data }: Pixels, pixel: number): number => {
  const step = (offset: number) => Math.round(((data[pixel * 4 + offset] ?? 0) * (steps - 1)) / 255)
  return step(0) * steps * steps + step(1) * steps + step(2)
}

/** The definition of a colour, in percent. */
const definition = (colour: number): string => {
  const percent = (step: number) => Math.round((step * 100) / (steps - 1))
  const [red, green, blue] = [Math.floor(colour / (steps * steps)), Math.floor(colour / steps) % steps, colour % steps]
  return `#${colour};2;${percent(red)};${percent(green)};${percent(blue)}`
}

/** A character that is repeated: `!12~`. */
const run = (character: string, count: number): string =>
  count > 3 ? `!${count}${character}` : character.repeat(count)

/** The characters of one colour, without those at the end that show nothing. */
const rowOf = (bits: Uint8Array): string => {
  const end = bits.findLastIndex((bit) => bit !== 0) + 1
  let text = ""
  let from = 0
  for (let x = 1; x <= end; x++) {
    if (x < end && bits[x] === bits[from]) continue
    text += run(String.fromCharCode(63 + (bits[from] ?? 0)), x - from)
    from = x
  }
  return text
}

/** A picture as a text for terminals. */
export const toSixels = (pixels: Pixels): string => {
  const { height, width } = pixels
  const known = new Set<number>()
  const bands: Array<string> = []
  for (let top = 0; top < height; top += 6) {
    const colours = new Map<number, Uint8Array>()
    for (let row = 0; row < Math.min(6, height - top); row++) {
      for (let x = 0; x < width; x++) {
        const colour = colourAt(pixels, (top + row) * width + x)
        let bits = colours.get(colour)
        if (bits === undefined) {
          bits = new Uint8Array(width)
          colours.set(colour, bits)
        }
        bits[x] = (bits[x] ?? 0) | (1 << row)
      }
    }
    for (const colour of colours.keys()) known.add(colour)
    bands.push([...colours].map(([colour, bits]) => `#${colour}${rowOf(bits)}`).join("$"))
  }
  return `\u001bPq"1;1;${width};${height}${[...known].map(definition).join("")}${bands.join("-")}\u001b\\`
}
