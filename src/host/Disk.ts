/**
 * Files of the host: what node's functions throw becomes a failure.
 *
 * **Example** (an error of one's own, with what the system says)
 *
 * ```ts
 * const text = yield* Disk.attempt(
 *   () => Fs.readFileSync("/etc/machine-id", "utf8"),
 *   (reason) => new NotADebianHost({ reason })
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type * as PlatformError from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"

/** What is wrong, in the words of what was thrown. */
export const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** What is wrong, in the words of the system, of an error of Effect's `FileSystem`. */
export const platformReason = (error: PlatformError.PlatformError): string =>
  Predicate.isError(error.reason.cause) ? error.reason.cause.message : error.message

/** Runs something on the host's files; what it throws becomes the error, made from the system's words. */
export const attempt = <A, E>(body: () => A, onError: (reason: string) => E): Effect.Effect<A, E> =>
  Effect.try({ try: body, catch: (error) => onError(reasonOf(error)) })

/** Whether something on the host's files worked. */
export const works = (body: () => void): boolean => Result.isSuccess(Result.try(body))

/** Runs something on the host's files that may as well not work. */
export const quietly = (body: () => void): Effect.Effect<void> => Effect.ignore(Effect.try(body))

/** The text of a file, or undefined where it cannot be read. */
export const readText = (path: string): string | undefined => {
  const text = Result.try(() => Fs.readFileSync(path, "utf8"))
  return Result.isSuccess(text) ? text.success : undefined
}

const hostErrors = new Set(["EACCES", "EPERM", "EMFILE", "ENFILE", "ENOMEM"])

/** Why this process may not read a file, whatever is in it: it has no right to, or too many files are open. Undefined for one that it may read, or that is gone. */
export const hindrance = (path: string): string | undefined => {
  const opened = Result.try({
    try: () => Fs.closeSync(Fs.openSync(path, "r")),
    catch: (error) =>
      error instanceof Error && "code" in error && hostErrors.has(String(error.code)) ? error : undefined
  })
  return Result.isFailure(opened) ? opened.failure?.message : undefined
}

/** The names in a folder; an empty list where there is no such folder. */
export const namesIn = (folder: string, recursive = false): ReadonlyArray<string> => {
  const found = Result.try(() => Fs.readdirSync(folder, { recursive, encoding: "utf8" }))
  return Result.isSuccess(found) ? found.success : []
}

/** Makes a sparse file of so many bytes, all zero, in the place of what was there. Throws what the system says. */
export const emptyFile = (path: string, bytes: number): void => {
  Fs.writeFileSync(path, "", { mode: 0o600 })
  Fs.truncateSync(path, bytes)
}

/** Puts a file in the place of another: who reads sees the one or the other. */
export const replaceFile = (path: string, text: string): void => {
  const unready = `${path}.new`
  Fs.writeFileSync(unready, text, { mode: 0o600 })
  Fs.renameSync(unready, path)
}

/** Removes a folder and what is in it, as far as that is possible. */
export const removeTree = (path: string): Effect.Effect<void> =>
  quietly(() => Fs.rmSync(path, { recursive: true, force: true, maxRetries: 2 }))

/** Has the system write a file, or the names in a folder, to the disk. Fails with what it says. */
export const sync = (path: string): Effect.Effect<void, string> =>
  Effect.acquireUseRelease(
    attempt(() => Fs.openSync(path, "r"), identity),
    (file) =>
      // The descriptor belongs to the thread that writes until it has answered.
      Effect.uninterruptible(
        Effect.callback<void, string>((resume) =>
          Fs.fsync(file, (error) => resume(error === null ? Effect.void : Effect.fail(error.message)))
        )
      ),
    (file) => Effect.sync(() => Fs.closeSync(file))
  )

/** As {@link sync}, for a file, or a folder and all that is in it. */
export const syncTree: (path: string) => Effect.Effect<void, string> = Effect.fnUntraced(function* (path: string) {
  const inside = yield* attempt(() => (Fs.statSync(path).isDirectory() ? Fs.readdirSync(path) : []), identity)
  for (const name of inside) yield* syncTree(Path.join(path, name))
  yield* sync(path)
})
