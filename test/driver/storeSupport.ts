/** A store in a folder of its own, entries that look like saved machines, and what was warned of. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import type { SnapshotKey, SnapshotStore, StoreOptions } from "../../src/driver/SnapshotStore.ts"
import * as Store from "../../src/driver/SnapshotStore.ts"

export const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-snapshots-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

export const keyOf = (image: string, host: Readonly<Record<string, string>> = {}): SnapshotKey => ({
  name: `machine of ${image}`,
  subject: { image, memory: "64 MiB" },
  host: { hypervisor: "QEMU 1.2.3", accelerator: "tcg", ...host }
})

/** Saves what has the parts of a machine: sparse memory with some data in it, and a small file. */
export const save = (folder: string, content = "devices"): void => {
  const memory = Fs.openSync(Path.join(folder, "memory"), "w")
  Fs.ftruncateSync(memory, 8 * 1024 * 1024)
  Fs.writeSync(memory, Buffer.alloc(200_000, content), 0, 200_000, 1_000_000)
  Fs.closeSync(memory)
  Fs.writeFileSync(Path.join(folder, "state"), content)
}

export const build = (content?: string) => (folder: string) => Effect.sync(() => save(folder, content))

/** A store as a run of its own has it. */
export const run = <A, E, R>(options: StoreOptions, use: (store: SnapshotStore) => Effect.Effect<A, E, R>) =>
  Effect.scoped(Effect.flatMap(Store.make(options), use))

/** What is stored under the key; after a miss `make` makes it in the folder that it is given. */
export const getOrBuild = <E, R>(
  store: SnapshotStore,
  key: SnapshotKey,
  make: (folder: string) => Effect.Effect<unknown, E, R>
) =>
  Effect.gen(function* () {
    const found = yield* store.lookup(key)
    if (found._tag === "Hit") return found.snapshot
    yield* make(found.folder)
    return yield* found.publish
  }).pipe(Effect.scoped)

/** Collects what is logged. */
export const collecting = () => {
  const lines: Array<string> = []
  const layer = Logger.layer([
    Logger.make(({ message }) => {
      lines.push(Array.isArray(message) ? message.join(" ") : String(message))
    })
  ])
  return { lines, layer }
}

/** Every file of an entry, `used` aside. */
export const filesOf = (entry: string): ReadonlyArray<string> =>
  (Fs.readdirSync(entry, { recursive: true }) as Array<string>)
    .map((name) => Path.join(entry, name))
    .filter((path) => Fs.statSync(path).isFile() && Path.basename(path) !== "used")
    .sort()

/** Flips one bit somewhere in the entry, or cuts a file somewhere; says what it did. `random` gives numbers from 0 to 1. */
export const spoil = (entry: string, random: () => number): string => {
  // In an empty file there is nothing to spoil.
  const files = filesOf(entry).filter((path) => Fs.statSync(path).size > 0)
  const path = files[Math.floor(random() * files.length)]!
  const { size } = Fs.statSync(path)
  Fs.chmodSync(path, 0o600)
  const at = Math.floor(random() * size)
  const name = Path.basename(path)
  if (random() < 0.3) {
    Fs.truncateSync(path, at)
    return `${name} cut to ${at} of ${size}`
  }
  const file = Fs.openSync(path, "r+")
  const byte = Buffer.alloc(1)
  Fs.readSync(file, byte, 0, 1, at)
  const bit = Math.floor(random() * 8)
  byte[0] = byte[0]! ^ (1 << bit)
  Fs.writeSync(file, byte, 0, 1, at)
  Fs.closeSync(file)
  return `bit ${bit} of byte ${at} of ${name} flipped`
}

/** Numbers that are the same in each run of a seed (mulberry32). */
export const randomOf = (seed: number) => {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}
