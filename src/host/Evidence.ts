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
import * as Fs from "node:fs"
import * as Result from "effect/Result"

/** How much of a program's output an error has, in characters. */
const mostOutput = 1000

/** The end of a file that a program wrote its output to; empty if there is none. */
export const endOf = (file: string): string =>
  Result.try(() => Fs.readFileSync(file, "utf8")).pipe(
    Result.getOrElse(() => ""),
    (text) => text.slice(-mostOutput).trim()
  )

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

const panic = /Kernel panic - not syncing:? ?(.*?)(?: \]---)?\s*$/
/** What Linux says last, at its highest level, when it reboots or powers off in order. */
const orderly = /reboot: (Restarting system|Power down|System halted)/

/** Why the kernel panicked, if its panic is the last thing that happened on this console; a reboot in order comes after an earlier one. */
export const panicIn = (console: string): string | undefined => {
  const lines = console.split("\n")
  const last = lines.findLast((line) => panic.test(line) || orderly.test(line))
  const reason = last === undefined ? undefined : panic.exec(last)?.[1]
  return reason === undefined ? undefined : reason.trim()
}

/** The text before the first section of a message, and the sections, each without the line end before it. */
export const sectionsOf = (text: string): readonly [string, ...ReadonlyArray<string>] => {
  const [head = "", ...sections] = text.split(/\n(?=\S.*:\n {2})/)
  return [head, ...sections]
}

/** The title of a section. */
export const titleOf = (section: string): string => section.slice(0, section.indexOf(":\n"))

/**
 * A text whose control characters can be seen (`␛[2J`), so that none of them reaches a terminal: those of a guest clear the screen and move the
 * cursor. Line ends and tabs stay.
 */
export const visible = (text: string): string =>
  text.replaceAll("\r\n", "\n").replace(/[^\P{Cc}\n\t]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    if (code < 0x20) return String.fromCodePoint(0x2400 + code)
    return code === 0x7f ? "␡" : `\\u00${code.toString(16)}`
  })

/** How much of a text is shown: lines, and characters of each line. */
const shownLines = 60
const shownColumns = 600

const size = (bytes: number): string => (bytes < 10_000 ? `${bytes} bytes` : `${Math.round(bytes / 1000)} kB`)

/** Half of what may be shown from the start, half from the end, and between them how much is missing; a text that is short enough as it is. */
export const cutMiddle = (text: string): string => {
  const cutLine = (line: string) => {
    const half = shownColumns / 2
    if (line.length <= shownColumns) return line
    return `${line.slice(0, half)} … ${line.length - shownColumns} characters left out … ${line.slice(-half)}`
  }
  const lines = text.split("\n")
  if (lines.length <= shownLines) return lines.map(cutLine).join("\n")
  const half = shownLines / 2
  const left = lines.slice(half, -half)
  const note = `… ${left.length} lines left out (${size(Buffer.byteLength(left.join("\n")))}) …`
  return [...lines.slice(0, half).map(cutLine), note, ...lines.slice(-half).map(cutLine)].join("\n")
}
