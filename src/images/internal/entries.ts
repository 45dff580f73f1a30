/**
 * Built things on disk: a folder each, with a manifest that says what must be in it.
 *
 * Folders are made beside their place and renamed into it, so one that is there is whole; they never change afterwards.
 * `<key>-<digest>` names them: a refreshed image is another folder, and machines that run the old one keep it.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Digest from "../../host/Digest.ts"
import { attempt, type Building } from "./building.ts"

const FileRecord = Schema.Struct({ size: Schema.Number, mtimeMs: Schema.Number, sha256: Schema.String })

/** What a folder says of itself. */
export const Manifest = Schema.Struct({
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
export type Manifest = typeof Manifest.Type

const manifestText = Schema.fromJsonString(Manifest)

/** A stored thing. */
export interface Entry {
  readonly id: string
  readonly folder: string
  readonly manifest: Manifest
}

const short = (digest: string): string => digest.slice(0, 20)

/** Everything stored whose manifest can be read, the newest first. */
export const list = (entries: string): ReadonlyArray<Entry> =>
  (Fs.existsSync(entries) ? Fs.readdirSync(entries) : [])
    .flatMap((id) => {
      const entry = read(entries, id)
      return entry === undefined ? [] : [entry]
    })
    .sort((a, b) => b.manifest.builtAt - a.manifest.builtAt)

/** A stored thing, or undefined when it is gone or its manifest makes no sense. */
export const read = (entries: string, id: string): Entry | undefined => {
  const folder = Path.join(entries, id)
  const path = Path.join(folder, "manifest.json")
  if (!Fs.existsSync(path)) return undefined
  const decoded = Schema.decodeUnknownOption(manifestText)(Fs.readFileSync(path, "utf8"))
  return decoded._tag === "Some" ? { id, folder, manifest: decoded.value } : undefined
}

/** The ids under which things of a key are stored. */
export const isOf = (id: string, key: string): boolean => id.startsWith(`${short(key)}-`)

/**
 * Why a stored thing is not what was built, or undefined. Sizes and times are looked at each time; contents are read
 * when they were not since a day, or when the system has noted a change since (its ctime cannot be set back).
 */
export const problemOf = Effect.fnUntraced(function* (entry: Entry) {
  const stamp = Path.join(entry.folder, "checked")
  const checked = Fs.statSync(stamp, { throwIfNoEntry: false })?.mtimeMs ?? 0
  const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
  for (const [name, record] of Object.entries(entry.manifest.files)) {
    const path = Path.join(entry.folder, name)
    const stat = Fs.statSync(path, { throwIfNoEntry: false })
    if (stat === undefined) return `${name} is missing`
    if (stat.size !== record.size) return `${name} has ${stat.size} bytes instead of ${record.size}`
    if (stat.mtimeMs === record.mtimeMs && stat.ctimeMs <= checked && now - checked < day) continue
    const digest = yield* Effect.orElseSucceed(Digest.ofFile(path), () => "unreadable")
    if (digest !== record.sha256) return `${name} is not what was built`
  }
  if (now - checked >= day || checked === 0) yield* touch(stamp)
  return undefined
})

const day = 24 * 60 * 60 * 1000

/** Sets a file's time to now; making it if need be. On a read-only cache nothing happens. */
export const touch = (path: string): Effect.Effect<void> =>
  Effect.ignore(
    Effect.clockWith((clock) => clock.currentTimeMillis).pipe(
      Effect.flatMap((now) =>
        Effect.try(() => {
          Fs.closeSync(Fs.openSync(path, "a", 0o600))
          Fs.utimesSync(path, now / 1000, now / 1000)
        })
      )
    )
  )

/** When something of it was last asked for. */
export const lastUsed = (entry: Entry): number =>
  Fs.statSync(Path.join(entry.folder, "used"), { throwIfNoEntry: false })?.mtimeMs ?? entry.manifest.builtAt

/** Bytes on disk. */
export const bytesOf = (folder: string): number =>
  Fs.readdirSync(folder, { recursive: true, encoding: "utf8" }).reduce((sum, name) => {
    const stat = Fs.lstatSync(Path.join(folder, name), { throwIfNoEntry: false })
    return sum + (stat?.isFile() === true ? stat.blocks * 512 : 0)
  }, 0)

/** Takes a finished folder into the store: writes its manifest, and renames it into place. */
export const publish = Effect.fnUntraced(function* (
  building: Building,
  entries: string,
  folder: string,
  what: Omit<Manifest, "digest" | "builtAt" | "files">
) {
  const step = "storing the image"
  const names = yield* attempt(building, step, folder, () => Fs.readdirSync(folder).sort())
  const files: Record<string, typeof FileRecord.Type> = {}
  for (const name of names) {
    const path = Path.join(folder, name)
    const digest = yield* Digest.ofFile(path).pipe(Effect.orElseSucceed(() => ""))
    files[name] = yield* attempt(building, step, path, () => {
      Fs.chmodSync(path, 0o444)
      const { mtimeMs, size } = Fs.statSync(path)
      return { size, mtimeMs, sha256: digest }
    })
  }
  const builtAt = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
  const contents = Object.entries(files).map(([name, record]) => [name, record.sha256])
  const manifest: Manifest = { ...what, digest: Digest.ofValue([what.key, contents]), builtAt, files }
  const id = `${short(what.key)}-${short(manifest.digest)}`
  return yield* attempt(building, step, folder, (): Entry => {
    const place = Path.join(entries, id)
    // The same bytes once more, after a refresh that found nothing new: only the age changes.
    const same = read(entries, id)
    const now = same === undefined ? manifest : { ...manifest, files: same.manifest.files }
    const text = Path.join(folder, "manifest.json")
    Fs.writeFileSync(text, `${JSON.stringify(now, null, 2)}\n`, { mode: 0o600 })
    Fs.mkdirSync(entries, { recursive: true, mode: 0o700 })
    if (same === undefined) {
      // What is in the place cannot be read, or it would be `same`.
      Fs.rmSync(place, { recursive: true, force: true })
      Fs.renameSync(folder, place)
    } else Fs.renameSync(text, Path.join(place, "manifest.json"))
    return { id, folder: place, manifest: now }
  })
})
