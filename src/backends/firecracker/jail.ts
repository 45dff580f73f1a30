/**
 * A Firecracker in a jail: the jailer gives it a root folder with nothing but what it needs, and a user who may do nothing.
 *
 * The jail is `jail` in the machine's folder. The machine's files are bind mounts in it, made in a mount namespace of the process's own: they can come from
 * other file systems, forks still share the memory of the machine that was saved, and no mount is left, however the process ends. What the host writes or
 * reads itself, such as logs, is outside, so a Firecracker that was taken over cannot lead the host elsewhere with a link.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Disk from "../../host/Disk.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import type { MachineShape, SavedMachine } from "../Backend.ts"
import { UnsuitableHypervisor } from "../BackendError.ts"
import * as Environment from "../Environment.ts"
import type { HypervisorOptions } from "../HypervisorOptions.ts"
import { copySparse } from "../internal/copySparse.ts"
import { initrdIn } from "../internal/initrd.ts"
import * as ProgramVersion from "../internal/programVersion.ts"
import type { VmmSettings } from "../internal/vmmBackend.ts"
import { diskLinks, rootLink } from "../internal/vmmFiles.ts"
import type { VmmCard } from "../internal/vmmNetwork.ts"
import * as Quarters from "./quarters.ts"

const { fileNames, logs } = Quarters

/** Whom a jailed Firecracker runs as. */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

/** `nobody` and `nogroup`. */
const nobody = 65534

/** Whom a machine's Firecracker runs as; undefined for one without a jail. */
export const ownerOf = ({ jailer = false }: HypervisorOptions = {}): Owner | undefined => {
  if (jailer === false) return undefined
  const { gid = nobody, uid = nobody } = jailer === true ? {} : jailer
  return { uid, gid }
}

/** The jailer's full path. Fails without root, without the jailer, and for one of another release than Firecracker. */
export const find = Effect.fnUntraced(function* (
  jailer: string,
  version: string
): Effect.fn.Return<string, UnsuitableHypervisor> {
  const refuse = (reason: string) => new UnsuitableHypervisor({ program: jailer, reason })
  if (process.getuid?.() !== 0) {
    return yield* refuse("the jailer needs root; run vmtest as root, or declare the machine without backend.jailer")
  }
  const variable = Environment.variableOf("jailer")
  const program = yield* Effect.mapError(HostProcess.locate(jailer), () =>
    refuse(`could not find the jailer of Firecracker; set ${variable} to it, or put it on the PATH`)
  )
  const own = yield* Effect.mapError(ProgramVersion.ask(program, /^Jailer v(\d+\.\d+\.\d+)/m), (error) =>
    refuse(error._tag === "UnsuitableHypervisor" ? error.reason : error.message)
  )
  if (own === version) return program
  return yield* refuse(
    `the jailer must have the version of Firecracker, which is ${version}, got ${own}; set ${variable} to the jailer of that release`
  )
})

const inside = { jail: "jail", saving: "saving" } as const

/** The unix sockets, by their names in the machine's folder. */
export const sockets = {
  api: Path.join(inside.jail, Quarters.sockets.api),
  vsock: Path.join(inside.jail, Quarters.sockets.vsock)
}

/** What is at a place in the jail: its own file or folder, which it may write; one that it may read; or a copy, where it may not even read the original. */
type Kind = "own" | "read" | "copy"

interface Place {
  readonly kind: Kind
  /** A path of the host. */
  readonly from: string
  /** A name in the jail. */
  readonly name: string
}

/** Whether somebody may read a file, as its permissions have it. */
const mayRead = ({ gid, mode, uid }: Fs.Stats, owner: Owner): boolean =>
  (mode & (uid === owner.uid ? 0o400 : gid === owner.gid ? 0o040 : 0o004)) !== 0

/**
 * The libraries of a Firecracker that was not linked statically, as its releases are: at the paths where it looks for them. None for one that was, nor where
 * the host has no `ldd`.
 */
