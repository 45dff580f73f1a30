/**
 * A folder of things that can be made again, shared by processes: what is in it is whole or absent.
 *
 * An entry is a folder with a manifest. It is made beside its place ({@link workspace}) by the one process that holds its reservation
 * ({@link reserve}, a lock that the kernel releases when its holder dies), and renamed into place ({@link publish}). After that only the time of
 * its last use changes ({@link markUsed}). A process that uses an entry pins it ({@link pin}), which keeps others from pruning it. An entry that
 * goes is renamed away before it is removed, so a kill never leaves half of one under its name. What killed processes left is removed by the
 * next one that opens the store. What entries are called, and when one is damaged, is up to the caller. A store that may only be read serves
 * what is in it.
 *
 * Versions of vmtest share stores, so the names of folders, locks and what is being made stay what they are. A name that this version does not
 * know is another version's, and is left alone.
 *
 * **Example** (an entry that is made once)
 *
 * ```ts
 * const opened = yield* Store.make(Cache.folder("toys"))
 * const store = yield* opened
 * yield* Store.pin(store, "red")
 * const red = Store.read(store, "red", Toy) ?? (yield* Effect.scoped(Effect.gen(function*() {
 *   yield* Store.reserve(store, "red")
 *   const folder = yield* Store.workspace(store, "red")
 *   Manifest.write(folder, { color: "red" })
 *   return yield* Store.publish(store, folder, "red")
 * })))
 * ```
 *
 * @since 0.1.0
 */
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Cache from "./Cache.ts"
import * as Disk from "./Disk.ts"
import { makeFolder } from "./internal/makeFolder.ts"
import * as Lock from "./Lock.ts"
import * as Manifest from "./Manifest.ts"

/** The store could not read or write its files: no space, no permission. */
export class StoreFailed extends Schema.TaggedError<StoreFailed>()("StoreFailed", {
  path: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `could not use ${this.path}: ${this.reason}`
  }
}

/** Why a store has nothing to give or take. */
export type StoreError = Cache.CacheUnwritable | Lock.LockError | StoreFailed

/** An open store; all paths are absolute. */
export interface Store {
  readonly root: string
  /** One folder for each entry, named by its id. */
  readonly entries: string
  /** What is being made, and what is going. */
  readonly temporary: string
  readonly locks: string
  /** Why nothing can be made or removed in it; undefined if it can be written. */
  readonly unwritable: Cache.CacheUnwritable | undefined
  /** A folder that stays until the scope closes, for things of this process; none of them outlives the process for long. */
  readonly privateFolder: Effect.Effect<string, StoreError, Scope.Scope>
  /** The ids that were pinned through this store. */
  readonly pins: Set<string>
  readonly scope: Scope.Scope
  readonly removeTree: (path: string) => Effect.Effect<void>
}

/** How a store is set up. */
export interface StoreOptions {
  /** Removes a folder of `temporary`, where that takes more than removing its files. Never fails. */
  readonly removeTree?: ((path: string) => Effect.Effect<void>) | undefined
}

/** Gives everybody what the first who asked was given; what failed is tried again. */
const once = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Effect.Effect<A, E, R>> =>
  Effect.map(Semaphore.make(1), (one) => {
    let done: { readonly value: A } | undefined
    const first = Effect.tap(effect, (value) =>
      Effect.sync(() => {
        done = { value }
      })
    )
    return one.withPermit(Effect.suspend(() => (done === undefined ? first : Effect.succeed(done.value))))
  })

/**
 * A store that is opened, and swept, when the inner effect is first run; nothing is made on disk before. Pins end with the scope.
 */
export const make = Effect.fnUntraced(function* <E>(folder: Effect.Effect<string, E>, options: StoreOptions = {}) {
  const scope = yield* Effect.scope
  return yield* once(
    Effect.gen(function* () {
      const root = yield* folder
      const privateFolders = yield* once(Effect.suspend(() => Scope.provide(makePrivateFolders(store), scope)))
      const store: Store = {
        root,
        entries: Path.join(root, "entries"),
        temporary: Path.join(root, "tmp"),
        locks: Path.join(root, "locks"),
        unwritable: yield* Cache.unwritable(root),
        privateFolder: Effect.flatten(privateFolders),
        pins: new Set(),
        scope,
        removeTree: options.removeTree ?? Disk.removeTree
      }
      if (store.unwritable === undefined) yield* sweep(store)
      return store
    })
  )
})

const failed = (path: string) => (reason: string) => new StoreFailed({ path, reason })

// --- locks

