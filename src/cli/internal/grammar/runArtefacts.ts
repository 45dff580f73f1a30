/** Options of `vmtest run`: what is kept of tests and their machines. */
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import * as Flags from "./flags.ts"

export interface Artefacts {
  /** Whether to save the machines of failed tests, in the output folder. */
  readonly snapshotOnFailure: boolean | undefined
  /** Whether to capture the networks of all tests, in the output folder. */
  readonly capture: boolean | undefined
  /** Whether to write the reference pictures of screens instead of comparing with them. */
  readonly updateReferences: boolean
  /** The least severe messages of Effect's logger that are printed. */
  readonly logLevel: LogLevel | undefined
}

export const logLevels = ["all", "trace", "debug", "info", "warn", "error", "fatal", "none"] as const

export type LogLevel = (typeof logLevels)[number]

export const flags = {
  snapshotOnFailure: Flags.choice(
    "snapshot-on-failure",
    "Save the machines of a failed test to its output folder, for 'vmtest resume FOLDER/TEST' (default: off)"
  ),
  capture: Flags.choice(
    "capture",
    "Write the packets of each network to a file in the test's output folder, for Wireshark: FOLDER/TEST/vlan1.pcapng (default: off)"
  ),
  updateReferences: Flags.toggle(
    "update-references",
    "Write the reference pictures of 'expectScreenshot' over the existing files instead of comparing with them (default: off)"
  ),
  logLevel: Flags.undefinedOr(
    Flag.String("log-level").pipe(
      Flag.withMetavar("LEVEL"),
      Flag.withDescription(
        `What is printed of what tests and vmtest log with Effect.log: ${logLevels.join(", ")} (default: info, and warn with --quiet)`
      ),
      Flag.filterMap(
        (text) => Option.fromUndefinedOr(logLevels.find((level) => level === text)),
        () => `one of ${logLevels.join(", ")}`
      )
    )
  )
}
