/** How lists of images and snapshots are printed. */
import * as ByteSize from "effect/ByteSize"

/** `"1 image"`, `"2 images"`. */
export const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? "" : "s"}`

export const size = (bytes: number): string => ByteSize.format(ByteSize.fromInputUnsafe(Math.floor(bytes)))

const ages = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"]
] as const

/** One unit is enough to decide whether something is old: `"3 d"`, `"5 h"`, `"0 min"`. */
export const age = (millis: number): string => {
  const [unit, name] = ages.find(([limit]) => millis >= limit) ?? ([60_000, "min"] as const)
  return `${Math.max(0, Math.floor(millis / unit))} ${name}`
}

/** Columns as wide as their widest cell. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd()
    )
    .join("\n")
}
