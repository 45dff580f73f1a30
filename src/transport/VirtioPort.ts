/**
 * Lanes over virtio-serial ports.
 *
 * QEMU throttles a `virtserialport` whose socket is full, so nothing is dropped however slowly the host reads. Three ports
 * make a lane: 30 ports beside `vmtest.0`, which has the bootstrap shell, make ten.
 *
 * **Example** (The ports of a QEMU of your own)
 *
 * ```ts
 * const channel = GuestChannel.virtioPorts({ bootstrap: "/run/web/p0", ports: ["/run/web/p1", "/run/web/p2", "/run/web/p3"] })
 * const ShellLive = Shell.layerFromTransport().pipe(Layer.provide(VirtioPort.layer({ machine: "web", channel })))
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { VirtioPorts } from "./GuestChannel.ts"
import * as Preopened from "./Preopened.ts"
import { type Lane, Transport, type TransportService } from "./Transport.ts"

/** The ports that a lane takes: commands and input, output, errors. */
export const portsPerLane = 3

/** The lanes over a list of ports; `ports[i]` is named `vmtest.<i + 1>` in the guest. */
export const lanes = (
  machine: string,
  ports: ReadonlyArray<string>,
  attached: Preopened.Preopened = Preopened.none
): Pick<TransportService, "lanes" | "lane" | "attached"> => ({
  lanes: Math.floor(ports.length / portsPerLane),
  attached: () => {
    const sockets = attached.sockets()
    const numbers = Array.from({ length: Math.floor(ports.length / portsPerLane) }, (_, index) => index + 1)
    return numbers.filter((number) =>
      ports.slice((number - 1) * portsPerLane, number * portsPerLane).every((port) => sockets.has(port))
    )
  },
  lane: Effect.fnUntraced(function* (number, nonce, { tell }, waiting) {
    const first = (number - 1) * portsPerLane
    const open = (end: number) => attached.connect({ machine, socket: ports[first + end] ?? `no port ${first + end}` })
    const lane: Lane = yield* Effect.all({ input: open(0), output: open(1), errors: open(2) }, { concurrency: 3 })
    if (waiting === true) {
      yield* lane.input.write(`${nonce} p 0 0\n`)
      return lane
    }
    // The agent keeps the device of the port vmtest.<i> in _vt_port_<i>.
    const devices = [1, 2, 3].map((end) => `$_vt_port_${first + end}`).join(" ")
    yield* tell(`_vt_start ${number} ${nonce} ${devices} 2>/dev/null`)
    return lane
  })
})

/** A transport over the ports of a channel. */
export const make = (options: {
  readonly machine: string
  readonly channel: VirtioPorts
  /** What is open already, of a guest that continues from a saved one. */
  readonly attached?: Preopened.Preopened | undefined
}): TransportService => {
  const { attached = Preopened.none, channel, machine } = options
  return {
    machine,
    name: "virtio-port",
    reconnects: true,
    slowness: 1,
    bootstrap: attached.connect({ machine, socket: channel.bootstrap }),
    ...lanes(machine, channel.ports, attached)
  }
}

/** {@link make} as a layer. */
export const layer = (options: { readonly machine: string; readonly channel: VirtioPorts }): Layer.Layer<Transport> =>
  Layer.succeed(Transport, make(options))
