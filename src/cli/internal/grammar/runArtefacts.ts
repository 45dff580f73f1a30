/** Options of `vmtest run`: what is kept of tests and their machines. */
import * as Flags from "./flags.ts"

export interface Artefacts {
  /** Whether to save the machines of failed tests, in the output folder. */
  readonly snapshotOnFailure: boolean
  /** Whether to capture the networks of all tests, in the output folder. */
  readonly capture: boolean
  /** Whether to write the reference pictures of screens instead of comparing with them. */
  readonly updateReferences: boolean
}

export const flags = {
  snapshotOnFailure: Flags.toggle(
    "snapshot-on-failure",
    "Save the machines of a failed test to its output folder, for 'vmtest resume FOLDER/TEST' (default: off)"
  ),
  capture: Flags.toggle(
    "capture",
    "Write the packets of each network to a file in the test's output folder, for Wireshark: FOLDER/TEST/vlan1.pcapng (default: off)"
  ),
  updateReferences: Flags.toggle(
    "update-references",
    "Write the reference pictures of 'expectScreenshot' over the existing files instead of comparing with them (default: off)"
  )
}
