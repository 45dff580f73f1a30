/**
 * The bootstrap shell on a virtconsole (`/dev/hvc0`), where the stock NixOS backdoor has it.
 *
 * QEMU silently drops what a console writes while its socket is full. So only short answers cross it; commands run on
 * virtio ports where the guest has them (a stock NixOS guest gets them through `QEMU_OPTS`), and where it has none, by an
 * acknowledged transfer.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Connection from "./Connection.ts"
import type { VirtConsole } from "./GuestChannel.ts"
import type { TransportError } from "./ShellError.ts"
import { Transport, type TransportService } from "./Transport.ts"
import * as VirtioPort from "./VirtioPort.ts"

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
    ...VirtioPort.lanes(machine, channel.ports ?? [])
  }
})

/** {@link make} as a layer. */
export const layer = (options: {
  readonly machine: string
  readonly channel: VirtConsole
}): Layer.Layer<Transport, TransportError> => Layer.effect(Transport, make(options))
