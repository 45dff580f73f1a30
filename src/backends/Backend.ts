/**
 * The interface of hypervisors.
 *
 * A backend owns the whole boot of a machine: the host's process, the console, the control channel and the channel to the
 * guest's shells. Everything it starts lives in the scope of `start`; closing that scope leaves no process, no socket and
 * no file outside the machine's folder.
 *
 * **Example** (Asking for a capability)
 *
 * ```ts
 * import { Effect } from "effect"
 *
 * const canFork = Backend.use(({ capabilities }) => Effect.succeed(capabilities.has("snapshots")))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { BootImage } from "../images/BootImage.ts"
import type { Port, Tap } from "../network/Vlan.ts"
import type { QmpService } from "../transport/qmp/Qmp.ts"
import { Shell, type ShellService } from "../transport/Shell.ts"
import type { BackendError, ChannelError, ControlError, PlugFailed, SaveError } from "./BackendError.ts"
import type { DeviceShape } from "./Device.ts"
import type { HypervisorOptions } from "./HypervisorOptions.ts"

/**
 * What a backend can do, and what each capability gives a machine: a line of the table in docs/backends.md. Without `qmp`, the screen, keyboard and pointer are
 * those of the X server `:0` in the guest.
 */
export const capabilityTexts = {
  qmp: "`qmp`: all of QEMU's commands",
  screen: "pictures of its screen, and reading them",
  keyboard: "typing on its keyboard",
  mouse: "moving its pointer",
  consoleInput: "typing into its serial console",
  pause: "`pause` and `resume`",
  reset: "`reset`",
  powerdown: "`shutdown` of a guest whose shell does not answer",
  reboot: "a reboot of its guest can keep it (`allowReboot`)",
  links: "its cables can be pulled out (`block`, `link`)",
  forwards: "ports of the host lead into it (`forwards`, `forwardPort`)",
  hotplug: "devices come and go while it runs (`hotplug`)",
  snapshots: "it can be saved and forked, and starts from stored snapshots",
  vsock: "its shell is reached over vsock",
  hugePages: "its memory in huge pages",
  balloon: "a balloon takes memory from its guest",
  shares: "its guest mounts folders of the host",
  hvc0: "a second console, `/dev/hvc0`",
  jailer: "its hypervisor is in a jail, as a user who may do nothing",
  containers: "start scripts of systemd-nspawn containers"
} as const

/** What a backend can do. */
export type Capability = keyof typeof capabilityTexts

/** One network card, on one VLAN. */
export interface NetworkShape {
  /** The interface in the guest: `eth1` is the first card of a VLAN. */
  readonly device: string
  readonly vlan: number
  /** For example `52:54:00:12:01:02`. */
  readonly mac: string
  /** Bytes of the longest packet, which the guest's card has from the start. Undefined for 1500, which the guest may change. */
  readonly mtu?: number | undefined
  /** Its place on the VLAN. Undefined for a network without other machines. */
  readonly port: Port | undefined
  /** Its TAP without a port, where the machine that it was saved of had one: QEMU loads such a card only into another TAP. Nothing is at its other end. */
  readonly lone?: Tap | undefined
}

/** A port of the host that leads to a port of the guest, over eth0. */
export interface ForwardShape {
  /** 0 lets the host choose one; which one cannot be queried. */
  readonly hostPort: number
  readonly guestPort: number
  readonly protocol: "tcp" | "udp"
}

/** A disk of the machine's own: a raw file that exists before `start` and outlives the hypervisor. */
export interface DiskShape {
  readonly path: string
}

/** Everything a hypervisor needs to start a machine; all defaults are filled in. */
export interface MachineShape {
  /** Its name in messages, and the guest's host name. */
  readonly name: string
  readonly image: BootImage
  /** Bytes. */
  readonly memory: number
  readonly cpus: number
  /** They follow the image's disks, in this order; their serial numbers are `disk1`, `disk2`, … */
  readonly disks?: ReadonlyArray<DiskShape> | undefined
  /** Its devices besides these and the network cards. */
  readonly devices?: ReadonlyArray<DeviceShape> | undefined
  /** Whether it has ports for devices that are plugged in, and USB; with devices of its own it has these too. */
  readonly hotplug?: boolean | undefined
  /** What only some hypervisors can give it: see `HypervisorOptions`. */
  readonly hypervisor?: HypervisorOptions | undefined
  /** Further words for the command line of QEMU. */
  readonly qemuArguments?: ReadonlyArray<string> | undefined
  /** In the order of the guest's interfaces: the first is eth1. */
  readonly networks: ReadonlyArray<NetworkShape>
  /** Whether eth0 leads out of the host. */
  readonly internet: boolean
  readonly forwards: ReadonlyArray<ForwardShape>
  /** Whether the machine survives a reboot of its guest; otherwise a reboot ends the hypervisor. */
  readonly allowReboot: boolean
  /**
   * A script for the image's initramfs, as `vmtest/identity`: it makes the guest this machine before anything of its own runs. An image
   * without an initramfs of vmtest's does not run it.
   */
  readonly identity?: string | undefined
  /** A folder of the machine's own for logs and sockets, mode 0700; exists before `start`. */
  readonly directory: string
  /** The folder that a start script runs in; made when it starts, and left as it is. Default: a folder in `directory`. */
  readonly state?: string | undefined
  /** A folder of the test's own that guests of start scripts can mount (`SHARED_DIR`); made by the first that is given it. */
  readonly shared?: string | undefined
}

