/** A description made exact: checked, its files read, its defaults filled in. Equal plans have equal keys. */
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Digest from "../../host/Digest.ts"
import type { DebianImage, TinyImage, UserOptions } from "../Image.ts"
import { describe } from "../Image.ts"
import { BadImage } from "../ImageError.ts"
import { checkDescription } from "./checked.ts"
import type { GuestFile } from "./files.ts"
import { identity, readFiles } from "./files.ts"
import {
  baseModules,
  commandLine,
  debianModules,
  genericModules,
  lateDevices,
  sourcesOf,
  tinyModules
} from "./guestFiles.ts"

/** Goes up with every change of what builders make of a description that `guestSources` does not show. */
export const builderVersion = 7

interface Common {
  readonly name: string
  /** Digest of everything below and the builder's version: what the cache is asked for. */
  readonly key: string
  readonly suite: string
  readonly mirror: string | undefined
  /** Undefined is the cloud kernel, so that images that have it keep the keys that they always had. */
  readonly kernel: "generic" | undefined
  readonly cmdline: string
  readonly modules: ReadonlyArray<string>
  readonly files: ReadonlyArray<GuestFile>
}

export interface TinyPlan extends Common {
  readonly kind: "tiny"
}

export interface UnitPlan {
  readonly name: string
  readonly text: string
  readonly enabled: boolean
}

export interface DebianPlan extends Common {
  readonly kind: "debian"
  readonly packages: ReadonlyArray<string>
  readonly units: ReadonlyArray<UnitPlan>
  readonly users: ReadonlyArray<readonly [string, UserOptions]>
  readonly hostname: string
  readonly setup: ReadonlyArray<string>
}

export type Plan = TinyPlan | DebianPlan

const keyed = <P extends Plan>(plan: Omit<P, "key">): P => {
  // What an image is called is no part of it: it follows from the rest.
  const inputs = {
    ...plan,
    name: "",
    files: plan.files.map(identity),
    builder: [builderVersion, sourcesOf(plan.kernel)]
  }
  return { ...plan, key: Digest.ofValue(inputs) } as P
}

/** The modules of each initramfs with this kernel. */
const modulesOf = (kernel: TinyPlan["kernel"]): ReadonlyArray<string> =>
  kernel === "generic" ? [...genericModules, ...baseModules] : baseModules

/** Folders that each guest has. */
const folders = new Set(
  ["bin", "boot", "dev", "etc", "home", "lib", "lib64", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys"]
    .concat(["tmp", "usr", "usr/bin", "usr/lib", "usr/local", "usr/sbin", "usr/share", "var", "var/lib", "var/log"])
    .map((name) => `/${name}`)
)

/** The paths of the folders above a path, the root not among them. */
const above = (path: string): ReadonlyArray<string> => {
  const folder = Path.posix.dirname(path)
  return folder === "/" ? [] : [folder, ...above(folder)]
}

/** Fails if a file is where a folder is: of the guest, or of another file. */
const checkPlaces = Effect.fnUntraced(function* (image: string, files: ReadonlyArray<GuestFile>) {
  const paths = new Set(files.map(({ path }) => path))
  const bad = (path: string, reason: string) =>
    new BadImage({ image, field: `files.${path}`, reason: `files.${path} must not be a file: ${reason}` })
  for (const { path } of files) {
    if (folders.has(path)) return yield* bad(path, "the guest has a folder there")
    const parent = above(path).find((folder) => paths.has(folder))
    if (parent !== undefined) return yield* bad(parent, `${path} is below it`)
  }
})

const common = Effect.fnUntraced(function* (image: TinyImage | DebianImage) {
  yield* checkDescription(image)
  const name = describe(image)
  const files = yield* readFiles(name, image.files ?? {})
  yield* checkPlaces(name, files)
  return {
    name,
    suite: image.suite ?? "bookworm",
    mirror: image.mirror,
    kernel: image.kernel === "generic" ? image.kernel : undefined,
    cmdline: [commandLine, image.kernelParameters?.trim() ?? ""].filter((part) => part !== "").join(" "),
    files
  }
})

/** The plan of a tiny image; `BadImage` where it is not valid. */
export const tiny = Effect.fnUntraced(function* (image: TinyImage) {
  const base = yield* common(image)
  const owned = base.files.find(({ owner }) => owner !== undefined)
  if (owned !== undefined) {
    const field = `files.${owned.path}`
    const reason = `${field}.owner must be left out: a tiny image has no users but root`
    return yield* new BadImage({ image: base.name, field, reason })
  }
  return keyed<TinyPlan>({
    ...base,
    kind: "tiny",
    modules: [...modulesOf(base.kernel), ...tinyModules, ...(image.modules ?? [])]
  })
})

/**
 * Where a disk is mounted at boot, devices are looked for as early as elsewhere in Debian: the driver's shell waits for the files
 * of the guest, those for the mount, and the mount for its device. Empty files over those that make udev late.
 */
const earlyDevices = (files: ReadonlyArray<GuestFile>, units: ReadonlyArray<UnitPlan>): ReadonlyArray<GuestFile> => {
  const mounts =
    files.some(({ path }) => path === "/etc/fstab") || units.some(({ name }) => /\.(mount|swap)$/.test(name))
  return mounts ? lateDevices.map((path) => ({ path, mode: 0o644, owner: undefined, data: new Uint8Array() })) : []
}

/** The plan of a debian image; `BadImage` where it is not valid. */
export const debian = Effect.fnUntraced(function* (image: DebianImage) {
  const base = yield* common(image)
  const packages = [...new Set(image.packages ?? [])].sort()
  const units = Object.entries(image.units ?? {}).map(([name, unit]) =>
    typeof unit === "string"
      ? { name, text: unit, enabled: true }
      : { name, text: unit.text, enabled: unit.enabled ?? true }
  )
  const users = Object.entries(image.users ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))
  return keyed<DebianPlan>({
    ...base,
    files: [...earlyDevices(base.files, units), ...base.files],
    kind: "debian",
    modules: [...modulesOf(base.kernel), ...debianModules],
    packages,
    units: units.sort((a, b) => (a.name < b.name ? -1 : 1)),
    users,
    hostname: image.hostname ?? "vmtest",
    setup: typeof image.setup === "string" ? [image.setup] : (image.setup ?? [])
  })
})
