/** `vmtest fleet`: test files on the workers of many hosts. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { choose } from "./chosen.ts"
import * as Flags from "./flags.ts"
import * as Run from "./run.ts"
import * as RunOptions from "./runOptions.ts"
import * as Reports from "./runReports.ts"

/** Where the fleet is. */
export interface Place {
  /** Default: `VMTEST_FLEET_URL` in the environment. */
  readonly url: string | undefined
  /** Whether the connection to another host may be unencrypted. */
  readonly insecure: boolean
}

/** What is printed and written of a run. */
export interface Shown {
  readonly output: string | undefined
  readonly verbose: boolean
  readonly console?: boolean | undefined
  readonly quiet: boolean
  /** Reports in files. */
  readonly junit: string | undefined
  readonly json: string | undefined
  readonly html: string | undefined
}

/** What `vmtest fleet worker` is asked for. */
export interface FleetWorker extends Place {
  readonly _tag: "FleetWorker"
  /** Default: the host's name. */
  readonly name: string | undefined
  /** Default: the number of processors. */
  readonly slots: number | undefined
  /** Bytes. Default: three quarters of the host's. */
  readonly memory: number | undefined
  /** Milliseconds. */
  readonly lease: number
  /** Milliseconds: how long runs are kept that have ended. */
  readonly keep: number
}

/** What `vmtest fleet run` is asked for: what `vmtest run` is, and what only a fleet has. */
export interface FleetRun extends Place, Omit<Run.Run, "_tag"> {
  readonly _tag: "FleetRun"
  /** Files and folders that go with the test files. */
  readonly companions: ReadonlyArray<string>
  /** Bytes. */
  readonly artefacts: number | undefined
  /** Whether to wait for a worker if there is none. */
  readonly wait: boolean
}

/** What `vmtest fleet attach` is asked for. */
export interface FleetAttach extends Place {
  readonly _tag: "FleetAttach"
  readonly run: string
  readonly shown: Shown
}

/** What `vmtest fleet cancel` is asked for. */
export interface FleetCancel extends Place {
  readonly _tag: "FleetCancel"
  readonly run: string
}

/** What `vmtest fleet status` is asked for. */
export interface FleetStatus extends Place {
  readonly _tag: "FleetStatus"
  readonly json: boolean
}

/** What `vmtest fleet prune` is asked for. */
export interface FleetPrune extends Place {
  readonly _tag: "FleetPrune"
  /** Milliseconds. */
  readonly olderThan: number
}

/** What `vmtest fleet …` is asked for. */
export type Fleet = FleetWorker | FleetRun | FleetAttach | FleetCancel | FleetStatus | FleetPrune

const place = {
  url: Flags.undefinedOr(
    Flag.String("url").pipe(
      Flag.withMetavar("URL"),
      Flag.withDescription(
        "The database of the fleet, such as postgres://ci@db.example.org/vmtest?sslmode=require (default: VMTEST_FLEET_URL)"
      )
    )
  ),
  insecure: Flags.toggle("insecure", "Allow an unencrypted connection to another host (default: refused)")
}

const shownFlags = {
  output: RunOptions.flags.output,
  verbose: RunOptions.flags.verbose,
  console: RunOptions.flags.console,
  quiet: RunOptions.flags.quiet,
  junit: Reports.flags.junit,
  json: Reports.flags.json,
  html: Reports.flags.html
}

const worker = Command.make(
  "worker",
  {
    ...place,
    name: Flags.undefinedOr(
      Flag.String("name").pipe(
        Flag.withMetavar("NAME"),
        Flag.withDescription("What others call this worker (default: the host's name)")
      )
    ),
    slots: Flags.undefinedOr(
      Flags.count("slots").pipe(
        Flag.withDescription("How many test files run at the same time (default: the number of processors)")
      )
    ),
    memory: Flags.undefinedOr(
      Flags.size("memory").pipe(
        Flag.withDescription("How much memory all machines have together (default: three quarters of the host's)")
      )
    ),
    lease: Flags.duration("lease").pipe(
      Flag.withDescription(
        "How long a test file is this worker's without a word of it; then another worker starts it again (default: 30 seconds)"
      ),
      Flag.withDefault(30_000)
    ),
    keep: Flags.duration("keep").pipe(
      Flag.withDescription(
        "How long the database keeps runs that have ended, at least a day; workers remove older ones (default: 14 days)"
      ),
      Flag.withDefault(14 * 24 * 60 * 60 * 1000)
    )
  },
  (given) => choose({ _tag: "FleetWorker", ...given })
).pipe(
  Command.withDescription(
    "Run the test files that others offer, until SIGTERM: running files end first; a second SIGTERM gives them back"
  ),
  Command.withExamples([
    { command: "vmtest fleet worker --slots 2 --memory '8 GiB'", description: "Two files at a time" }
  ])
)

