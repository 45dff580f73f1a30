/** A description made exact: checked, its files read, its defaults filled in. Equal plans have equal keys. */
import { inspect } from "node:util"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Digest from "../../host/Digest.ts"
import type { DebianImage, TinyImage, UserOptions } from "../Image.ts"
import { describe } from "../Image.ts"
import { BadImage } from "../ImageError.ts"
import { unknownField } from "./fields.ts"
import type { GuestFile } from "./files.ts"
import { identity, readFiles } from "./files.ts"
import { baseModules, commandLine, debianModules, guestSources, lateDevices, tinyModules } from "./guestFiles.ts"

/** Goes up with every change of what builders make of a description that `guestSources` does not show. */
export const builderVersion = 5

interface Common {
  readonly name: string
  /** Digest of everything below and the builder's version: what the cache is asked for. */
  readonly key: string
  readonly suite: string
  readonly mirror: string | undefined
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
  const inputs = { ...plan, name: "", files: plan.files.map(identity), builder: [builderVersion, guestSources] }
  return { ...plan, key: Digest.ofValue(inputs) } as P
}

const string = { is: (value: unknown) => typeof value === "string", meant: "a string" }
const arrayOfStrings = {
  is: (value: unknown) => Array.isArray(value) && value.every((one) => typeof one === "string"),
  meant: "an array of strings"
}
const recordOf = (member: (value: unknown) => boolean, meant: string) => ({
  is: (value: unknown) => Predicate.isObject(value) && Object.values(value).every(member),
  meant
})

/** What the fields must be of, for scripts that no compiler checked. */
const fieldTypes: Readonly<Record<string, { readonly is: (value: unknown) => boolean; readonly meant: string }>> = {
  suite: string,
  mirror: string,
  kernelParameters: string,
  hostname: string,
  packages: arrayOfStrings,
  modules: arrayOfStrings,
  files: recordOf(
    (file) => typeof file === "string" || Predicate.isObject(file),
    "an object of guest paths and their contents"
  ),
  units: recordOf(
    (unit) => typeof unit === "string" || (Predicate.hasProperty(unit, "text") && typeof unit.text === "string"),
    "an object of unit names and their texts"
  ),
  users: recordOf(Predicate.isObject, "an object of user names and their options"),
  setup: {
    is: (value) => typeof value === "string" || arrayOfStrings.is(value),
    meant: "a command or an array of them"
  }
}

const checkTypes = Effect.fnUntraced(function* (image: TinyImage | DebianImage) {
  const unknown = unknownField(image)
  if (unknown !== undefined) {
    return yield* new BadImage({ image: image._tag === "TinyImage" ? "tiny" : "debian", ...unknown })
  }
  for (const [field, value] of Object.entries(image)) {
    const type = fieldTypes[field]
    if (value === undefined || type === undefined || type.is(value)) continue
    const reason = `is ${inspect(value, { depth: 1, breakLength: Infinity })}; ${type.meant} is meant`
    return yield* new BadImage({ image: image._tag === "TinyImage" ? "tiny" : "debian", field, reason })
  }
})

const common = Effect.fnUntraced(function* (image: TinyImage | DebianImage) {
  yield* checkTypes(image)
  const name = describe(image)
  const bad = (field: string, reason: string) => new BadImage({ image: name, field, reason })
  const suite = image.suite ?? "bookworm"
  if (!/^[a-z][a-z0-9-]*$/.test(suite)) return yield* bad("suite", `cannot be ${JSON.stringify(suite)}`)
  if (image.mirror !== undefined && !/^(https?|mirror\+?\w*):\S+$/.test(image.mirror)) {
    return yield* bad("mirror", `is no address: ${image.mirror}`)
  }
  if (/[\n\0]/.test(image.kernelParameters ?? "")) return yield* bad("kernelParameters", "must be one line")
  return {
    name,
    suite,
    mirror: image.mirror,
    cmdline: [commandLine, image.kernelParameters?.trim() ?? ""].filter((part) => part !== "").join(" "),
    files: yield* readFiles(name, image.files ?? {})
  }
})

