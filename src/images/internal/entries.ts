/**
 * Built images in the store.
 *
 * `<key>-<digest>` names them: a refreshed image is another entry, and machines that run the old one keep it.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Digest from "../../host/Digest.ts"
import * as ManifestFile from "../../host/Manifest.ts"
import * as Store from "../../host/Store.ts"
import { attempt, type Building, failure } from "./building.ts"

const FileRecord = Schema.Struct({ size: Schema.Number, mtimeMs: Schema.Number, sha256: Schema.String })

/** What an image says of itself. */
const Manifest = Schema.Struct({
  kind: Schema.Literals(["tiny", "debian", "base"]),
  name: Schema.String,
  key: Schema.String,
  digest: Schema.String,
  builtAt: Schema.Number,
  suite: Schema.String,
  cmdline: Schema.String,
  /** `name=version` of all Debian packages in it. */
  packages: Schema.Array(Schema.String),
  files: Schema.Record(Schema.String, FileRecord)
})
type Manifest = typeof Manifest.Type

/** A stored image. */
export type Entry = Store.Entry<Manifest>

/** What a key or a digest is called in the names of the store. */
export const short = (digest: string): string => digest.slice(0, 20)

/** Everything stored whose manifest can be read, or that of one key, the newest first. */
export const list = (store: Store.Store, key?: string): ReadonlyArray<Entry> =>
  Store.ids(store)
    .filter((id) => key === undefined || id.startsWith(`${short(key)}-`))
    .flatMap((id) => read(store, id) ?? [])
    .sort((a, b) => b.manifest.builtAt - a.manifest.builtAt)

const read = (store: Store.Store, id: string): Entry | undefined => {
  const entry = Store.read(store, id, Manifest)
  return entry === undefined || "problem" in entry ? undefined : entry
}

/**
 * The newest sound image of a key that is wanted: pinned, and marked as used. Damaged ones are removed with a warning, where they can be.
 */
export const find = Effect.fnUntraced(function* <E, R>(
  store: Store.Store,
  key: string,
  isWanted: (entry: Entry) => Effect.Effect<boolean, E, R>
) {
  for (const { id } of list(store, key)) {
    yield* Store.pin(store, id)
    const entry = read(store, id)
    if (entry !== undefined && entry.manifest.key === key) {
      const problem = yield* problemOf(entry)
      if (problem === undefined && (yield* isWanted(entry))) return yield* Effect.as(Store.markUsed(store, id), entry)
      if (problem !== undefined) {
        yield* Effect.logWarning(
          store.unwritable === undefined
            ? `discarding the stored image ${id} (${problem}); building it again`
            : `could not use the stored image ${id}: ${problem}`
        )
        yield* Store.remove(store, id)
      }
    }
  }
  return undefined
})

/**
 * Why a stored thing is not what was built, or undefined. Sizes and times are looked at each time; contents are read
 * when they were not since a day, or when the system has noted a change since (its ctime cannot be set back).
 */
export const problemOf = Effect.fnUntraced(function* (entry: Entry) {
  const stamp = Path.join(entry.folder, checkedFile)
  const checked = Fs.statSync(stamp, { throwIfNoEntry: false })?.mtimeMs ?? 0
  const now = yield* Clock.currentTimeMillis
  for (const [name, record] of Object.entries(entry.manifest.files)) {
    const path = Path.join(entry.folder, name)
    const stat = Fs.statSync(path, { throwIfNoEntry: false })
    if (stat === undefined) return `${name} is missing`
    if (stat.size !== record.size) return `${name} has ${stat.size} bytes instead of ${record.size}`
    if (stat.mtimeMs === record.mtimeMs && stat.ctimeMs <= checked && now - checked < day) continue
    const digest = yield* Effect.orElseSucceed(Digest.ofFile(path), () => "unreadable")
    if (digest !== record.sha256) return `${name} is not what was built`
  }
  if (now - checked >= day || checked === 0) yield* Store.touch(stamp)
  return undefined
})

/** Its time is when the contents were read last. */
const checkedFile = "checked"

const day = 24 * 60 * 60 * 1000

/** Takes a finished folder into the store, and pins it there. */
export const publish = Effect.fnUntraced(function* (
  building: Building,
  store: Store.Store,
  folder: string,
  what: Omit<Manifest, "digest" | "builtAt" | "files">
) {
  const step = "storing the image"
  const names = yield* attempt(building, step, folder, () => Fs.readdirSync(folder).sort())
  const files: Record<string, typeof FileRecord.Type> = {}
  for (const name of names) {
    const path = Path.join(folder, name)
    const sha256 = yield* Digest.ofFile(path).pipe(Effect.orElseSucceed(() => ""))
    files[name] = yield* attempt(building, step, path, () => {
      Fs.chmodSync(path, 0o444)
      const { mtimeMs, size } = Fs.statSync(path)
      return { size, mtimeMs, sha256 }
    })
  }
  const builtAt = yield* Clock.currentTimeMillis
  const contents = Object.entries(files).map(([name, record]) => [name, record.sha256])
  const manifest: Manifest = { ...what, digest: Digest.ofValue([what.key, contents]), builtAt, files }
  const id = `${short(what.key)}-${short(manifest.digest)}`
  yield* Store.pin(store, id)
  // The same bytes once more, after a refresh that found nothing new: only the age changes.
  const same = read(store, id)
  if (same === undefined) {
    yield* attempt(building, step, folder, () => ManifestFile.write(folder, manifest))
    const place = yield* Effect.mapError(Store.publish(store, folder, id), ({ path, reason }) =>
      failure(building, step, reason, "", path)
    )
    return { id, folder: place, manifest } satisfies Entry as Entry
  }
  const renewed: Manifest = { ...manifest, files: same.manifest.files }
  yield* attempt(building, step, same.folder, () => ManifestFile.write(same.folder, renewed))
  return { ...same, manifest: renewed } satisfies Entry as Entry
})
