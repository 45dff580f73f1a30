/**
 * What every hypervisor looks like to the rest of vmtest.
 *
 * A backend owns the whole boot of a machine: the process of the host, the console, the control channel and the channel
 * to the guest's shells. Everything it starts lives in the scope of `start`; closing that scope leaves no process, no
 * socket and no file outside the machine's folder.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { BootImage } from "../images/BootImage.ts"
import type { QmpService } from "../transport/qmp/Qmp.ts"
import type { ShellService } from "../transport/Shell.ts"
import type { BackendError, ChannelError, ControlError, SaveError } from "./BackendError.ts"

/**
 * What a backend may or may not be able to do.
 *
 * - `qmp`: `Hypervisor.control` is there, with every command of QEMU's
 * - `screen`: a picture of the display can be taken
 * - `keyboard`, `mouse`: input devices that can be driven
 * - `consoleInput`: `Console.write` reaches the guest
 * - `pause`, `reset`, `powerdown`: the methods of that name
 * - `reboot`: a guest that reboots keeps its machine, where the shape allows it
 * - `links`: `Hypervisor.setLink` pulls and plugs network cables
 * - `forwards`: ports of the host lead into the guest
 * - `hotplug`: devices come and go while the guest runs
 * - `snapshots`: a machine can be saved and forked
 * - `vsock`: the guest can be reached by vsock
 */
export type Capability =
  | "qmp"
  | "screen"
  | "keyboard"
  | "mouse"
  | "consoleInput"
  | "pause"
  | "reset"
  | "powerdown"
  | "reboot"
  | "links"
  | "forwards"
  | "hotplug"
  | "snapshots"
  | "vsock"

/** One network card, on one VLAN. */
export interface NetworkShape {
  readonly vlan: number
  /** For example `52:54:00:12:01:02`. */
  readonly mac: string
  /** Where the VLAN's switch listens (`Vlan.socket`). Undefined for a network with nobody else on it. */
  readonly socket: string | undefined
}

/** A port of the host that leads to a port of the guest, over eth0. */
export interface ForwardShape {
  /** 0 lets the host choose; the one chosen is not told. */
  readonly hostPort: number
  readonly guestPort: number
  readonly protocol: "tcp" | "udp"
}

/** A disk of the machine's own: a file of raw bytes, there before `start`, that outlives the hypervisor. */
export interface DiskShape {
  readonly path: string
}

/** Everything a hypervisor has to know to start a machine; nothing of it is a default. */
export interface MachineShape {
  /** What messages call it; also the guest's host name. */
  readonly name: string
  readonly image: BootImage
  /** Bytes. */
  readonly memory: number
  readonly cpus: number
  /** After the image's own, in the guest's order; their serial numbers are `disk1`, `disk2`, … */
  readonly disks?: ReadonlyArray<DiskShape> | undefined
  /** In the order of the guest's interfaces: the first is eth1. */
  readonly networks: ReadonlyArray<NetworkShape>
  /** Whether eth0 leads out of the host. */
  readonly internet: boolean
  readonly forwards: ReadonlyArray<ForwardShape>
  /** Whether a guest that reboots keeps its machine; without it a reboot is the end of the hypervisor. */
  readonly allowReboot: boolean
  /** A folder of the machine's own, mode 0700, there before `start`: logs and sockets go in. */
  readonly directory: string
}

/** Who ended a machine: the guest by power-off, by a reset that it is not allowed to survive, or the host. */
export type EndCause = "power-off" | "reset" | "host"

/** How a hypervisor ended. */
export interface MachineExit {
  /** Undefined when a signal ended it. 0 is also what a guest's own power-off gives. */
  readonly exitCode: number | undefined
  readonly signal: string | undefined
  /** What made it end, where it said so; a kernel that panicked asks for a reset. */
  readonly cause?: EndCause | undefined
  /** The last lines of the guest's console. */
  readonly consoleTail: string
  /** The last of what the hypervisor itself said. */
  readonly stderr: string
}

/** The guest's serial console. */
export interface Console {
  /**
   * Everything so far; UTF-8, bad bytes replaced. Of a machine that went on from a saved one it begins with what that one
   * had printed, of which `inherited` says how many lines (the last of them may be unfinished).
   */
  readonly log: Effect.Effect<string>
  readonly inherited?: number | undefined
  /** The last `lines` lines. */
  readonly tail: (lines: number) => Effect.Effect<string>
  /** Everything from the first byte on, then what comes, until the hypervisor ends. Each reader has its own. */
  readonly stream: Stream.Stream<string>
  /** Types into the console. */
  readonly write: (text: string) => Effect.Effect<void, ControlError>
}

