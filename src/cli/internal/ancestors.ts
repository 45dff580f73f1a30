/**
 * The package manager that started the command, and its end.
 *
 * `npx vmtest run` is three processes: npm, a shell and this one. Whoever ends the first ends only that one, or the shell with it, and Linux
 * lets this one go on. A shell that ends while its background jobs go on is the habit of nohup; so only package managers are watched.
 */
import { readFileSync } from "node:fs"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"

/** A process: its number may be another's later, which then has another start. */
interface Ancestor {
  readonly pid: number
  readonly parent: number
  readonly session: string
  readonly startedAt: string
}

const find = (pid: number): Ancestor | undefined => {
  const stat = Result.try(() => readFileSync(`/proc/${pid}/stat`, "utf8"))
  if (Result.isFailure(stat)) return undefined
  // The fields after the name, which may hold anything: see proc_pid_stat(5).
  const fields = stat.success.slice(stat.success.lastIndexOf(")") + 2).split(" ")
  const [state, parent, , session = "", startedAt] = [...fields.slice(0, 4), fields[19]]
  // A zombie has ended; nobody has asked for its status yet.
  return state === "Z" || startedAt === undefined ? undefined : { pid, parent: Number(parent), session, startedAt }
}

/** npm, pnpm, yarn and bun all tell what they start who they are. */
const marker = "npm_config_user_agent"

const startedByPackageManager = (pid: number): boolean => {
  const environment = Result.try(() => readFileSync(`/proc/${pid}/environ`, "latin1"))
  return Result.isSuccess(environment) && `\0${environment.success}`.includes(`\0${marker}=`)
}

const isPackageManager = (pid: number): boolean => {
  const command = Result.try(() => readFileSync(`/proc/${pid}/cmdline`, "latin1"))
  return Result.isSuccess(command) && /npm|npx|yarn|bun|corepack/.test(command.success)
}

/** From the parent up to the first process that no package manager started, which is the package manager; undefined for one that has ended. */
const chain = (pid: number, session: string): ReadonlyArray<Ancestor | undefined> => {
  const ancestor = find(pid)
  if (ancestor === undefined) return [undefined]
  if (startedByPackageManager(pid)) return [ancestor, ...chain(ancestor.parent, ancestor.session)]
  // Whoever takes in the children of a process that has ended (init, or a user's manager) is in another session than they.
  return [ancestor.session === session || isPackageManager(pid) ? ancestor : undefined]
}

const lives = (ancestor: Ancestor | undefined) =>
  ancestor !== undefined && find(ancestor.pid)?.startedAt === ancestor.startedAt

/** How often to look whether the ancestors still live. */
const watching = Schedule.spaced("250 millis")

/** Ends when one of the processes between the package manager and this one has ended; never where no package manager started this one. */
export const gone = (
  parent: number,
  environment: Readonly<Record<string, string | undefined>> = process.env
): Effect.Effect<void> => {
  if (environment[marker] === undefined) return Effect.never
  return Effect.suspend(() => {
    const self = find(process.pid)
    // The leader of a session of its own is meant to outlive who started it.
    if (self === undefined || self.session === String(self.pid)) return Effect.never
    const ancestors = chain(parent, self.session)
    return Effect.sync(() => ancestors.every(lives)).pipe(
      Effect.repeat({ schedule: watching, while: (live) => live }),
      Effect.asVoid
    )
  })
}