/** What ended a machine: the guest's power-off, a reset without `allowReboot`, a panic of its kernel, or the host. */
export type EndCause = "power-off" | "reset" | "panic" | "host"

/** How a hypervisor ended. */
export interface MachineExit {
  /** Undefined when a signal ended it. 0 is also what a guest's own power-off gives. */
  readonly exitCode: number | undefined
  readonly signal: string | undefined
  /** What ended it, where the hypervisor or the console tells. A panic ends a machine whether it may reboot or not. */
  readonly cause?: EndCause | undefined
  /** Why the backend itself ended it, such as the end of a program beside it that the machine cannot do without. */
  readonly because?: string | undefined
  /** The last lines of the guest's console. */
  readonly consoleTail: string
  /** The end of the hypervisor's own output. */
  readonly stderr: string
}

/** The guest's serial console. */
export interface Console {
  /**
   * Everything so far, as UTF-8 with bad bytes replaced. For a machine that resumed from a saved one it begins with the
   * output of that machine; `inherited` is the number of these lines (the last of them can be incomplete).
   */
  readonly log: Effect.Effect<string>
  readonly inherited?: number | undefined
  /** The last `lines` lines. */
  readonly tail: (lines: number) => Effect.Effect<string>
  /** Everything from the first byte, then new output, until the hypervisor ends. Each reader gets all of it. */
  readonly stream: Stream.Stream<string>
  /** Types into the console. */
  readonly write: (text: string) => Effect.Effect<void, ControlError>
}

/**
 * A machine that was saved while it ran: a self-contained folder that any number of machines can start from, also at the
 * same time. Nothing writes to it again; it can be moved or copied while no machine runs from it.
 */
export interface SavedMachine {
  /** Absolute. The backend decides what it contains, but only plain files, no folders. */
  readonly directory: string
}

/** The files of a machine that its guest writes: its own disks, then storage among its devices. */
export const storageOf = ({ devices = [], disks = [] }: MachineShape): ReadonlyArray<string> => [
  ...disks.map(({ path }) => path),
  ...devices.flatMap(({ path }) => (path === undefined ? [] : [path]))
]

/** How a machine starts. */
export interface StartOptions {
  /**
   * The saved machine to resume from, instead of booting. The shape must equal that of the saved machine in all hardware
   * that a guest can see (image, memory, processors, number of cards); name, sockets, forwards and folder can differ. The
   * guest keeps the MAC addresses, the name and the time of the saved machine until it is given new ones.
   */
  readonly from?: SavedMachine | undefined
}

/** Exclusive control over pausing, resuming and saving a machine. */
export interface Exclusive {
  /** Stops the guest until the scope closes; a guest that was stopped before stays stopped. */
  readonly pause: Effect.Effect<void, ControlError, Scope.Scope>
  /** As `save` of the control channel. */
  readonly save: (directory: string) => Effect.Effect<SavedMachine, SaveError>
}

/** What can be done to a running machine over one connection to its hypervisor. */
export interface ControlService {
  /** QEMU's own protocol, on backends with the capability `qmp`. */
  readonly qmp: QmpService | undefined
  /** Resolves, with the reason, when the connection is lost; another can then be made. */
  readonly closed: Effect.Effect<string>
  /** One element each time the guest resets itself, other than by a panic; undefined on a backend that cannot tell. */
  readonly resets: Stream.Stream<void> | undefined
  /** Presses the power button; the guest decides. */
  readonly powerdown: Effect.Effect<void, ControlError>
  /** Presses the reset button; without `allowReboot` that is the end of the hypervisor. */
  readonly reset: Effect.Effect<void, ControlError>
  /** Stops the guest's processors and its time; waits while the machine is saved or somebody has it exclusively, as `resume` does. */
  readonly pause: Effect.Effect<void, ControlError>
  readonly resume: Effect.Effect<void, ControlError>
  /** Pulls (`false`) or plugs (`true`) the cable of a card, by its interface (`eth1`). */
  readonly setLink: (device: string, up: boolean) => Effect.Effect<void, ControlError>
  /** Plugs a device in; the guest notices it a moment later. What is behind it (a file, a switch) must be there. */
  readonly plug: (device: DeviceShape) => Effect.Effect<void, ControlError | PlugFailed>
  /**
   * Takes out a device, by its name: one that was plugged in, or a declared one that is on USB. Waits until the guest has let it go, and without end
   * for one that does not.
   */
  readonly unplug: (name: string) => Effect.Effect<void, ControlError | PlugFailed>
  /**
   * Saves the whole machine into an existing, empty folder: memory, devices, and what was written to its disks. The guest is paused
   * meanwhile and resumed afterwards, whether it could be saved or not; one that was paused stays paused. A folder whose save failed
   * or was interrupted is of no use.
   */
  readonly save: (directory: string) => Effect.Effect<SavedMachine, SaveError>
  /** Keeps all others from pausing, resuming and saving it until the scope closes; they wait. A caller that takes several must take them in one order. */
  readonly exclusive: Effect.Effect<Exclusive, never, Scope.Scope>
}

