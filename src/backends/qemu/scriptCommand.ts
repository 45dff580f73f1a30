/** How a start script is run, as data: its variables, and the words that it hands on to QEMU. Source: nixpkgs, `nixos/lib/test-driver` and `qemu-vm.nix`. */

import type { SpawnOptions } from "../../host/HostProcess.ts"
import { qemuValue } from "../../host/Quote.ts"
import type { StartScript } from "../../images/BootImage.ts"
import type { MachineShape } from "../Backend.ts"
import { networks, ports, type Sockets } from "./command.ts"
import { markOf } from "./strays.ts"
import type { VdeCard } from "./vde.ts"

/** What a machine gets that QEMU may refuse. */
export interface Additions {
  /** Virtio ports for commands. */
  readonly ports: boolean
  /** That it is emulated, whatever the script says: hardware virtualisation does not work here. */
  readonly emulate: boolean
}

export interface ScriptPlan {
  readonly shape: MachineShape
  readonly script: StartScript
  readonly sockets: Sockets
  /** How it plugs into the VLANs. */
  readonly vdes: ReadonlyArray<VdeCard>
  readonly additions: Additions
  /** It waits for the state of a saved machine. */
  readonly incoming: boolean
  /** More words for the end of the command line. */
  readonly extra: ReadonlyArray<string>
}

/** Where vmtest listens for the console of the guest's shell. */
export const shellSocketIn = (directory: string): string => `${directory}/shell`

/** The folder that the script runs in: beside the sockets and logs, which it cannot overwrite. */
export const stateOf = ({ directory, state }: Pick<MachineShape, "directory" | "state">): string =>
  state ?? `${directory}/state`

/** The arguments of QEMU besides those of the script. */
export const wordsOf = (plan: ScriptPlan): ReadonlyArray<string> => [
  ...["-qmp", `unix:${qemuValue(plan.sockets.qmp)},server=on,wait=off`],
  // The first console of all is the guest's hvc0. Only then come the buses of the ports.
  ...["-chardev", `socket,id=shell,path=${qemuValue(shellSocketIn(plan.shape.directory))}`],
  // As on a card of vmtest's own: a guest that was loaded would end QEMU 7.2 by its next reboot.
  ...["-global", "virtio-net-device.guest_announce=off"],
  ...(plan.script.runner === undefined ? ofScript(plan) : ofRunner(plan, plan.script.runner)),
  ...(plan.incoming ? ["-incoming", `unix:${plan.sockets.load}`] : []),
  ...(plan.shape.qemuArguments ?? []),
  ...plan.extra
]

const consoleOn = (bus: string): ReadonlyArray<string> => [
  ...["-device", `virtio-serial${bus},id=shellbus`, "-device", "virtconsole,bus=shellbus.0,chardev=shell"]
]

const ofScript = ({ additions, script, shape, sockets }: ScriptPlan): ReadonlyArray<string> => [
  ...consoleOn(""),
  ...["-device", "virtio-rng-pci"],
  ...["-serial", "stdio"],
  ...(shape.allowReboot ? [] : ["-no-reboot"]),
  ...(script.graphic ? [] : ["-nographic"]),
  ...(additions.ports ? ports(sockets, 1) : []),
  ...(additions.emulate ? ["-machine", "accel=tcg"] : [])
]

/** A runner has its standard input and output, entropy and `-no-reboot` already, but no card for a VLAN. */
const ofRunner = (
  { additions, script, shape, sockets }: ScriptPlan,
  { bus, hostCpu, serial }: NonNullable<StartScript["runner"]>
): ReadonlyArray<string> => [
  ...consoleOn(`-${bus}`),
  ...(serial ? [] : ["-serial", "chardev:stdio"]),
  // The last word on what a reset does is the one that holds.
  ...(shape.allowReboot ? ["-action", "reboot=reset"] : []),
  ...(script.graphic ? [] : ["-nographic"]),
  ...(additions.ports ? ports(sockets, 1, bus) : []),
  ...networks(shape, sockets, bus),
  ...(additions.emulate ? ["-machine", "accel=tcg", ...(hostCpu ? ["-cpu", "max"] : [])] : [])
]

/** The switch of each VLAN, the folders of the machine and of the test. What the user's own environment has besides is passed on. */
const variablesOf = ({ script, shape, vdes }: ScriptPlan): Readonly<Record<string, string | undefined>> => ({
  ...Object.fromEntries(vdes.map(({ folder, vlan }) => [`QEMU_VDE_SOCKET_${vlan}`, folder])),
  TMPDIR: stateOf(shape),
  USE_TMPDIR: "1",
  SHARED_DIR: shape.shared ?? stateOf(shape),
  ...markOf(shape.directory),
  ...Object.fromEntries(Object.entries(script.env).map(([name, value]) => [name, value ?? undefined]))
})

/** What the shell of a script takes apart in a variable that is not in quotes, or takes for a pattern of names of files. */
const takenApart = /[\s*?[\\]/

/** Why a script cannot hand on vmtest's words: those in `QEMU_OPTS` have no quotes. Undefined if it can. */
export const problemOf = (plan: ScriptPlan): string | undefined => {
  const { script, shape } = plan
  const word = script.takes === "arguments" ? undefined : wordsOf(plan).find((one) => takenApart.test(one))
  if (word === undefined) return undefined
  const why =
    "its start script takes arguments for QEMU only from $QEMU_OPTS, where a blank, *, ?, [ or \\ has a meaning"
  return takenApart.test(shape.directory)
    ? `${why}, and the machine's folder ${JSON.stringify(shape.directory)} has one; set XDG_RUNTIME_DIR to a folder without them, or have the script pass "$@" to QEMU`
    : `${why}, and the argument ${JSON.stringify(word)} has one; remove it, or have the script pass "$@" to QEMU`
}

/** A program without arguments, which the shell becomes: it is the process whose end counts. */
const program = /^(?:'[^']*'|[^\s'"$;&|<>()`\\#*?[\]{}~!=]+)$/

/** What to start. */
export const commandOf = (plan: ScriptPlan): Pick<SpawnOptions, "command" | "args" | "env"> => {
  const { env, takes } = plan.script
  const command = program.test(plan.script.command) ? `exec ${plan.script.command}` : plan.script.command
  const words = wordsOf(plan)
  const variables = variablesOf(plan)
  if (takes === "arguments") {
    return { command: "sh", args: ["-c", `${command} "$@"`, "sh", ...words], env: variables }
  }
  const own = env.QEMU_OPTS === undefined ? process.env.QEMU_OPTS : env.QEMU_OPTS
  const options = [...(own === undefined || own === null ? [] : [own]), ...words].join(" ")
  return { command: "sh", args: ["-c", command], env: { ...variables, QEMU_OPTS: options } }
}
