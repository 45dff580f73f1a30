/**
 * The screen, the keyboard and the mouse of a machine for VNC viewers, served by QEMU itself.
 *
 * **Example** (Serve the screen of a machine)
 *
 * ```ts
 * const said = yield* RemoteDisplay.vnc(web)
 * ```
 *
 * @since 0.1.0
 */
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Driver } from "../../driver/Driver.ts"
import * as Places from "../../driver/Places.ts"
import { quote } from "../../host/Quote.ts"
import type { Machine } from "../../machine/Machine.ts"

/** The screen of a machine could not be served; `reason` says why. */
export class NoRemoteDisplay extends Schema.TaggedError<NoRemoteDisplay>()("NoRemoteDisplay", {
  machine: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: could not serve the screen: ${this.reason}; it must be a machine of QEMU that vmtest repl, run -i or --pause-on-failure started`
  }
}

/** The port at which viewers look by default, in the hint for those that take no socket. */
const port = 5900

/**
 * Has a machine listen for VNC viewers at a socket in the folder of the run, which only the user can enter; gives how to connect. It needs a QEMU
 * that vmtest has started with a VNC server, as it does in interactive sessions.
 */
export const vnc = Effect.fnUntraced(function* (machine: Machine) {
  const places = Places.of(yield* Driver)
  const folder = places === undefined ? "" : yield* places.machineFolder(machine.name)
  const socket = NodePath.join(folder, "vnc")
  yield* Effect.mapError(
    machine.qmp("display-update", { type: "vnc", addresses: [{ type: "unix", path: socket }] }),
    ({ message }) => new NoRemoteDisplay({ machine: machine.name, reason: message })
  )
  return [
    `the screen of ${machine.name} is served at ${socket}`,
    `TigerVNC: vncviewer ${quote(socket)}`,
    `others, at port ${port}: socat TCP-LISTEN:${port},bind=127.0.0.1,reuseaddr,fork UNIX-CONNECT:${quote(socket)}`
  ].join("\n")
})
