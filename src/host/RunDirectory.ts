/**
 * The folder of one run: sockets, logs and state of everything it starts, mode 0700, gone when the run ends.
 *
 * A run that was killed leaves its folder behind; the next run removes it. A file in the folder names its owner: the
 * process, when that process started, and the boot of the host, so that a process which was given the same number later
 * is not taken for the owner.
 *
 * **Example** (a place for a socket)
 *
 * ```ts
 * const run = yield* RunDirectory.RunDirectory
 * const socket = `${yield* run.folder("web")}/qmp`
 * ```
 *
 * @since 0.1.0
 */

import { randomBytes } from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Digest from "./Digest.ts"
import * as Disk from "./Disk.ts"
import { makeFolder } from "./internal/makeFolder.ts"
import { isDead, keptFile, ownerFile, thisOwner } from "./internal/runOwner.ts"

/** The folder of the run could not be made, or the one that exists is not safe to use. */
export class RunDirectoryError extends Schema.TaggedError<RunDirectoryError>()("RunDirectoryError", {
  path: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `could not make a folder for the run at ${this.path}: ${this.reason}`
  }
}

/** The folder of this run. */
export interface RunDirectoryService {
  /** At most 60 bytes long, so that sockets below it stay within the 107 that the kernel takes. */
  readonly path: string
  /** Whether it stays when the run ends. */
  readonly kept: boolean
  /**
   * Makes a folder of its own (mode 0700) for something with a name, and gives its path, which has at most 28 bytes more
   * than the run's: a longer name, or one with odd characters, is shortened and told apart by a digest. Making it twice
   * gives the same folder.
   */
  readonly folder: (name: string) => Effect.Effect<string, RunDirectoryError>
}

/** The run's folder, as a service. */
export class RunDirectory extends Context.Service<RunDirectory, RunDirectoryService>()("vmtest/host/RunDirectory") {}

/** Where the folder goes, and whether it stays. */
export interface RunDirectoryOptions {
  /** Whether it stays when the run ends; a kept folder is never swept. Default false. */
  readonly keep?: boolean | undefined
  /** The folder to make it in. Default: the first of {@link bases} that can be used. */
  readonly base?: string | undefined
}

/** 8 bytes of a name and a slash after the base. */
const longestBase = 51

/**
 * What tools take for something else in a path: QEMU's connection to switches reads quotes, `%` and brackets, and Node imports no module from
 * a path with a backslash. Folders of continuous integration have `%2F`.
 */
const unsafe = /["%'[\\\]\p{Cc}]/u

/** Why the path of a base does not do. */
const pathProblem = (base: string): string | undefined => {
  if (Buffer.byteLength(base) > longestBase) return `its path is longer than ${longestBase} bytes`
  return unsafe.test(base) ? `its path has one of the characters " ' % [ ] \\, which not all tools can read` : undefined
}

/**
 * The places for runs' folders, best first: the user's own runtime folder, the temporary folder, `/tmp`. Those whose path is too long, or has
 * quotes, `%`, brackets or backslashes in it, are left out.
 */
export const bases = (env: NodeJS.ProcessEnv = process.env): ReadonlyArray<string> => {
  const user = Os.userInfo().uid
  const runtime = env.XDG_RUNTIME_DIR
  return [
    ...(runtime === undefined || !Path.isAbsolute(runtime) ? [] : [Path.join(runtime, "vmtest")]),
    Path.join(Os.tmpdir(), `vmtest-${user}`),
    `/tmp/vmtest-${user}`
  ].filter((base, index, all) => pathProblem(base) === undefined && all.indexOf(base) === index)
}

/**
 * Makes the run's folder and sweeps the folders of dead runs beside it. Closing the scope removes it, unless it is kept.
 */
export const make: (
  options?: RunDirectoryOptions
) => Effect.Effect<RunDirectoryService, RunDirectoryError, Scope.Scope> = Effect.fnUntraced(function* (
  options: RunDirectoryOptions = {}
) {
  const keep = options.keep ?? false
  const base = yield* usableBase(options.base === undefined ? bases() : [options.base])
  yield* sweep(base)
  const path = yield* Effect.acquireRelease(create(base, keep), (made) => (keep ? Effect.void : remove(made)))
  return {
    path,
    kept: keep,
    folder: (name) =>
      attempt(Path.join(path, shortName(name)), (folder) => {
        makeFolder(folder)
        return folder
      })
  }
})

/** {@link make}, as a layer. */
export const layer = (options: RunDirectoryOptions = {}): Layer.Layer<RunDirectory, RunDirectoryError> =>
  Layer.effect(RunDirectory, make(options))

/** Removes the folders of dead runs in a base, and says which. What it cannot judge or remove, it leaves alone. */
export const sweep = (base: string): Effect.Effect<ReadonlyArray<string>> =>
  Clock.currentTimeMillis.pipe(
    Effect.map((now) =>
      Disk.namesIn(base)
        .map((name) => Path.join(base, name))
        .filter((folder) => isDead(folder, now))
    ),
    Effect.tap((dead) => Effect.forEach(dead, remove, { discard: true }))
  )

const attempt = <A>(path: string, f: (path: string) => A): Effect.Effect<A, RunDirectoryError> =>
  Disk.attempt(
    () => f(path),
    (reason) => new RunDirectoryError({ path, reason })
  )

/** The first base that is, or can be made, ours alone; else the error of the last. */
const usableBase = (candidates: ReadonlyArray<string>): Effect.Effect<string, RunDirectoryError> => {
  const [first = "/tmp", ...others] = candidates
  const checked = attempt(first, (path) => {
    const problem = pathProblem(path)
    if (problem !== undefined) throw new Error(problem)
    makeFolder(path)
    const stat = Fs.lstatSync(path)
    // Anyone may make a folder in /tmp: one of another user's, or a link to somewhere else, is a trap.
    if (!stat.isDirectory()) throw new Error("it is not a folder")
    if (stat.uid !== process.geteuid?.()) throw new Error(`it belongs to user ${stat.uid}`)
    Fs.chmodSync(path, 0o700)
    Fs.accessSync(path, Fs.constants.W_OK | Fs.constants.X_OK)
    return path
  })
  return others.length === 0 ? checked : Effect.catch(checked, () => usableBase(others))
}

/** Made under another name first, so that nobody ever sees a run's folder that does not say whose it is. */
const create = (base: string, keep: boolean) =>
  attempt(base, () => {
    const name = randomBytes(4).toString("hex")
    const path = Path.join(base, name)
    const unready = Path.join(base, `.${name}`)
    Fs.mkdirSync(unready, { mode: 0o700 })
    Fs.writeFileSync(Path.join(unready, ownerFile), JSON.stringify(thisOwner()))
    if (keep) Fs.writeFileSync(Path.join(unready, keptFile), "")
    Fs.renameSync(unready, path)
    return path
  })

const remove = (path: string) =>
  Effect.try(() => Fs.rmSync(path, { recursive: true, force: true, maxRetries: 3 })).pipe(
    Effect.catch((error) => Effect.logWarning(`could not remove ${path}: ${String(error.cause ?? error)}`))
  )

/** At most 27 bytes of harmless characters, different for different names. */
const shortName = (name: string): string =>
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,26}$/.test(name)
    ? name
    : `${name.replaceAll(/[^A-Za-z0-9_-]/g, "").slice(0, 16)}-${Digest.of(name).slice(0, 10)}`
