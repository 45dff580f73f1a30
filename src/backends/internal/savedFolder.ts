/**
 * The folder of a saved machine: files, and beside them what it is, with the length of each.
 *
 * It is written last, so a folder that was not finished is not a saved machine, and neither is one that lost a part of a file.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { MachineShape, SavedMachine } from "../Backend.ts"
import { LoadFailed } from "../BackendError.ts"

const description = "machine.json"

/** The length of each file, a field of every description. */
export const Files = Schema.Record(Schema.String, Schema.Number)

/** Adds the description to what the folder has. Throws what the file system says. */
export const describe = (directory: string, what: object): void => {
  const files = Object.fromEntries(
    Fs.readdirSync(directory).map((name) => [name, Fs.statSync(Path.join(directory, name)).size])
  )
  Fs.writeFileSync(Path.join(directory, description), JSON.stringify({ ...what, files }), { mode: 0o600 })
}

/** Why a saved machine cannot be loaded, when it is the folder's own fault. */
export const unfit =
  (shape: MachineShape, { directory }: SavedMachine) =>
  (reason: string): LoadFailed =>
    new LoadFailed({ machine: shape.name, directory, reason, output: "", damaged: true })

/** Reads the description, and makes sure that all files are there. */
export const read = <A extends { readonly files: typeof Files.Type }>(
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
    for (const [name, size] of Object.entries(found.files)) {
      const file = Fs.statSync(Path.join(from.directory, name), { throwIfNoEntry: false })
      if (file?.size !== size) return yield* failed(`its ${name} has ${file?.size ?? "no"} bytes, expected ${size}`)
    }
    return found
  })
