/**
 * Waiting for TCP and UDP ports.
 *
 * The guest's own ports are read from the kernel's lists (`/proc/net/tcp`, `/proc/net/udp6`, …) in a loop of shell builtins, which needs no program
 * in the guest and disturbs no server. For other addresses the guest tries to connect.
 *
 * **Example** (A server, locally and from another machine)
 *
 * ```ts
 * yield* web.waitForOpenPort(80)
 * yield* client.waitForOpenPort(80, "web", { timeout: "1 minute" })
 * yield* web.waitForOpenPort(53, { protocol: "udp" })
 * ```
 *
 * @since 0.1.0
 */
import { isIPv6 } from "node:net"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Problem } from "../host/Decode.ts"
import * as Fields from "../host/Fields.ts"
import * as Arguments from "./Arguments.ts"
import type { Guest, WaitError } from "./Guest.ts"
import * as NewUnits from "./internal/newUnits.ts"
import * as PortList from "./internal/portList.ts"
import * as PortProbe from "./internal/portProbe.ts"
import { GuestPollOptions } from "./Timeout.ts"
import { waitInGuest } from "./Wait.ts"

/** Which ports to wait for, and how long. */
export const PortOptions = Fields.options(
  {
    ...GuestPollOptions.fields,
    /** Default `"tcp"`. UDP ports of other machines cannot be waited for: a socket of UDP need not answer. */
    protocol: Schema.optional(Schema.Literals(["tcp", "udp"]).annotate({ expected: '"tcp" or "udp"' })),
    /**
     * `"own"` (the default) counts only sockets of the guest's own network namespace, `"all"` also those in the namespaces of other processes: of
     * services with `PrivateNetwork=yes`, of containers, of `ip netns exec`. It cannot be combined with an address.
     */
    namespaces: Schema.optional(Schema.Literals(["own", "all"]).annotate({ expected: '"own" or "all"' }))
  },
  '{ timeout: "5 seconds" }'
)

/** Which ports to wait for, and how long. */
export interface PortOptions extends Schema.Schema.Type<typeof PortOptions> {}

/** Perhaps an address, then perhaps options. */
export type AddressAndOptions =
  | readonly [address?: string | undefined, options?: PortOptions | undefined]
  | readonly [options: PortOptions]

/** The ports of a machine, and those it can reach. */
export interface PortMethods {
  /**
   * Waits until something listens on a TCP port or, with `protocol: "udp"`, is bound to a UDP port without being connected.
   *
   * Without an address any listener in the guest counts; with `"localhost"`, `"127.0.0.1"` or `"::1"` one that those reach. For any other
   * address or name the guest tries to connect, with bash, telnet or nc. A name without an address is tried again; the error says if one of the guest's
   * hosts file, such as another machine's, is spelt almost like it.
   *
   * If the only listener is an IPv6 socket for any address, the guest connects to `"127.0.0.1"` once: the socket may accept only IPv6.
   */
  readonly waitForOpenPort: (
    port: number,
    ...rest: AddressAndOptions
  ) => Effect.Effect<void, WaitError | NoWayToConnect>
  /**
   * Waits until nothing listens on the port (is bound to it, of UDP) or, for another address, until a connection is refused or gets no answer for a second.
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

// The characters of names, and IP addresses, which may have a zone (fe80::1%eth1). A name with a colon is one with a port, which programs that connect
// take in ways of their own.
const Address = Fields.text(
  "a host name or an IP address, without a port",
  (address) => /^[A-Za-z0-9._%-]+$/.test(address) || isIPv6(address)
)

/** An address and options, or one of them. */
const awaited = Arguments.takes(
  { port: Fields.Port, address: Schema.optional(Address), options: Schema.optional(PortOptions) },
  {
    named: ([port, first, second]) =>
      typeof first === "object" && first !== null && !Array.isArray(first)
        ? { port, options: first }
        : { port, address: first, options: second }
  }
)

/** What its methods take. */
export const parameters = Arguments.of<PortMethods>({ waitForOpenPort: awaited, waitForClosedPort: awaited })

/** What is wrong with an address beside other options. */
const problemOf = (
  { namespaces, protocol }: PortList.Sockets,
  address: string | undefined,
  local: PortList.Local | undefined
): Problem | undefined => {
  const of = (option: string, value: unknown, reason: string) => ({ path: ["options", option], value, reason })
  if (protocol === "udp" && local === undefined) {
    const why = "a closed UDP port and one that does not answer look alike from outside"
    return of(
      "protocol",
      protocol,
      `protocol must be "tcp" with the address of another machine, got "udp": ${why}; wait on the machine that has the port`
    )
  }
  return namespaces === "all" && address !== undefined
    ? of("namespaces", namespaces, `namespaces must be "own" with an address, got "all": leave the address out`)
    : undefined
}

/** The port methods of a guest. */
export const make = (guest: Guest): PortMethods => {
  const waitFor = (wanted: "open" | "closed") =>
    Effect.fnUntraced(function* (port: number, ...[first, second]: AddressAndOptions) {
      const [address, options = {}] = typeof first === "object" ? [undefined, first] : [first, second]
      const name = wanted === "open" ? "waitForOpenPort" : "waitForClosedPort"
      const { namespaces = "own", protocol = "tcp" } = options
      const sockets = { namespaces, protocol }
      const local = PortList.localOf(address, protocol)
      const problem = problemOf(sockets, address, local)
      if (problem !== undefined) return yield* Arguments.refusal(guest.name, name, problem)
      const attributes = { port, address }
      const where = address === undefined ? "" : ` of ${address}`
      const inAll = namespaces === "all" ? " in any network namespace" : ""
      const awaited = `${protocol === "udp" ? "UDP port" : "port"} ${port}${where} to be ${wanted}${inAll}`
      if (local !== undefined) {
        const open = PortProbe.open(port, address, local, sockets)
        const loop = `${open}\n${wanted === "open" ? "until" : "while"} open; do pause; done`
        const { look } = PortList
        yield* waitInGuest(guest, {
          ...{ name, attributes, awaited, options, loop, look },
          shown: PortList.shown(port, sockets)
        })
        if (wanted === "open") NewUnits.forget(guest)
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
case $verdict in open) echo "it is open" ;; unresolved) ${PortProbe.knownNames} ;; *) ${PortProbe.whyClosed} ;; esac`,
        shown: (text) => PortProbe.unresolvedIn(text, there) ?? text
      })
      if (exitCode === 127) return yield* new NoWayToConnect({ machine: guest.name, address: there, port })
      if (wanted === "open") NewUnits.forget(guest)
    })
  return Arguments.checked<PortMethods>(guest.name, parameters, {
    waitForOpenPort: waitFor("open"),
    waitForClosedPort: waitFor("closed")
  })
}
