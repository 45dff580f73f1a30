/** What of a machine's shape only the host can say, found before anything starts; the limits of a declaration are checked with that. */
import * as Fs from "node:fs"
import { type MachineShape, storageOf } from "../Backend.ts"
import { InvalidShape } from "../BackendError.ts"
import { longestSocketPath, socketsIn } from "../qemu/command.ts"
import { shellSocketIn } from "../qemu/scriptCommand.ts"

type Finding = readonly [field: string, reason: string]

/** The unix sockets of a QEMU. */
const ofQemu = ({ directory, image, networks }: MachineShape): ReadonlyArray<string> => {
  const paths = Object.values(socketsIn({ directory, networks })).flat()
  return image.guest === "script" ? [...paths, shellSocketIn(directory)] : paths
}

/** The first of these files that does not exist. */
const missing = (paths: ReadonlyArray<string>): string | undefined =>
  paths.find((path) => path !== "" && !Fs.existsSync(path))

const rules: ReadonlyArray<(shape: MachineShape, sockets: ReadonlyArray<string>) => Finding | undefined> = [
  ({ directory }, sockets) => {
    const longest = Math.max(...sockets.map((path) => Buffer.byteLength(path)))
    return longest <= longestSocketPath
      ? undefined
      : ["directory", `makes socket paths of ${longest} bytes; the kernel takes ${longestSocketPath}: ${directory}`]
  },
  ({ directory }) =>
    Fs.statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true
      ? undefined
      : ["directory", `is not a folder: ${directory}`],
  ({ image }) => {
    const path = missing([image.kernel, image.initrd, image.root ?? "", image.disk?.path ?? ""])
    return path === undefined ? undefined : ["image", `must have all of its files, but ${path} does not exist`]
  },
  (shape) => {
    const path = missing(storageOf(shape))
    return path === undefined ? undefined : ["disks", `must exist, but ${path} does not`]
  }
]

/** The first rule that the shape breaks, as an error. `sockets` are the paths of its unix sockets. */
export const findInvalid = (shape: MachineShape, sockets = ofQemu(shape)): InvalidShape | undefined => {
  for (const rule of rules) {
    const found = rule(shape, sockets)
    if (found !== undefined) return new InvalidShape({ machine: shape.name, field: found[0], reason: found[1] })
  }
  return undefined
}