const reservationLock = (store: Store, name: string) => Path.join(store.locks, `${name}.build`)
const pinLock = (store: Store, id: string) => Path.join(store.locks, `${id}.use`)

/** How to take a reservation. */
export interface ReserveOptions {
  /** How long to wait for the holder; 0 does not wait. Default 30 minutes. */
  readonly timeout?: Duration.Input | undefined
  /** Run once, with what is known of the holder, when the reservation is not free at once. */
  readonly onWait?: ((holder: string) => Effect.Effect<void>) | undefined
}

/**
 * Takes the exclusive right to make or replace what has this name, until the scope closes, and removes what a holder left who was killed. Fails
 * with `LockTimeout` when somebody else holds it for too long, and at once where nothing can be made.
 */
export const reserve = Effect.fnUntraced(function* (store: Store, name: string, options: ReserveOptions = {}) {
  if (store.unwritable !== undefined) return yield* store.unwritable
  const { onWait, timeout } = options
  yield* Effect.withSpan(
    Lock.acquire(reservationLock(store, name), { onWait, ...(timeout === undefined ? {} : { deadline: timeout }) }),
    "vmtest.store.lock",
    { attributes: { "vmtest.store": store.root, "vmtest.store.name": name }, captureStackTrace: false }
  )
  const left = Disk.namesIn(store.temporary).filter((one) => ownerOf(one) === name)
  yield* Effect.forEach(left, (one) => store.removeTree(Path.join(store.temporary, one)), { discard: true })
})

/** Runs an effect with a reservation. */
export const withReservation =
  (store: Store, name: string, options?: ReserveOptions) =>
  <A, E, R>(
    effect: Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | Cache.CacheUnwritable | Lock.LockError, Exclude<R, Scope.Scope>> =>
    Effect.scoped(Effect.andThen(reserve(store, name, options), effect))

/**
 * Keeps other processes from pruning an entry, which need not exist yet, until the store's scope closes. Where nothing can be written, that holds
 * for an entry whose lock is there and can be read.
 */
export const pin = Effect.fnUntraced(function* (store: Store, id: string) {
  if (store.pins.has(id)) return
  const shared = Scope.provide(Lock.acquire(pinLock(store, id), { mode: "shared" }), store.scope)
  yield* store.unwritable === undefined ? shared : Effect.ignore(shared)
  store.pins.add(id)
})

// --- what is being made

/** A name in `temporary` is that of the reservation which its maker holds, a dot, and an end. What is going has this name instead. */
const going = "going"
const privateEnd = ".run"
const ownerOf = (temporary: string) => temporary.slice(0, Math.max(temporary.lastIndexOf("."), 0))

/** What is in `temporary` and of no reservation that this version knows is another version's, which has its own locks; after a week it is nobody's. */
const foreignFor = Duration.toMillis("7 days")

/** An empty folder for the holder of the reservation `name`; removed with the scope unless it was published. */
export const workspace = (store: Store, name: string): Effect.Effect<string, StoreFailed, Scope.Scope> =>
  // Each use of the Effect is a folder of its own.
  Effect.suspend(() => {
    const folder = Path.join(store.temporary, `${name}.${randomUUID()}`)
    return Effect.acquireRelease(
      Disk.attempt(() => {
        makeFolder(store.entries)
        makeFolder(folder)
        return folder
      }, failed(folder)),
      store.removeTree
    )
  })

/** Makes folders for this process under one reservation for all; each is gone with its own scope, and all with this one. */
const makePrivateFolders = Effect.fnUntraced(function* (store: Store) {
  const name = randomUUID()
  const parent = Path.join(store.temporary, `${name}${privateEnd}`)
  yield* reserve(store, name)
  // The name never comes again, so its lock may go.
  const forget = Effect.sync(() => Fs.rmSync(reservationLock(store, name), { force: true }))
  yield* Effect.addFinalizer(() => Effect.andThen(Disk.removeTree(parent), forget))
  let count = 0
  const remove = (path: string) =>
    Effect.andThen(
      Disk.removeTree(path),
      Disk.quietly(() => Fs.rmdirSync(parent))
    )
  return Effect.acquireRelease(
    Effect.suspend(() => {
      const path = Path.join(parent, `${++count}`)
      return Disk.attempt(() => {
        makeFolder(path)
        return path
      }, failed(path))
    }),
    remove
  )
})

/** Removes what killed processes left in `temporary`; what a living one makes there stays. */
export const sweep = (store: Store): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Effect.forEach(
      Disk.namesIn(store.temporary),
      (name) => {
        const path = Path.join(store.temporary, name)
        const owner = ownerOf(name)
        if (owner === going) return store.removeTree(path)
        const lock = reservationLock(store, owner)
        if (owner === "" || !Fs.existsSync(lock)) {
          const madeAt = Fs.statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? now
          return now - madeAt > foreignFor ? store.removeTree(path) : Effect.void
        }
        const forget = name.endsWith(privateEnd) ? Effect.sync(() => Fs.rmSync(lock, { force: true })) : Effect.void
        return store.removeTree(path).pipe(Lock.withLock(lock, { deadline: 0 }), Effect.andThen(forget), Effect.ignore)
      },
      { discard: true }
    )
  )

