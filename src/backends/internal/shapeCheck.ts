/** What of a machine's shape cannot be, found before anything starts. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import type { MachineShape } from "../Backend.ts"
import { InvalidShape } from "../BackendError.ts"
import { longestSocketPath, maximumNetworks, roundMemory, socketsIn } from "../qemu/command.ts"

/** What the host has to give; `memory` in bytes. */
export interface Host {
  readonly memory: number
  readonly cpus: number
}

export const thisHost = (): Host => ({ memory: Os.totalmem(), cpus: Os.availableParallelism() })

/** Less than this does not even unpack a Debian kernel. */
const leastMemory = 48 * 1024 * 1024

/** Emulated processors need no real ones, and two of them are worth having on one core; hardware's are another matter. */
const mostCpus = (host: Host) => Math.max(host.cpus, 2)

const isPort = (port: number, least: number) => Number.isInteger(port) && port >= least && port <= 65_535

type Finding = readonly [field: string, reason: string]

const rules: ReadonlyArray<(shape: MachineShape, host: Host) => Finding | undefined> = [
  ({ memory }) =>
    Number.isFinite(memory) && memory >= leastMemory
      ? undefined
      : ["memory", `is ${memory} bytes; a guest needs at least ${leastMemory}`],
  ({ memory }, host) =>
    roundMemory(memory) <= host.memory ? undefined : ["memory", `is ${memory} bytes; this host has ${host.memory}`],
  ({ cpus }) =>
    Number.isInteger(cpus) && cpus >= 1 ? undefined : ["cpus", `is ${cpus}, not a whole number from 1 on`],
  ({ cpus }, host) => (cpus <= mostCpus(host) ? undefined : ["cpus", `is ${cpus}; this host has ${host.cpus}`]),
  ({ disks = [], networks }) =>
    networks.length + disks.length <= maximumNetworks
      ? undefined
      : ["networks", `has ${networks.length} cards and ${disks.length} disks; there is room for ${maximumNetworks}`],
  ({ networks }) => {
    const vlans = networks.map(({ vlan }) => vlan)
    const twice = vlans.find((vlan, index) => vlans.indexOf(vlan) !== index)
    return twice === undefined ? undefined : ["networks", `has VLAN ${twice} twice`]
  },
  ({ forwards }) => {
    const wrong = forwards.find(({ guestPort, hostPort }) => !isPort(hostPort, 0) || !isPort(guestPort, 1))
    return wrong === undefined
      ? undefined
      : ["forwards", `has ${wrong.hostPort} → ${wrong.guestPort}; ports are 1 to 65535`]
  },
  ({ directory }) => {
    const longest = Math.max(
      ...[socketsIn(directory)].flatMap(({ load, ports }) => [load, ...ports]).map((path) => Buffer.byteLength(path))
    )
    return longest <= longestSocketPath
      ? undefined
      : ["directory", `makes socket paths of ${longest} bytes; the kernel takes ${longestSocketPath}: ${directory}`]
  },
  ({ directory }) =>
    Fs.statSync(directory, { throwIfNoEntry: false })?.isDirectory() === true
      ? undefined
      : ["directory", `is not a folder: ${directory}`],
  ({ disks = [], image }) => {
    const missing = [
      image.kernel,
      image.initrd,
      image.root ?? "",
      image.disk?.path ?? "",
      ...disks.map(({ path }) => path)
    ].find((path) => path !== "" && !Fs.existsSync(path))
    return missing === undefined ? undefined : ["image", `lacks ${missing}`]
  }
]

/** The first rule that the shape breaks, as an error. */
export const findInvalid = (shape: MachineShape, host: Host): InvalidShape | undefined => {
  for (const rule of rules) {
    const found = rule(shape, host)
    if (found !== undefined) return new InvalidShape({ machine: shape.name, field: found[0], reason: found[1] })
  }
  return undefined
}
