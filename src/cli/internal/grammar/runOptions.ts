/** The options of every subcommand that runs machines. */
import * as Flag from "effect/cli/Flag"
import { type BackendName, names } from "../../../backends/BackendName.ts"
import * as Flags from "./flags.ts"

/** The options of every subcommand that runs machines. */
export interface RunOptions {
  /** Whether to keep the state folder of the run and print its path. Default: false. */
  readonly keepState: boolean
  /**
   * The folder in which each test has a folder for its screenshots and the files copied from guests, as the user wrote it. Default:
   * `vmtest-output`, made when something is first written to it.
   */
  readonly output: string | undefined
  /** Whether to print every step as well. Default: false. */
  readonly verbose: boolean
  /** Whether to print the lines of the guests' consoles as well. Default: as `verbose`. */
  readonly console?: boolean | undefined
  /** Whether to print only failures and the summary. Default: false. */
  readonly quiet: boolean
  /** Whether machines start from stored snapshots, and machines that boot are stored as snapshots. Default: true. */
  readonly snapshot: boolean
  /** The hypervisor of machines that declare none. Default: that of `VMTEST_BACKEND`, else QEMU. */
  readonly backend?: BackendName | undefined
}

const descriptions = {
  keepState:
    "Keep the run's state folder (sockets, logs, disks of all machines) in the temporary folder and print its path (default: removed)",
  verbose: "Print every step of every machine, with its time, and the lines of the guests' consoles",
  quiet: "Print only failures and the summary"
}

export const flags = {
  keepState: Flags.toggle("keep-state", descriptions.keepState),
  output: Flags.undefinedOr(
    Flags.path("output", "folder").pipe(
      Flag.withAlias("o"),
      Flag.withDescription(
        "Where screenshots and files copied from guests go, in a folder for each test (default: vmtest-output). What the machines of failed tests said goes there too"
      )
    )
  ),
  verbose: Flags.toggle("verbose", descriptions.verbose),
  console: Flags.undefinedOr(
    Flag.Literals("console", ["on", "off"]).pipe(
      Flag.withDescription("Whether to print the lines of the guests' consoles (default: on with --verbose, else off)"),
      Flag.map((chosen) => chosen === "on")
    )
  ),
  quiet: Flags.toggle("quiet", descriptions.quiet).pipe(Flag.withAlias("q")),
  snapshot: Flags.toggle(
    "no-snapshot",
    "Boot every machine, and neither use nor store snapshots (default: machines start from stored snapshots)"
  ).pipe(Flag.map((cold) => !cold)),
  backend: Flags.undefinedOr(
    Flag.Literals("backend", names).pipe(
      Flag.withMetavar("NAME"),
      Flag.withDescription(
        `The hypervisor of machines that declare none: ${names.join(", ")} (default: VMTEST_BACKEND, else qemu)`
      )
    )
  )
}

/** As the command line gives them to a subcommand that reads a config file: undefined where it says nothing. */
export type GivenOptions = { readonly [Key in keyof RunOptions]-?: RunOptions[Key] | undefined }

/** The options of a subcommand that reads a config file. */
export const givenFlags = {
  ...flags,
  keepState: Flags.choice("keep-state", descriptions.keepState),
  verbose: Flags.choice("verbose", descriptions.verbose),
  quiet: Flags.choice("quiet", descriptions.quiet).pipe(Flag.withAlias("q")),
  snapshot: Flags.choice(
    "snapshot",
    "Start machines from stored snapshots, and store those that boot; --no-snapshot boots every machine (default: on)"
  )
}

/** Those of the options that all these subcommands have, apart from what a subcommand has of its own. */
export const apart = <Given extends GivenOptions>({
  backend,
  console,
  keepState,
  output,
  quiet,
  snapshot,
  verbose,
  ...own
}: Given): { readonly options: GivenOptions; readonly own: Omit<Given, keyof RunOptions> } => ({
  options: { backend, console, keepState, output, quiet, snapshot, verbose },
  own
})