// --- entries

const usedFile = "used"

/** Where an entry is, or would be. */
export const folderOf = (store: Store, id: string): string => Path.join(store.entries, id)

/** The ids of all entries, whole or damaged. */
export const ids = (store: Store): ReadonlyArray<string> => Disk.namesIn(store.entries)

/** An entry, with the manifest that its maker wrote. */
export interface Entry<A> {
  readonly id: string
  readonly folder: string
  readonly manifest: A
}

/** An entry, why what has its name is none, or undefined when there is nothing. Its other files are for the caller to check. */
export const read = <A>(
  store: Store,
  id: string,
  schema: Schema.Decoder<A>
): Entry<A> | { readonly problem: string } | undefined => {
  const folder = folderOf(store, id)
  const found = Manifest.read(folder, schema)
  if (found === undefined) return Fs.existsSync(folder) ? { problem: `${Manifest.fileName} cannot be read` } : undefined
  return "problem" in found ? found : { id, folder, manifest: found.value }
}

/**
 * Writes a finished folder to the disk and renames it into its place, and gives that. What was there before is removed. Fails with what the
 * system says; the folder is then where it was.
 */
export const publish = Effect.fnUntraced(function* (store: Store, folder: string, id: string) {
  const target = folderOf(store, id)
  yield* Effect.mapError(Disk.syncTree(folder), failed(folder))
  if (Fs.existsSync(target)) yield* remove(store, id)
  yield* Disk.attempt(() => {
    makeFolder(store.entries)
    Fs.renameSync(folder, target)
  }, failed(folder))
  yield* Effect.mapError(Disk.sync(store.entries), failed(folder))
  return target
})

/** Sets the time of a file to now, and makes the file if there is none; where it cannot be written nothing happens. */
export const touch = (path: string): Effect.Effect<void> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Disk.quietly(() => {
      Fs.closeSync(Fs.openSync(path, "a", 0o600))
      Fs.utimesSync(path, now / 1000, now / 1000)
    })
  )

/** Notes that an entry is used now. */
export const markUsed = (store: Store, id: string) => touch(Path.join(folderOf(store, id), usedFile))

/** When an entry was used last, or was made; milliseconds since the epoch, and 0 for anything else. */
export const lastUsed = (store: Store, id: string): number => {
  const timeOf = (name: string) => Fs.statSync(Path.join(folderOf(store, id), name), { throwIfNoEntry: false })?.mtimeMs
  return timeOf(usedFile) ?? timeOf(Manifest.fileName) ?? 0
}

/** The bytes that the files of a folder take on the disk; holes take none. */
export const bytesOf = (folder: string): number =>
  Disk.namesIn(folder, true).reduce((sum, name) => {
    const stat = Fs.lstatSync(Path.join(folder, name), { throwIfNoEntry: false })
    return sum + (stat?.isFile() === true ? stat.blocks * 512 : 0)
  }, 0)

// --- what goes

/** Removes a folder of the store: its name is free at once. Who has files of it open keeps them. Gives false when it stays. */
export const removeFolder = (store: Store, folder: string): Effect.Effect<boolean> => {
  const away = Path.join(store.temporary, `${going}.${randomUUID()}`)
  return Effect.try(() => {
    makeFolder(store.temporary)
    Fs.renameSync(folder, away)
  }).pipe(Effect.andThen(Disk.removeTree(away)), Effect.match({ onSuccess: () => true, onFailure: () => false }))
}

/** Removes an entry, even one in use. Gives false when it could not be removed. */
export const remove = (store: Store, id: string): Effect.Effect<boolean> => removeFolder(store, folderOf(store, id))

/** Removes an entry unless a process has pinned it, this one included. Gives false when it stays. */
export const removeUnpinned = (store: Store, id: string): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    if (store.pins.has(id)) return Effect.succeed(false)
    return remove(store, id).pipe(
      Lock.withLock(pinLock(store, id), { deadline: 0 }),
      Effect.orElseSucceed(() => false)
    )
  })
