/**
 * `vmtest snapshot list|prune`: the snapshot store.
 *
 * **Example** (List the snapshots, and keep at most 10 GiB of them)
 *
 * ```sh
 * vmtest snapshot list
 * vmtest snapshot prune --max-size '10 GiB'
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as SnapshotStore from "../driver/SnapshotStore.ts"
import type { Invocation } from "./CommandLine.ts"
import * as ExitCode from "./ExitCode.ts"
import { age, count, size, table } from "./internal/listing.ts"
import { complain, logToStderr, print, type Work } from "./Subcommand.ts"

const total = (snapshots: ReadonlyArray<SnapshotStore.SnapshotSummary>): string =>
  size(snapshots.reduce((sum, { bytes }) => sum + bytes, 0))

/** Prints an error, and gives exit code 2. */
const onStore = (
  work: (
    store: SnapshotStore.SnapshotStore
  ) => Effect.Effect<ExitCode.ExitCode, SnapshotStore.SnapshotStoreError, Scope.Scope>
): Work =>
  Effect.flatMap(SnapshotStore.make(), work).pipe(
    Effect.scoped,
    Effect.provide(logToStderr),
    Effect.catch((error) => Effect.as(complain(error.message), ExitCode.unusable))
  )

/** Lists the stored snapshots, the most recently used first. */
export const list = ({ json }: Extract<Invocation, { readonly _tag: "SnapshotList" }>): Work =>
  onStore((store) =>
    Effect.gen(function* () {
      const snapshots = yield* store.list
      if (json) {
        yield* print(JSON.stringify(snapshots, null, 2))
        return ExitCode.passed
      }
      const now = yield* Clock.currentTimeMillis
      const rows = snapshots.map(({ bytes, createdAt, host, id, lastUsed, name, problem }) => [
        problem === undefined ? name : `${name === "" ? "?" : name} (${problem})`,
        [host.hypervisor, host.accelerator].filter((part) => part !== undefined).join(", "),
        size(bytes),
        age(now - createdAt),
        age(now - lastUsed),
        id
      ])
      const head = ["SNAPSHOT", "HYPERVISOR", "SIZE", "AGE", "UNUSED FOR", "ID"]
      if (rows.length > 0) yield* print(table([head, ...rows]))
      yield* print(`${count(snapshots.length, "snapshot")}, ${total(snapshots)}`)
      return ExitCode.passed
    })
  )

/** Removes snapshots by age and size; without either, by the store's own limits. */
export const prune = ({ all, maxSize, olderThan }: Extract<Invocation, { readonly _tag: "SnapshotPrune" }>): Work =>
  onStore((store) =>
    Effect.gen(function* () {
      const { bytes, removed } = yield* store.prune({
        ...(all ? { maxBytes: -1 } : maxSize === undefined ? {} : { maxBytes: maxSize }),
        ...(olderThan === undefined ? {} : { olderThan })
      })
      for (const { id, name } of removed) yield* print(`removed ${name === "" ? "a damaged snapshot" : name} (${id})`)
      yield* print(`removed ${count(removed.length, "snapshot")}, ${size(bytes)}; ${total(yield* store.list)} left`)
      return ExitCode.passed
    })
  )
