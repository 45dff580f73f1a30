/** Folders that a build works in. Each is locked while its build lives, so that those of dead builds can be told and removed. */
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as HostProcess from "../../host/HostProcess.ts"
import * as Lock from "../../host/Lock.ts"
import { attempt, type Building, removeFolder } from "./building.ts"

/** Where things are in the cache. */
export interface Store {
  readonly root: string
  readonly entries: string
  readonly temporary: string
  readonly locks: string
  readonly apt: string
}

export const storeAt = (root: string): Store => ({
  root,
  entries: Path.join(root, "entries"),
  temporary: Path.join(root, "tmp"),
  locks: Path.join(root, "locks"),
  apt: Path.join(root, "apt")
})

export const lockOf = (store: Store, name: string): string => Path.join(store.locks, `${name}.lock`)

/** Notes where a build's tree is, when it is outside the cache. */
const pointer = "scratch"

/** A folder for what a build makes, removed with the scope. */
export const folder = Effect.fnUntraced(function* (building: Building, store: Store) {
  const name = `build-${Crypto.randomUUID()}`
  const path = Path.join(store.temporary, name)
  // Locked before it is there, so that no sweep takes it for a dead one. The name never comes again: its lock may go.
  yield* Lock.acquire(lockOf(store, name))
  yield* Effect.addFinalizer(() =>
    Effect.andThen(
      remove(path),
      Effect.sync(() => Fs.rmSync(lockOf(store, name), { force: true }))
    )
  )
  yield* attempt(building, "making room", store.temporary, () => Fs.mkdirSync(path, { recursive: true, mode: 0o700 }))
  return path
})

/**
 * A folder for the tree of a guest, beside `work` or, where there is plenty of memory, in it: a package manager syncs
 * every file it writes, which a memory file system makes free. Without root rights other users (those of a user
 * namespace) must reach it, which a home folder rarely allows.
 */
export const treeFolder = Effect.fnUntraced(function* (building: Building, work: string) {
  const root = process.getuid?.() === 0
  const base = roomInMemory("/dev/shm") ? "/dev/shm" : root ? work : Os.tmpdir()
  return yield* attempt(building, "making room", base, () => {
    const path = Fs.mkdtempSync(Path.join(base, "vmtest-tree-"))
    Fs.writeFileSync(Path.join(work, pointer), path)
    Fs.chmodSync(path, 0o755)
    return path
  })
})

const gibibyte = 2 ** 30

const roomInMemory = (path: string): boolean => {
  const mounts = Fs.readFileSync("/proc/self/mounts", "utf8").split("\n")
  const options = mounts.map((line) => line.split(" ")).find(([, where]) => where === path)?.[3]
  // Programs of the tree are run during its build.
  if (options === undefined || options.split(",").includes("noexec")) return false
  const { bavail, bsize } = Fs.statfsSync(path)
  const available = /^MemAvailable:\s+(\d+) kB$/m.exec(Fs.readFileSync("/proc/meminfo", "utf8"))?.[1] ?? "0"
  return bavail * bsize > 4 * gibibyte && Number(available) * 1024 > 6 * gibibyte
}

const remove = (path: string): Effect.Effect<void> =>
  Effect.suspend(() => {
    const note = Path.join(path, pointer)
    const tree = Fs.existsSync(note) ? Fs.readFileSync(note, "utf8") : ""
    const outside = Path.basename(tree).startsWith("vmtest-tree-") ? removeTree(tree) : Effect.void
    return Effect.andThen(outside, removeFolder(path))
  })

/** What a user namespace left belongs to users that only such a namespace may act as. */
const removeTree = Effect.fnUntraced(function* (path: string) {
  yield* removeFolder(path)
  if (!Fs.existsSync(path)) return
  yield* Effect.ignore(HostProcess.run({ command: "mmdebstrap", args: ["--unshare-helper", "rm", "-rf", path] }))
  yield* removeFolder(path)
})

/** Removes what builds left that were killed. */
export const sweep = (store: Store): Effect.Effect<void> =>
  Effect.suspend(() => {
    const names = Fs.existsSync(store.temporary) ? Fs.readdirSync(store.temporary) : []
    return Effect.forEach(
      names,
      (name) =>
        remove(Path.join(store.temporary, name)).pipe(
          Lock.withLock(lockOf(store, name), { deadline: 0 }),
          Effect.andThen(Effect.sync(() => Fs.rmSync(lockOf(store, name), { force: true }))),
          Effect.ignore
        ),
      { discard: true }
    )
  })