const librariesOf = (program: string): Effect.Effect<ReadonlyArray<Place>> =>
  HostProcess.run({ command: "ldd", args: [program] }).pipe(
    Effect.map(({ stdout }) =>
      [...stdout.matchAll(/(?:^|=>)\s*(\/\S+) \(0x/gm)].map(
        ([, path = ""]): Place => ({ kind: "read", from: path, name: path.slice(1) })
      )
    ),
    Effect.orElseSucceed(() => [])
  )

/** All files of the jail. */
const placesOf = (shape: MachineShape, owner: Owner, from: SavedMachine | undefined): ReadonlyArray<Place> => {
  const { directory, image } = shape
  const within = (name: string) => Path.join(directory, name)
  const own = (name: string, path = within(name)): Place => ({ kind: "own", from: path, name })
  const shared = (name: string, path: string): Place => ({
    kind: mayRead(Fs.statSync(path), owner) ? "read" : "copy",
    from: path,
    name
  })
  const initrd = initrdIn(shape)
  const booting = [
    shared("kernel", image.kernel),
    ...(initrd === undefined ? (image.initrd === "" ? [] : [shared("initrd", image.initrd)]) : [own("initrd", initrd)])
  ]
  return [
    ...(from === undefined
      ? booting
      : Object.values(fileNames).map((name) => shared(name, Path.join(from.directory, name)))),
    ...(image.root === undefined ? [] : [shared(rootLink, image.root)]),
    ...diskLinks(shape).map(({ name, path }) => own(name, path)),
    ...[logs.log, logs.metrics, inside.saving].map((name) => own(name))
  ]
}

/**
 * Runs in the machine's mount and network namespaces, as root: fills the jail, makes the TAP devices that Firecracker may not make itself, and becomes the
 * jailer. A run's folder is often on a file system that takes no devices and no programs, and the jail has both.
 */
const script = `set -e
base=$1 root=$2 uid=$3 gid=$4
shift 4
mount --bind -- "$base" "$base"
mount -o remount,bind,dev,exec -- "$base"
while [ "$1" != -- ]; do
  kind=$1 from=$2 to=$root/$3
  shift 3
  case $kind in
    tap)
      ip link show dev "$from" >/dev/null 2>&1 || ip tuntap add dev "$from" mode tap user "$uid"
      continue ;;
    copy)
      cp --reflink=auto --sparse=always -- "$from" "$to"
      chown "$uid:$gid" -- "$to"
      chmod 600 -- "$to"
      continue ;;
    own)
      [ -e "$from" ] || : >"$from"
      chown "$uid:$gid" -- "$from" ;;
  esac
  mkdir -p -- "\${to%/*}"
  if [ -d "$from" ]; then mkdir -- "$to"; else : >"$to"; fi
  if [ $kind = own ]; then mount --bind -- "$from" "$to"; else mount -o bind,ro -- "$from" "$to"; fi
done
shift
exec "$@"
`

/** What a jail is made for. */
export interface Options {
  readonly shape: MachineShape
  readonly settings: VmmSettings
  /** The jailer's full path. */
  readonly jailer: string
  readonly owner: Owner
  readonly from: SavedMachine | undefined
  readonly cards: ReadonlyArray<VmmCard>
  /** Firecracker's own arguments. */
  readonly args: ReadonlyArray<string>
}

const id = "vmtest"

/** The command that makes the jail and runs Firecracker in it. */
const commandOf = (
  { args, cards, from, jailer, owner, settings, shape }: Options,
  base: string,
  root: string,
  libraries: ReadonlyArray<Place>
) => {
  const { uid, gid } = owner
  const places = [...placesOf(shape, owner, from), ...libraries].flatMap(({ from, kind, name }) => [kind, from, name])
  const taps = cards.flatMap(({ tap, tapName }) => (tap === undefined ? ["tap", tapName, ""] : []))
  return settings.inNamespace(shape, {
    command: "unshare",
    args: [
      ...["--mount", "--propagation", "private", "--", "sh", "-c", script, "jail", base, root, `${uid}`, `${gid}`],
      ...[...taps, ...places, "--", jailer, "--id", id, "--exec-file", settings.program],
      ...["--uid", `${uid}`, "--gid", `${gid}`, "--chroot-base-dir", base, "--", ...args]
    ]
  })
}

/** Moves what Firecracker has saved to where it belongs, whatever its file system. */
const collect = (saving: string, directory: string) =>
  Effect.forEach(
    Object.values(fileNames),
    (name) => {
      const [from, to] = [Path.join(saving, name), Path.join(directory, name)]
      const move = Effect.try({ try: () => Fs.renameSync(from, to), catch: Disk.reasonOf })
      const copy = Effect.andThen(
        copySparse(from, to),
        Effect.sync(() => Fs.rmSync(from, { force: true }))
      )
      const check = Effect.try({
        try: () => {
          if (!Fs.lstatSync(to).isFile()) throw new Error(`${to} is not a file`)
          Fs.chownSync(to, process.getuid?.() ?? 0, process.getgid?.() ?? 0)
        },
        catch: Disk.reasonOf
      })
      return Effect.andThen(
        Effect.catch(move, () => copy),
        check
      )
    },
    { discard: true }
  )

/** Makes the folders of a jail, which go with the scope. Fails with the reason. */
export const make = Effect.fnUntraced(function* (
  options: Options
): Effect.fn.Return<Quarters.Quarters, string, Scope.Scope> {
  const { cards, settings, shape } = options
  const within = (name: string) => Path.join(shape.directory, name)
  const [base, saving, jail] = [within("chroot"), within(inside.saving), within(inside.jail)]
  const root = Path.join(base, Path.basename(Fs.realpathSync(settings.program)), id, "root")
  const libraries = yield* librariesOf(settings.program)
  const clear = () => {
    for (const path of [jail, base, saving]) Fs.rmSync(path, { recursive: true, force: true })
  }
  const makeFolders = Effect.try({
    try: () => {
      clear()
      Fs.mkdirSync(root, { recursive: true, mode: 0o700 })
      Fs.mkdirSync(saving, { mode: 0o700 })
      // Paths of sockets are short.
      Fs.symlinkSync(root, jail)
      return commandOf(options, base, root, libraries)
    },
    catch: Disk.reasonOf
  })
  const spawn = yield* Effect.acquireRelease(makeFolders, () => Disk.quietly(clear))
  // A namespace with other machines in it would keep them.
  const made = shape.networks.some(({ port }) => port?.tap !== undefined)
    ? cards.flatMap(({ tap, tapName }) => (tap === undefined ? [tapName] : []))
    : []
  yield* Effect.addFinalizer(() =>
    Effect.forEach(
      made,
      (tap) =>
        Effect.ignore(
          HostProcess.run(settings.inNamespace(shape, { command: "ip", args: ["link", "delete", "dev", tap] }))
        ),
      { discard: true }
    )
  )
  return {
    spawn,
    sockets,
    kernel: "kernel",
    initrd: "initrd",
    saved: (_, name) => name,
    saving: (_, name) => Path.join(inside.saving, name),
    collect: (directory) => collect(saving, directory),
    others: true
  }
})
