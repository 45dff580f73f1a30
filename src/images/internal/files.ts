/** The files of a description, read and checked. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Digest from "../../host/Digest.ts"
import * as Disk from "../../host/Disk.ts"
import type { FileContent, FileOptions, Files } from "../Image.ts"
import { BadImage } from "../ImageError.ts"

/** A file as it will be in the guest. */
export interface GuestFile {
  /** Absolute and normal. */
  readonly path: string
  readonly mode: number
  readonly owner: string | undefined
  readonly data: Uint8Array
}

/** What of a file goes into the digest of an image. */
export const identity = ({ data, mode, owner, path }: GuestFile) => ({
  path,
  mode,
  owner: owner ?? "root:root",
  content: Digest.of(data)
})

/** Reads all files of a description that was checked, in the order of their paths. Fails with `BadImage` before anything is built. */
export const readFiles = (image: string, files: Files): Effect.Effect<ReadonlyArray<GuestFile>, BadImage> =>
  Effect.forEach(Object.entries(files), ([path, content]) => readOne(image, path, content)).pipe(
    Effect.map((all) => all.flat().sort((a, b) => (a.path < b.path ? -1 : 1)))
  )

const readOne = Effect.fnUntraced(function* (image: string, path: string, content: FileContent) {
  const options: FileOptions = typeof content === "string" || content instanceof Uint8Array ? { content } : content
  const { mode, owner, source } = options
  if (source === undefined) {
    const data = typeof options.content === "string" ? Buffer.from(options.content) : options.content
    return [{ path, mode: mode ?? 0o644, owner, data: data ?? new Uint8Array() }]
  }
  return yield* Effect.try({
    try: (): Array<GuestFile> =>
      walk(Path.resolve(source)).map(({ below, data, executable }) => ({
        path: Path.posix.join(path, below),
        mode: mode ?? (executable ? 0o755 : 0o644),
        owner,
        data
      })),
    catch: (error) => {
      const field = `files.${path}`
      const reason = `${field} could not be read: ${Disk.reasonOf(error)}`
      return new BadImage({ image, field, reason })
    }
  })
})

interface Found {
  readonly below: string
  readonly executable: boolean
  readonly data: Uint8Array
}

/** A file, or every file below a folder; links are followed, as `cp -L` does. */
const walk = (source: string, below = ""): Array<Found> => {
  const stat = Fs.statSync(source)
  if (!stat.isDirectory()) return [{ below, executable: (stat.mode & 0o111) !== 0, data: Fs.readFileSync(source) }]
  return Fs.readdirSync(source)
    .sort()
    .flatMap((name) => walk(Path.join(source, name), Path.posix.join(below, name)))
}
