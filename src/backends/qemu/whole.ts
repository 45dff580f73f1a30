/**
 * Saved machines of start scripts: a folder with
 *
 *     machine.json    what it is; written last
 *     state           the whole migration stream, memory and devices
 *     console         what the guest had printed
 *     disk0, disk1 …  the disks in the machine's folder that the guest writes
 *
 * The memory is in the stream, since it is the script that says how a machine is put together: each machine that continues from it has all of its
 * memory to itself.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Disk from "../../host/Disk.ts"
import type { QmpService } from "../../transport/qmp/Qmp.ts"
import * as QmpCommands from "../../transport/qmp/QmpCommands.ts"
import type { MachineShape, SavedMachine } from "../Backend.ts"
import { type LoadFailed, SaveFailed } from "../BackendError.ts"
import { copySparse } from "../internal/copySparse.ts"
import * as SavedFolder from "../internal/savedFolder.ts"
import { savedFormat } from "./fingerprint.ts"
import { feed, type Loading } from "./load.ts"
import { mustBeEmpty, type Saving, saving, send } from "./save.ts"
import * as saved from "./saved.ts"
import { type Additions, stateOf } from "./scriptCommand.ts"

const Description = Schema.Struct({
  backend: Schema.Literal("qemu"),
  format: Schema.Literal(savedFormat),
  /** The digest of the start script. */
  image: Schema.String,
  /** How many cards the declaration has. */
  cards: Schema.Number,
  additions: Schema.Struct({ ports: Schema.Boolean, emulate: Schema.Boolean }),
  /** The paths of its disks in the machine's folder, in the order of their files here. */
  disks: Schema.Array(Schema.String),
  ...SavedFolder.fields
})
type Description = typeof Description.Type

const diskName = (index: number): string => `disk${index}`
export const consoleOf = saved.consoleOf

/** Reads what a saved machine is, and makes sure that it is whole and of this start script. */
export const read = (shape: MachineShape, from: SavedMachine): Effect.Effect<Description, LoadFailed> =>
  Effect.gen(function* () {
    const failed = SavedFolder.unfit(shape, from)
    const found = yield* SavedFolder.read(Description, shape, from)
    if (found.image !== shape.image.digest) return yield* failed("it was saved of another start script")
    if (found.cards !== shape.networks.length) {
      return yield* failed(`it was saved with ${found.cards} networks, but this machine has ${shape.networks.length}`)
    }
    return found
  })

const Migration = Schema.Struct({ "blocked-reasons": Schema.optionalKey(Schema.Array(Schema.String)) })

const Blocks = Schema.Array(
  Schema.Struct({ inserted: Schema.optionalKey(Schema.Struct({ file: Schema.String, ro: Schema.Boolean })) })
)

/** The disks that the guest can write, by their paths in the machine's folder. Fails with the first that is elsewhere. */
const disksOf = Effect.fnUntraced(function* (control: QmpService, shape: MachineShape) {
  const directory = stateOf(shape)
  const blocks = yield* control.execute("query-block", undefined, Blocks)
  const home = Fs.realpathSync(directory)
  const written = blocks.flatMap(({ inserted }) => (inserted === undefined || inserted.ro ? [] : [inserted.file]))
  return yield* Effect.forEach(written, (file) => {
    const path = Path.relative(home, Path.resolve(home, file))
    const isInside = !path.startsWith("..") && Fs.existsSync(Path.join(home, path))
    return isInside ? Effect.succeed(path) : Effect.fail(`its disk ${file} is not in its folder, ${directory}`)
  })
})

/** Saves a paused guest; the migration stream has everything except what the guest wrote to its disks. */
export const save = (what: Saving, directory: string, additions: Additions) =>
  saving(
    Effect.fnUntraced(function* (saving: Saving, directory: string) {
      const { control, shape } = saving
      const failed = (reason: string) => new SaveFailed({ machine: shape.name, directory, reason })
      const attempt = <A>(f: () => A) => Effect.try({ try: f, catch: (error) => failed(Disk.reasonOf(error)) })
      const path = (name: string) => Path.join(directory, name)
      const { "blocked-reasons": [blocked] = [] } = yield* control.execute("query-migrate", undefined, Migration)
      if (blocked !== undefined) return yield* failed(blocked)
      yield* attempt(() => mustBeEmpty(directory))
      const disks = yield* Effect.mapError(disksOf(control, shape), (error) =>
        typeof error === "string" ? failed(error) : error
      )
      const fd = yield* Effect.acquireRelease(
        attempt(() => Fs.openSync(path(saved.fileNames.state), "wx", 0o600)),
        (fd) => Effect.sync(() => Fs.closeSync(fd))
      )
      yield* send(saving, directory, { push: (chunk) => writeAll(fd, chunk), problem: undefined })
      yield* Effect.forEach(disks, (disk, index) =>
        Effect.mapError(copySparse(Path.join(stateOf(shape), disk), path(diskName(index))), failed)
      )
      const console = yield* saving.console
      yield* attempt(() => {
        Fs.writeFileSync(path(saved.fileNames.console), console, { mode: 0o600 })
        SavedFolder.describe(directory, {
          ...{ backend: "qemu", format: savedFormat, additions, disks },
          image: shape.image.digest,
          cards: shape.networks.length
        })
      })
      return { directory }
    })
  )(what, directory)

const writeAll = (fd: number, bytes: Buffer): void => {
  for (let offset = 0; offset < bytes.length; ) offset += Fs.writeSync(fd, bytes, offset)
}

/** Puts the disks of a saved machine where the start script finds them. Fails with the reason. */
export const putDisks = (shape: MachineShape, { directory }: SavedMachine, disks: ReadonlyArray<string>) =>
  Effect.forEach(
    disks,
    Effect.fnUntraced(function* (disk, index) {
      const to = Path.join(stateOf(shape), disk)
      yield* Effect.try({
        try: () => Fs.mkdirSync(Path.dirname(to), { recursive: true, mode: 0o700 }),
        catch: Disk.reasonOf
      })
      yield* copySparse(Path.join(directory, diskName(index)), to)
    }),
    { discard: true }
  )

/** Loads the state into a QEMU that waits for it, and lets the guest go on. */
export const load = Effect.fnUntraced(function* (loading: Omit<Loading, "description">) {
  yield* QmpCommands.migrateSetParameters(loading.control, { "announce-rounds": 0 })
  yield* feed(loading)
  yield* QmpCommands.cont(loading.control)
})
