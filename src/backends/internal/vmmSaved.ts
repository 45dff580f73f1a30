/** The folder of a saved machine of a hypervisor that writes its state itself: its own files, and what vmtest adds to them. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Digest from "../../host/Digest.ts"
import * as Disk from "../../host/Disk.ts"
import { type MachineShape, type SavedMachine, storageOf } from "../Backend.ts"
import { type LoadFailed, SaveFailed } from "../BackendError.ts"
import { asked, type HypervisorOptions } from "../HypervisorOptions.ts"
import { copySparse } from "./copySparse.ts"
import * as SavedFolder from "./savedFolder.ts"

/** The format of what is saved; another number, and what was saved before is of no use. */
export const savedFormat = 2

const consoleFile = "console"
const ownDisk = (index: number): string => `own${index + 1}`

const mebibyte = 1024 * 1024

/** The memory in whole mebibytes, which both hypervisors want. */
export const mebibytesOf = ({ memory }: Pick<MachineShape, "memory">): number => Math.ceil(memory / mebibyte)

/** What a guest can see of its hardware. */
const Hardware = Schema.Struct({
  image: Schema.String,
  memory: Schema.Number,
  cpus: Schema.Number,
  cards: Schema.Number,
  disks: Schema.Number,
  /** What its hypervisor gave it besides, as JSON. */
  options: Schema.String
})

const Description = Schema.Struct({
  backend: Schema.String,
  format: Schema.Literal(savedFormat),
  hardware: Hardware,
  ...SavedFolder.fields
})

const hardwareOf = (shape: MachineShape): typeof Hardware.Type => ({
  image: shape.image.digest,
  memory: mebibytesOf(shape) * mebibyte,
  cpus: shape.cpus,
  cards: shape.networks.length,
  disks: storageOf(shape).length,
  options: Digest.canonical(shape.hypervisor ?? {})
})

/** Makes sure that a saved machine is whole, of this backend and of this shape. */
export const check = Effect.fnUntraced(function* (
  backend: string,
  shape: MachineShape,
  from: SavedMachine
): Effect.fn.Return<void, LoadFailed> {
  const failed = SavedFolder.unfit(shape, from)
  const saved = yield* SavedFolder.read(Description, shape, from)
  if (saved.backend !== backend) return yield* failed(`it was saved by the ${saved.backend} backend`)
  const wanted = hardwareOf(shape)
  for (const key of ["image", "memory", "cpus", "cards", "disks", "options"] as const) {
    if (saved.hardware[key] !== wanted[key]) {
      return yield* failed(`it was saved with ${key} ${saved.hardware[key]}, but this machine has ${wanted[key]}`)
    }
  }
})

/** Puts the machine's own disks back to what they were. Fails with the reason. */
export const restoreDisks = (shape: MachineShape, { directory }: SavedMachine): Effect.Effect<void, string> =>
  Effect.forEach(storageOf(shape), (path, index) => copySparse(Path.join(directory, ownDisk(index)), path), {
    discard: true
  })

/** What the saved machine had printed; nothing where that cannot be read. */
export const consoleOf = ({ directory }: SavedMachine): Buffer => {
  const read = Result.try(() => Fs.readFileSync(Path.join(directory, consoleFile)))
  return Result.isSuccess(read) ? read.success : Buffer.alloc(0)
}

/** Saves a paused machine: `write` has the hypervisor write its files into the folder. */
export const save = Effect.fnUntraced(function* (options: {
  readonly backend: string
  readonly shape: MachineShape
  readonly directory: string
  readonly console: Effect.Effect<string>
  readonly write: Effect.Effect<void, { readonly said: string }>
  /** Whether the hypervisor can save a machine with such options. */
  readonly saves: (options: HypervisorOptions) => boolean
}): Effect.fn.Return<SavedMachine, SaveFailed> {
  const { backend, console, directory, saves, shape, write } = options
  const failed = (reason: string) => new SaveFailed({ machine: shape.name, directory, reason })
  const { hypervisor = {} } = shape
  const unsaved = asked(hypervisor).filter((option) => !saves({ [option]: hypervisor[option] }))
  if (unsaved.length > 0) return yield* failed(`${backend} cannot save a machine with ${unsaved.join(" and ")}`)
  const attempt = <A>(f: () => A) => Effect.try({ try: f, catch: (error) => failed(Disk.reasonOf(error)) })
  const found = yield* attempt(() => Fs.readdirSync(directory))
  if (found.length > 0) return yield* failed("the folder is not empty")
  yield* Effect.mapError(write, ({ said }) => failed(said))
  yield* Effect.forEach(storageOf(shape), (path, index) =>
    Effect.mapError(copySparse(path, Path.join(directory, ownDisk(index))), failed)
  )
  const printed = yield* console
  yield* attempt(() => {
    Fs.writeFileSync(Path.join(directory, consoleFile), printed, { mode: 0o600 })
    SavedFolder.describe(directory, { backend, format: savedFormat, hardware: hardwareOf(shape) })
  })
  return { directory }
})
