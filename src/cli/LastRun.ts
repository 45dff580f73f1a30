/**
 * What a run leaves for later ones, in the cache folder: how its tests ended, and how long they took, for each output folder.
 *
 * **Example** (The tests that failed in the last run)
 *
 * ```ts
 * const failed = LastRun.failed("vmtest-output")
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Shard from "../driver/Shard.ts"
import { isFailed, type TestResult } from "../driver/TestResult.ts"
import * as Cache from "../host/Cache.ts"
import * as Digest from "../host/Digest.ts"
import * as Disk from "../host/Disk.ts"

/** What is left of the last run cannot be used. */
export class RecordUnusable extends Schema.TaggedError<RecordUnusable>()("RecordUnusable", {
  file: Schema.String,
  reason: Schema.String,
  advice: Schema.String
}) {
  override get message() {
    return `could not use ${this.file}: ${this.reason}; ${this.advice}`
  }
}

/** There was no run yet whose failed tests could run again. */
export class NoLastRun extends Schema.TaggedError<NoLastRun>()("NoLastRun", { output: Schema.String }) {
  override get message() {
    return `no record of an earlier run with the output folder ${this.output}; run the tests once without --only-failed`
  }
}

const Record = Schema.fromJsonString(
  Schema.Struct({
    version: Schema.Literal(1),
    /** What tests are known by, with how they ended: `passed`, `failed`, `timedOut`, `skipped`; `interrupted` if they did not end. */
    tests: Schema.Record(Schema.String, Schema.String)
  })
)

const Durations = Schema.fromJsonString(
  Schema.Struct({ version: Schema.Literal(1), milliseconds: Schema.Record(Schema.String, Schema.Number) })
)

/** The folder of the records of an output folder; it need not exist. */
const folderOf = (output: string): Effect.Effect<string> =>
  Effect.map(Cache.root, (root) => NodePath.join(root, "runs", Digest.of(NodePath.resolve(output)).slice(0, 16)))

const recordIn = (output: string) => Effect.map(folderOf(output), (folder) => NodePath.join(folder, "last-run.json"))

/** The file of the durations of an output folder. */
export const durationsOf = (output: string) =>
  Effect.map(folderOf(output), (folder) => NodePath.join(folder, "durations.json"))

const read = <A>(schema: Schema.Codec<A, string>, file: string, advice: string) =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const unusable = (reason: string) => new RecordUnusable({ file, reason, advice })
    const text = yield* fs.readFileString(file).pipe(
      Effect.map(Option.some),
      Effect.catch((error) =>
        error.reason._tag === "NotFound"
          ? Effect.succeed(Option.none<string>())
          : Effect.fail(unusable(Disk.platformReason(error)))
      )
    )
    if (Option.isNone(text)) return undefined
    return yield* Effect.mapError(Schema.decodeUnknownEffect(schema)(text.value), () =>
      unusable("it is not a file that vmtest wrote, or another version wrote it")
    )
  })

/** What the tests are known by that failed, or did not end, in the last run with this output folder. Fails if there is no record of one. */
export const failed = Effect.fnUntraced(function* (output: string) {
  const file = yield* recordIn(output)
  const advice = "run the tests once without --only-failed"
  const record = yield* read(Record, file, advice)
  if (record === undefined) return yield* new NoLastRun({ output })
  const ended = Object.entries(record.tests)
  return new Set(
    ended.flatMap(([key, status]) => (["failed", "timedOut", "interrupted"].includes(status) ? [key] : []))
  )
})

/** The recorded durations; none where there is no file. */
export const durations = Effect.fnUntraced(function* (
  file: string
): Effect.fn.Return<Shard.Durations, RecordUnusable, FileSystem.FileSystem> {
  const found = yield* read(Durations, file, "remove it, or name another file with --durations")
  return new Map(Object.entries(found?.milliseconds ?? {}))
})

/** A test that was to run, what it is known by, and how it ended if it did. */
export interface Ended {
  readonly key: string
  readonly result: TestResult | undefined
}

/** Replaces a file as a whole, so that another run never reads half of it. */
const replace = Effect.fnUntraced(function* (file: string, text: string) {
  const fs = yield* FileSystem.FileSystem
  yield* fs.makeDirectory(NodePath.dirname(file), { recursive: true })
  const fresh = `${file}.${process.pid}`
  yield* fs.writeFileString(fresh, text).pipe(
    Effect.andThen(fs.rename(fresh, file)),
    Effect.tapError(() => Effect.ignore(fs.remove(fresh, { force: true })))
  )
})

const sorted = <A>(entries: Iterable<readonly [string, A]>) =>
  Object.fromEntries([...entries].toSorted(([a], [b]) => (a < b ? -1 : 1)))

/** Writes what a run came to; with `durationsFile`, the durations of the tests that passed as well. Gives why that failed, if it did. */
export const write = Effect.fnUntraced(
  function* (output: string, tests: ReadonlyArray<Ended>, durationsFile: string | undefined) {
    const ended = sorted(tests.map(({ key, result }) => [key, result?.status ?? "interrupted"] as const))
    yield* replace(yield* recordIn(output), `${JSON.stringify({ version: 1, tests: ended }, undefined, 2)}\n`)
    if (durationsFile === undefined) return undefined
    const known = yield* Effect.orElseSucceed(durations(durationsFile), (): Shard.Durations => new Map())
    const measured = tests.flatMap(({ key, result }) =>
      result === undefined || isFailed(result) || result.status === "skipped" ? [] : [[key, result.millis] as const]
    )
    if (measured.length === 0) return undefined
    const milliseconds = sorted([...known, ...measured])
    yield* replace(durationsFile, `${JSON.stringify({ version: 1, milliseconds }, undefined, 2)}\n`)
    return undefined
  },
  Effect.catch((error) => Effect.succeed(`could not record how the tests ended: ${Disk.platformReason(error)}`))
)
