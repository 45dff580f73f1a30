/**
 * The output folder of a run, in which guests have a say: trees that were copied out of them are in it, symbolic links included.
 *
 * Whatever writes into it asks here where a name leads, so that nothing is written outside of it.
 *
 * **Example** (a picture that replaces an older one, never what a symbolic link points to)
 *
 * ```ts
 * yield* OutputFolder.place("/tmp/out", "/tmp/out/web/login.png", (file) => Fs.writeFileSync(file, png))
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Disk from "./Disk.ts"
import { makeFolder } from "./internal/makeFolder.ts"

export {
  /** Makes a folder with those above it; throws what the file system says, where Node's own function never returns, too. */
  makeFolder
} from "./internal/makeFolder.ts"

/** Why something of the host could not be used; completes "the host's <path> …". */
export type Reason = string

/** A path that is refused; its message is the reason. */
class Refused extends Error {}

const reasonOf = (error: unknown): Reason => {
  if (error instanceof Refused) return error.message
  const code = error instanceof Error && "code" in error ? error.code : undefined
  if (code === "ENOENT") return "does not exist"
  if (code === "EACCES" || code === "EPERM") return "cannot be accessed: permission denied"
  return `cannot be used: ${Disk.reasonOf(error)}`
}

/** Runs something on the host's files. */
export const attempt = <A>(run: () => A): Effect.Effect<A, Reason> => Effect.try({ try: run, catch: reasonOf })

/** Whether `path` is `folder` or in it, both without symbolic links. */
const within = (folder: string, path: string) => path === folder || path.startsWith(`${folder}${Path.sep}`)

/** A path with the symbolic links of those of its folders resolved that are there. */
const resolved = (path: string): string => {
  let there = path
  while (!Fs.existsSync(there)) {
    const parent = Path.dirname(there)
    if (parent === there) return path
    there = parent
  }
  return Path.join(Fs.realpathSync(there), Path.relative(there, path))
}

/** Throws what the file system says, or that it is outside. */
const realParent = (output: string, target: string): string => {
  const outside = new Refused(`is outside the output folder ${output}; nothing was written`)
  const parent = Path.dirname(target)
  if (!target.startsWith(`${output}${Path.sep}`) || !within(resolved(output), resolved(parent))) throw outside
  makeFolder(parent, 0o777)
  const real = Fs.realpathSync(parent)
  if (!within(resolved(output), real)) throw outside
  return real
}

/**
 * Makes the folder that `target` is to be in, and gives where it really is.
 *
 * Fails, and has made nothing, if that is outside `output`, be it by `..` or by a symbolic link that an earlier copy left there.
 */
export const makeParent = (output: string, target: string): Effect.Effect<string, Reason> =>
  attempt(() => realParent(output, target))

/**
 * Puts a file where `target` is, in the place of what is there: a symbolic link is replaced, and not followed. `write` makes the file of the
 * name that it is given.
 *
 * Looking and writing are one step of this process: no copy that is under way puts a link there in between.
 */
export const place = (output: string, target: string, write: (file: string) => void): Effect.Effect<void, Reason> =>
  attempt(() => {
    const file = Path.join(realParent(output, target), Path.basename(target))
    Fs.rmSync(file, { force: true })
    write(file)
  })

/** Whether there is something in a folder; false if there is no such folder. */
export const holdsFiles = (folder: string): Effect.Effect<boolean> =>
  attempt(() => Fs.readdirSync(folder).length > 0).pipe(Effect.orElseSucceed(() => false))

/** A path for people: from the working folder if it is in it, else from the root. */
export const shown = (path: string): string => {
  const relative = Path.relative("", path)
  return relative.startsWith("..") ? Path.resolve(path) : relative
}
