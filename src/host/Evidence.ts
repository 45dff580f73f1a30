/**
 * How messages of errors show output: its last lines, indented below a title.
 *
 * **Example** (the last two lines of a console)
 *
 * ```ts
 * Evidence.section("console", "booting\n\nmounting\npanic\n", 2) // "\nconsole:\n  mounting\n  panic"
 * ```
 *
 * @since 0.1.0
 */

/** The last `count` lines of a text that are not blank. */
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

/** The text before the first section of a message, and the sections, each without the line end before it. */
export const sectionsOf = (text: string): readonly [string, ...ReadonlyArray<string>] => {
  const [head = "", ...sections] = text.split(/\n(?=\S.*:\n {2})/)
  return [head, ...sections]
}

/** The title of a section. */
export const titleOf = (section: string): string => section.slice(0, section.indexOf(":\n"))
