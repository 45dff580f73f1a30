/**
 * Saving a QEMU: its whole migration stream comes over a unix socket, while the guest is paused, and is split into
 * the memory's file and the devices' state. The same way for a machine that booted and for one that went on from a saved
 * machine, so what is saved depends on nothing else.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Disk from "../../host/Disk.ts"
import * as Connection from "../../transport/Connection.ts"
import type { QmpError, QmpService } from "../../transport/qmp/Qmp.ts"
import * as QmpCommands from "../../transport/qmp/QmpCommands.ts"
import type { TransportError } from "../../transport/ShellError.ts"
import { type MachineShape, type SavedMachine, storageOf } from "../Backend.ts"
import { SaveFailed } from "../BackendError.ts"
import { copySparse } from "../internal/copySparse.ts"
import { apart } from "../internal/runState.ts"
import { overlayIn, roundMemory, type Sockets } from "./command.ts"
import * as Hotplug from "./hotplug.ts"
import { MemoryFile } from "./memoryFile.ts"
import { Splitter } from "./migrationStream.ts"
import * as saved from "./saved.ts"

/** What is saved, and how. */
export interface Saving {
  readonly shape: MachineShape
  readonly sockets: Sockets
  readonly control: QmpService
  /** The console's log so far. */
  readonly console: Effect.Effect<string>
  readonly timeScale: number
}

/** Bytes a second: as fast as it goes. Otherwise QEMU leaves room for others on a network that is not there. */
const bandwidth = 2 ** 40

/** A guest of 512 MiB takes half a second; a host that is short of memory or has a slow disk takes its time. */
const timeLimit = (memory: number): Duration.Duration => Duration.seconds(60 + memory / 2 ** 25)

/** The name of the memory's block: the id of the memory backend. */
const block = "memory"

/** How a paused guest is saved, within its time. */
type Steps = (
  saving: Saving,
  directory: string
) => Effect.Effect<SavedMachine, SaveFailed | QmpError | TransportError, Scope.Scope>

/** Saves a paused guest, which may not be able to continue by itself afterwards. One at a time. */
export const saving = (steps: Steps) =>
  Effect.fnUntraced(function* (saving: Saving, directory: string): Effect.fn.Return<SavedMachine, SaveFailed> {
    const { control, shape, timeScale } = saving
    const failed = (reason: string) => new SaveFailed({ machine: shape.name, directory, reason })
    const limit = Duration.times(timeLimit(shape.memory), timeScale)
    return yield* steps(saving, directory).pipe(
      Effect.scoped,
      Effect.mapError((error) => (error._tag === "SaveFailed" ? error : failed(error.message))),
      Effect.timeoutOrElse({
        duration: limit,
        orElse: () =>
          Effect.andThen(
            Effect.ignore(control.execute("migrate_cancel")),
            Effect.fail(failed(`timed out after ${Duration.format(limit)}`))
          )
      })
    )
  })

/** Takes the stream of a guest's state. */
export interface Sink {
  /** Throws what the file system says. */
  readonly push: (chunk: Buffer) => void
  /** What is wrong with the stream. */
  readonly problem: string | undefined
}

/** Has QEMU send the whole state of its guest to a sink. */
export const send = Effect.fnUntraced(function* ({ control, shape, sockets }: Saving, directory: string, sink: Sink) {
  const { accept } = yield* Connection.listen({ machine: shape.name, socket: sockets.save })
  yield* QmpCommands.migrateSetParameters(control, { "max-bandwidth": bandwidth })

  // QEMU gave up its disks when it was saved before, and takes them again when the guest goes on.
  if ((yield* QmpCommands.queryStatus(control)).status === "postmigrate") {
    // Not interruptible between the two: the guest must stay paused.
    yield* Effect.uninterruptible(Effect.andThen(QmpCommands.cont(control), QmpCommands.stop(control)))
  }
  yield* QmpCommands.migrate(control, `unix:${sockets.save}`)
  yield* Effect.all([receive(accept, sink), completed(control)], { concurrency: 2 }).pipe(
    Effect.mapError((error) =>
      typeof error === "string" ? new SaveFailed({ machine: shape.name, directory, reason: error }) : error
    ),
    Effect.onError(() => apart(Effect.ignore(control.execute("migrate_cancel"))))
  )
})

/** Makes sure that a machine is saved into a folder with nothing else in it. Throws what the file system says. */
export const mustBeEmpty = (directory: string): void => {
  if (Fs.readdirSync(directory).length > 0) throw new Error("the folder is not empty")
}

