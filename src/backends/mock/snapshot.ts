/** What the mock keeps of a machine: enough to notice a folder that is damaged, or of a machine with other hardware. */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Disk from "../../host/Disk.ts"
import type { MachineShape, SavedMachine } from "../Backend.ts"
import { type LoadFailed, SaveFailed } from "../BackendError.ts"
import * as SavedFolder from "../internal/savedFolder.ts"

const Saved = Schema.Struct({
  backend: Schema.Literal("mock"),
  image: Schema.String,
  memory: Schema.Number,
  cpus: Schema.Number,
  ...SavedFolder.fields
})

export const save = (shape: MachineShape, directory: string): Effect.Effect<SavedMachine, SaveFailed> =>
  Effect.try({
    try: () => {
      if (Fs.readdirSync(directory).length > 0) throw new Error("the folder is not empty")
      const { cpus, image, memory } = shape
      SavedFolder.describe(directory, { backend: "mock", image: image.digest, memory, cpus })
      return { directory }
    },
    catch: (error) => new SaveFailed({ machine: shape.name, directory, reason: Disk.reasonOf(error) })
  })

export const load = (shape: MachineShape, from: SavedMachine): Effect.Effect<void, LoadFailed> =>
  Effect.gen(function* () {
    const saved = yield* SavedFolder.read(Saved, shape, from)
    const { cpus, image, memory } = shape
    const other =
      saved.image !== image.digest
        ? "image"
        : saved.memory !== memory
          ? "memory"
          : saved.cpus !== cpus
            ? "cpus"
            : undefined
    if (other !== undefined)
      yield* Effect.fail(SavedFolder.unfit(shape, from)(`it was saved with a different ${other}`))
  })
