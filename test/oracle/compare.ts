/**
 * Comparing vmtest's supervisors with OTP's on random scenarios.
 */
import { generate, shrink } from "./generator.ts"
import { Oracle } from "./Oracle.ts"
import { runScenario } from "./Scenario.ts"

type Term = { [key: string]: unknown }

export interface Mismatch {
  readonly scenario: Term
  readonly ours: string
  readonly theirs: string
}

export interface Report {
  readonly scenarios: number
  /** Scenarios that the oracle could not judge: it ran into its own time limit, or a second passed in the middle. */
  readonly unjudged: number
  /** Scenarios in which a worker raises `shutdown`. */
  readonly raised: number
  /** Those of them in which vmtest and OTP differ, as they are expected to. */
  readonly differ: number
  readonly mismatch: Mismatch | undefined
}

/** What the oracle is asked, and what it must answer. */
interface Trial {
  readonly ask: Term
  readonly ours: () => string
}

/** The reason that `shutdown` becomes; no generated scenario has it. */
const stand = "mayday"

/** The scenario with every raised `shutdown`, of a worker and of its init, replaced by a reason that is nothing special. */
const renamed = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(renamed)
  if (typeof value !== "object" || value === null) return value
  const term = Object.fromEntries(Object.entries(value).map(([key, each]) => [key, renamed(each)]))
  if (term.op === "raise" && term.reason === "shutdown") return { ...term, reason: stand }
  return term.crash === "shutdown" ? { ...term, crash: stand } : term
}

const raisesShutdown = (value: unknown): boolean => {
  if (Array.isArray(value)) return value.some(raisesShutdown)
  if (typeof value !== "object" || value === null) return false
  const term = value as Term
  return (term.op === "raise" && term.reason === "shutdown") || Object.values(term).some(raisesShutdown)
}

/**
 * What is compared. A worker that raises `shutdown` is a deliberate difference: in OTP its reason is `{shutdown, Stack}`, which supervisors take for
 * an orderly end; in vmtest it is a crash. Such a scenario is compared twice, so that nothing but that difference passes: with
 * workers that end as OTP's do, and with OTP's workers raising a reason that is nothing special.
 */
const trialsOf = (scenario: Term): ReadonlyArray<Trial> =>
  raisesShutdown(scenario)
    ? [
        { ask: scenario, ours: () => runScenario(scenario, { orderlyRaise: true }) },
        {
          ask: renamed(scenario) as Term,
          ours: () => runScenario(scenario).replaceAll('["shutdown","$stack"]', `["${stand}","$stack"]`)
        }
      ]
    : [{ ask: scenario, ours: () => runScenario(scenario) }]

/** The oracle says so itself when it could not judge. */
const isUnjudged = (trace: string): boolean =>
  trace.includes('"straddled":true') || (trace.startsWith('{"id":') && /^\{"id":[^{[]*,"error":/.test(trace))

const check = async (oracle: Oracle, scenario: Term): Promise<Mismatch | "same" | "unjudged"> => {
  for (const trial of trialsOf(scenario)) {
    const theirs = await oracle.run(trial.ask)
    if (isUnjudged(theirs)) return "unjudged"
    const ours = trial.ours()
    if (ours !== theirs) return { scenario, ours, theirs }
  }
  return "same"
}

/** Takes away whatever can go while the two still differ. */
const minimize = async (oracle: Oracle, first: Mismatch): Promise<Mismatch> => {
  let best = first
  for (let tries = 0; tries < 3000; ) {
    let better: Mismatch | undefined
    for (const candidate of shrink(best.scenario)) {
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
  let raised = 0
  let differ = 0
  for (let from = 0; from < count; from += window) {
    const scenarios = Array.from({ length: Math.min(window, count - from) }, (_, i) => generate(seed, from + i))
    const asked = scenarios.map((scenario) =>
      trialsOf(scenario).map(({ ask, ours }) => ({ ours, answer: oracle.run(ask) }))
    )
    for (const [i, scenario] of scenarios.entries()) {
      const trials = asked[i] ?? []
      const traces = await Promise.all(trials.map(({ answer }) => answer))
      if (traces.some(isUnjudged)) {
        unjudged++
        continue
      }
      if (trials.every(({ ours }, n) => ours() === traces[n])) {
        if (trials.length === 1) continue
        raised++
        if (runScenario(scenario) !== traces[0]) differ++
        continue
      }
      await Promise.all(asked.flat().map(({ answer }) => answer))
      // Once more, alone: a busy machine can make the oracle late, which is no mismatch.
      const again = await check(oracle, scenario)
      if (typeof again === "string") {
        unjudged++
        continue
      }
      const mismatch = await minimize(oracle, again)
      oracle.close()
      return { scenarios: from + i + 1, unjudged, raised, differ, mismatch }
    }
    progress(from + scenarios.length)
  }
  oracle.close()
  return { scenarios: count, unjudged, raised, differ, mismatch: undefined }
}
