/** Options of `vmtest run`: how many tests run at once, and for how long. */
import * as Flag from "effect/cli/Flag"
import * as Flags from "./flags.ts"

export interface Schedule {
  /** How many tests run at the same time. Default: 1. */
  readonly jobs: number
  /** Replaces the timeout of every test, in milliseconds. */
  readonly timeout: number | undefined
  /** How long a wait may take if neither it nor its test sets a timeout, in milliseconds. */
  readonly waitTimeout: number | undefined
}

export const flags = {
  jobs: Flags.count("jobs").pipe(
    Flag.withAlias("j"),
    Flag.withDescription("How many tests run at the same time (default: 1)"),
    Flag.withDefault(1)
  ),
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
  )
}
