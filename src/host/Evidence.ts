/**
 * How messages of errors show what somebody said: its last lines, indented below a title.
 *
 * @since 0.1.0
 */

/** The last `count` lines of a text that say something. */
export const lastLines = (text: string, count: number): string =>
  text
    .split(/\r?\n/)
    .filter((line) => line.trim() !== "")
    .slice(-count)
    .join("\n")

/** A section of a message: nothing when there is nothing to show. */
export const section = (title: string, text: string, count = 10): string => {
  const lines = lastLines(text, count)
  return lines === "" ? "" : `\n${title}:\n${lines.replace(/^/gm, "  ")}`
}

/** What stands before the first section of a text, and the sections, each without the line end before it. */
export const sectionsOf = (text: string): readonly [string, ...ReadonlyArray<string>] => {
  const [head = "", ...sections] = text.split(/\n(?=\S.*:\n {2})/)
  return [head, ...sections]
}

/** The title of a section. */
export const titleOf = (section: string): string => section.slice(0, section.indexOf(":\n"))
