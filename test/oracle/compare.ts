/**
 * Comparing vmtest's supervisors with OTP's on random scenarios.
 */
import { generate, shrink } from "./generator.ts"
import { Oracle } from "./Oracle.ts"
import { runScenario } from "./Scenario.ts"

export interface Mismatch {
  readonly scenario: unknown
  readonly ours: string
  readonly theirs: string
}

export interface Report {
  readonly scenarios: number
  /** Lines that the oracle could not judge: it ran into its own time limit, or a second passed in the middle. */
  readonly unjudged: number
  readonly mismatch: Mismatch | undefined
}

/** The oracle says so itself when it could not judge. */
const isUnjudged = (trace: string): boolean =>
  trace.includes('"straddled":true') || (trace.startsWith('{"id":') && /^\{"id":[^{[]*,"error":/.test(trace))

const check = async (oracle: Oracle, scenario: { [key: string]: unknown }): Promise<Mismatch | "same" | "unjudged"> => {
  const theirs = await oracle.run(scenario)
  if (isUnjudged(theirs)) return "unjudged"
  const ours = runScenario(scenario)
  return ours === theirs ? "same" : { scenario, ours, theirs }
}

/** Takes away whatever can go while the two still differ. */
const minimize = async (oracle: Oracle, first: Mismatch): Promise<Mismatch> => {
  let best = first
  for (let tries = 0; tries < 3000; ) {
    let better: Mismatch | undefined
    for (const candidate of shrink(best.scenario as { [key: string]: unknown })) {
      if (++tries > 3000) break
      const result = await check(oracle, candidate)
      if (typeof result === "object") {
        better = result
        break
      }
    }
    if (better === undefined) break
    best = better
  }
  return best
}

/** Runs `count` random scenarios of a seed on both sides, and makes the first mismatch as small as it can. */
export const compare = async (
  count: number,
  seed: number,
  progress: (done: number) => void = () => {}
): Promise<Report> => {
  const oracle = new Oracle()
  const window = 64
  let unjudged = 0
  for (let from = 0; from < count; from += window) {
    const scenarios = Array.from({ length: Math.min(window, count - from) }, (_, i) => generate(seed, from + i))
    const theirs = scenarios.map((scenario) => oracle.run(scenario))
    for (const [i, scenario] of scenarios.entries()) {
      const ours = runScenario(scenario)
      const trace = await (theirs[i] as Promise<string>)
      if (isUnjudged(trace)) unjudged++
      else if (ours !== trace) {
        await Promise.all(theirs)
        // Once more, alone: a busy machine can make the oracle late, which is no mismatch.
        const again = await check(oracle, scenario)
        if (typeof again === "string") {
          unjudged++
          continue
        }
        const mismatch = await minimize(oracle, again)
        oracle.close()
        return { scenarios: from + i + 1, unjudged, mismatch }
      }
    }
    progress(from + scenarios.length)
  }
  oracle.close()
  return { scenarios: count, unjudged, mismatch: undefined }
}
