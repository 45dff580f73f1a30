/**
 * Keeps saved machines in the cache folder `snapshots`, by the digest of everything that they depend on.
 *
 * What is stored is whole or absent, and several runs make one machine once ({@link "../host/Store.ts"}). An entry is looked at before each use
 * (versions, host, sizes), and read once in each run; a damaged or outdated one is discarded with a warning, and counts as a miss. What other
 * versions of vmtest stored stays. A store that may only be read gives what is in it. Nothing here knows a hypervisor.
 *
 * **Example** (a machine that is saved once)
 *
 * ```ts
 * const store = yield* SnapshotStore.make()
 * const key = { name: "tiny", subject: { image: digest }, host: { hypervisor: "QEMU 7.2.22" } }
 * const found = yield* store.lookup(key)
 * if (found._tag === "Hit") return found.snapshot.directory
 * yield* hypervisor.save(found.folder)
 * return (yield* found.publish).directory
 * ```
 *
 * @since 0.1.0
 */
import * as ByteSize from "effect/ByteSize"
import * as Config from "effect/Config"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Cache from "../host/Cache.ts"
import * as Fields from "../host/Fields.ts"
import * as Prune from "../host/Prune.ts"
import * as Store from "../host/Store.ts"
import * as Checks from "./internal/snapshotChecks.ts"
import * as Entries from "./internal/snapshotEntries.ts"
import * as Lookups from "./internal/snapshotLookups.ts"

export { StoreFailed } from "../host/Store.ts"

/** What a saved machine depends on. */
export interface SnapshotKey {
  /** For people: `"debian with nginx-light, 1 GiB"`. */
  readonly name: string
  /** What was saved: the image, the machine's shape, the warm-up. */
  readonly subject: Readonly<Record<string, string>>
  /** What must be equal for it to load: the hypervisor and its version, the accelerator, the processor. */
  readonly host: Readonly<Record<string, string>>
  /** What of the host went into it, digests by path; filled while it is made, and looked at before it is used. */
  readonly inputs?: ReadonlyMap<string, string> | undefined
}

/** A saved machine in the store. */
export interface StoredSnapshot {
  readonly id: string
  /** Tells it from what is stored under the same id later. */
  readonly instance: string
  readonly name: string
  /** Where the saved machine is; read-only. */
  readonly directory: string
}

/** What the store has for a key. */
export type Lookup = Hit | Miss

/** The machine is stored. */
export interface Hit {
  readonly _tag: "Hit"
  readonly snapshot: StoredSnapshot
}

/**
 * Nobody has made it yet, and nobody else makes it until the scope of the lookup closes or it is published. Closing the scope without `publish`
 * leaves the store as it was.
 */
export interface Miss {
  readonly _tag: "Miss"
  /** Empty, and on the file system of the store: the machine is to be saved here. */
  readonly folder: string
  /** Takes what is in the folder into the store. Others who wait get it at once. */
  readonly publish: Effect.Effect<StoredSnapshot, SnapshotStoreError>
}

/** Why the store has nothing to give or take. */
export type SnapshotStoreError = Store.StoreError

/** One entry, as `vmtest snapshot list` shows it. */
export interface SnapshotSummary {
  readonly id: string
  /** Empty for a damaged entry. */
  readonly name: string
  readonly host: Readonly<Record<string, string>>
  /** On disk; holes of the memory file take none. */
  readonly bytes: number
  /** Milliseconds since the epoch, as is `lastUsed`. */
  readonly createdAt: number
  readonly lastUsed: number
  /** Why it will be discarded, as far as that is known without reading it all. */
  readonly problem: string | undefined
}

/** What to prune. By default what was not used for 30 days, and the least recently used beyond the store's limit; always what is damaged. */
export type PruneOptions = Prune.PruneOptions

/** What was pruned. What a run uses, and what could not be removed, stays. */
export type Pruned = Prune.Pruned<SnapshotSummary>

/** Where the store is and how large it may be. */
export const StoreOptions = Fields.options(
  {
    /** Default: the cache folder `snapshots`. */
    folder: Schema.optional(Fields.filled("a path on the host, a string that is not empty")),
    /** Bytes. Default: `VMTEST_SNAPSHOT_LIMIT`, or 10 GiB; a Debian machine takes about 200 MB. */
    maxBytes: Schema.optional(Fields.between(0)),
    /** How long to wait for another run that makes the same machine. Default 10 minutes. */
    lockTimeout: Schema.optional(Fields.time({ endless: true, zero: true }))
  },
  '{ folder: "snapshots" }'
)

/** Where the store is and how large it may be. */
export interface StoreOptions extends Schema.Schema.Type<typeof StoreOptions> {}