/** Options of `vmtest run` that are read only to be refused with a reason: see `ways` in runOfFleet.ts. */
const refused = {
  globalTimeout: Flag.withHidden(Run.flags.globalTimeout),
  interactive: Flag.withHidden(Run.flags.interactive),
  jobs: Flag.withHidden(Run.flags.jobs),
  keepState: Flag.withHidden(Run.flags.keepState),
  machineConfig: Flag.withHidden(Run.flags.machineConfig),
  pauseOnFailure: Flag.withHidden(Run.flags.pauseOnFailure),
  pauseTimeout: Flag.withHidden(Run.flags.pauseTimeout),
  snapshotOnFailure: Flag.withHidden(Run.flags.snapshotOnFailure),
  updateReferences: Flag.withHidden(Run.flags.updateReferences),
  watch: Flag.withHidden(Run.flags.watch),
  workers: Flag.withHidden(Run.flags.workers)
}

const run = Command.make(
  "run",
  {
    scripts: Argument.String("FILE").pipe(
      Argument.withDescription(
        "A TypeScript or JavaScript module whose default export is a test, an array of tests, or an Effect; or a folder, or a glob pattern (default: **/*.vmtest.ts)"
      ),
      Argument.variadic()
    ),
    ...place,
    ...Run.flags,
    ...refused,
    companions: Flag.String("with").pipe(
      Flag.withMetavar("PATH"),
      Flag.withDescription("Send this file or folder along, for tests that read it; repeat it for more"),
      Flag.atLeast(0)
    ),
    artefacts: Flags.undefinedOr(
      Flags.size("artefacts").pipe(
        Flag.withDescription("How large the files may be that the tests of one file leave (default: 64 MiB)")
      )
    ),
    wait: Flags.toggle("wait", "Wait for a worker if none can run a file (default: that is an error)")
  },
  (given) => {
    const { options, own } = RunOptions.apart(given)
    return choose({ _tag: "FleetRun", ...own, options })
  }
).pipe(
  Command.withDescription("Run test files on the workers of a fleet, with the output and the exit code of a local run"),
  Command.withExamples([{ command: "vmtest fleet run tests/*.ts", description: "Run several files" }])
)

const runArgument = Argument.String("RUN").pipe(
  Argument.withDescription("The name that 'vmtest fleet run' printed, and 'vmtest fleet status' lists")
)

const attach = Command.make(
  "attach",
  { run: runArgument, ...place, ...shownFlags },
  ({ insecure, run, url, ...shown }) => choose({ _tag: "FleetAttach", run, url, insecure, shown })
).pipe(Command.withDescription("Follow a run from its beginning, for example after the connection was lost"))

const cancel = Command.make("cancel", { run: runArgument, ...place }, (given) =>
  choose({ _tag: "FleetCancel", ...given })
).pipe(Command.withDescription("End a run: nothing more of it is started, and what runs is ended"))

const status = Command.make("status", { json: Flags.json, ...place }, (given) =>
  choose({ _tag: "FleetStatus", ...given })
).pipe(Command.withDescription("List the workers, the queues, what no worker can run, and the runs"))

const prune = Command.make(
  "prune",
  {
    olderThan: Flags.duration("older-than").pipe(
      Flag.withDescription(
        "Remove runs that ended longer ago than this (default: 7 days; workers do it after 14 days)"
      ),
      Flag.withDefault(7 * 24 * 60 * 60 * 1000)
    ),
    ...place
  },
  (given) => choose({ _tag: "FleetPrune", ...given })
).pipe(Command.withDescription("Remove old runs and their files from the database, as its owner"))

export const command = Command.make("fleet").pipe(
  Command.withDescription("Run test files on many hosts, which share a Postgres database"),
  Command.withSubcommands([worker, run, attach, cancel, status, prune])
)
