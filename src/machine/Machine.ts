/**
 * A machine: everything a test can ask of a guest.
 *
 * Each action is a method that gives an Effect. Commands and waits on a machine that was never started start it; on one that boots, they wait
 * until it is ready.
 *
 * @since 0.1.0
 */
import type { Interface } from "../network/Addresses.ts"
import * as Command from "./Command.ts"
import * as Console from "./Console.ts"
import * as Control from "./Control.ts"
import * as Copy from "./Copy.ts"
import * as File from "./File.ts"
import * as Interact from "./Interact.ts"
import type { Guest } from "./internal/Guest.ts"
import * as Journal from "./Journal.ts"
import * as Keyboard from "./Keyboard.ts"
import type { LifeMethods } from "./Life.ts"
import * as Link from "./Link.ts"
import type { MachineSpec } from "./MachineSpec.ts"
import * as Port from "./Port.ts"
import * as Screen from "./Screen.ts"
import * as Socket from "./Socket.ts"
import * as Spawn from "./Spawn.ts"
import * as Unit from "./Unit.ts"

export type {
  /** What any command on a machine can fail with, apart from what it was run for. */
  CommandError,
  /** The machine cannot be asked: it is off, did not come up, or died. */
  Unavailable,
  /** What any wait can fail with. */
  WaitError,
  /** How long a wait may take. */
  WaitOptions
} from "./internal/Guest.ts"

/** A machine of a test. */
export interface Machine
  extends LifeMethods,
    Command.CommandMethods,
    Spawn.SpawnMethods,
    Unit.UnitMethods,
    Journal.JournalMethods,
    File.FileMethods,
    Copy.CopyMethods,
    Port.PortMethods,
    Socket.SocketMethods,
    Console.ConsoleMethods,
    Screen.ScreenMethods,
    Keyboard.KeyboardMethods,
    Control.ControlMethods,
    Link.LinkMethods,
    Interact.InteractMethods {
  /** Its name in the test, which is also the guest's host name. */
  readonly name: string
  /** Its cards on VLANs, in the order of its declaration, with their devices in the guest and their addresses. */
  readonly interfaces: ReadonlyArray<Interface>
}

/** Gives a guest all its methods. */
export const make = (
  guest: Guest,
  life: LifeMethods,
  spec: MachineSpec,
  interfaces: ReadonlyArray<Interface>
): Machine => ({
  name: spec.name,
  interfaces,
  ...life,
  ...Command.make(guest),
  ...Spawn.make(guest),
  ...Unit.make(guest),
  ...Journal.make(guest),
  ...File.make(guest),
  ...Copy.make(guest),
  ...Port.make(guest),
  ...Socket.make(guest),
  ...Console.make(guest),
  ...Screen.make(guest),
  ...Keyboard.make(guest),
  ...Control.make(guest),
  ...Link.make(guest, spec.vlans),
  ...Interact.make(guest)
})
