/**
 * Where vmtest keeps what it can make again: `${XDG_CACHE_HOME:-~/.cache}/vmtest/<kind>`.
 *
 * Everything below is mode 0700. Nothing here locks or prunes; `Store` does. A cache that may only be read, such as one on a read-only mount,
 * serves what is in it.
 *
 * **Example** (the folder of one kind)
 *
 * ```ts
 * const folder = yield* Cache.folder("images") // "/home/me/.cache/vmtest/images"
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Disk from "./Disk.ts"
import { makeFolder } from "./internal/makeFolder.ts"

/** The cache folder could not be made, or no file can be written in it. */
export class CacheUnwritable extends Schema.TaggedError<CacheUnwritable>()("CacheUnwritable", {
  path: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `could not write to the cache folder ${this.path}: ${this.reason}; set XDG_CACHE_HOME to use another folder`
  }
}

/** The folder that holds every kind, by the XDG base directory rules: a relative XDG_CACHE_HOME is ignored. */
export const root: Effect.Effect<string> = Effect.sync(() => {
  const asked = process.env.XDG_CACHE_HOME
  const base = asked !== undefined && Path.isAbsolute(asked) ? asked : Path.join(Os.homedir(), ".cache")
  return Path.join(base, "vmtest")
})

/** As {@link root}; fails if its path has a line break or the like: apt waits for ever then. */
const usable: Effect.Effect<string, CacheUnwritable> = Effect.flatMap(root, (path) =>
  /\p{Cc}/u.test(path)
    ? new CacheUnwritable({
        path: JSON.stringify(path),
        reason: "its path has a control character, which not all tools can read"
      })
    : Effect.succeed(path)
)

const tryToWrite = (path: string): void => {
  Fs.accessSync(path, Fs.constants.W_OK | Fs.constants.X_OK)
  // Permission bits say nothing of a full file system.
  Fs.rmdirSync(Fs.mkdtempSync(Path.join(path, ".writable-")))
}

const attempt = <A>(path: string, body: () => A): Effect.Effect<A, CacheUnwritable> =>
  Disk.attempt(body, (reason) => new CacheUnwritable({ path, reason }))

/** Makes the folder of a kind if it is not there, and makes sure that a file can be written in it. */
export const folder = (kind: string): Effect.Effect<string, CacheUnwritable> =>
  Effect.flatMap(usable, (base) => {
    const path = Path.join(base, kind)
    return attempt(path, () => {
      makeFolder(path)
      tryToWrite(path)
      return path
    })
  })

const readable = (path: string): boolean =>
  Result.isSuccess(Result.try(() => Fs.accessSync(path, Fs.constants.R_OK | Fs.constants.X_OK)))

/**
 * The folder of a kind, to be read at least: made if it is not there, unless the cache may only be read and has none of this kind. Fails if
 * there is no cache, and none can be made.
 */
export const open = (kind: string): Effect.Effect<string, CacheUnwritable> =>
  Effect.flatMap(usable, (base) => {
    const path = Path.join(base, kind)
    if (readable(path)) return Effect.succeed(path)
    return Effect.catch(folder(kind), (error) => (readable(base) ? Effect.succeed(path) : Effect.fail(error)))
  })

/** Says that there is no room now, which pruning may make. */
const full = /ENOSPC|EDQUOT/

/** Why nothing can be written in a folder, or made in its place, also when there is room; undefined if something can. */
export const unwritable = (path: string): Effect.Effect<CacheUnwritable | undefined> => {
  const above = (folder: string): string => (Fs.existsSync(folder) ? folder : above(Path.dirname(folder)))
  return attempt(path, () => {
    const there = above(path)
    if (there === path) tryToWrite(path)
    else Fs.accessSync(there, Fs.constants.W_OK | Fs.constants.X_OK)
  }).pipe(
    Effect.as(undefined),
    Effect.catch((error) => Effect.succeed(full.test(error.reason) ? undefined : error))
  )
}
