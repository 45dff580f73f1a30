/** Going on from a saved machine: a QEMU that waits for its state is given it, with its ports open from the first moment on. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Disk from "../../host/Disk.ts"
import * as Connection from "../../transport/Connection.ts"
import * as Preopened from "../../transport/Preopened.ts"
import type { QmpService } from "../../transport/qmp/Qmp.ts"
import * as QmpCommands from "../../transport/qmp/QmpCommands.ts"
import { type MachineShape, type SavedMachine, storageOf } from "../Backend.ts"
import { LoadFailed } from "../BackendError.ts"
import { copySparse } from "../internal/copySparse.ts"
import { empty, virtualSize } from "../internal/qcow2.ts"
import { overlayIn, type Sockets } from "./command.ts"
import * as saved from "./saved.ts"

/** The state is a megabyte, and takes 20 ms; a host that is short of memory or processors takes its time. */
const timeLimit = Duration.seconds(30)

/** Makes the disks that the guest may write: as they were saved, or an overlay with nothing in it. Fails with the reason. */
export const prepareDisks = (shape: MachineShape, from: SavedMachine | undefined): Effect.Effect<void, string> =>
  Effect.gen(function* () {
    const overlay = overlayIn(shape.directory)
    const { disk } = shape.image
    if (from === undefined) {
      if (disk === undefined) return
      return yield* Effect.try({
        try: () => Fs.writeFileSync(overlay, empty(virtualSize(disk.path, disk.format)), { mode: 0o600 }),
        catch: Disk.reasonOf
      })
    }
    if (disk !== undefined) yield* copySparse(Path.join(from.directory, saved.fileNames.disk), overlay)
    yield* Effect.forEach(storageOf(shape), (path, index) =>
      copySparse(Path.join(from.directory, saved.ownDisk(index)), path)
    )
  })

export interface Loading {
  readonly shape: MachineShape
  readonly sockets: Sockets
  readonly control: QmpService
  readonly from: SavedMachine
  readonly description: saved.Description
  readonly timeScale: number
}

/** Feeds a saved state to a QEMU that waits for it, in pieces: that of a large machine does not fit a buffer. */
export const feed = Effect.fnUntraced(function* (loading: Omit<Loading, "description">) {
  const { control, from, shape, sockets, timeScale } = loading
  const failed = (reason: string) =>
    new LoadFailed({ machine: shape.name, directory: from.directory, reason, output: "", damaged: false })
  const limit = Duration.times(timeLimit, timeScale)
  yield* Effect.gen(function* () {
    const file = yield* Effect.acquireRelease(
      Effect.try({
        try: () => Fs.openSync(Path.join(from.directory, saved.fileNames.state), "r"),
        catch: (error) => failed(Disk.reasonOf(error))
      }),
      (fd) => Effect.sync(() => Fs.closeSync(fd))
    )
    const incoming = yield* Connection.connect({ machine: shape.name, socket: sockets.load })
    for (;;) {
      const piece = yield* Effect.try({ try: () => nextOf(file), catch: (error) => failed(Disk.reasonOf(error)) })
      if (piece.length === 0) break
      yield* incoming.write(piece)
    }
    yield* QmpCommands.queryStatus(control).pipe(
      Effect.repeat({ schedule: Schedule.spaced("2 millis"), while: ({ status }) => status === "inmigrate" })
    )
  }).pipe(
    Effect.scoped,
    Effect.timeoutOrElse({
      duration: limit,
      orElse: () => Effect.fail(failed(`timed out after ${Duration.format(limit)}`))
    })
  )
})

const pieceSize = 4 * 1024 * 1024

const nextOf = (file: number): Buffer => {
  const piece = Buffer.allocUnsafe(pieceSize)
  return piece.subarray(0, Fs.readSync(file, piece, 0, pieceSize, null))
}

/** Loads the state and lets the guest go on; gives the ports that are open. */
export const load = Effect.fnUntraced(function* (loading: Loading) {
  const { control, description, shape, sockets } = loading
  // The guest itself tells its neighbours where it is, once it knows who it is.
  yield* QmpCommands.migrateSetParameters(control, { "announce-rounds": 0 })
  // Before the guest runs, so that it does not see its ports close and open again.
  const ports = yield* Preopened.open(
    shape.name,
    description.ports.flatMap((port) => sockets.ports[port] ?? [])
  )
  yield* feed(loading)
  yield* QmpCommands.cont(control)
  return ports
})
