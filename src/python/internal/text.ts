/** The text of a script that is a part of a TypeScript file, as Python takes it, with the lines that it has in that file. */

/** The indentation that all lines share; blank lines do not count. */
const commonIndent = (lines: ReadonlyArray<string>): string => {
  const indents = lines.filter((line) => line.trim() !== "").map((line) => /^[ \t]*/.exec(line)?.[0] ?? "")
  return indents.reduce((common, indent) => {
    let length = 0
    while (length < common.length && common[length] === indent[length]) length++
    return common.slice(0, length)
  }, indents[0] ?? "")
}

/** Removes the indentation that all lines share. A first line that begins right after the quotation mark has none. */
export const dedent = (text: string): { readonly text: string; readonly columns: number } => {
  const lines = text.split("\n")
  const indent = commonIndent(lines)
  return {
    text: lines.map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line.trimStart())).join("\n"),
    columns: indent.length
  }
}

/** The line (from 0) on which a text begins in a file that has it as it is, nearest after a line; undefined if it has it nowhere. */
export const lineIn = (file: string, text: string, near: number): number | undefined => {
  const from = file
    .split("\n")
    .slice(0, near - 1)
    .join("\n").length
  const at = file.indexOf(text, from)
  return text.trim() === "" || at === -1 ? undefined : file.slice(0, at).split("\n").length - 1
}
