/** Small things that a store does on the disk. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"

const errorOf = (error: unknown) => (error instanceof Error ? error : new Error(String(error)))

/** Runs something on the host's files; fails with what the system says. */
export const attempt = <A>(body: () => A): Effect.Effect<A, Error> => Effect.try({ try: body, catch: errorOf })

/** The text of a file, or undefined where it cannot be read. */
export const readText = (path: string): string | undefined => {
  const text = Effect.runSyncExit(attempt(() => Fs.readFileSync(path, "utf8")))
  return text._tag === "Success" ? text.value : undefined
}

/** The names in a folder; none where there is no such folder. */
export const namesIn = (folder: string, recursive = false): ReadonlyArray<string> => {
  const found = Effect.runSyncExit(attempt(() => Fs.readdirSync(folder, { recursive, encoding: "utf8" })))
  return found._tag === "Success" ? found.value : []
}

/** Puts a file in the place of another: who reads sees the one or the other. */
export const replaceFile = (path: string, text: string): void => {
  const unready = `${path}.new`
  Fs.writeFileSync(unready, text, { mode: 0o600 })
  Fs.renameSync(unready, path)
}

/** Removes a folder and what is in it, as far as that is possible. */
export const removeTree = (path: string): Effect.Effect<void> =>
  Effect.ignore(attempt(() => Fs.rmSync(path, { recursive: true, force: true, maxRetries: 2 })))

/** Has the system write a file, or the names in a folder, to the disk. */
export const sync = (path: string): Effect.Effect<void, Error> =>
  Effect.acquireUseRelease(
    attempt(() => Fs.openSync(path, "r")),
    (file) =>
      // The descriptor belongs to the thread that writes until it has answered.
      Effect.uninterruptible(
        Effect.callback<void, Error>((resume) =>
          Fs.fsync(file, (error) => resume(error === null ? Effect.void : Effect.fail(error)))
        )
      ),
    (file) => Effect.sync(() => Fs.closeSync(file))
  )

/** Has the system write a file, or a folder and all that is in it, to the disk. */
export const syncTree: (path: string) => Effect.Effect<void, Error> = Effect.fnUntraced(function* (path: string) {
  const inside = yield* attempt(() => (Fs.statSync(path).isDirectory() ? Fs.readdirSync(path) : []))
  for (const name of inside) yield* syncTree(Path.join(path, name))
  yield* sync(path)
})
