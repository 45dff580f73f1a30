/**
 * Waiting for TCP ports.
 *
 * The guest's own ports are read from `/proc/net/tcp` and `/proc/net/tcp6` in a loop of shell builtins, which needs no program in the guest
 * and disturbs no server. For other addresses the guest tries to connect.
 *
 * **Example** (A server, locally and from another machine)
 *
 * ```ts
 * yield* web.waitForOpenPort(80)
 * yield* client.waitForOpenPort(80, "web", { timeout: "1 minute" })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fields from "../host/Fields.ts"
import { quote } from "../host/Quote.ts"
import * as Arguments from "./Arguments.ts"
import type { Guest, WaitError } from "./Guest.ts"
import * as PortProbe from "./internal/portProbe.ts"
import { GuestPollOptions } from "./Timeout.ts"
import { waitInGuest } from "./Wait.ts"

/** Perhaps an address, then perhaps options. */
export type AddressAndOptions =
  | readonly [address?: string | undefined, options?: GuestPollOptions | undefined]
  | readonly [options: GuestPollOptions]

/** The ports of a machine, and those it can reach. */
export interface PortMethods {
  /**
   * Waits until something listens on a TCP port.
   *
   * Without an address any listener in the guest counts; with `"localhost"`, `"127.0.0.1"` or `"::1"` one that those reach. For any other
   * address or name the guest tries to connect, with bash, telnet or nc. A name without an address is tried again.
   *
   * If the only listener is an IPv6 socket for any address, the guest connects to `"127.0.0.1"` once: the socket may accept only IPv6.
   */
  readonly waitForOpenPort: (
    port: number,
    ...rest: AddressAndOptions
  ) => Effect.Effect<void, WaitError | NoWayToConnect>
  /**
   * Waits until nothing listens on a TCP port or, for another address, until a connection is refused or gets no answer for a second.
   * A name without an address counts as neither open nor closed.
   */
  readonly waitForClosedPort: (
    port: number,
    ...rest: AddressAndOptions
  ) => Effect.Effect<void, WaitError | NoWayToConnect>
}

/** The guest has no program to connect to a port of another machine with. */
export class NoWayToConnect extends Schema.TaggedError<NoWayToConnect>()("NoWayToConnect", {
  machine: Schema.String,
  address: Schema.String,
  port: Schema.Int
}) {
  override get message() {
    return `${this.machine}: could not connect to port ${this.port} of ${this.address}: the guest has none of bash, telnet and nc; install one of them`
  }
}

const look = `listening=
for f in /proc/net/tcp /proc/net/tcp6; do
  [ -r $f ] || continue
  while read -r _ local _ st _; do
    [ "$st" = 0A ] && listening=1 && echo "listening: $((0x\${local##*:})) ($f)"
  done < $f
done
[ -n "$listening" ] || echo "nothing listens on any TCP port"`

// The characters of names and IP addresses, which may have a zone (fe80::1%eth1).
const Address = Fields.text("a host name or an IP address", /^[A-Za-z0-9._:%-]+$/)

/** An address and options, or one of them. */
const awaited = Arguments.takes(
  { port: Fields.Port, address: Schema.optional(Address), options: Schema.optional(GuestPollOptions) },
  {
    named: ([port, first, second]) =>
      typeof first === "object" && first !== null && !Array.isArray(first)
        ? { port, options: first }
        : { port, address: first, options: second }
  }
)

/** What its methods take. */
export const parameters = Arguments.of<PortMethods>({ waitForOpenPort: awaited, waitForClosedPort: awaited })

/** The port methods of a guest. */
export const make = (guest: Guest): PortMethods => {
  const waitFor = (wanted: "open" | "closed") =>
    Effect.fnUntraced(function* (port: number, ...[first, second]: AddressAndOptions) {
      const [address, options] = typeof first === "object" ? [undefined, first] : [first, second]
      const name = wanted === "open" ? "waitForOpenPort" : "waitForClosedPort"
      const attributes = { port, address }
      const awaited = `port ${port}${address === undefined ? "" : ` of ${address}`} to be ${wanted}`
      const local = PortProbe.localOf(address)
      if (local !== undefined) {
        const open = PortProbe.open(port, address, local)
        const loop = `${open}\n${wanted === "open" ? "until" : "while"} open; do pause; done`
        yield* waitInGuest(guest, { name, attributes, awaited, options, loop, look })
        return
      }
      const there = address ?? ""
      const connects = PortProbe.connects(port, there)
      const { exitCode } = yield* waitInGuest(guest, {
        name,
        attributes,
        awaited,
        options,
        loop: `${connects}
while :; do
  connects
  case $verdict in ${wanted}) exit 0 ;; missing) exit 127 ;; esac
  pause
done`,
        look: `set +eu\n${connects}\nconnects
case $verdict in open) echo "it is open" ;; unresolved) echo ${quote(`${there} has no address`)} ;; *) ${PortProbe.whyClosed} ;; esac`
      })
      if (exitCode === 127) return yield* new NoWayToConnect({ machine: guest.name, address: there, port })
    })
  return Arguments.checked<PortMethods>(guest.name, parameters, {
    waitForOpenPort: waitFor("open"),
    waitForClosedPort: waitFor("closed")
  })
}
