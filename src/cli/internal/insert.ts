/** Inserting text into a script without changing the places of the rest: a source map corrects them. */

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

/** Base64 VLQ as source maps (revision 3) use it: A is 0, C is 1. */
const vlq = (value: number): string => {
  let left = value < 0 ? (-value << 1) | 1 : value << 1
  let text = ""
  do {
    const digit = left & 31
    left >>>= 5
    text += digits[left > 0 ? digit | 32 : digit]
  } while (left > 0)
  return text
}

/**
 * A source map for a text with `inserted` characters at `offset`, which are where the character after them is. Each character has its own segment
 * (column, source, source line, source column, each relative to the segment before), because esbuild does not interpolate between two.
 */
const sourceMap = (text: string, offset: number, inserted: number, name: string): string => {
  let at = 0
  let previousColumn = 0
  const mappings = text.split("\n").map((line, number) => {
    const segments = Array.from({ length: line.length + 1 }, (_, column) => {
      const own = column > 0 ? `${vlq(1)}AAC` : `${vlq(0)}A${vlq(number === 0 ? 0 : 1)}${vlq(-previousColumn)}`
      return at + column === offset ? `${own},${vlq(inserted)}AAA` : own
    })
    at += line.length + 1
    previousColumn = line.length
    return segments.join(",")
  })
  return JSON.stringify({ version: 3, sources: [name], names: [], mappings: mappings.join(";") })
}

/** The text of the file `name` with `before` at an offset and `after` at its end, and a source map that hides both. */
export const insert = (text: string, offset: number, before: string, after: string, name: string): string => {
  const map = Buffer.from(sourceMap(text, offset, before.length, name)).toString("base64")
  return `${text.slice(0, offset)}${before}${text.slice(offset)}${after}\n//# sourceMappingURL=data:application/json;base64,${map}`
}
