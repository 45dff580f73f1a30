/** What of a machine's shape only the host can say, found before anything starts; the limits of a declaration are checked with that. */
import * as Fs from "node:fs"
import { type MachineShape, storageOf } from "../Backend.ts"
import { InvalidShape } from "../BackendError.ts"
import { longestSocketPath, socketsIn } from "../qemu/command.ts"
import { shellSocketIn } from "../qemu/scriptCommand.ts"

type Finding = readonly [field: string, reason: string]

const rules: ReadonlyArray<(shape: MachineShape) => Finding | undefined> = [
  ({ directory, image, networks }) => {
    const paths = Object.values(socketsIn({ directory, networks })).flat()
    const all = image.guest === "script" ? [...paths, shellSocketIn(directory)] : paths
    const longest = Math.max(...all.map((path) => Buffer.byteLength(path)))
    return longest <= longestSocketPath
      ? undefined
      : ["directory", `makes socket paths of ${longest} bytes; the kernel takes ${longestSocketPath}: ${directory}`]
  },
  ({ directory }) =>
    Fs.statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true
      ? undefined
      : ["directory", `is not a folder: ${directory}`],
  (shape) => {
    const { image } = shape
    const missing = [image.kernel, image.initrd, image.root ?? "", image.disk?.path ?? "", ...storageOf(shape)].find(
      (path) => path !== "" && !Fs.existsSync(path)
    )
    return missing === undefined ? undefined : ["image", `lacks ${missing}`]
  }
]

/** The first rule that the shape breaks, as an error. */
export const findInvalid = (shape: MachineShape): InvalidShape | undefined => {
  for (const rule of rules) {
    const found = rule(shape)
    if (found !== undefined) return new InvalidShape({ machine: shape.name, field: found[0], reason: found[1] })
  }
  return undefined
}
