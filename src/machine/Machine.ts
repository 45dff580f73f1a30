/**
 * A machine: everything that a test can do with a guest.
 *
 * Each method returns an Effect. Commands and waits start a machine that was never started, and wait for one that boots.
 *
 * **Example** (A web server)
 *
 * ```ts
 * yield* web.waitForUnit("nginx")
 * yield* web.waitForOpenPort(80)
 * const page = yield* web.succeed("curl -sf http://localhost")
 * ```
 *
 * @since 0.1.0
 */

import * as Arguments from "../guest/Arguments.ts"
import * as Command from "../guest/Command.ts"
import * as Console from "../guest/Console.ts"
import * as Copy from "../guest/Copy.ts"
import * as File from "../guest/File.ts"
import type { Guest } from "../guest/Guest.ts"
import * as Interact from "../guest/Interact.ts"
import * as Journal from "../guest/Journal.ts"
import * as Port from "../guest/Port.ts"
import * as Socket from "../guest/Socket.ts"
import * as Spawn from "../guest/Spawn.ts"
import * as Terminal from "../guest/Terminal.ts"
import * as Unit from "../guest/Unit.ts"
import type { Interface } from "../network/Addresses.ts"
import type { Display } from "../screen/Display.ts"
import * as Displays from "../screen/Displays.ts"
import * as Keyboard from "../screen/Keyboard.ts"
import * as Mouse from "../screen/Mouse.ts"
import * as Recording from "../screen/Recording.ts"
import * as Screen from "../screen/Screen.ts"
import * as ScreenImage from "../screen/ScreenImage.ts"
import * as X11 from "../screen/X11.ts"
import * as Control from "./Control.ts"
import * as Hotplug from "./Hotplug.ts"
import * as Life from "./Life.ts"
import * as Link from "./Link.ts"
import type { MachineSpec } from "./MachineSpec.ts"
import type * as Snapshot from "./Snapshot.ts"

export type {
  /** What any command on a machine can fail with, apart from what it was run for. */
  CommandError,
  /** What ends whatever is under way on a machine: it died, did not come up, or a polling condition broke. */
  CutShort,
  /** A wait's own: it came to its deadline, or was given one that makes no sense. */
  DeadlineError,
  /** The machine cannot be asked: it is off, did not come up, or died. */
  Unavailable,
  /** What any wait that asks the guest can fail with. */
  WaitError,
  /** How long a wait may take. */
  WaitOptions
} from "../guest/Guest.ts"

/** A machine of a test. */
export interface Machine
  extends Life.LifeMethods,
    Command.CommandMethods,
    Spawn.SpawnMethods,
    Unit.UnitMethods,
    Journal.JournalMethods,
    File.FileMethods,
    Copy.CopyMethods,
    Port.PortMethods,
    Socket.SocketMethods,
    Console.ConsoleMethods,
    X11.DisplayMethods,
    X11.X11Methods,
    Terminal.TerminalMethods,
    Control.ControlMethods,
    Link.LinkMethods,
    Hotplug.HotplugMethods,
    Snapshot.SnapshotMethods,
    Interact.InteractMethods {
  /** Its name in the test, which is also the guest's host name. */
  readonly name: string
  /** Its cards on VLANs, in the order of its declaration, with their devices in the guest, their networks and their addresses. */
  readonly interfaces: ReadonlyArray<Interface>
}

/** What can be seen and done on one display of a guest. */
const displayMethods = (guest: Guest, display: Display, layout?: MachineSpec["keyboardLayout"]): X11.DisplayMethods => {
  const reader = Screen.makeReader()
  return {
    ...Screen.make(guest, display, reader),
    ...ScreenImage.make(guest, display),
    ...Recording.make(guest, display),
    ...Keyboard.make(guest, display, layout),
    ...Mouse.make(guest, display, reader)
  }
}

/** Gives a guest all its methods. */
export const make = (
  guest: Guest,
  life: Life.LifeMethods,
  spec: MachineSpec,
  interfaces: ReadonlyArray<Interface>,
  snapshots: Snapshot.SnapshotMethods,
  surroundings: Hotplug.Surroundings
): Machine => {
  const displays = Displays.make(guest)
  return {
    name: spec.name,
    interfaces,
    ...Arguments.checked(guest.name, Life.parameters, life),
    ...Command.make(guest),
    ...Spawn.make(guest),
    ...Unit.make(guest),
    ...Journal.make(guest),
    ...File.make(guest),
    ...Copy.make(guest),
    ...Port.make(guest),
    ...Socket.make(guest),
    ...Console.make(guest),
    ...displayMethods(guest, displays.own, spec.keyboardLayout),
    ...X11.make(guest, (display) => displayMethods(guest, displays.x11(display))),
    ...Terminal.make(guest),
    ...Control.make(guest),
    ...Link.make(guest, surroundings.cards, surroundings.networks),
    ...Hotplug.make(guest, surroundings),
    ...snapshots,
    ...Interact.make(guest)
  }
}
