/** The table of `npm run bench:backends`: a row for each figure, a column for each backend. */

/** A line that `integration-tests/nested/figures.ts` prints. */
interface Figure {
  /** The column: a backend, and where it ran if that was elsewhere. */
  readonly backend: string
  readonly what: string
  readonly value: number
  readonly unit: string
  /** vmtest's own processor time in the time that it took. */
  readonly share?: number
}

/** The most that vmtest itself may add. */
const mostShare = 0.05

/** The figures in what the suites printed. Of a suite that was tried again, the last. */
export const parse = (output: string): ReadonlyArray<Figure> => {
  const found = output
    .split("\n")
    .flatMap((line) => (line.startsWith("figure ") ? [JSON.parse(line.slice(7)) as Figure] : []))
  return [...new Map(found.map((one) => [`${one.backend}\n${one.what}`, one])).values()]
}

const cell = ({ share, unit, value }: Figure): string => {
  const text = unit === "ms" && value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(0)} ${unit}`
  return share === undefined ? text : `${text} (${(share * 100).toFixed(1)} %)`
}

/** A table in Markdown; in parentheses is vmtest's own share. */
export const table = (figures: ReadonlyArray<Figure>): string => {
  const backends = [...new Set(figures.map(({ backend }) => backend))]
  const row = (what: string) =>
    backends.map((name) => {
      const found = figures.find((one) => one.what === what && one.backend === name)
      return found === undefined ? "–" : cell(found)
    })
  const rows = [...new Set(figures.map(({ what }) => what))].map((what) => [what, ...row(what)])
  return [["", ...backends], ["---", ...backends.map(() => "---")], ...rows]
    .map((cells) => `| ${cells.join(" | ")} |`)
    .join("\n")
}

/** The figures of which vmtest itself takes more than it may. */
export const tooMuch = (figures: ReadonlyArray<Figure>): ReadonlyArray<string> =>
  figures
    .filter(({ share = 0 }) => share > mostShare)
    .map(({ backend, share = 0, what }) => `${backend}, ${what}: ${(share * 100).toFixed(1)} %`)
