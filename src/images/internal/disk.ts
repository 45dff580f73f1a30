/** A disk of the user's own: looked at, never copied into the store. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Digest from "../../host/Digest.ts"
import * as Disk from "../../host/Disk.ts"
import type { BootImage } from "../BootImage.ts"
import type { DiskImage } from "../Image.ts"
import { describe } from "../Image.ts"
import { BadImage } from "../ImageError.ts"
import { checkDescription } from "./checked.ts"

/** QEMU: docs/interop/qcow2.rst. */
const qcow2Magic = "QFI\xfb"

const formatOf = (path: string): "raw" | "qcow2" => {
  const start = Buffer.alloc(4)
  const file = Fs.openSync(path, "r")
  Fs.readSync(file, start, 0, 4, 0)
  Fs.closeSync(file)
  return start.toString("latin1") === qcow2Magic ? "qcow2" : "raw"
}

/** Size and time stand for the content of a file of gigabytes. */
const fileIdentity = (path: string) => {
  const { mtimeMs, size } = Fs.statSync(path)
  return { path, size, mtimeMs }
}

/** Why nothing can be booted from a path. */
const problemOf = (path: string): string | undefined => {
  // Of a path below a file, say, there is an error instead of no entry.
  const found = Result.try(() => Fs.statSync(path, { throwIfNoEntry: false }))
  const stat = Result.getOrUndefined(found)
  if (stat === undefined) return Result.isFailure(found) ? "could not be read" : "does not exist"
  if (stat.isDirectory()) return "is a folder"
  if (!stat.isFile()) return "is something else"
  return stat.size === 0 ? "is empty" : undefined
}

/** What to boot; `BadImage` for files that are not there. */
export const bootDisk = Effect.fnUntraced(function* (image: DiskImage) {
  yield* checkDescription(image)
  const name = describe(image)
  const existing = (field: string, path: string) =>
    Effect.suspend(() => {
      const absolute = Path.resolve(path)
      const problem = problemOf(absolute)
      return problem === undefined
        ? Effect.succeed(absolute)
        : new BadImage({ image: name, field, reason: `${field} must be a file, but ${absolute} ${problem}` })
    })
  const path = yield* existing("path", image.path)
  const kernel = image.kernel === undefined ? "" : yield* existing("kernel", image.kernel)
  const initrd = image.initrd === undefined ? "" : yield* existing("initrd", image.initrd)
  return yield* Effect.try({
    try: (): BootImage => {
      const files = [path, kernel, initrd].filter((file) => file !== "").map(fileIdentity)
      return {
        digest: Digest.ofValue({ files, cmdline: image.cmdline ?? "" }),
        kernel,
        initrd,
        cmdline: image.cmdline ?? "",
        root: undefined,
        disk: { path, format: image.format ?? formatOf(path) },
        guest: "disk",
        builtAt: Math.max(...files.map(({ mtimeMs }) => Math.round(mtimeMs)))
      }
    },
    catch: (error) =>
      new BadImage({
        image: name,
        field: "path",
        reason: `path could not be read: ${Disk.reasonOf(error)}`
      })
  })
})
