/**
 * Splitting tests into parts that take about as long as each other.
 *
 * The split depends only on what the tests are known by and on the durations that are given, not on the order of the tests or on the host: hosts that
 * give the same make the same split, and each test is in one part.
 *
 * **Example** (The first of two parts)
 *
 * ```ts
 * const keys = ["a", "b", "c"]
 * Shard.split(keys, 2, new Map([["a", 9000], ["b", 4000], ["c", 5000]])) // [["a"], ["b", "c"]]
 * ```
 *
 * @since 0.1.0
 */

/** Milliseconds by what a test is known by. */
export type Durations = ReadonlyMap<string, number>

/** What a test without a record is taken to last: as long as the others on average. */
const usual = (keys: ReadonlyArray<string>, durations: Durations): number => {
  const known = keys.flatMap((key) => durations.get(key) ?? [])
  return known.length === 0 ? 1 : known.reduce((sum, millis) => sum + millis, 0) / known.length
}

const before = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/**
 * The parts, each with its keys in their order: the longest tests first, each to the part that has the least to do so far. `units` are keys that
 * belong together; each key by itself by default.
 */
export const split = (
  keys: ReadonlyArray<string>,
  parts: number,
  durations: Durations,
  units: ReadonlyArray<ReadonlyArray<string>> = keys.map((key) => [key])
): ReadonlyArray<ReadonlyArray<string>> => {
  const otherwise = usual(keys, durations)
  const weighed = units
    .map((unit) => ({ unit, millis: unit.reduce((sum, key) => sum + (durations.get(key) ?? otherwise), 0) }))
    .toSorted((a, b) => b.millis - a.millis || before(a.unit[0] ?? "", b.unit[0] ?? ""))
  const shares = Array.from({ length: parts }, () => ({ millis: 0, has: new Set<string>() }))
  for (const { millis, unit } of weighed) {
    const [least] = shares.toSorted((a, b) => a.millis - b.millis || a.has.size - b.has.size)
    if (least === undefined) break
    least.millis += millis
    for (const key of unit) least.has.add(key)
  }
  return shares.map(({ has }) => keys.filter((key) => has.has(key)))
}