/**
 * A machine that was saved while it ran: a folder, complete in itself, that any number of machines can be started from,
 * at once and one after the other. Nothing writes into it again; it may be moved or copied while nothing runs on it.
 */
export interface SavedMachine {
  /** Absolute. What is in it is the backend's own affair, but it is made of plain files only, without folders. */
  readonly directory: string
}

/** How a machine starts. */
export interface StartOptions {
  /**
   * What to go on from instead of booting. The shape must be that of the machine that was saved in everything that a guest
   * can see of its hardware (image, memory, processors, number of cards); name, sockets, forwards and folder are its own.
   * What the guest knows of its MAC addresses, its name and its time is the saved machine's until somebody tells it.
   */
  readonly from?: SavedMachine | undefined
}

/** A machine that only one holder pauses, resumes or saves. */
export interface Exclusive {
  /** Stops the guest's time until the scope closes; one that stood still before stays so. */
  readonly pause: Effect.Effect<void, ControlError, Scope.Scope>
  /** As `save` of the hypervisor. */
  readonly save: (directory: string) => Effect.Effect<SavedMachine, SaveError>
}

/** A started machine. */
export interface Hypervisor {
  readonly name: string
  /** The process of the host, where there is one. */
  readonly pid: number | undefined
  /** The machine's own folder (`MachineShape.directory`): what is put there is gone with the machine. */
  readonly directory: string
  /**
   * Opens the channel to the guest and waits until its shell answers. To be opened again when a shell was lost; one at a
   * time.
   */
  readonly shell: Effect.Effect<ShellService, ChannelError, Scope.Scope>
  /** QEMU's own control channel, on backends with the capability `qmp`. */
  readonly control: QmpService | undefined
  readonly console: Console
  /** Resolves when the process of the host is gone, for whatever reason; asked as often as one likes. */
  readonly exited: Effect.Effect<MachineExit>
  /** Ends the hypervisor as if the power failed, and waits until it is gone. */
  readonly kill: Effect.Effect<void>
  /** Presses the power button; the guest decides. */
  readonly powerdown: Effect.Effect<void, ControlError>
  /** Presses the reset button; without `allowReboot` that is the end of the hypervisor. */
  readonly reset: Effect.Effect<void, ControlError>
  /** Stops the guest's time; while the machine is saved or held by somebody, afterwards. So it is with `resume`. */
  readonly pause: Effect.Effect<void, ControlError>
  readonly resume: Effect.Effect<void, ControlError>
  /** Pulls (`false`) or plugs (`true`) the cable of the card on a VLAN. */
  readonly setLink: (vlan: number, up: boolean) => Effect.Effect<void, ControlError>
  /**
   * Saves the whole machine into a folder that is there and empty: memory, devices, and what was written to its disks.
   * The guest stands still meanwhile and goes on afterwards, whether it could be saved or not; one that was paused stays
   * paused. A folder whose save failed or was interrupted is rubbish.
   */
  readonly save: (directory: string) => Effect.Effect<SavedMachine, SaveError>
  /** Keeps all others from pausing, resuming and saving it until the scope closes; they wait. Whoever holds several takes them in one order. */
  readonly exclusive: Effect.Effect<Exclusive, never, Scope.Scope>
}

/** One kind of hypervisor, ready to start machines. */
export interface BackendService {
  readonly name: string
  readonly capabilities: ReadonlySet<Capability>
  /** By what factor default deadlines have to be stretched; 1 where guests run on hardware virtualisation. */
  readonly timeScale: number
  /**
   * Starts a machine; it is booting when this returns. Interruption, or closing the scope, ends it.
   *
   * With `from` it goes on where that machine was saved, with memory of its own: the machines of one saved machine share
   * what none of them has written. It runs when this returns; `LoadFailed` says why it cannot go on from there.
   */
  readonly start: (shape: MachineShape, options?: StartOptions) => Effect.Effect<Hypervisor, BackendError, Scope.Scope>
  /**
   * What must be equal for a saved machine to load: the hypervisor and its version, the accelerator, the processor that
   * guests see.
   */
  readonly fingerprint: Effect.Effect<Readonly<Record<string, string>>>
}

/** The hypervisor that machines run on. */
export class Backend extends Context.Service<Backend, BackendService>()("vmtest/backends/Backend") {}
