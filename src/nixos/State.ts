/**
 * The folders in which the machines of a NixOS test keep their state: `vm-state-NAME` for each, and `shared-xchg` for all.
 *
 * They are in `XDG_RUNTIME_DIR`, else in the temporary folder, and stay there after the run, so that the next one can start from them.
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

/** A folder for state cannot be used. */
export class StateUnusable extends Schema.TaggedError<StateUnusable>()("StateUnusable", {
  folder: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `could not prepare the folder ${this.folder}: ${this.reason}; set XDG_RUNTIME_DIR or TMPDIR to use another`
  }
}

/** The folders of machines in a folder. */
export const foldersIn = (temporary: string): Folders => ({
  temporary,
  machine: (name) => Path.join(temporary, `vm-state-${name}`),
  shared: Path.join(temporary, "shared-xchg")
})

/** The folder that they are in. */
const temporaryFolder = (): string => {
  const runtime = process.env.XDG_RUNTIME_DIR
  return Path.resolve(runtime === undefined || runtime === "" ? Os.tmpdir() : runtime)
}

/** Removes the state that the last run has left, unless it is to be kept. */
export const prepare = Effect.fnUntraced(function* (machines: ReadonlyArray<string>, keep: boolean) {
  const folders = foldersIn(temporaryFolder())
  const made = <A>(folder: string, make: () => A) =>
    Disk.attempt(make, (reason) => new StateUnusable({ folder, reason }))
  yield* made(folders.temporary, () => {
    Fs.mkdirSync(folders.temporary, { recursive: true, mode: 0o700 })
    Fs.accessSync(folders.temporary, Fs.constants.W_OK)
  })
  if (!keep) {
    yield* Effect.forEach(
      machines.map((name) => folders.machine(name)),
      (folder) => made(folder, () => Fs.rmSync(folder, { recursive: true, force: true })),
      { discard: true }
    )
  }
  return folders
})
