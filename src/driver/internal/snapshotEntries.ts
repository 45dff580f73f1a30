/**
 * Saved machines on disk: a folder each, with the machine in `machine/` and a manifest that says what must be in it.
 *
 * A folder is made beside its place and renamed into it, so one that is there is whole; it never changes afterwards, but for the time of
 * `used`. One that goes is renamed away before it is removed.
 */
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Digest from "../../host/Digest.ts"
import { sync } from "./sparseDigest.ts"

/** The format of a folder of the store; another number, and what is there is of no use. */
export const storeFormat = 2

const Facts = Schema.Record(Schema.String, Schema.String)
type Facts = typeof Facts.Type

/** What a file must be. */
export const FileRecord = Schema.Struct({ size: Schema.Number, digest: Schema.String })
/** The files of a saved machine by name. */
export const FileRecords = Schema.Record(Schema.String, FileRecord)
type FileRecords = typeof FileRecords.Type

const Manifest = Schema.Struct({
  format: Schema.Number,
  /** Tells what is stored now from what was stored under the same name before. */
  instance: Schema.String,
  name: Schema.String,
  subject: Facts,
  host: Facts,
  /** The digest of the id of the host that stored it. */
  origin: Schema.String,
  /** Milliseconds since the epoch. */
  createdAt: Schema.Number,
  files: FileRecords,
  /** What of the host went into it besides: digests by path. */
  inputs: Facts
})
export type Manifest = typeof Manifest.Type

const manifestText = Schema.fromJsonString(Manifest)

export interface Entry {
  readonly id: string
  readonly folder: string
  readonly manifest: Manifest
}

/** Where things are. */
export interface Place {
  readonly entries: string
  readonly temporary: string
  readonly locks: string
}

export const placeAt = (root: string): Place => ({
  entries: Path.join(root, "entries"),
  temporary: Path.join(root, "tmp"),
  locks: Path.join(root, "locks")
})

const digestOf = (facts: Facts) => Digest.short(Digest.ofValue(facts))

/** `<what it is of>-<what it runs on>`: entries of one subject share the first half. */
export const idOf = (subject: Facts, host: Facts): string =>
  `${digestOf(subject)}-${digestOf({ ...host, store: `${storeFormat}` })}`

export const sameSubject = (a: string, b: string): boolean => a.slice(0, 16) === b.slice(0, 16)

/** Tells hosts apart that share a cache. */
export const origin: Effect.Effect<string> = Effect.try(() => Fs.readFileSync("/etc/machine-id", "utf8")).pipe(
  Effect.orElseSucceed(() => Os.hostname()),
  Effect.map((id) => Digest.short(Digest.of(id)))
)

export const folderOf = (place: Place, id: string): string => Path.join(place.entries, id)

const machineFolder = "machine"
const manifestFile = "manifest.json"
const sealFile = "manifest.sha256"
const usedFile = "used"

export const machineOf = (folder: string): string => Path.join(folder, machineFolder)

/** A stored machine, why what is there is none, or nothing. */
export const read = (place: Place, id: string): Entry | { readonly problem: string } | undefined => {
  const folder = Path.join(place.entries, id)
  const text = readText(Path.join(folder, manifestFile))
  if (text === undefined) return Fs.existsSync(folder) ? { problem: `${manifestFile} cannot be read` } : undefined
  if (readText(Path.join(folder, sealFile)) !== `${Digest.of(text)}\n`)
    return { problem: `${manifestFile} was changed` }
  const decoded = Schema.decodeUnknownOption(manifestText)(text)
  if (decoded._tag === "None") return { problem: `${manifestFile} makes no sense` }
  return { id, folder, manifest: decoded.value }
}

const readText = (path: string): string | undefined => {
  const text = Effect.runSyncExit(Effect.try(() => Fs.readFileSync(path, "utf8")))
  return text._tag === "Success" ? text.value : undefined
}

const names = (folder: string): ReadonlyArray<string> => {
  const found = Effect.runSyncExit(Effect.try(() => Fs.readdirSync(folder)))
  return found._tag === "Success" ? found.value : []
}

/** The names of all that is stored, whole or not. */
export const ids = (place: Place): ReadonlyArray<string> => names(place.entries)
export const temporaries = (place: Place): ReadonlyArray<string> => names(place.temporary)

/** What it means that a fact differs which is a digest, and says nothing to people. */
const meanings: Facts = {
  guest: "it was made by another version of vmtest's guest part",
  hardware: "it was made by a version of vmtest that puts machines together otherwise"
}

/** What of the facts differs, in a few words. */
export const difference = (was: Facts, is: Facts): string | undefined => {
  const key = [...Object.keys(is), ...Object.keys(was)].find((one) => was[one] !== is[one])
  if (key !== undefined && key in meanings) return meanings[key]
  return key === undefined ? undefined : `its ${key} is ${was[key] ?? "not known"}, not ${is[key] ?? "known"}`
}

