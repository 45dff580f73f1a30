/** Saved machines in the store: an entry each, with the machine in `machine/`. */
import { randomUUID } from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Digest from "../../host/Digest.ts"
import * as Disk from "../../host/Disk.ts"
import * as ManifestFile from "../../host/Manifest.ts"
import * as Store from "../../host/Store.ts"

/** The format of a folder of the store: an entry with another number is discarded. */
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
type Manifest = typeof Manifest.Type

/** A stored machine. */
export type Entry = Store.Entry<Manifest>

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

/** Where the machine is in the folder of an entry. */
export const machineOf = (folder: string): string => Path.join(folder, "machine")

/** Makes the place of the machine in a workspace. */
export const makeMachine = (workspace: string): Effect.Effect<string, Store.StoreFailed> => {
  const path = machineOf(workspace)
  return Disk.attempt(
    () => {
      Fs.mkdirSync(path, { mode: 0o700 })
      return path
    },
    (reason) => new Store.StoreFailed({ path, reason })
  )
}

/** A stored machine, why what is there is none, or nothing. */
export const read = (store: Store.Store, id: string) => Store.read(store, id, Manifest)

/** What it means that a fact differs which is a digest, and says nothing to people. */
const meanings: Facts = {
  guest: "it was made with another version of vmtest's guest agent",
  hardware: "it was made by a version of vmtest that gives machines other hardware"
}

/** What of the facts differs, in a few words. */
export const difference = (was: Facts, is: Facts): string | undefined => {
  const key = [...Object.keys(is), ...Object.keys(was)].find((one) => was[one] !== is[one])
  if (key !== undefined && key in meanings) return meanings[key]
  return key === undefined ? undefined : `its ${key} is ${was[key] ?? "unknown"}, not ${is[key] ?? "unknown"}`
}

/** The facts that follow from the version of vmtest, not from the host. */
const ofVersion: ReadonlyArray<string> = ["vmtest", "guest", "hardware", "format"]

/** Whether another version of vmtest stored an entry: it is damaged or outdated by the rules of that one. */
export const isOfAnotherVersion = ({ manifest }: Entry, host: Facts): boolean =>
  manifest.format !== storeFormat || ofVersion.some((fact) => manifest.host[fact] !== host[fact])

/** Whether an entry has another format than this version's, whatever else is in its manifest. */
export const hasAnotherFormat = (store: Store.Store, id: string): boolean => {
  const entry = Store.read(store, id, Schema.Struct({ format: Schema.Number }))
  return entry !== undefined && "manifest" in entry && entry.manifest.format !== storeFormat
}

/** Why an entry is not what is looked for, of this host, and as large as it was; takes well under a millisecond. */
export const mismatch = (entry: Entry, subject: Facts, host: Facts): string | undefined => {
  const { manifest } = entry
  if (manifest.format !== storeFormat) return `its format is ${manifest.format}, not ${storeFormat}`
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

/** Why this process may not read an entry, which says nothing of what is in it. */
export const hindrance = (folder: string): string | undefined =>
  [folder, ...Disk.namesIn(folder, true).map((name) => Path.join(folder, name))]
    .map(Disk.hindrance)
    .find(Predicate.isNotUndefined)

/** Why the content is not what was stored. */
export const damage = ({ folder, manifest }: Entry) => contentProblem(machineOf(folder), manifest.files)

/**
 * What the files of a saved machine are now. Their owner may write them: a hypervisor that maps memory for itself alone opens its file to be
 * written all the same.
 */
export const recordFiles = Effect.fnUntraced(function* (folder: string) {
  const files: Record<string, typeof FileRecord.Type> = {}
  for (const name of yield* Disk.attempt(() => Fs.readdirSync(folder).sort(), identity)) {
    const path = Path.join(folder, name)
    const size = yield* Disk.attempt(() => {
      Fs.chmodSync(path, 0o600)
      return Fs.statSync(path).size
    }, identity)
    files[name] = { size, digest: yield* Digest.ofSparseFile(path) }
  }
  return files satisfies FileRecords as FileRecords
})

/** Makes an entry of a workspace whose `machine/` is complete. */
export const publish = Effect.fnUntraced(function* (
  store: Store.Store,
  folder: string,
  id: string,
  what: Pick<Manifest, "name" | "subject" | "host" | "createdAt" | "inputs">
) {
  const failed = (reason: string) => new Store.StoreFailed({ path: folder, reason })
  const files = yield* Effect.mapError(recordFiles(machineOf(folder)), failed)
  const manifest: Manifest = {
    format: storeFormat,
    instance: randomUUID(),
    ...what,
    origin: yield* origin,
    files
  }
  yield* Disk.attempt(() => ManifestFile.write(folder, manifest), failed)
  return { id, folder: yield* Store.publish(store, folder, id), manifest } satisfies Entry as Entry
})
