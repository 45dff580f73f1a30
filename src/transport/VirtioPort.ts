/**
 * Lanes over virtio-serial ports.
 *
 * QEMU throttles a `virtserialport` whose socket is full, so nothing is dropped however slowly the host reads. Three ports
 * make a lane: with the port `vmtest.0` for the bootstrap shell, the 30 ports of one virtio-serial device make nine.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Connection from "./Connection.ts"
import type { VirtioPorts } from "./GuestChannel.ts"
import type { TransportError } from "./ShellError.ts"
import { type Lane, Transport, type TransportService } from "./Transport.ts"

/** The ports that a lane takes: commands and input, output, errors. */
export const portsPerLane = 3

/** The host's ends of a lane over three of the ports. */
export const lane = (
  machine: string,
  ports: ReadonlyArray<string>,
  number: number
): Effect.Effect<Lane, TransportError, Scope.Scope> => {
  const open = (end: number) =>
    Connection.connect({ machine, socket: ports[(number - 1) * portsPerLane + end] ?? `no port for lane ${number}` })
  return Effect.all({ input: open(0), output: open(1), errors: open(2) }, { concurrency: 3 })
}

/** What the guest is told for a lane: port `vmtest.<i>` is the variable `_vt_port_<i>` of the agent. */
export const start = (number: number, nonce: string): string => {
  const first = (number - 1) * portsPerLane + 1
  return `_vt_start ${number} ${nonce} $_vt_port_${first} $_vt_port_${first + 1} $_vt_port_${first + 2}`
}

/** A transport over the ports of a channel. */
export const make = (options: { readonly machine: string; readonly channel: VirtioPorts }): TransportService => ({
  machine: options.machine,
  name: "virtio-port",
  reconnects: true,
  bootstrap: Connection.connect({ machine: options.machine, socket: options.channel.bootstrap }),
  lanes: Math.floor(options.channel.ports.length / portsPerLane),
  lane: (number) => lane(options.machine, options.channel.ports, number),
  start
})

/** {@link make} as a layer. */
export const layer = (options: { readonly machine: string; readonly channel: VirtioPorts }): Layer.Layer<Transport> =>
  Layer.succeed(Transport, make(options))
