/** What `docs/errors.md` should be: its rows with what the classes say of themselves. */
import type { ErrorClass } from "./errorClasses.ts"

/** Handled by vmtest itself; no user meets them. */
export const inner: ReadonlySet<string> = new Set([
  "NoBridge",
  "BusClosed",
  "BusRefused",
  "PipeFailed",
  "TerminalUnavailable"
])

const cellsOf = (line: string): ReadonlyArray<string> =>
  line
    .replace(/^\||\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim())

const inCell = (text: string): string => text.replaceAll("|", "\\|")

/** The page with the second and third cell of each row from its class, and the names of its rows. */
export const regenerated = (page: string, classes: ReadonlyArray<ErrorClass>) => {
  const known = new Map(classes.map((one) => [one.name, one]))
  const named: Array<string> = []
  const lines = page.split("\n").map((line) => {
    const name = /^\| `(\w+)` \|/.exec(line)?.[1]
    if (name === undefined) return line
    named.push(name)
    const found = known.get(name)
    if (found === undefined) return line
    const fields = found.fields.map((field) => `\`${field}\``).join(", ")
    return `| ${[`\`${name}\``, inCell(found.summary), fields, ...cellsOf(line).slice(3)].join(" | ")} |`
  })
  return { text: lines.join("\n"), named }
}