/** The control channel of a machine, as a service. */
export class Control extends Context.Service<Control, ControlService>()("vmtest/backends/Control") {}

/** A started machine: its process, its console, and the layers of its two channels. */
export interface Hypervisor {
  readonly name: string
  /** The process of the host, where there is one. */
  readonly pid: number | undefined
  /** The machine's own folder (`MachineShape.directory`), which is removed with the machine. */
  readonly directory: string
  /** Opens the channel to the guest and is built when its shell answers. To be built again when a shell was lost; one at a time. */
  readonly shell: Layer.Layer<Shell, ChannelError>
  /** Connects to the hypervisor. To be built again when the connection was lost; one at a time, and the guest notices nothing. */
  readonly control: Layer.Layer<Control, ControlError>
  readonly console: Console
  /** Ends when the host's process has ended, for whatever reason; can be awaited any number of times. */
  readonly exited: Effect.Effect<MachineExit>
  /** Ends the hypervisor like a power failure, and waits until it has ended. */
  readonly kill: Effect.Effect<void>
}

/** {@link Hypervisor} as a service: what the processes of one boot share. */
export class Running extends Context.Service<Running, Hypervisor>()("vmtest/backends/Running") {}

/** Opens the channel to a machine's guest; closed with the scope. */
export const openShell = ({ shell }: Hypervisor): Effect.Effect<ShellService, ChannelError, Scope.Scope> =>
  Effect.map(Layer.build(Layer.fresh(shell)), (services) => Context.get(services, Shell))

/** Connects to a machine's hypervisor; disconnected with the scope. */
export const connect = ({ control }: Hypervisor): Effect.Effect<ControlService, ControlError, Scope.Scope> =>
  Effect.map(Layer.build(Layer.fresh(control)), (services) => Context.get(services, Control))

/** The part of a machine that is known before its image is. */
export type Declared = Pick<
  MachineShape,
  "name" | "devices" | "hotplug" | "qemuArguments" | "internet" | "forwards" | "allowReboot"
>

/** Why a machine cannot be. */
export interface Refused {
  /** The field of the declaration. */
  readonly field: string
  /** A sentence that begins with the field. */
  readonly reason: string
}

/** One kind of hypervisor, ready to start machines. */
export interface BackendService {
  readonly name: string
  readonly capabilities: ReadonlySet<Capability>
  /** The factor by which default deadlines are multiplied; 1 where guests run on hardware virtualisation. */
  readonly timeScale: number
  /** Whether snapshots of its machines are stored for later runs, where the options of a driver or a runner do not say. Default true. */
  readonly storesSnapshots?: boolean
  /** Whether its network cards are TAP devices, so that networks of its machines must have the fabric `"bridge"`. Default false. */
  readonly taps?: boolean
  /** Whether a machine with these options of its hypervisor can be saved, on a backend with the capability `snapshots`. Default: all can. */
  readonly saves?: (options: HypervisorOptions) => boolean
  /** Makes sure that this host has what these options of its hypervisor need, before anything is started. Default: it has. */
  readonly requires?: (options: HypervisorOptions) => Effect.Effect<void, { readonly message: string }>
  /** What of a declaration its machines cannot have, found before anything is started. Default: nothing. */
  readonly refuses?: (declared: Declared) => Refused | undefined
  /**
   * Starts a machine, which is booting when this returns. Interruption, or closing the scope, ends it.
   *
   * With `from` it resumes where that machine was saved, with memory of its own: machines that resume from one saved
   * machine share the pages that none of them has written. It runs when this returns; it fails with `LoadFailed` if it
   * could not resume from there.
   */
  readonly start: (shape: MachineShape, options?: StartOptions) => Effect.Effect<Hypervisor, BackendError, Scope.Scope>
  /**
   * The facts that must be equal for a saved machine to load: the hypervisor and its version, the accelerator, the
   * processor that guests see.
   */
  readonly fingerprint: Effect.Effect<Readonly<Record<string, string>>>
}

/** The hypervisor that machines run on. */
export class Backend extends Context.Service<Backend, BackendService>()("vmtest/backends/Backend") {}
