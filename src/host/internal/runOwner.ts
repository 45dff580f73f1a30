/** Whose a run's folder is, and whether that run still lives. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"

export const ownerFile = "owner.json"
/** A folder with this file stays. */
export const keptFile = "kept"

const Owner = Schema.Struct({
  pid: Schema.Int,
  /** Clock ticks between the host's boot and the process's start; undefined for a process that is not there. */
  started: Schema.UndefinedOr(Schema.String),
  boot: Schema.String,
  /** Numbers of processes mean something only within one namespace; containers may share a folder and not it. */
  namespace: Schema.String
})
type Owner = typeof Owner.Type

const OwnerJson = Schema.fromJsonString(
  Schema.Struct({
    pid: Schema.Int,
    started: Schema.optionalKey(Schema.String),
    boot: Schema.String,
    namespace: Schema.String
  })
)

const orElse = <A>(read: () => A, fallback: A): A => {
  const got = Result.try(read)
  return Result.isSuccess(got) ? got.success : fallback
}

/** Field 22 of /proc/<pid>/stat, counted behind the name, which may hold blanks and brackets. */
const startOf = (pid: number): string | undefined =>
  orElse(() => {
    const stat = Fs.readFileSync(`/proc/${pid}/stat`, "utf8")
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]
  }, undefined)

const boot = () => orElse(() => Fs.readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(), "")
const namespace = () => orElse(() => Fs.readlinkSync("/proc/self/ns/pid"), "")

export const thisOwner = (): Owner => ({
  pid: process.pid,
  started: startOf(process.pid),
  boot: boot(),
  namespace: namespace()
})

const readOwner = (folder: string): Owner | undefined =>
  orElse(() => {
    const owner = Schema.decodeSync(OwnerJson)(Fs.readFileSync(Path.join(folder, ownerFile), "utf8"))
    return { ...owner, started: owner.started }
  }, undefined)

/** A folder is made within milliseconds; one that is still unready after this was abandoned. */
const unreadyFor = 60 * 60 * 1000

/**
 * Whether a folder belonged to a run that is gone for certain. One without an owner is none of ours; an owner in another
 * namespace of processes cannot be looked for, unless the host has booted since. `now` is in milliseconds since 1970.
 */
export const isDead = (folder: string, now: number): boolean => {
  const stat = orElse(() => Fs.lstatSync(folder), undefined)
  if (stat?.isDirectory() !== true || stat.uid !== process.geteuid?.()) return false
  if (Path.basename(folder).startsWith(".")) {
    return now - stat.mtimeMs > unreadyFor
  }
  const owner = readOwner(folder)
  if (owner === undefined || Fs.existsSync(Path.join(folder, keptFile))) return false
  if (owner.boot !== boot()) return true
  if (owner.namespace !== namespace()) return false
  return owner.started === undefined || startOf(owner.pid) !== owner.started
}
