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
import * as Scope from "effect/Scope"
import { type Folders, StateUnusable } from "../driver/StatePlaces.ts"
import * as Disk from "../host/Disk.ts"
import * as Lock from "../host/Lock.ts"

/** The folder that they are in. */
const temporaryFolder = (): string => {
  const runtime = process.env.XDG_RUNTIME_DIR
  return Path.resolve(runtime === undefined || runtime === "" ? Os.tmpdir() : runtime)
}

/** How long another run may take to end. */
const patience = "10 seconds"

const unusable = (folder: string) => (reason: string) => new StateUnusable({ folder, reason })

/** Keeps other runs from a folder until the scope closes: they would remove it, or start from a disk that changes. */
const lock = (folder: string) =>
  Lock.acquire(`${folder}.lock`, { deadline: patience }).pipe(
    Effect.mapError((error) =>
      unusable(folder)(error._tag === "LockTimeout" ? `it is used by another run (${error.holder})` : error.message)
    )
  )

/** The folders of machines in a folder, reserved until the scope closes. */
const foldersIn = (temporary: string, keep: boolean, scope: Scope.Scope): Folders => {
  const reserved = new Set<string>()
  const machine = (name: string) => Path.join(temporary, `vm-state-${name}`)
  const reserve = (name: string) =>
    reserved.has(name)
      ? Effect.void
      : Effect.tap(Scope.provide(lock(machine(name)), scope), () => Effect.sync(() => reserved.add(name)))
  const remove = (name: string) =>
    Disk.attempt(() => Fs.rmSync(machine(name), { recursive: true, force: true }), unusable(machine(name)))
  return {
    temporary,
    machine,
    reserve,
    fresh: (name) => (keep ? reserve(name) : Effect.andThen(reserve(name), remove(name))),
    shared: Path.join(temporary, "shared-xchg")
  }
}

/**
 * The folders of machines. Those of the given machines are reserved until the scope closes, as are those of further machines when a test gets them.
 * They are removed when a test gets its machines, unless they are to be kept.
 */
export const prepare = Effect.fnUntraced(function* (machines: ReadonlyArray<string>, keep: boolean) {
  const folders = foldersIn(temporaryFolder(), keep, yield* Effect.scope)
  yield* Disk.attempt(() => {
    Fs.mkdirSync(folders.temporary, { recursive: true, mode: 0o700 })
    Fs.accessSync(folders.temporary, Fs.constants.W_OK)
  }, unusable(folders.temporary))
  yield* Effect.forEach(machines, folders.reserve, { concurrency: "unbounded", discard: true })
  return folders
})
