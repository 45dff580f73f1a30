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
import * as Connection from "./Connection.ts"
import type { VirtioPorts } from "./GuestChannel.ts"
import { type Lane, Transport, type TransportService } from "./Transport.ts"

/** The ports that a lane takes: commands and input, output, errors. */
export const portsPerLane = 3

/** The lanes over a list of ports, of which `ports[i]` is named `vmtest.<i + 1>` in the guest. */
export const lanes = (machine: string, ports: ReadonlyArray<string>): Pick<TransportService, "lanes" | "lane"> => ({
  lanes: Math.floor(ports.length / portsPerLane),
  lane: Effect.fnUntraced(function* (number, nonce, { tell }) {
    const first = (number - 1) * portsPerLane
    const open = (end: number) =>
      Connection.connect({ machine, socket: ports[first + end] ?? `no port ${first + end}` })
    const lane: Lane = yield* Effect.all({ input: open(0), output: open(1), errors: open(2) }, { concurrency: 3 })
    // The agent keeps the device of the port vmtest.<i> in _vt_port_<i>.
    const devices = [1, 2, 3].map((end) => `$_vt_port_${first + end}`).join(" ")
    yield* tell(`_vt_start ${number} ${nonce} ${devices}`)
    return lane
  })
})

/** A transport over the ports of a channel. */
export const make = (options: { readonly machine: string; readonly channel: VirtioPorts }): TransportService => ({
  machine: options.machine,
  name: "virtio-port",
  reconnects: true,
  slowness: 1,
  bootstrap: Connection.connect({ machine: options.machine, socket: options.channel.bootstrap }),
  ...lanes(options.machine, options.channel.ports)
})

/** {@link make} as a layer. */
export const layer = (options: { readonly machine: string; readonly channel: VirtioPorts }): Layer.Layer<Transport> =>
  Layer.succeed(Transport, make(options))
