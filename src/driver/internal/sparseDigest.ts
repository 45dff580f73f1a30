/** Writing to the disk, for good. */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"

const errorOf = (error: unknown) => (error instanceof Error ? error : new Error(String(error)))

const opened = (path: string) =>
  Effect.acquireRelease(Effect.try({ try: () => Fs.openSync(path, "r"), catch: errorOf }), (file) =>
    Effect.sync(() => Fs.closeSync(file))
  )

/** Has the system write a file, or the names in a folder, to the disk. */
export const sync: (path: string) => Effect.Effect<void, Error> = Effect.fnUntraced(function* (path: string) {
  const file = yield* opened(path)
  yield* Effect.uninterruptible(
    Effect.callback<void, Error>((resume) =>
      Fs.fsync(file, (error) => resume(error === null ? Effect.void : Effect.fail(error)))
    )
  )
}, Effect.scoped)
