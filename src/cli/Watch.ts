/**
 * `vmtest run --watch`: runs the tests of the scripts that a change affects, again and again.
 *
 * A script is affected by a change of each file that is bundled into it. Machines start as in any run: those that have booted before are forks
 * of a stored snapshot.
 *
 * **Example** (Say which scripts a change affects)
 *
 * ```ts
 * const watching = Watch.loop({
 *   find: Effect.succeed(["a.vmtest.ts"]),
 *   run: (scripts) => Effect.as(Effect.log(scripts.join(" ")), new Map())
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Digest from "../host/Digest.ts"
import { complain } from "./Subcommand.ts"

/** The files that each script is made of, with full paths. */
export type Inputs = ReadonlyMap<string, ReadonlyArray<string>>

/** What is watched. */
export interface Watched<E, R> {
  /** The scripts that there are now. */
  readonly find: Effect.Effect<ReadonlyArray<string>, E, R>
  /** Runs the tests of scripts, and gives the files of those that could be loaded. Problems are printed. */
  readonly run: (scripts: ReadonlyArray<string>) => Effect.Effect<Inputs, E, R>
}

/** How long files have to be left alone before tests run: editors write a file in several steps. */
const quietTime = "100 millis"

/** The scripts that a change of files affects: those made of one of them, and those that were not there before. */
export const affected = (
  scripts: ReadonlyArray<string>,
  known: Inputs,
  changed: ReadonlySet<string>
): ReadonlyArray<string> =>
  scripts.filter((script) => {
    const inputs = known.get(script)
    return inputs === undefined || inputs.some((file) => changed.has(file))
  })

const digestOf = (file: string): string =>
  Result.getOrElse(
    Result.map(
      Result.try(() => Fs.readFileSync(file)),
      (bytes) => Digest.of(bytes)
    ),
    () => ""
  )

/** Tells of files that changed in folders, until the scope closes. */
const makeWatcher = Effect.fnUntraced(function* () {
  const queue = yield* Queue.unbounded<string>()
  const watchers = new Map<string, Fs.FSWatcher>()
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const watcher of watchers.values()) watcher.close()
    })
  )
  const add = (folder: string) => {
    if (watchers.has(folder)) return
    const made = Result.try(() =>
      Fs.watch(folder, (_, name) => {
        if (name !== null) Queue.offerUnsafe(queue, NodePath.join(folder, name))
      })
    )
    if (Result.isFailure(made)) return
    // A folder that is removed.
    made.success.on("error", () => watchers.delete(folder))
    watchers.set(folder, made.success)
  }
  return {
    watch: (files: Iterable<string>) =>
      Effect.sync(() => {
        for (const file of files) add(NodePath.dirname(file))
      }),
    /** At least one file, when no more have changed for a moment. */
    changes: Effect.gen(function* () {
      const changed = new Set([yield* Queue.take(queue)])
      while (true) {
        yield* Effect.sleep(quietTime)
        const more = yield* Queue.clear(queue)
        if (more.length === 0) return changed
        for (const file of more) changed.add(file)
      }
    })
  }
})

/** Runs all tests, and then those that changes affect; never ends by itself. Fails only if the scripts cannot be found at first. */
export const loop = <E extends { readonly message: string }, R>({
  find,
  run
}: Watched<E, R>): Effect.Effect<never, E, R | Scope.Scope> =>
  Effect.gen(function* () {
    const watcher = yield* makeWatcher()
    const known = new Map<string, ReadonlyArray<string>>()
    const digests = new Map<string, string>()
    const note = (files: Iterable<string>) => {
      for (const file of files) if (!digests.has(file)) digests.set(file, digestOf(file))
    }
    const runAll = Effect.fnUntraced(function* (scripts: ReadonlyArray<string>) {
      // Before they are read: a change that comes later is another one.
      for (const script of scripts) known.set(script, known.get(script) ?? [NodePath.resolve(script)])
      const before = [...known.values()].flat()
      yield* watcher.watch(before)
      note(before)
      const inputs = yield* run(scripts)
      for (const [script, files] of inputs) known.set(script, files)
      const files = new Set([...known.values()].flat())
      yield* watcher.watch(files)
      note(files)
      yield* complain(`watching ${files.size} ${files.size === 1 ? "file" : "files"}; Ctrl-C ends it`)
    })
    yield* runAll(yield* find)
    while (true) {
      const changed = yield* watcher.changes
      const different = new Set(
        [...changed].filter((file) => {
          const digest = digestOf(file)
          const isNew = digests.get(file) !== digest
          digests.set(file, digest)
          return isNew
        })
      )
      const scripts = yield* find.pipe(Effect.catch((error) => Effect.as(complain(error.message), [])))
      const now = affected(scripts, known, different)
      if (now.length > 0) yield* runAll(now)
    }
  })