/** Why an entry is not what is looked for, of this host, and as large as it was; takes well under a millisecond. */
export const mismatch = (entry: Entry, subject: Facts, host: Facts): string | undefined => {
  const { manifest } = entry
  if (manifest.format !== storeFormat) return `it is of format ${manifest.format}, not ${storeFormat}`
  return (
    difference(manifest.host, host) ??
    difference(manifest.subject, subject) ??
    sizeProblem(machineOf(entry.folder), manifest.files)
  )
}

/** Why a saved machine is not as large as it was; takes well under a millisecond. */
export const sizeProblem = (folder: string, files: FileRecords): string | undefined => {
  for (const [name, { size }] of Object.entries(files)) {
    const stat = Fs.statSync(Path.join(folder, name), { throwIfNoEntry: false })
    if (stat?.isFile() !== true) return `${name} is missing`
    if (stat.size !== size) return `${name} has ${stat.size} bytes instead of ${size}`
  }
  return undefined
}

/** Why the content of a saved machine is not what was saved; reads it all. */
export const contentProblem = Effect.fnUntraced(function* (folder: string, files: FileRecords) {
  for (const [name, { digest }] of Object.entries(files)) {
    const found = yield* Effect.orElseSucceed(Digest.ofSparseFile(Path.join(folder, name)), () => "unreadable")
    if (found !== digest) return `${name} is not what was saved`
  }
  return undefined
})

/** Why the content is not what was stored. */
export const damage = ({ folder, manifest }: Entry) => contentProblem(machineOf(folder), manifest.files)

/**
 * What the files of a saved machine are now, written to the disk. Their owner may write them: a hypervisor that maps memory for itself alone opens
 * its file to be written all the same.
 */
export const recordFiles = Effect.fnUntraced(function* (folder: string) {
  const files: Record<string, typeof FileRecord.Type> = {}
  for (const name of [...Fs.readdirSync(folder)].sort()) {
    const path = Path.join(folder, name)
    Fs.chmodSync(path, 0o600)
    yield* sync(path)
    files[name] = { size: Fs.statSync(path).size, digest: yield* Digest.ofSparseFile(path) }
  }
  return files satisfies FileRecords as FileRecords
}, attempting)

/**
 * Makes an entry of a folder whose `machine/` is complete, and renames it into place. What is in that place must have gone before. Fails
 * with what the system says; the folder is then as it was, or has a manifest too many.
 */
export const publish = Effect.fnUntraced(function* (
  place: Place,
  folder: string,
  id: string,
  what: Pick<Manifest, "name" | "subject" | "host" | "createdAt" | "inputs">
) {
  const files = yield* recordFiles(machineOf(folder))
  const manifest: Manifest = {
    format: storeFormat,
    instance: randomUUID(),
    ...what,
    origin: yield* origin,
    files
  }
  const text = `${JSON.stringify(manifest, null, 2)}\n`
  for (const [name, content] of [
    [manifestFile, text],
    [sealFile, `${Digest.of(text)}\n`]
  ] as const) {
    Fs.writeFileSync(Path.join(folder, name), content, { mode: 0o600 })
    yield* sync(Path.join(folder, name))
  }
  yield* sync(machineOf(folder))
  yield* sync(folder)
  const target = Path.join(place.entries, id)
  Fs.renameSync(folder, target)
  yield* sync(place.entries)
  return { id, folder: target, manifest } satisfies Entry as Entry
}, attempting)

/** What node's file functions throw becomes a failure. */
function attempting<A, R>(effect: Effect.Effect<A, Error, R>): Effect.Effect<A, Error, R> {
  return Effect.catchDefect(effect, (defect) =>
    Effect.fail(defect instanceof Error ? defect : new Error(String(defect)))
  )
}

/** Sets the time of the last use to now, in milliseconds since the epoch; on a read-only cache nothing happens. */
export const touch = (entry: Entry, now: number): void => {
  const path = Path.join(entry.folder, usedFile)
  Effect.runSyncExit(
    Effect.try(() => {
      Fs.closeSync(Fs.openSync(path, "a", 0o600))
      Fs.utimesSync(path, now / 1000, now / 1000)
    })
  )
}

/** When it was used last; 0 for what is no entry. */
export const lastUsed = (place: Place, id: string): number => {
  const folder = Path.join(place.entries, id)
  const stat = (name: string) => Fs.statSync(Path.join(folder, name), { throwIfNoEntry: false })?.mtimeMs
  return stat(usedFile) ?? stat(manifestFile) ?? 0
}

/** Bytes on disk: holes take none. */
export const bytesOf = (place: Place, id: string): number => {
  const folder = Path.join(place.entries, id)
  return [folder, machineOf(folder)]
    .flatMap((inside) => names(inside).map((name) => Path.join(inside, name)))
    .reduce((sum, path) => {
      const stat = Fs.lstatSync(path, { throwIfNoEntry: false })
      return sum + (stat?.isFile() === true ? stat.blocks * 512 : 0)
    }, 0)
}
