/**
 * Keeps saved machines in the cache folder `snapshots`, by the digest of everything that they depend on.
 *
 * What is stored is whole or absent: it is made beside its place and renamed into it, under a lock that the kernel releases when the
 * builder dies, so that several runs make one machine once. An entry is looked at before each use (versions, host, sizes), and read once
 * in each run; one that is not as it should be is dropped with a warning, and counts as absent. Nothing here knows a hypervisor.
 *
 * @since 0.1.0
 */
import { randomUUID } from "node:crypto"
import * as ByteSize from "effect/ByteSize"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Cache from "../host/Cache.ts"
import * as Lock from "../host/Lock.ts"
import * as HostInputs from "./internal/hostInputs.ts"
import * as Entries from "./internal/snapshotEntries.ts"
import * as Folders from "./internal/snapshotFolders.ts"
import { SnapshotStoreFailed } from "./internal/snapshotFolders.ts"

export { SnapshotStoreFailed } from "./internal/snapshotFolders.ts"

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

/** What the store has for a key: the machine, or the task to make it, which keeps all others from making it until the scope closes. */
export type Claim = { readonly _tag: "Stored"; readonly snapshot: StoredSnapshot } | Vacancy

/** Nobody has made it yet: whoever holds this is to. Closing its scope without `publish` leaves the store as it was. */
export interface Vacancy {
  readonly _tag: "Vacant"
  /** Empty, and on the file system of the store: the machine is to be saved here. */
  readonly folder: string
  /** Takes what is in the folder into the store. Others who wait get it at once. */
  readonly publish: Effect.Effect<StoredSnapshot, SnapshotStoreError>
}

/** Why the store has nothing to give or take. */
export type SnapshotStoreError = Cache.CacheUnwritable | Lock.LockError | SnapshotStoreFailed

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
  /** Why it will be dropped, as far as that can be told without reading it all. */
  readonly problem: string | undefined
}

/** What to remove. */
export interface PruneOptions {
  /** What was not used for longer. Default 30 days. */
  readonly olderThan?: Duration.Input | undefined
  /** The least recently used, until all is no larger. Default: the store's limit. */
  readonly maxBytes?: number | undefined
}

/** What was removed. */
export interface Pruned {
  readonly removed: ReadonlyArray<SnapshotSummary>
  readonly bytes: number
}

/** Where the store is and how large it may be. */
export interface StoreOptions {
  /** Default: the cache folder `snapshots`. */
  readonly folder?: string | undefined
  /** Bytes. Default: `VMTEST_SNAPSHOT_LIMIT`, or 10 GiB; a Debian machine takes about 200 MB. */
  readonly maxBytes?: number | undefined
  /** How long to wait for another run that makes the same machine. Default 10 minutes. */
  readonly patience?: Duration.Input | undefined
}

/** A store for one run; what the run uses is held against removal until the scope of `make` closes. */
export interface SnapshotStore {
  /**
   * What is stored under the key, checked, or the task to make it. `onWait` is told once when another is making it, with what is known of
   * that one.
   */
  readonly claim: (
    key: SnapshotKey,
    onWait?: (holder: string) => Effect.Effect<void>
  ) => Effect.Effect<Claim, SnapshotStoreError, Scope.Scope>
  /** {@link claim}, and where there is nothing `build` makes it in the folder that it is given. */
  readonly getOrBuild: <E, R>(
    key: SnapshotKey,
    build: (folder: string) => Effect.Effect<unknown, E, R>
  ) => Effect.Effect<StoredSnapshot, E | SnapshotStoreError, R>
  /** Drops an entry that turned out not to work, with a warning that says why; false where it has gone already. */
  readonly drop: (snapshot: StoredSnapshot, problem: string) => Effect.Effect<boolean>
  /** Everything stored, the most recently used first. */
  readonly list: Effect.Effect<ReadonlyArray<SnapshotSummary>, SnapshotStoreError>
  /** Also removes what killed runs left. What is in use stays. */
  readonly prune: (options?: PruneOptions) => Effect.Effect<Pruned, SnapshotStoreError>
  /** A folder on the store's file system for saved machines of one run; gone with the scope, or with the next run's first use of the store. */
  readonly temporary: Effect.Effect<string, SnapshotStoreError, Scope.Scope>
}

const defaultLimit = 10 * 2 ** 30

/** `VMTEST_SNAPSHOT_LIMIT`, such as `20 GiB`; what makes no sense there is said and left aside. */
const configuredLimit: Effect.Effect<number> = Effect.gen(function* () {
  const text = yield* Effect.orDie(Config.String("VMTEST_SNAPSHOT_LIMIT").pipe(Config.withDefault("")))
  if (text === "") return defaultLimit
  const size = ByteSize.fromInput(text as ByteSize.Input)
  if (Option.isSome(size)) return Number(size.value)
  yield* Effect.logWarning(`VMTEST_SNAPSHOT_LIMIT is ${JSON.stringify(text)}, not a size such as "20 GiB"`)
  return defaultLimit
})

