/** What the mock keeps of a machine: enough to notice a folder that is damaged, or of a machine with other hardware. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Disk from "../../host/Disk.ts"
import type { MachineShape, SavedMachine } from "../Backend.ts"
import { LoadFailed, SaveFailed } from "../BackendError.ts"

const Saved = Schema.fromJsonString(
  Schema.Struct({ backend: Schema.Literal("mock"), image: Schema.String, memory: Schema.Number, cpus: Schema.Number })
)

const fileName = "machine.json"
export const save = (shape: MachineShape, directory: string): Effect.Effect<SavedMachine, SaveFailed> =>
  Effect.try({
    try: () => {
      if (Fs.readdirSync(directory).length > 0) throw new Error("the folder is not empty")
      const { cpus, image, memory } = shape
      const text = JSON.stringify({ backend: "mock", image: image.digest, memory, cpus })
      Fs.writeFileSync(Path.join(directory, fileName), text, { mode: 0o600 })
      return { directory }
    },
    catch: (error) => new SaveFailed({ machine: shape.name, directory, reason: Disk.reasonOf(error) })
  })

export const load = (shape: MachineShape, { directory }: SavedMachine): Effect.Effect<void, LoadFailed> =>
  Effect.gen(function* () {
    const failed = (reason: string) =>
      new LoadFailed({ machine: shape.name, directory, reason, output: "", damaged: true })
    const text = yield* Effect.try({
      try: () => Fs.readFileSync(Path.join(directory, fileName), "utf8"),
      catch: (error) => failed(Disk.reasonOf(error))
    })
    const saved = yield* Effect.mapError(Schema.decodeUnknownEffect(Saved)(text), () =>
      failed(`${fileName} is damaged`)
    )
    const { cpus, image, memory } = shape
    const other =
      saved.image !== image.digest
        ? "image"
        : saved.memory !== memory
          ? "memory"
          : saved.cpus !== cpus
            ? "cpus"
            : undefined
    if (other !== undefined) yield* Effect.fail(failed(`it was saved with a different ${other}`))
  })
