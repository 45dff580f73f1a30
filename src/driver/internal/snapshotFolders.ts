/** The snapshot store's locks, and the folders of things that are being made or are going. */
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Lock from "../../host/Lock.ts"
import { machineOf, type Place, temporaries } from "./snapshotEntries.ts"

/** Who makes an entry, or drops a damaged one, has this to itself. */
export const buildLock = (place: Place, id: string): string => Path.join(place.locks, `${id}.build`)
/** Shared by the runs that use an entry; who removes one that works has it to itself. */
export const useLock = (place: Place, id: string): string => Path.join(place.locks, `${id}.use`)

/** The store cannot do it: no space, no right. Whoever asked can do without it. */
export class SnapshotStoreFailed extends Schema.TaggedError<SnapshotStoreFailed>()("SnapshotStoreFailed", {
  path: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `the snapshot store cannot use ${this.path}: ${this.reason}`
  }
}

const attempt = <A>(path: string, body: () => A): Effect.Effect<A, SnapshotStoreFailed> =>
  Effect.try({
    try: body,
    catch: (error) => new SnapshotStoreFailed({ path, reason: error instanceof Error ? error.message : String(error) })
  })

const makeFolders = (place: Place): void => {
  for (const path of [place.entries, place.temporary, place.locks]) {
    Fs.mkdirSync(path, { recursive: true, mode: 0o700 })
  }
}

const removeTree = (path: string): Effect.Effect<void> =>
  Effect.ignore(Effect.try(() => Fs.rmSync(path, { recursive: true, force: true, maxRetries: 2 })))

const removeLock = (path: string) => Effect.sync(() => Fs.rmSync(path, { force: true }))

/** Names of what is being made start with the lock that its maker holds; what is going has this name, and is anybody's to remove. */
const going = "going."
const ofRun = ".run"

/** A folder with an empty `machine/` in it, for the holder of the build lock; gone with the scope unless it was renamed into place. */
export const forBuild = (place: Place, id: string) => {
  const folder = Path.join(place.temporary, `${id}.${randomUUID()}`)
  return Effect.acquireRelease(
    attempt(folder, () => {
      makeFolders(place)
      Fs.mkdirSync(machineOf(folder), { recursive: true, mode: 0o700 })
      return folder
    }),
    removeTree
  )
}

/**
 * Makes folders that nobody else removes while the scope is open, under one lock for all; each is gone with its own scope. `name` must never
 * have been used before.
 */
export const forRun = Effect.fnUntraced(function* (place: Place, name: string) {
  const folder = Path.join(place.temporary, `${name}${ofRun}`)
  const lock = buildLock(place, name)
  yield* Lock.acquire(lock)
  yield* Effect.addFinalizer(() => Effect.andThen(removeTree(folder), removeLock(lock)))
  let count = 0
  /** A parent that is empty takes itself away: what is in the temporary folder is what is being made. */
  const remove = (path: string) =>
    Effect.andThen(removeTree(path), Effect.ignore(Effect.try(() => Fs.rmdirSync(folder))))
  return Effect.acquireRelease(
    Effect.suspend(() => {
      const path = Path.join(folder, `${++count}`)
      return attempt(path, () => {
        makeFolders(place)
        Fs.mkdirSync(path, { recursive: true, mode: 0o700 })
        return path
      })
    }),
    remove
  )
})

/**
 * Takes an entry away. The machines that run on it keep what they have open; the name is free at once, and a kill in between leaves
 * nothing that could be taken for an entry.
 */
export const remove = (place: Place, id: string): Effect.Effect<boolean> => {
  const away = Path.join(place.temporary, `${going}${randomUUID()}`)
  return Effect.try(() => {
    makeFolders(place)
    Fs.renameSync(Path.join(place.entries, id), away)
  }).pipe(Effect.andThen(removeTree(away)), Effect.match({ onSuccess: () => true, onFailure: () => false }))
}

/** Takes an entry away unless a run uses or makes it; says whether it has. */
export const removeUnused = (place: Place, id: string): Effect.Effect<boolean> =>
  remove(place, id).pipe(
    Lock.withLock(useLock(place, id), { deadline: 0 }),
    Effect.orElseSucceed(() => false)
  )

/** Removes what killed runs left. `mine` is an entry whose build lock the caller holds. */
export const sweep = (place: Place, mine?: string): Effect.Effect<void> =>
  Effect.forEach(
    temporaries(place),
    (name) => {
      const path = Path.join(place.temporary, name)
      const owner = name.slice(0, name.lastIndexOf("."))
      if (name.startsWith(going) || owner === mine) return removeTree(path)
      const lock = buildLock(place, owner)
      // The name of a run's folder never comes again, so its lock may go.
      const end = name.endsWith(ofRun) ? removeLock(lock) : Effect.void
      return removeTree(path).pipe(Lock.withLock(lock, { deadline: 0 }), Effect.andThen(end), Effect.ignore)
    },
    { discard: true }
  )
