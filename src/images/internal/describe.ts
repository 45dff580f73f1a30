/** What messages and the terminal call an image. */
import { inspect } from "node:util"
import { isUint8Array } from "node:util/types"
import * as Predicate from "effect/Predicate"
import * as Digest from "../../host/Digest.ts"
import type { DebianImage, Image, StartScriptImage, TinyImage } from "../Image.ts"

const countOf = (value: unknown, one: string): ReadonlyArray<string> => {
  const count = Array.isArray(value) ? value.length : Predicate.isObject(value) ? Object.keys(value).length : 0
  return count === 0 ? [] : [`${count} ${one}${count === 1 ? "" : "s"}`]
}

const packageNames = (packages: unknown): ReadonlyArray<string> => {
  if (!Array.isArray(packages)) return []
  const more = packages.length > 4 ? ` and ${packages.length - 4} more` : ""
  return packages.slice(0, 4).map((name, index) => `${name}${index === 3 ? more : ""}`)
}

/** Tells descriptions apart whose words are the same: four hex digits of their digest. */
const mark = (image: TinyImage | DebianImage): string => {
  const files = Predicate.isObject(image.files)
    ? Object.fromEntries(
        Object.entries(image.files).map(([path, file]) => [path, isUint8Array(file) ? Digest.of(file) : file])
      )
    : image.files
  const options = { depth: 8, sorted: true, breakLength: Infinity, maxArrayLength: 4096, maxStringLength: Infinity }
  return Digest.of(inspect({ ...image, files }, options)).slice(0, 4)
}

/** A command line that messages can show. */
const shortened = (line: string): string => (line.length > 60 ? `${line.slice(0, 59)}…` : line)

const describeScript = ({ command, path }: StartScriptImage): string => {
  if (typeof path === "string") return `start script ${path}`
  return typeof command === "string" ? `command line ${shortened(command.trim())}` : "start script"
}

const described = new WeakMap<Image, string>()

export const describe = (image: Image): string => {
  // It names images that are refused, too: what no compiler checked may be of any type.
  if (image._tag === "DiskImage") return typeof image.path === "string" ? `disk ${image.path}` : "disk"
  if (image._tag === "StartScriptImage") return describeScript(image)
  if (image._tag === "MicrovmImage") return typeof image.runner === "string" ? `runner ${image.runner}` : "runner"
  const known = described.get(image)
  if (known !== undefined) return known
  const debian: Partial<DebianImage> = image._tag === "DebianImage" ? image : {}
  const kind = image._tag === "TinyImage" ? "tiny" : "debian"
  const suite = image.suite === undefined ? "" : ` ${String(image.suite)}`
  const further = [
    ...countOf(image.files, "file"),
    ...countOf(image._tag === "TinyImage" ? image.modules : [], "module"),
    ...countOf(debian.units, "unit"),
    ...countOf(debian.users, "user"),
    ...(debian.setup === undefined ? [] : ["setup"]),
    ...(image.kernelParameters === undefined ? [] : ["kernel parameters"])
  ]
  const parts = [...packageNames(debian.packages), ...further]
  const whole = `${kind}${suite}${parts.length === 0 ? "" : ` with ${parts.join(", ")}`}`
  const telling = new Set(["_tag", "suite", "packages"])
  const more = Array.isArray(debian.packages) && debian.packages.length > 4
  const sufficient = !more && Object.entries(image).every(([field, value]) => value === undefined || telling.has(field))
  const name = sufficient ? whole : `${whole} #${mark(image)}`
  described.set(image, name)
  return name
}