/** The plan of a tiny image; `BadImage` for what makes no sense in it. */
export const tiny = Effect.fnUntraced(function* (image: TinyImage) {
  const base = yield* common(image)
  const owned = base.files.find(({ owner }) => owner !== undefined)
  if (owned !== undefined) {
    return yield* new BadImage({
      image: base.name,
      field: `files.${owned.path}`,
      reason: "cannot have an owner but root"
    })
  }
  const more = image.modules ?? []
  const strange = more.find((name) => !/^[A-Za-z0-9_-]+$/.test(name))
  if (strange !== undefined) {
    return yield* new BadImage({ image: base.name, field: "modules", reason: `has no module's name: ${strange}` })
  }
  return keyed<TinyPlan>({ ...base, kind: "tiny", modules: [...baseModules, ...tinyModules, ...more] })
})

// deb-version(7), and the names of Debian Policy 5.6.1; nothing that apt would read as an option or a pattern.
const packageName = /^[a-z0-9][a-z0-9+.-]*[a-z0-9+.](:[a-z0-9]+)?([=/][A-Za-z0-9.+:~-]+)?$/
const unitName = /^[A-Za-z0-9:_.\\@-]+\.(service|socket|target|timer|path|mount|automount|swap|slice)$/
const userName = /^[a-z_][a-z0-9_-]{0,31}$/
const hostName = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i

/**
 * Where a disk is mounted at boot, devices are looked for as early as elsewhere in Debian: the driver's shell waits for the files
 * of the guest, those for the mount, and the mount for its device. Empty files over those that make udev late.
 */
const earlyDevices = (files: ReadonlyArray<GuestFile>, units: ReadonlyArray<UnitPlan>): ReadonlyArray<GuestFile> => {
  const mounts =
    files.some(({ path }) => path === "/etc/fstab") || units.some(({ name }) => /\.(mount|swap)$/.test(name))
  return mounts ? lateDevices.map((path) => ({ path, mode: 0o644, owner: undefined, data: new Uint8Array() })) : []
}

/** The plan of a debian image; `BadImage` for what makes no sense in it. */
export const debian = Effect.fnUntraced(function* (image: DebianImage) {
  const base = yield* common(image)
  const bad = (field: string, reason: string) => new BadImage({ image: base.name, field, reason })
  const packages = [...new Set(image.packages ?? [])].sort()
  const noPackage = packages.find((name) => typeof name !== "string" || !packageName.test(name))
  if (noPackage !== undefined) return yield* bad("packages", `has no package's name: ${JSON.stringify(noPackage)}`)
  const units = Object.entries(image.units ?? {}).map(([name, unit]) =>
    typeof unit === "string"
      ? { name, text: unit, enabled: true }
      : { name, text: unit.text, enabled: unit.enabled ?? true }
  )
  const noUnit = units.find(({ name }) => !unitName.test(name))
  if (noUnit !== undefined) {
    return yield* bad(`units.${noUnit.name}`, "is no unit's name: the whole of it is meant, for example echo.service")
  }
  const users = Object.entries(image.users ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))
  const noUser = users.find(([name]) => !userName.test(name))
  if (noUser !== undefined) return yield* bad("users", `has no user's name: ${JSON.stringify(noUser[0])}`)
  const hostname = image.hostname ?? "vmtest"
  if (!hostName.test(hostname)) return yield* bad("hostname", `cannot be ${JSON.stringify(hostname)}`)
  return keyed<DebianPlan>({
    ...base,
    files: [...earlyDevices(base.files, units), ...base.files],
    kind: "debian",
    modules: [...baseModules, ...debianModules],
    packages,
    units: units.sort((a, b) => (a.name < b.name ? -1 : 1)),
    users,
    hostname,
    setup: typeof image.setup === "string" ? [image.setup] : (image.setup ?? [])
  })
})
