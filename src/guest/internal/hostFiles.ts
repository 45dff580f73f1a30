/** What a copy out of a guest may do on the host: nothing outside the output folder, whatever the guest sent. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import { attempt, type Reason } from "../../host/OutputFolder.ts"

export { makeParent, type Reason } from "../../host/OutputFolder.ts"

/** The entries of a folder, as paths in bytes: a guest's names need not be UTF-8. */
const entries = (folder: Buffer): ReadonlyArray<Buffer> =>
  Fs.readdirSync(folder, { encoding: "buffer" }).map((name) => Buffer.concat([folder, Buffer.from(Path.sep), name]))

/** Removes a tree, also folders whose modes forbid it. */
export const removeTree = (path: string): Effect.Effect<void, Reason> =>
  attempt(() => {
    const open = (folder: Buffer) => {
      Fs.chmodSync(folder, 0o700)
      for (const entry of entries(folder)) if (Fs.lstatSync(entry).isDirectory()) open(entry)
    }
    const info = Fs.lstatSync(path, { throwIfNoEntry: false })
    // root needs no permission.
    if (info?.isDirectory() && process.geteuid?.() !== 0) open(Buffer.from(path))
    Fs.rmSync(path, { recursive: true, force: true })
  })

/** A folder beside the copy's place that is removed with the scope, and that nobody else can enter. */
export const stagingFolder = (parent: string) =>
  Effect.acquireRelease(
    attempt(() => Fs.mkdtempSync(Path.join(parent, ".copy-"))),
    (folder) => Effect.ignore(removeTree(folder))
  )

/**
 * Takes from an unpacked tree what a guest must not give to the host: the rights of other users (set-user-ID and set-group-ID).
 * Gives a reason to refuse it if it has device nodes, which lead to the host's devices.
 */
const dropPrivileges = (path: Buffer): Reason | undefined => {
  const info = Fs.lstatSync(path)
  if (info.isBlockDevice() || info.isCharacterDevice()) {
    return `contains the device node ${Path.basename(path.toString())}`
  }
  if (info.isFile() && (info.mode & 0o6000) !== 0) Fs.chmodSync(path, info.mode & 0o777)
  if (!info.isDirectory()) return undefined
  for (const entry of entries(path)) {
    const reason = dropPrivileges(entry)
    if (reason !== undefined) return reason
  }
  return undefined
}

/** Moves the only entry of `folder` to `target`, and replaces what is there. */
export const moveInto = (folder: string, target: string): Effect.Effect<void, Reason> =>
  Effect.gen(function* () {
    const sent = yield* attempt(() => entries(Buffer.from(folder)))
    const [from] = sent
    if (from === undefined || sent.length > 1) {
      return yield* Effect.fail(`was not written: the guest sent ${sent.length} entries instead of one`)
    }
    const info = yield* attempt(() => Fs.lstatSync(from))
    if (info.isSymbolicLink()) return yield* Effect.fail("was not written: the guest sent a symbolic link")
    const reason = yield* attempt(() => dropPrivileges(from))
    if (reason !== undefined) return yield* Effect.fail(`was not written: it ${reason}`)
    yield* removeTree(target)
    yield* attempt(() => {
      // A folder without write permission cannot be moved either.
      if (info.isDirectory()) Fs.chmodSync(from, 0o700)
      Fs.renameSync(from, target)
      if (info.isDirectory()) Fs.chmodSync(target, info.mode & 0o1777)
    })
  })
