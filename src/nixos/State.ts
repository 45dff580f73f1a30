/**
 * The folders in which the machines of a NixOS test keep their state: `vm-state-NAME` for each, and `shared-xchg` for all.
 *
 * They are in `XDG_RUNTIME_DIR`, else in the temporary folder, and stay there after the run, so that the next one can start from them. Lock files
 * beside them keep two runs from using one at the same time.
 *
 * **Example** (Begin with new state)
 *
 * ```ts
 * const folders = State.prepare(["web", "client"], false)
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Folders } from "../driver/StatePlaces.ts"
import * as Disk from "../host/Disk.ts"
import * as Lock from "../host/Lock.ts"

/** A folder for state cannot be used. */
export class StateUnusable extends Schema.TaggedError<StateUnusable>()("StateUnusable", {
  folder: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `could not prepare the folder ${this.folder}: ${this.reason}; set XDG_RUNTIME_DIR or TMPDIR to use another`
  }
}

/** The folders of machines in a folder. Each test begins with new ones, unless they are kept. */
const foldersIn = (temporary: string, keep: boolean): Folders => {
  const machine = (name: string) => Path.join(temporary, `vm-state-${name}`)
  return {
    temporary,
    machine,
    fresh: (name) =>
      keep ? Effect.void : Disk.quietly(() => Fs.rmSync(machine(name), { recursive: true, force: true })),
    shared: Path.join(temporary, "shared-xchg")
  }
}

/** The folder that they are in. */
const temporaryFolder = (): string => {
  const runtime = process.env.XDG_RUNTIME_DIR
  return Path.resolve(runtime === undefined || runtime === "" ? Os.tmpdir() : runtime)
}

/** How long another run may take to end. */
const patience = "10 seconds"

/** Keeps other runs from the state of a machine until the scope closes: they would remove it, or start from a disk that changes. */
const reserve = (folder: string) =>
  Lock.acquire(`${folder}.lock`, { deadline: patience }).pipe(
    Effect.mapError(
      (error) =>
        new StateUnusable({
          folder,
          reason: error._tag === "LockTimeout" ? `it is used by another run (${error.holder})` : error.message
        })
    )
  )

/** Reserves the folders of machines until the scope closes. They are removed when a test gets its machines, unless they are to be kept. */
export const prepare = Effect.fnUntraced(function* (machines: ReadonlyArray<string>, keep: boolean) {
  const folders = foldersIn(temporaryFolder(), keep)
  yield* Disk.attempt(
    () => {
      Fs.mkdirSync(folders.temporary, { recursive: true, mode: 0o700 })
      Fs.accessSync(folders.temporary, Fs.constants.W_OK)
    },
    (reason) => new StateUnusable({ folder: folders.temporary, reason })
  )
  yield* Effect.forEach(machines.map(folders.machine), reserve, { concurrency: "unbounded", discard: true })
  return folders
})
