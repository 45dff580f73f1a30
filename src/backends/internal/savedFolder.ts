/**
 * The folder of a saved machine: files, and beside them what it is, with the length of each, and when it was written.
 *
 * It is written last, so a folder that was not finished is not a saved machine, and neither is one that lost a part of a file. A file that somebody wrote to
 * afterwards is refused without being read: a digest of the memory would take as long as the fork itself.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { MachineShape, SavedMachine } from "../Backend.ts"
import { LoadFailed } from "../BackendError.ts"

const description = "machine.json"

/** Which file it is on this host, and the millisecond in which it was written last. A copy is another file, whose time says nothing. */
const Written = Schema.Struct({ device: Schema.Number, inode: Schema.Number, at: Schema.Number })

/** Fields of every description, by the names of files. */
export const fields = {
  /** Bytes. */
  files: Schema.Record(Schema.String, Schema.Number),
  written: Schema.optionalKey(Schema.Record(Schema.String, Written))
}
interface Fields {
  readonly files: typeof fields.files.Type
  readonly written?: typeof fields.written.Type
}

const writtenOf = ({ dev, ino, mtimeMs }: Fs.Stats): typeof Written.Type => ({
  device: dev,
  inode: ino,
  at: Math.round(mtimeMs)
})

/** Adds the description to what the folder has. Throws what the file system says. */
export const describe = (directory: string, what: object): void => {
  const found = Fs.readdirSync(directory).map((name) => [name, Fs.statSync(Path.join(directory, name))] as const)
  const files = Object.fromEntries(found.map(([name, { size }]) => [name, size]))
  const written = Object.fromEntries(found.map(([name, stats]) => [name, writtenOf(stats)]))
  Fs.writeFileSync(Path.join(directory, description), JSON.stringify({ ...what, files, written }), { mode: 0o600 })
}

/** Why a saved machine cannot be loaded, when it is the folder's own fault. */
export const unfit =
  (shape: MachineShape, { directory }: SavedMachine) =>
  (reason: string): LoadFailed =>
    new LoadFailed({ machine: shape.name, directory, reason, output: "", damaged: true })

/** Reads the description, and makes sure that all files are there, as they were written. */
export const read = <A extends Fields>(
  schema: Schema.Decoder<A>,
  shape: MachineShape,
  from: SavedMachine
): Effect.Effect<A, LoadFailed> =>
  Effect.gen(function* () {
    const failed = unfit(shape, from)
    const text = yield* Effect.try({
      try: () => Fs.readFileSync(Path.join(from.directory, description), "utf8"),
      catch: () => failed(`it has no ${description}`)
    })
    const found = yield* Schema.decodeUnknownEffect(Schema.fromJsonString(schema))(text).pipe(
      Effect.mapError(() => failed(`its ${description} is damaged, or was written by another version`))
    )
    const stats = (name: string) => Fs.statSync(Path.join(from.directory, name), { throwIfNoEntry: false })
    for (const [name, size] of Object.entries(found.files)) {
      const has = stats(name)?.size
      if (has !== size) return yield* failed(`its ${name} has ${has ?? "no"} bytes, expected ${size}`)
    }
    for (const [name, was] of Object.entries(found.written ?? {})) {
      const file = stats(name)
      if (file === undefined) continue
      const is = writtenOf(file)
      if (was.device === is.device && was.inode === is.inode && was.at !== is.at)
        return yield* failed(`its ${name} was changed after it was saved`)
    }
    return found
  })
