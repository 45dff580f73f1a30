/**
 * A machine's cables, and the way from the host into it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { ControlError } from "../backends/BackendError.ts"
import { QmpError } from "../transport/Qmp.ts"
import { onControl } from "./Control.ts"
import { type Guest, guard, type Unavailable } from "./internal/Guest.ts"
import { InvalidArgument } from "./MachineError.ts"
import type { PollingConditionFailed } from "./PollingCondition.ts"

type LinkFailure = Unavailable | ControlError | PollingConditionFailed

/** The cables of a machine. */
export interface LinkMethods {
  /** Pulls the cables of all VLANs, or of one. */
  readonly block: (vlan?: number) => Effect.Effect<void, LinkFailure | InvalidArgument>
  /** Plugs the cables of all VLANs, or of one. */
  readonly unblock: (vlan?: number) => Effect.Effect<void, LinkFailure | InvalidArgument>
  /**
   * Lets a port of the host's loopback lead to a TCP port of the guest, and gives the host's port; 0, the default, takes any free one.
   */
  readonly forwardPort: (guestPort: number, hostPort?: number) => Effect.Effect<number, LinkFailure | InvalidArgument>
}

/** The cable methods of a guest that is on these VLANs. */
export const make = (guest: Guest, vlans: ReadonlyArray<number>): LinkMethods => {
  const invalid = (argument: string, value: number, reason: string) =>
    new InvalidArgument({ machine: guest.name, argument, value: String(value), reason })

  const setLinks = (up: boolean) =>
    Effect.fnUntraced(function* (vlan?: number) {
      if (vlan !== undefined && !vlans.includes(vlan)) {
        return yield* invalid("vlan", vlan, `is not one of this machine's: ${vlans.join(", ")}`)
      }
      const hypervisor = yield* guest.hypervisor
      yield* guard(
        guest,
        up ? "plugging cables" : "pulling cables",
        Effect.forEach(vlan === undefined ? vlans : [vlan], (number) => hypervisor.setLink(number, up), {
          discard: true
        })
      )
    })

  return {
    block: setLinks(false),
    unblock: setLinks(true),
    forwardPort: Effect.fnUntraced(function* (guestPort, hostPort = 0) {
      for (const [port, least] of [
        [guestPort, 1],
        [hostPort, 0]
      ] as const) {
        if (!Number.isInteger(port) || port < least || port > 65535) {
          return yield* invalid("port", port, "is not a port; ports are 1 to 65535")
        }
      }
      return yield* onControl(guest, `forwarding port ${guestPort}`, (control) =>
        Effect.gen(function* () {
          const said = (yield* control.hmp(`hostfwd_add tcp:127.0.0.1:${hostPort}-:${guestPort}`)).trim()
          if (said === "" && hostPort !== 0) return hostPort
          // "TCP[HOST_FORWARD]  23  127.0.0.1 40123  10.0.2.15 80 …": the newest is the first.
          const rows = said === "" ? yield* control.hmp("info usernet") : ""
          const row = [...rows.matchAll(/HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+(\d+)/g)].find(
            ([, , guestSide]) => Number(guestSide) === guestPort
          )
          if (row !== undefined) return Number(row[1])
          return yield* new QmpError({
            machine: guest.name,
            command: "hostfwd_add",
            class: "HumanMonitor",
            desc: said === "" ? "the forward is not listed" : said
          })
        })
      )
    })
  }
}
