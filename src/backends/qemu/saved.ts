/**
 * A saved QEMU machine: a folder with
 *
 *     machine.json   what it is; written last
 *     memory         the guest's memory, as long as that, with holes where it is zero
 *     state          the devices: a migration stream without the memory's pages
 *     console        what the guest had printed
 *     disk           the changes to the image's disk, where it has one that can be written (qcow2)
 *     own1, own2 …   the machine's own disks, then its sticks (raw)
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Digest from "../../host/Digest.ts"
import type { MachineShape, SavedMachine } from "../Backend.ts"
import type { LoadFailed } from "../BackendError.ts"
import * as SavedFolder from "../internal/savedFolder.ts"
import { roundMemory } from "./command.ts"
import { savedFormat } from "./fingerprint.ts"

export const fileNames = { memory: "memory", state: "state", console: "console", disk: "disk" } as const
export const ownDisk = (index: number): string => `own${index + 1}`

/** What a guest can see of its hardware. */
const Hardware = Schema.Struct({
  image: Schema.String,
  memory: Schema.Number,
  cpus: Schema.Number,
  cards: Schema.Number,
  disks: Schema.Number,
  /** What `devicesOf` gives. */
  devices: Schema.String
})
export type Hardware = typeof Hardware.Type

const Description = Schema.Struct({
  backend: Schema.Literal("qemu"),
  format: Schema.Literal(savedFormat),
  hardware: Hardware,
  /** Which of the guest's ports the host had open: the fork has them open from its first moment on. */
  ports: Schema.Array(Schema.Number),
  ...SavedFolder.fields
})
export type Description = typeof Description.Type

/** The machine's devices and further arguments in a text, empty where it has none. */
const devicesOf = ({ devices = [], hotplug = false, qemuArguments = [] }: MachineShape): string => {
  const kinds = devices.map(({ kind, name }) => ({ ...kind, name }))
  const none = kinds.length + qemuArguments.length === 0 && !hotplug
  return none ? "" : Digest.canonical([kinds, hotplug, qemuArguments])
}

export const hardwareOf = (shape: MachineShape): Hardware => ({
  image: shape.image.digest,
  memory: roundMemory(shape.memory),
  cpus: shape.cpus,
  cards: shape.networks.length,
  disks: shape.disks?.length ?? 0,
  devices: devicesOf(shape)
})

/** Writes what makes a folder a saved machine. Throws what the file system says. */
export const describe = (directory: string, hardware: Hardware, ports: ReadonlyArray<number>): void =>
  SavedFolder.describe(directory, { backend: "qemu", format: savedFormat, hardware, ports })

/** Reads it again, and makes sure that it is whole and of this shape. */
export const read = (shape: MachineShape, from: SavedMachine): Effect.Effect<Description, LoadFailed> =>
  Effect.gen(function* () {
    const failed = SavedFolder.unfit(shape, from)
    const saved = yield* SavedFolder.read(Description, shape, from)
    const wanted = hardwareOf(shape)
    for (const key of ["image", "memory", "cpus", "cards", "disks", "devices"] as const) {
      if (saved.hardware[key] !== wanted[key]) {
        const [was, is] = [saved.hardware[key], wanted[key]].map((value) => (value === "" ? "none" : value))
        return yield* failed(`it was saved with ${key} ${was}, but this machine has ${is}`)
      }
    }
    if (saved.files[fileNames.memory] !== wanted.memory) return yield* failed("its memory has another size")
    return saved
  })

/** What the saved machine had printed; nothing where that cannot be read. */
export const consoleOf = ({ directory }: SavedMachine): Buffer => {
  const read = Result.try(() => Fs.readFileSync(Path.join(directory, fileNames.console)))
  return Result.isSuccess(read) ? read.success : Buffer.alloc(0)
}
