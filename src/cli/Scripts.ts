/**
 * The scripts of a run: files, the scripts in folders, and those that glob patterns match.
 *
 * `node_modules`, hidden folders, and the output folder are not looked into, unless an argument is in one. Scripts that a pattern matches are in
 * alphabetical order; arguments keep theirs.
 *
 * **Example** (All scripts of the working folder)
 *
 * ```ts
 * const scripts = Scripts.find([], { base: process.cwd(), output: "vmtest-output" })
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"

/** An argument leads to no script. */
export class NoScripts extends Schema.TaggedError<NoScripts>()("NoScripts", {
  /** The pattern or folder as it was given. */
  pattern: Schema.String,
  /** The folder in which it was looked for. */
  folder: Schema.String,
  isFolder: Schema.Boolean
}) {
  override get message() {
    return this.isFolder
      ? `no script in the folder ${this.pattern}: it has no file named *.vmtest.ts`
      : `no script matches ${JSON.stringify(this.pattern)} in ${this.folder}; name a script, a folder or another pattern`
  }
}

/** A folder that could have scripts cannot be read. */
export class FolderUnreadable extends Schema.TaggedError<FolderUnreadable>()("FolderUnreadable", {
  folder: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `could not look for scripts in ${this.folder}: ${this.reason}`
  }
}

/** What is run without arguments. */
export const defaultPattern = "**/*.vmtest.ts"

/** Where patterns are looked for. */
export interface Place {
  readonly base: string
  /** The output folder. */
  readonly output: string
}

/** What knows patterns; a run of a named script starts its first machine without it. */
const globbing = Effect.promise(() => import("tinyglobby"))

const reasons: Readonly<Record<string, string>> = { EACCES: "permission denied", EPERM: "permission denied" }

const statOf = (path: string) => Fs.statSync(path, { throwIfNoEntry: false })

const isFolder = (path: string): Effect.Effect<boolean> =>
  Effect.orElseSucceed(
    Effect.try(() => statOf(path)?.isDirectory() === true),
    () => false
  )

/** The files that a pattern matches, in alphabetical order; fails with the first folder that cannot be read. */
const matching = Effect.fnUntraced(function* (pattern: string, { base, output }: Place) {
  let unreadable: { readonly folder: string; readonly error: NodeJS.ErrnoException } | undefined
  // The library passes over what it cannot read; a test that is not found so would not be missed.
  const readdir = ((path: string, options: { withFileTypes: true }, then: (error: unknown, found: unknown) => void) =>
    Fs.readdir(path, options, (error, found) => {
      if (error !== null && error.code !== "ENOENT") unreadable ??= { folder: path, error }
      then(error, found)
    })) as typeof Fs.readdir
  const excluded = NodePath.relative(base, NodePath.resolve(output))
  const { escapePath, glob } = yield* globbing
  const found = yield* Effect.promise(() =>
    glob(pattern, {
      ...{ cwd: base, followSymbolicLinks: false, expandDirectories: false, fs: { readdir } },
      ignore: ["**/node_modules/**", ...(excluded === "" ? [] : [`${escapePath(excluded)}/**`])]
    })
  )
  if (unreadable !== undefined) {
    const { error, folder } = unreadable
    const shown = NodePath.relative(process.cwd(), folder)
    return yield* new FolderUnreadable({
      folder: shown === "" ? "." : shown,
      reason: reasons[error.code ?? ""] ?? error.message
    })
  }
  return found.toSorted((a, b) => (a < b ? -1 : 1))
})

/** A path as the user would write it: from the working folder, where that is not longer. */
const shownFrom = (base: string) => (path: string) => {
  const absolute = NodePath.resolve(base, path)
  const relative = NodePath.relative(process.cwd(), absolute)
  return relative.startsWith("..") ? absolute : relative
}

const scriptsOf = Effect.fnUntraced(function* (given: string, place: Place) {
  // A variable that is not set in a shell: it does not mean the working folder.
  if (given.trim() === "") return yield* new NoScripts({ pattern: given, folder: place.base, isFolder: false })
  const folder = yield* isFolder(NodePath.resolve(place.base, given))
  const asNamed = [place.base === process.cwd() ? given : shownFrom(place.base)(given)]
  // A file whose name looks like a pattern is that file.
  if (!folder && statOf(NodePath.resolve(place.base, given)) !== undefined) return asNamed
  const { escapePath, isDynamicPattern } = yield* globbing
  if (!folder && !isDynamicPattern(given)) return asNamed
  const path = NodePath.relative(place.base, NodePath.resolve(place.base, given))
  const pattern = folder ? [escapePath(path), defaultPattern].filter((part) => part !== "").join("/") : given
  const found = yield* matching(pattern, place)
  if (found.length === 0) return yield* new NoScripts({ pattern: given, folder: place.base, isFolder: folder })
  return found.map(shownFrom(place.base))
})

/** The scripts that are meant, each once. Fails if an argument leads to none, before anything is loaded. */
export const find = Effect.fnUntraced(function* (given: ReadonlyArray<string>, place: Place) {
  const all = yield* Effect.forEach(given.length === 0 ? [defaultPattern] : given, (one) => scriptsOf(one, place))
  const seen = new Set<string>()
  return all.flat().filter((script) => {
    const path = NodePath.resolve(script)
    return !seen.has(path) && seen.add(path)
  })
})
