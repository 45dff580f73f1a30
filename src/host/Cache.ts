/**
 * Where vmtest keeps what it can make again: `${XDG_CACHE_HOME:-~/.cache}/vmtest/<kind>`.
 *
 * Everything below is mode 0700. Nothing here locks or prunes; `Store` does.
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

/** Makes the folder of a kind if it is not there, and makes sure that a file can be written in it. */
export const folder = (kind: string): Effect.Effect<string, CacheUnwritable> =>
  root.pipe(
    Effect.flatMap((base) => {
      const path = Path.join(base, kind)
      return Effect.try({
        try: () => {
          makeFolder(path)
          Fs.accessSync(path, Fs.constants.W_OK | Fs.constants.X_OK)
          // Permission bits say nothing of a read-only or full file system.
          Fs.rmdirSync(Fs.mkdtempSync(Path.join(path, ".writable-")))
          return path
        },
        catch: (error) => new CacheUnwritable({ path, reason: Disk.reasonOf(error) })
      })
    })
  )
