/**
 * The package manager that started the command, and its end.
 *
 * `npx vmtest run` is three processes: npm, a shell and this one. A signal to npm ends only npm, or the shell with it, and Linux lets this process
 * continue. Only package managers are watched, because shells can end on purpose while their background jobs continue (`nohup`).
 */
import { readFileSync } from "node:fs"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"

/** A process. Its number can be reused by a later process, which has another start time. */
interface Ancestor {
  readonly pid: number
  readonly parent: number
  readonly session: string
  readonly startedAt: string
}

const find = (pid: number): Ancestor | undefined => {
  const stat = Result.try(() => readFileSync(`/proc/${pid}/stat`, "utf8"))
  if (Result.isFailure(stat)) return undefined
  // The fields after the name, which can contain any character: see proc_pid_stat(5).
  const fields = stat.success.slice(stat.success.lastIndexOf(")") + 2).split(" ")
  const [state, parent, , session = "", startedAt] = [...fields.slice(0, 4), fields[19]]
  // A zombie has ended, but its parent has not read its status yet.
  return state === "Z" || startedAt === undefined ? undefined : { pid, parent: Number(parent), session, startedAt }
}

/** npm, pnpm, yarn and bun all set the first for the processes that they start, and `node --run` the second. */
const markers = ["npm_config_user_agent", "NODE_RUN_SCRIPT_NAME"]

const startedByPackageManager = (pid: number): boolean => {
  const environment = Result.try(() => readFileSync(`/proc/${pid}/environ`, "latin1"))
  return Result.isSuccess(environment) && markers.some((name) => `\0${environment.success}`.includes(`\0${name}=`))
}

const packageManager = /^(npm|npx|pnpm|pnpx|yarn|yarnpkg|bun|bunx|corepack)([-.\d].*)?$/
const runtime = /^(node|nodejs|bun|deno)([-.\d].*)?$/

const baseName = (word: string | undefined) => (word ?? "").slice((word ?? "").lastIndexOf("/") + 1)

/** What a process is, by its command: `npm exec …` as npm titles itself, or a runtime with the manager's script. */
const kindOf = (pid: number): "package manager" | "script" | "other" => {
  const command = Result.try(() => readFileSync(`/proc/${pid}/cmdline`, "latin1"))
  if (Result.isFailure(command)) return "other"
  const [program = "", ...args] = command.success.split("\0")
  const name = baseName(program.split(" ")[0])
  if (packageManager.test(name)) return "package manager"
  if (!runtime.test(name)) return "other"
  return packageManager.test(baseName(args.find((arg) => !arg.startsWith("-")))) ? "package manager" : "script"
}

/**
 * Whether the process above all that a package manager started can be the one that started them. It is not one that adopted an orphan: init, which
 * in a container can be in this session, or a user's manager, which is in another one.
 */
const started = (ancestor: Ancestor, session: string): boolean => {
  const kind = kindOf(ancestor.pid)
  return kind === "package manager" || (ancestor.session === session && (ancestor.pid !== 1 || kind === "script"))
}

/** The parent and its ancestors, up to the package manager itself, which no package manager started; undefined for one that has ended. */
const chain = (pid: number, session: string): ReadonlyArray<Ancestor | undefined> => {
  const ancestor = find(pid)
  if (ancestor === undefined) return [undefined]
  if (startedByPackageManager(pid)) {
    // The leader of a session (a pane of tmux, setsid) is meant to outlive who started it.
    return ancestor.session === String(pid) ? [ancestor] : [ancestor, ...chain(ancestor.parent, ancestor.session)]
  }
  return [started(ancestor, session) ? ancestor : undefined]
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
  if (markers.every((name) => environment[name] === undefined)) return Effect.never
  return Effect.suspend(() => {
    const self = find(process.pid)
    // The leader of a session is meant to outlive the process that started it.
    if (self === undefined || self.session === String(self.pid)) return Effect.never
    const ancestors = chain(parent, self.session)
    return Effect.sync(() => ancestors.every(lives)).pipe(
      Effect.repeat({ schedule: watching, while: (live) => live }),
      Effect.asVoid
    )
  })
}
