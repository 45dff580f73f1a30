/**
 * A text without its common indentation, as a command in a template literal needs it.
 *
 * As Python's `textwrap.dedent`: lines of blanks do not count, the first line does. Blank lines before and after go. The
 * inside of a here-document moves with the rest, which is what its author meant.
 */
export const dedent = (text: string): string => {
  const lines = text.split("\n")
  const indents = lines.flatMap((line) => {
    const blank = line.match(/^[ \t]*/)?.[0] ?? ""
    return blank.length === line.length ? [] : [blank]
  })
  const common = indents.reduce<string | undefined>((shared, indent) => {
    if (shared === undefined) return indent
    let at = 0
    while (at < shared.length && shared[at] === indent[at]) at++
    return shared.slice(0, at)
  }, undefined)
  const cut = lines.map((line) => (common && line.startsWith(common) ? line.slice(common.length) : line))
  const first = cut.findIndex((line) => line.trim() !== "")
  const last = cut.findLastIndex((line) => line.trim() !== "")
  return first === -1 ? "" : cut.slice(first, last + 1).join("\n")
}

/** Bytes as the argument of `printf %b`, on one line of printable ASCII. */
export const escape = (bytes: Uint8Array): string => {
  let text = ""
  for (const byte of bytes) {
    text +=
      byte >= 0x20 && byte < 0x7f && byte !== 0x5c
        ? String.fromCharCode(byte)
        : `\\0${byte.toString(8).padStart(3, "0")}`
  }
  return text
}
