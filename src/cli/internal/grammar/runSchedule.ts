/** Options of `vmtest run`: how many tests run at once, how often, and for how long. */
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import * as Flags from "./flags.ts"

export interface Schedule {
  /** How many tests run at the same time. Default: as many as the host has processors and memory for. */
  readonly jobs: number | "auto" | undefined
  /** How many files run at the same time, each in a process of its own. Default: all tests run in this process. */
  readonly workers: number | undefined
  /** How often a test that failed is run again. Default: 0. */
  readonly retries: number | undefined
  /** Whether the run ends at the first test that fails. Default: false. */
  readonly failFast: boolean | undefined
  /** Replaces the timeout of every test, in milliseconds. */
  readonly timeout: number | undefined
  /** How long a wait may take if neither it nor its test sets a timeout, in milliseconds. */
  readonly waitTimeout: number | undefined
  /** How long all tests may take together, in milliseconds. */
  readonly globalTimeout: number | undefined
  /** What random numbers of tests and impairments of networks without a seed of their own follow from. */
  readonly seed: number | undefined
  /** Whether to run the tests again that a change of a file affects. */
  readonly watch: boolean
}

export const flags = {
  jobs: Flags.undefinedOr(
    Flag.String("jobs").pipe(
      Flag.withMetavar("N"),
      Flag.withAlias("j"),
      Flag.withDescription(
        "How many tests run at the same time (default: auto, as many as the host has processors and free memory for, counting all their machines)"
      ),
      Flag.filterMap(
        (text): Option.Option<number | "auto"> =>
          text === "auto"
            ? Option.some("auto")
            : /^\d+$/.test(text) && Number(text) >= 1
              ? Option.some(Number(text))
              : Option.none(),
        () => `a whole number of at least 1, or "auto"`
      )
    )
  ),
  workers: Flags.undefinedOr(
    Flags.count("workers").pipe(
      Flag.withDescription(
        "Run files in this many processes; the tests of a file run one after the other (default: all in one process)"
      )
    )
  ),
  retries: Flags.undefinedOr(
    Flags.count("retries", 0).pipe(
      Flag.withDescription("How often a test that failed is run again; it is flaky if it passes then (default: 0)")
    )
  ),
  failFast: Flags.choice("fail-fast", "Stop at the first test that fails (default: all tests run)"),
  timeout: Flags.undefinedOr(
    Flags.duration("timeout").pipe(
      Flag.withDescription(
        "Override the timeout of every test, for example '10 minutes' (default: the test's own, else 30 minutes)"
      )
    )
  ),
  waitTimeout: Flags.undefinedOr(
    Flags.duration("wait-timeout").pipe(
      Flag.withDescription(
        "How long a wait may take if neither it nor its test sets a timeout (default: 5 minutes); three times as long under emulation"
      )
    )
  ),
  globalTimeout: Flags.undefinedOr(
    Flags.duration("global-timeout").pipe(
      Flag.withDescription("How long all tests may take together, without image builds before them (default: no limit)")
    )
  ),
  seed: Flags.undefinedOr(
    Flags.count("seed", 0).pipe(
      Flag.withDescription(
        "What Effect's Random gives tests, and which frames impairments lose that have no seed of their own; the order of tests does not depend on it (default: random numbers differ from run to run)"
      )
    )
  ),
  watch: Flags.toggle("watch", "Stay, and run the tests again that a changed file affects")
}
