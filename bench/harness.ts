/**
 * What every bench shares: measured cases, goals, a table for people and lines of JSON for machines.
 *
 * A bench is a file `bench/<name>.bench.ts` that calls {@link report} with its cases. `npm run bench` runs them all,
 * `npm run bench -- <name>` one of them; with `--json` each case is one line
 * `{ bench, case, value, unit, baseline, ratio, goal, met }` on stdout, and progress goes to stderr.
 */
import { spawnSync } from "node:child_process"

/** What a case must reach: a bound on its value (in the case's unit) or on its ratio to the baseline. */
export interface Goal {
  readonly of: "value" | "ratio" | "difference"
  readonly atMost?: number
  readonly atLeast?: number
}

/** One measurement. */
export interface Case {
  readonly case: string
  readonly value: number
  readonly unit: string
  /** The same quantity for whatever the value is compared with, in the same unit. */
  readonly baseline?: number
  /** Of values and baselines that were measured in pairs, instead of what follows from the two medians. */
  readonly pairs?: Pairs
  readonly goal?: Goal
}

/** Medians over pairs. */
export interface Pairs {
  readonly ratio: number
  readonly difference: number
}

/** A case as `--json` prints it. `met` is null when the case has no goal. */
export interface Row {
  readonly bench: string
  readonly case: string
  readonly value: number
  readonly unit: string
  readonly baseline: number | null
  readonly ratio: number | null
  /** The median of the differences of pairs; null where value and baseline were not measured in pairs. */
  readonly difference: number | null
  readonly goal: string | null
  readonly met: boolean | null
}

const round = (value: number): number => Number(value.toPrecision(4))

const goalText = (goal: Goal, unit: string): string => {
  const suffix = goal.of === "ratio" ? "×" : ` ${unit}`
  const what = goal.of === "difference" ? "+" : ""
  return [
    goal.atMost === undefined ? undefined : `≤ ${what}${goal.atMost}${suffix}`,
    goal.atLeast === undefined ? undefined : `≥ ${what}${goal.atLeast}${suffix}`
  ]
    .filter((part) => part !== undefined)
    .join(", ")
}

const isMet = (measured: Case): boolean | null => {
  const { baseline = Number.NaN, goal, pairs, value } = measured
  if (goal === undefined) return null
  const { difference, ratio } = pairs ?? { ratio: value / baseline, difference: value - baseline }
  const quantity = goal.of === "value" ? value : goal.of === "ratio" ? ratio : difference
  return quantity <= (goal.atMost ?? Number.POSITIVE_INFINITY) && quantity >= (goal.atLeast ?? Number.NEGATIVE_INFINITY)
}

/** A case with what follows from it: its ratio to the baseline, and whether its goal is met. */
export const toRow = (bench: string, measured: Case): Row => ({
  bench,
  case: measured.case,
  value: round(measured.value),
  unit: measured.unit,
  baseline: measured.baseline === undefined ? null : round(measured.baseline),
  ratio: measured.baseline === undefined ? null : round(measured.pairs?.ratio ?? measured.value / measured.baseline),
  difference: measured.pairs === undefined ? null : round(measured.pairs.difference),
  goal: measured.goal === undefined ? null : goalText(measured.goal, measured.unit),
  met: isMet(measured)
})

const signed = (value: number): string => `${value < 0 ? "−" : "+"}${Math.abs(value)}`

/** The rows as a table, columns padded to their widest cell. */
export const table = (rows: ReadonlyArray<Row>): string => {
  const cells = [
    ["bench", "case", "value", "baseline", "ratio", "goal", "met"],
    ...rows.map((row) => [
      row.bench,
      row.case,
      `${row.value} ${row.unit}`,
      row.baseline === null ? "–" : `${row.baseline} ${row.unit}`,
      row.ratio === null
        ? "–"
        : `${row.ratio}×${row.difference === null ? "" : `, ${signed(row.difference)} ${row.unit}`}`,
      row.goal ?? "–",
      row.met === null ? "–" : row.met ? "yes" : "NO"
    ])
  ]
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((line) => line[column]!.length)))
  return cells
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}

/** Prints the cases of one bench as `--json` or as a table, and gives back whether every goal was met. */
export const report = (bench: string, cases: ReadonlyArray<Case>): boolean => {
  const rows = cases.map((measured) => toRow(bench, measured))
  console.log(process.argv.includes("--json") ? rows.map((row) => JSON.stringify(row)).join("\n") : table(rows))
  return rows.every((row) => row.met !== false)
}

/** Says on stderr what is going on, so that stdout holds results only. */
export const progress = (text: string): void => {
  process.stderr.write(`${text}\n`)
}

/** The middle value; of an even number of values, the mean of the middle two. */
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Value and baseline that were measured in pairs: the median of each, and those of the ratios and the differences, which what slows a whole pair does not change. */
export const paired = (
  values: ReadonlyArray<number>,
  baselines: ReadonlyArray<number>
): { readonly value: number; readonly baseline: number; readonly pairs: Pairs } => {
  const both = values.map((value, index) => [value, baselines[index] ?? Number.NaN] as const)
  return {
    value: median(values),
    baseline: median(baselines),
    pairs: {
      ratio: median(both.map(([value, baseline]) => value / baseline)),
      difference: median(both.map(([value, baseline]) => value - baseline))
    }
  }
}

/** Runs a command to its end and gives the wall time in milliseconds; a nonzero exit stops the bench with its output. */
export const wallTime = (command: string, args: ReadonlyArray<string>, env?: Record<string, string>): number => {
  const started = performance.now()
  const result = spawnSync(command, args, { encoding: "utf8", env: { ...process.env, ...env }, maxBuffer: 1 << 28 })
  const elapsed = performance.now() - started
  if (result.error !== undefined) throw result.error
  if (result.status !== 0) {
    throw new Error(
      `${command} ${args.join(" ")} ended with ${result.status ?? result.signal}\n${result.stdout}${result.stderr}`
    )
  }
  return elapsed
}

/**
 * Measures two things by turns, so that a busy moment of the host hits both, and gives the median of each.
 * One unmeasured turn of each warms the caches.
 */
export const alternate = (
  rounds: number,
  value: () => number,
  baseline: () => number
): { readonly value: number; readonly baseline: number } => {
  value()
  baseline()
  const turns = Array.from({ length: rounds }, () => ({ value: value(), baseline: baseline() }))
  return { value: median(turns.map((turn) => turn.value)), baseline: median(turns.map((turn) => turn.baseline)) }
}
