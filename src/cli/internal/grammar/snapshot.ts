/** `vmtest snapshot`: the stored snapshots. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { choose } from "./chosen.ts"
import * as Flags from "./flags.ts"

/** What `vmtest snapshot list` is asked for. */
export interface SnapshotList {
  readonly _tag: "SnapshotList"
  readonly json: boolean
}

/** What `vmtest snapshot prune` is asked for. */
export interface SnapshotPrune {
  readonly _tag: "SnapshotPrune"
  readonly all: boolean
  /** Milliseconds: removes snapshots that have not been used for longer. */
  readonly olderThan: number | undefined
  /** Bytes: removes the least recently used snapshots until the store is no larger. */
  readonly maxSize: number | undefined
}

const list = Command.make("list", { json: Flags.json }, ({ json }) => choose({ _tag: "SnapshotList", json })).pipe(
  Command.withDescription("List the stored snapshots with their size, age and last use")
)

const prune = Command.make(
  "prune",
  {
    all: Flags.toggle("all", "Remove every snapshot"),
    olderThan: Flags.undefinedOr(
      Flags.duration("older-than").pipe(
        Flag.withDescription("Remove snapshots that have not been used for longer than this")
      )
    ),
    maxSize: Flags.undefinedOr(
      Flags.size("max-size").pipe(
        Flag.withDescription("Remove the least recently used snapshots until the store is no larger than this")
      )
    )
  },
  ({ all, maxSize, olderThan }) => choose({ _tag: "SnapshotPrune", all, olderThan, maxSize })
).pipe(Command.withDescription("Remove snapshots by age and size, damaged snapshots, and the remains of killed runs"))

export const command = Command.make("snapshot").pipe(
  Command.withDescription("List and remove stored snapshots of booted machines"),
  Command.withSubcommands([list, prune])
)
