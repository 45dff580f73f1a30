/** Tests that run together: those of a suite that share its machines; any other is alone. */
import type { Checked } from "./checkTests.ts"

export interface Unit {
  /** At least one. */
  readonly tests: readonly [Checked, ...ReadonlyArray<Checked>]
  /** Whether they have the same machines, one after the other. */
  readonly shared: boolean
}

/** The units of tests, in the order of the first test of each. A repetition of a suite has machines of its own. */
export const of = (all: ReadonlyArray<Checked>): ReadonlyArray<Unit> => {
  const units: Array<Unit> = []
  const places = new Map<object, Map<number, number>>()
  for (const one of all) {
    const { repeat = 1, suite } = one.test
    if (suite?.isolation !== "shared") {
      units.push({ tests: [one], shared: false })
      continue
    }
    const known = places.get(suite) ?? new Map<number, number>()
    places.set(suite, known)
    const at = known.get(repeat)
    const unit = at === undefined ? undefined : units[at]
    if (at !== undefined && unit !== undefined) units[at] = { ...unit, tests: [...unit.tests, one] }
    else known.set(repeat, units.push({ tests: [one], shared: true }) - 1)
  }
  return units
}
