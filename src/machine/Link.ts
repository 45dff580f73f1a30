/**
 * A machine's network cables, and ports of the host that lead into it.
 *
 * **Example** (A network that fails, and a port for the host)
 *
 * ```ts
 * yield* web.block()
 * yield* client.fail("curl --max-time 5 http://web")
 * yield* web.unblock()
 * const port = yield* web.forwardPort({ guestPort: 80 })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import type { ControlError } from "../backends/BackendError.ts"
import { guard } from "../guest/Action.ts"
import * as Arguments from "../guest/Arguments.ts"
import type { Guest, Unavailable } from "../guest/Guest.ts"
import { InvalidArgument } from "../guest/MachineError.ts"
import type { PollingConditionFailed } from "../guest/PollingCondition.ts"
import * as Fields from "../host/Fields.ts"
import { QmpError, type QmpService } from "../transport/qmp/Qmp.ts"
import { onControl } from "./Control.ts"

type LinkFailure = Unavailable | ControlError | PollingConditionFailed

/** The cables of a machine. */
export interface LinkMethods {
  /**
   * Pulls the cables of all VLANs of the declaration, or of one. Cards that were plugged in keep theirs: `unplug` takes such a card out.
   */
  readonly block: (vlan?: number) => Effect.Effect<void, LinkFailure | InvalidArgument>
  /** Plugs the cables of all VLANs of the declaration, or of one. */
  readonly unblock: (vlan?: number) => Effect.Effect<void, LinkFailure | InvalidArgument>
  /**
   * Forwards a port of the host's loopback to a TCP port of the guest while the machine runs, and returns the host's port. If the host's port
   * is in use, it fails with a `QmpError`.
   */
  readonly forwardPort: (ports: ForwardPortOptions) => Effect.Effect<number, LinkFailure | InvalidArgument>
}

/** A port of the host to forward into the guest. */
export const ForwardPortOptions = Schema.Struct({
  /** On the host's loopback. Default 0: any free port. */
  hostPort: Schema.optional(Fields.whole(0, 65535, "a port, a whole number")),
  guestPort: Fields.Port
}).annotate({ expected: "an object { guestPort, hostPort? }" })

/** A port of the host to forward into the guest. */
export interface ForwardPortOptions extends Schema.Schema.Type<typeof ForwardPortOptions> {}

/** What its methods take. Which VLANs a machine has is its own. */
export const parameters = Arguments.of<LinkMethods>({
  block: Arguments.takes({ vlan: Schema.optional(Schema.Number) }),
  unblock: Arguments.takes({ vlan: Schema.optional(Schema.Number) }),
  forwardPort: Arguments.takes({ ports: ForwardPortOptions })
})

/** The cable methods of a guest that is on these VLANs. */
export const make = (guest: Guest, vlans: ReadonlyArray<number>): LinkMethods => {
  const adding = Semaphore.makeUnsafe(1)

  const setLinks = (up: boolean) =>
    Effect.fnUntraced(function* (vlan?: number) {
      if (vlan !== undefined && !vlans.includes(vlan)) {
        const known = vlans.length === 0 ? "it has none" : vlans.join(", ")
        const reason = `vlan must be one that this machine declares (${known}), got ${vlan}`
        const method = up ? "unblock" : "block"
        return yield* new InvalidArgument({ machine: guest.name, method, argument: "vlan", value: vlan, reason })
      }
      const control = yield* guest.control
      yield* guard(
        guest,
        { name: up ? "unblock" : "block", doing: up ? "plugging cables" : "pulling cables", attributes: { vlan } },
        Effect.forEach(vlan === undefined ? vlans : [vlan], (number) => control.setLink(number, up), {
          discard: true
        })
      )
    })

  return Arguments.checked<LinkMethods>(guest.name, parameters, {
    block: setLinks(false),
    unblock: setLinks(true),
    forwardPort: ({ guestPort, hostPort = 0 }) =>
      onControl(
        guest,
        { name: "forwardPort", doing: `forwarding port ${guestPort}`, attributes: { port: guestPort } },
        (control) => adding.withPermits(1)(addForward(control, guest.name, guestPort, hostPort))
      )
  })
}

/** The ports of a machine's forwards, on the host and in the guest. "TCP[HOST_FORWARD]  23  127.0.0.1 40123  10.0.2.15 80 …" */
const forwards = (control: QmpService) =>
  Effect.map(control.hmp("info usernet"), (rows) =>
    [...rows.matchAll(/HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+(\d+)/g)].map(
      ([, host, inside]) => [Number(host), Number(inside)] as const
    )
  )

/** QEMU does not say which port it chose, but lists all forwards. */
const addForward = Effect.fnUntraced(function* (
  control: QmpService,
  machine: string,
  guestPort: number,
  hostPort: number
) {
  const before = new Set((yield* forwards(control)).map(([host]) => host))
  const said = (yield* control.hmp(`hostfwd_add tcp:127.0.0.1:${hostPort}-:${guestPort}`)).trim()
  const added = (yield* forwards(control)).find(([host, inside]) => inside === guestPort && !before.has(host))
  if (said === "" && added !== undefined) return added[0]
  return yield* new QmpError({
    machine,
    command: "hostfwd_add",
    class: "HumanMonitor",
    desc: said === "" ? "the forward is not listed" : said
  })
})