const steps: Steps = Effect.fnUntraced(function* (saving, directory) {
  const { control, shape } = saving
  const failed = (reason: string) => new SaveFailed({ machine: shape.name, directory, reason })
  const attempt = <A>(f: () => A) => Effect.try({ try: f, catch: (error) => failed(Disk.reasonOf(error)) })
  const path = (name: string) => Path.join(directory, name)
  const size = roundMemory(shape.memory)

  yield* attempt(() => mustBeEmpty(directory))
  const changed = yield* Hotplug.changes(control, shape)
  if (changed !== undefined) return yield* failed(changed)
  const fd = yield* Effect.acquireRelease(
    attempt(() => Fs.openSync(path(saved.fileNames.memory), "wx", 0o600)),
    (fd) => Effect.sync(() => Fs.closeSync(fd))
  )
  const memory = yield* attempt(() => new MemoryFile(fd, size))
  const splitter = new Splitter(block, memory)
  yield* send(saving, directory, splitter)
  yield* copyDisks(shape, directory)
  const ports = yield* openPorts(control)

  yield* attempt(() => memory.flush())
  const state = splitter.finish()
  if (state === undefined) return yield* failed(splitter.problem ?? "its state is incomplete")
  if (splitter.memory !== size)
    return yield* failed(`its memory has ${splitter.memory ?? "no"} bytes, expected ${size}`)
  const console = yield* saving.console
  yield* attempt(() => {
    Fs.writeFileSync(path(saved.fileNames.state), state, { mode: 0o600 })
    Fs.writeFileSync(path(saved.fileNames.console), console, { mode: 0o600 })
    saved.describe(directory, saved.hardwareOf(shape), ports)
  })
  return { directory }
})

/** The memory apart from the rest, so that machines that resume from it share its pages. */
export const save = saving(steps)

/** Feeds the sink to the stream's end; fails with what is wrong with it. */
const receive = (accept: Effect.Effect<Connection.Connection>, sink: Sink) =>
  Effect.gen(function* () {
    const stream = yield* accept
    const wrong = Deferred.makeUnsafe<void, string>()
    stream.onData((chunk) => {
      if (Deferred.isDoneUnsafe(wrong)) return
      const pushed = Effect.runSyncExit(Effect.try({ try: () => sink.push(chunk), catch: Disk.reasonOf }))
      if (Exit.isFailure(pushed)) Deferred.doneUnsafe(wrong, pushed)
      else if (sink.problem !== undefined) Deferred.doneUnsafe(wrong, Exit.fail(sink.problem))
    })
    yield* Effect.raceFirst(stream.closed, Deferred.await(wrong))
    // The last chunk may have been the one.
    if (Deferred.isDoneUnsafe(wrong)) yield* Deferred.await(wrong)
  })

const pending = new Set(["none", "setup", "active", "device", "pre-switchover", "wait-unplug"])

/** Waits until QEMU says that it has sent everything; fails with its words when it could not. */
const completed = (control: QmpService) =>
  QmpCommands.queryMigrate(control).pipe(
    Effect.repeat({
      schedule: Schedule.spaced("5 millis"),
      while: ({ status }) => status === undefined || pending.has(status)
    }),
    Effect.flatMap((migration) =>
      migration.status === "completed"
        ? Effect.void
        : Effect.fail(migration["error-desc"] ?? `the migration is ${migration.status}`)
    )
  )

const copyDisks = Effect.fnUntraced(function* (shape: MachineShape, directory: string) {
  const disks = [
    ...(shape.image.disk === undefined ? [] : [[overlayIn(shape.directory), saved.fileNames.disk] as const]),
    ...storageOf(shape).map((path, index) => [path, saved.ownDisk(index)] as const)
  ]
  yield* Effect.forEach(disks, ([from, name]) =>
    Effect.mapError(
      copySparse(from, Path.join(directory, name)),
      (reason) => new SaveFailed({ machine: shape.name, directory, reason })
    )
  )
})

const Chardevs = Schema.Array(Schema.Struct({ label: Schema.String, filename: Schema.String }))

/** The ports that the host has open, by their numbers. */
const openPorts = (control: QmpService) =>
  Effect.map(control.execute("query-chardev", undefined, Chardevs), (chardevs) =>
    chardevs
      .flatMap(({ filename, label }) => {
        const [, port] = /^port(\d+)$/.exec(label) ?? []
        return port === undefined || filename.startsWith("disconnected:") ? [] : [Number(port)]
      })
      .sort((a, b) => a - b)
  )
