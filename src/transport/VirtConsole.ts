/**
 * The bootstrap shell on a virtconsole (`/dev/hvc0`), where the stock NixOS backdoor has it.
 *
 * QEMU silently drops what a console writes while its socket is full. So only short answers cross it; commands run on
 * virtio ports where the guest has them (a stock NixOS guest gets them through `QEMU_OPTS`). Where it has none, their input
 * and output go in checksummed pieces, and again when they were damaged: slow, at some ten new processes a command.
 *
 * **Example** (A stock NixOS test guest, which dials the host)
 *
 * ```ts
 * const channel = GuestChannel.virtConsole({ socket: "/run/web/shell", listen: true })
 * const program = Effect.gen(function* () {
 *   const transport = yield* VirtConsole.make({ machine: "web", channel }) // listens from here on
 *   yield* startGuest
 *   const shell = yield* Shell.fromTransport(transport)
 *   return yield* shell.execute("systemctl is-system-running")
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Connection from "./Connection.ts"
import type { VirtConsole } from "./GuestChannel.ts"
import { consoleLane } from "./internal/consoleLane.ts"
import type { TransportError } from "./ShellError.ts"
import { Transport, type TransportService } from "./Transport.ts"
import * as VirtioPort from "./VirtioPort.ts"

/** Lanes of a guest that has only its console; they share one shell for the transfer. */
const consoleLanes = 4

/**
 * A transport over a console. With `listen` the socket is there when this returns, so that a guest may be started that
 * dials it.
 */
export const make = Effect.fnUntraced(function* (options: {
  readonly machine: string
  readonly channel: VirtConsole
}): Effect.fn.Return<TransportService, TransportError, Scope.Scope> {
  const { channel, machine } = options
  const { socket } = channel
  const listener = channel.listen === true ? yield* Connection.listen({ machine, socket }) : undefined
  return {
    machine,
    name: "virtconsole",
    // A console has no notion of a host that comes and goes: its shell says its ready line once.
    reconnects: false,
    bootstrap: listener === undefined ? Connection.connect({ machine, socket }) : listener.accept,
    ...((channel.ports ?? []).length >= VirtioPort.portsPerLane
      ? { slowness: 1, ...VirtioPort.lanes(machine, channel.ports ?? []) }
      : { slowness: 10, lanes: consoleLanes, lane: consoleLane(machine, socket) })
  }
})

/** {@link make} as a layer. */
export const layer = (options: {
  readonly machine: string
  readonly channel: VirtConsole
}): Layer.Layer<Transport, TransportError> => Layer.effect(Transport, make(options))