/** A store for one run; no run prunes what this one uses until the scope of `make` closes. */
export interface SnapshotStore {
  /**
   * What is stored under the key, checked, or the task to make it. `onWait` is run once when another machine or run makes it already, with what
   * is known of that one.
   */
  readonly lookup: (
    key: SnapshotKey,
    onWait?: (holder: string) => Effect.Effect<void>
  ) => Effect.Effect<Lookup, SnapshotStoreError, Scope.Scope>
  /** Discards an entry that turned out not to work, with a warning that gives the reason; false if it is gone already. */
  readonly discard: (snapshot: StoredSnapshot, problem: string) => Effect.Effect<boolean>
  /** Everything stored, the most recently used first. */
  readonly list: Effect.Effect<ReadonlyArray<SnapshotSummary>, SnapshotStoreError>
  /** Also removes what killed runs left. What is in use stays. */
  readonly prune: (options?: PruneOptions) => Effect.Effect<Pruned, SnapshotStoreError>
  /** A folder on the store's file system for saved machines of one run; gone with the scope, or with the next run's first use of the store. */
  readonly temporary: Effect.Effect<string, SnapshotStoreError, Scope.Scope>
}

const defaultLimit = 10 * 2 ** 30

/** How long to wait for another run that makes the same machine: a boot under emulation takes minutes on a busy host. */
const lockTimeout: Duration.Input = "10 minutes"

/** Another run that discards or makes the same machine holds the entry for longer only if it makes it again. */
const discardTimeout: Duration.Input = "10 seconds"

/** `VMTEST_SNAPSHOT_LIMIT`, such as `20 GiB`; a value that is not a size is ignored with a warning. */
const configuredLimit: Effect.Effect<number> = Effect.gen(function* () {
  const text = yield* Effect.orDie(Config.String("VMTEST_SNAPSHOT_LIMIT").pipe(Config.withDefault("")))
  if (text === "") return defaultLimit
  const size = ByteSize.fromInput(text as ByteSize.Input)
  if (Option.isSome(size)) return Number(size.value)
  yield* Effect.logWarning(
    `ignoring VMTEST_SNAPSHOT_LIMIT: it must be a size such as "20 GiB", got ${JSON.stringify(text)}`
  )
  return defaultLimit
})

const summaryOf = (store: Store.Store, id: string): SnapshotSummary => {
  const entry = Entries.read(store, id)
  const bytes = Store.bytesOf(Store.folderOf(store, id))
  const lastUsed = Store.lastUsed(store, id)
  if (Entries.hasAnotherFormat(store, id)) {
    // It may be of use to the version that stored it.
    const name = "a snapshot of another version of vmtest"
    return { id, name, host: {}, bytes, createdAt: lastUsed, lastUsed, problem: undefined }
  }
  if (entry === undefined || "problem" in entry) {
    const problem = entry?.problem ?? "it is gone"
    return { id, name: "", host: {}, bytes, createdAt: lastUsed, lastUsed, problem }
  }
  const { createdAt, host, name, subject } = entry.manifest
  return { id, name, host, bytes, createdAt, lastUsed, problem: Entries.mismatch(entry, subject, host) }
}

/** A store for one run. Nothing is made on disk before it is used. */
export const make: (options?: StoreOptions) => Effect.Effect<SnapshotStore, never, Scope.Scope> = Effect.fnUntraced(
  function* (options: StoreOptions = {}) {
    const limit = options.maxBytes ?? (yield* configuredLimit)
    const where = options.folder === undefined ? Cache.open("snapshots") : Effect.succeed(options.folder)
    const opened: Effect.Effect<Store.Store, Cache.CacheUnwritable> = yield* Store.make(where)
    const lookup: SnapshotStore["lookup"] = Lookups.make({
      opened,
      timeout: options.lockTimeout ?? lockTimeout,
      published: Effect.suspend(() => Effect.ignore(prune()))
    })

    const discard: SnapshotStore["discard"] = (snapshot, problem) =>
      Effect.gen(function* () {
        const store = yield* opened
        if (store.unwritable !== undefined) return yield* Effect.as(Checks.warnUnused(snapshot.name, problem), true)
        const { same, stays } = yield* Effect.gen(function* () {
          const now = Entries.read(store, snapshot.id)
          // Another run may have discarded it and made it again.
          const same = now !== undefined && ("problem" in now || now.manifest.instance === snapshot.instance)
          return { same, stays: same && !(yield* Store.remove(store, snapshot.id)) }
        }).pipe(Store.withReservation(store, snapshot.id, { timeout: discardTimeout }))
        if (same) yield* Checks.warn(snapshot.name, stays ? `${problem}; it could not be removed` : problem)
        return same
      }).pipe(Effect.orElseSucceed(() => false))

    const list: SnapshotStore["list"] = Effect.map(opened, (store) =>
      Store.ids(store)
        .map((id) => summaryOf(store, id))
        .sort((a, b) => b.lastUsed - a.lastUsed)
    )

    const prune = Effect.fnUntraced(function* (asked: PruneOptions = {}) {
      const store = yield* opened
      if (store.unwritable !== undefined) return yield* store.unwritable
      yield* Store.sweep(store)
      return yield* Prune.prune({
        candidates: yield* list,
        expendable: ({ problem }) => problem !== undefined,
        olderThan: asked.olderThan,
        maxBytes: asked.maxBytes ?? limit,
        remove: ({ id }) => Store.removeUnpinned(store, id)
      })
    })

    const temporary: SnapshotStore["temporary"] = Effect.flatMap(opened, ({ privateFolder }) => privateFolder)

    return { lookup, discard, list, prune, temporary }
  }
)