/** Does it when it is first asked for, and gives all the others the same; what failed is tried again. */
const once = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<Effect.Effect<A, E>> =>
  Effect.map(Semaphore.make(1), (one) => {
    let done: { readonly value: A } | undefined
    const make = Effect.tap(effect, (value) =>
      Effect.sync(() => {
        done = { value }
      })
    )
    return one.withPermit(Effect.suspend(() => (done === undefined ? make : Effect.succeed(done.value))))
  })

/** A store whose holds end with the scope. Nothing is made on disk before it is used. */
export const make: (options?: StoreOptions) => Effect.Effect<SnapshotStore, never, Scope.Scope> = Effect.fnUntraced(
  function* (options: StoreOptions = {}) {
    const scope = yield* Effect.scope
    const limit = options.maxBytes ?? (yield* configuredLimit)
    const patience = options.patience ?? "10 minutes"
    const where = options.folder === undefined ? Cache.folder("snapshots") : Effect.succeed(options.folder)
    const place = Effect.map(where, Entries.placeAt)
    const ones = new Map<string, Semaphore.Semaphore>()
    const held = new Set<string>()
    /** The instances that were read whole in this run, and found right. */
    const sound = new Set<string>()
    /** Entries that what was copied has changed since, with the path; it is read once in a run. */
    const outdated = new Map<string, string>()

    /** One at a time in this process for each entry: machines that start together read it once. */
    const oneOf = (id: string) => {
      const known = ones.get(id) ?? Semaphore.makeUnsafe(1)
      ones.set(id, known)
      return known
    }

    /** Keeps an entry from being pruned by other runs while this one lives. */
    const hold = Effect.fnUntraced(function* (at: Entries.Place, id: string) {
      if (held.has(id)) return
      yield* Scope.provide(Lock.acquire(Folders.useLock(at, id), { mode: "shared" }), scope)
      held.add(id)
    })

    const snapshotOf = ({ folder, id, manifest }: Entries.Entry): StoredSnapshot => ({
      id,
      instance: manifest.instance,
      name: manifest.name,
      directory: Entries.machineOf(folder)
    })

    const look = Effect.fnUntraced(function* (at: Entries.Place, id: string, key: SnapshotKey) {
      const found = Entries.read(at, id)
      if (found === undefined || "problem" in found) return found
      const mismatch = Entries.mismatch(found, key.subject, key.host)
      if (mismatch !== undefined) return { problem: mismatch }
      const { inputs, instance } = found.manifest
      if (sound.has(instance)) return found
      const changed = outdated.get(instance) ?? (yield* HostInputs.changed(inputs))
      if (changed !== undefined) {
        outdated.set(instance, changed)
        // It is to change when its makers work on it; nobody needs to be told.
        return { problem: `${changed} has changed`, foreseen: true }
      }
      const problem = yield* Entries.damage(found)
      if (problem !== undefined) return { problem }
      sound.add(instance)
      return found
    })

    const use = Effect.fnUntraced(function* (entry: Entries.Entry) {
      Entries.touch(entry, yield* Clock.currentTimeMillis)
      return { _tag: "Stored", snapshot: snapshotOf(entry) } satisfies Claim as Claim
    })

    const warn = (name: string, problem: string) =>
      Effect.logWarning(`the snapshot of ${name} is of no use (${problem}): it is dropped, and the machine boots`)

    /** Drops what this host stored of the same subject when it was another: another QEMU, another processor. */
    const dropOutdated = Effect.fnUntraced(function* (at: Entries.Place, id: string, key: SnapshotKey) {
      const here = yield* Entries.origin
      for (const other of Entries.ids(at).filter((one) => one !== id && Entries.sameSubject(one, id))) {
        const entry = Entries.read(at, other)
        if (entry === undefined || "problem" in entry || entry.manifest.origin !== here) continue
        const { host } = entry.manifest
        // A run that asks for another accelerator does not make the host another one.
        if (host.accelerator !== key.host.accelerator) continue
        const problem = Entries.mismatch(entry, key.subject, key.host) ?? "it is of another version"
        if (yield* Folders.removeUnused(at, other)) yield* warn(key.name, problem)
      }
    })

    const claimNow = Effect.fnUntraced(function* (
      at: Entries.Place,
      key: SnapshotKey,
      onWait: (holder: string) => Effect.Effect<void>,
      exclusion: Scope.Closeable
    ) {
      const id = Entries.idOf(key.subject, key.host)
      yield* hold(at, id)
      const first = yield* look(at, id, key)
      if (first !== undefined && !("problem" in first)) return yield* use(first)
      yield* Lock.acquire(Folders.buildLock(at, id), { deadline: patience, onWait })
      const second = yield* look(at, id, key)
      if (second !== undefined) {
        if (!("problem" in second)) return yield* use(second)
        if (!("foreseen" in second)) yield* warn(key.name, second.problem)
        if (!(yield* Folders.remove(at, id))) {
          return yield* new SnapshotStoreFailed({ path: Entries.folderOf(at, id), reason: "it cannot be removed" })
        }
      }
      yield* dropOutdated(at, id, key)
      yield* Folders.sweep(at, id)
      const folder = yield* Folders.forBuild(at, id)
      const publish = Effect.gen(function* () {
        const createdAt = yield* Clock.currentTimeMillis
        const { host, name, subject } = key
        const inputs = Object.fromEntries(key.inputs ?? [])
        const entry = yield* Entries.publish(at, folder, id, { name, subject, host, createdAt, inputs }).pipe(
          Effect.mapError((error) => new SnapshotStoreFailed({ path: folder, reason: error.message }))
        )
        // It was read to be stored.
        sound.add(entry.manifest.instance)
        yield* use(entry)
        yield* Effect.ignore(prune())
        return snapshotOf(entry)
      }).pipe(Effect.onExit(() => Scope.close(exclusion, Exit.void)))
      return { _tag: "Vacant", folder: Entries.machineOf(folder), publish } satisfies Claim as Claim
    })

    /** The place, rid of what killed runs left there: whoever uses the store first in a run sees to that. */
    const swept = yield* once(Effect.tap(place, (at) => Folders.sweep(at)))

    const claim: SnapshotStore["claim"] = (key, onWait = () => Effect.void) =>
      Effect.gen(function* () {
        const at = yield* swept
        const one = oneOf(Entries.idOf(key.subject, key.host))
        // What keeps the others out: for as long as the caller's scope when there is something to make, else only while looking.
        const exclusion = yield* Scope.fork(yield* Effect.scope)
        return yield* Effect.gen(function* () {
          const free = yield* one.withPermitsIfAvailable(1)(Effect.void)
          if (Option.isNone(free)) yield* onWait("another machine of this run")
          yield* Effect.acquireRelease(one.take(1), () => one.release(1), { interruptible: true })
          return yield* claimNow(at, key, onWait, exclusion)
        }).pipe(
          Scope.provide(exclusion),
          Effect.onExit((exit) =>
            Exit.isSuccess(exit) && exit.value._tag === "Vacant" ? Effect.void : Scope.close(exclusion, Exit.void)
          )
        )
      })

    const getOrBuild: SnapshotStore["getOrBuild"] = (key, build) =>
      Effect.gen(function* () {
        const claimed = yield* claim(key)
        if (claimed._tag === "Stored") return claimed.snapshot
        yield* build(claimed.folder)
        return yield* claimed.publish
      }).pipe(Effect.scoped)

    const drop: SnapshotStore["drop"] = (snapshot, problem) =>
      Effect.gen(function* () {
        const at = yield* place
        const dropped = yield* Effect.gen(function* () {
          const now = Entries.read(at, snapshot.id)
          // Another run may have dropped it and made it anew.
          const same = now !== undefined && ("problem" in now || now.manifest.instance === snapshot.instance)
          const stays = same && !(yield* Folders.remove(at, snapshot.id))
          return { same, stays }
        }).pipe(Lock.withLock(Folders.buildLock(at, snapshot.id), { deadline: "10 seconds" }))
        if (dropped.same) yield* warn(snapshot.name, dropped.stays ? `${problem}; it cannot be removed` : problem)
        return dropped.same
      }).pipe(Effect.orElseSucceed(() => false))

    const list: SnapshotStore["list"] = Effect.map(place, (at) =>
      Entries.ids(at)
        .map((id): SnapshotSummary => {
          const entry = Entries.read(at, id)
          const bytes = Entries.bytesOf(at, id)
          const lastUsed = Entries.lastUsed(at, id)
          if (entry === undefined || "problem" in entry) {
            const problem = entry?.problem ?? "it is gone"
            return { id, name: "", host: {}, bytes, createdAt: lastUsed, lastUsed, problem }
          }
          const { createdAt, host, name, subject } = entry.manifest
          return { id, name, host, bytes, createdAt, lastUsed, problem: Entries.mismatch(entry, subject, host) }
        })
        .sort((a, b) => b.lastUsed - a.lastUsed)
    )

    const prune = Effect.fnUntraced(function* (asked: PruneOptions = {}) {
      const at = yield* place
      yield* Folders.sweep(at)
      const oldest = (yield* Clock.currentTimeMillis) - Duration.toMillis(asked.olderThan ?? "30 days")
      const maxBytes = asked.maxBytes ?? limit
      const entries = yield* list
      let total = entries.reduce((sum, { bytes }) => sum + bytes, 0)
      const removed: Array<SnapshotSummary> = []
      for (const one of [...entries].reverse()) {
        const goes = one.problem !== undefined || one.lastUsed < oldest || total > maxBytes
        // What this run holds is locked by this run as well.
        if (!goes || held.has(one.id) || !(yield* Folders.removeUnused(at, one.id))) continue
        total -= one.bytes
        removed.push(one)
      }
      return { removed, bytes: removed.reduce((sum, { bytes }) => sum + bytes, 0) } satisfies Pruned as Pruned
    })

    const foldersOfRun = yield* Effect.gen(function* () {
      return yield* Folders.forRun(yield* swept, randomUUID())
    }).pipe(Scope.provide(scope), once)
    const temporary: SnapshotStore["temporary"] = Effect.flatten(foldersOfRun)

    return { claim, getOrBuild, drop, list, prune, temporary }
  }
)
