/**
 * The addresses of a test's machines: the MAC, IPv4 and IPv6 address for each node and VLAN, and the commands that set them in a guest.
 *
 * Pure: networks are isolated from each other, so every test can use the same addresses.
 *
 * **Example** (The address of the first machine on VLAN 1)
 *
 * ```ts
 * const [client, server] = Addresses.assign([{ name: "server", vlans: [1] }, { name: "client", vlans: [1] }])
 * client?.interfaces[0]?.ipv4 // "192.168.1.1"
 * server?.interfaces[0]?.ipv4 // "192.168.1.2"
 * ```
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/** Nodes and VLANs each have one octet of an address, less 0 and 255. */
export const maximum = 254

/** There are more machines than addresses, or a VLAN is outside 1 to 254. */
export class AddressesExhausted extends Schema.TaggedError<AddressesExhausted>()("AddressesExhausted", {
  reason: Schema.String
}) {
  override get message() {
    return this.reason
  }
}

/** A machine and the VLANs it is on, in the order of its interfaces. */
export interface Node {
  readonly name: string
  readonly vlans: ReadonlyArray<number>
}

/** One network card of one machine. */
export interface Interface {
  /** `eth1` is on the machine's first VLAN; eth0 is the way to the host. */
  readonly device: string
  readonly vlan: number
  readonly mac: string
  /** Without the prefix length, which is 24. */
  readonly ipv4: string
  /** Without the prefix length, which is 64. */
  readonly ipv6: string
}

/** One machine with its number and its addresses. */
export interface AddressedNode {
  readonly name: string
  /** Its number, from 1, in the alphabetical order of names. */
  readonly number: number
  readonly interfaces: ReadonlyArray<Interface>
}

const hex = (octet: number) => octet.toString(16).padStart(2, "0")

/** `52:54:00:12:<vlan>:<node>`, both as two hexadecimal digits. 52:54:00 is what QEMU's own addresses begin with. */
export const mac = (vlan: number, node: number): string => `52:54:00:12:${hex(vlan)}:${hex(node)}`

/** `192.168.<vlan>.<node>`. */
export const ipv4 = (vlan: number, node: number): string => `192.168.${vlan}.${node}`

/** `2001:db8:<vlan>::<node>`, both in the hexadecimal of IPv6. */
export const ipv6 = (vlan: number, node: number): string => `2001:db8:${vlan.toString(16)}::${node.toString(16)}`

const isOctet = (value: number) => Number.isInteger(value) && value >= 1 && value <= maximum

/** Why these machines cannot all have addresses, or undefined if they can. */
export const check = (nodes: ReadonlyArray<Node>): AddressesExhausted | undefined => {
  if (nodes.length > maximum) {
    return new AddressesExhausted({ reason: `a test can have at most ${maximum} machines, got ${nodes.length}` })
  }
  for (const { name, vlans } of nodes) {
    const wrong = vlans.find((vlan) => !isOctet(vlan))
    if (wrong !== undefined) {
      return new AddressesExhausted({
        reason: `${name}: a VLAN must be a whole number from 1 to ${maximum}, got ${wrong}`
      })
    }
  }
  return undefined
}

/** The addresses of the machine with a number. Both the number and its VLANs are 1 to {@link maximum}; see {@link check}. */
export const number = ({ name, vlans }: Node, node: number): AddressedNode => ({
  name,
  number: node,
  interfaces: vlans.map((vlan, position) => ({
    device: `eth${position + 1}`,
    vlan,
    mac: mac(vlan, node),
    ipv4: ipv4(vlan, node),
    ipv6: ipv6(vlan, node)
  }))
})

/** Numbers machines from 1 in the alphabetical order (by code unit) of their names, whatever the order of the input. */
export const assign = (nodes: ReadonlyArray<Node>): ReadonlyArray<AddressedNode> =>
  [...nodes]
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map((node, index) => number(node, index + 1))

/**
 * `/etc/hosts` as one machine sees it.
 *
 * **Details**
 *
 * A machine is named by its address on the first VLAN that the reader shares with it, so that a name always leads over a
 * common network; a machine that shares none is left out. The reader's own name leads to 127.0.0.2, as on Debian, when it
 * is on no VLAN, and to its first address otherwise.
 */
export const hosts = (nodes: ReadonlyArray<AddressedNode>, reader: AddressedNode): string => {
  const lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
  for (const node of nodes) {
    const shared = reader.interfaces.map(({ vlan }) => node.interfaces.find((other) => other.vlan === vlan))
    const first = shared.find((found) => found !== undefined)
    if (first !== undefined) lines.push(`${first.ipv4} ${node.name}`, `${first.ipv6} ${node.name}`)
    else if (node.name === reader.name) lines.push(`127.0.0.2 ${node.name}`)
  }
  return `${lines.join("\n")}\n`
}

/** The guest's side of QEMU's user network: addresses that QEMU's own DHCP server would give, without asking it. */
const userNetwork = { device: "eth0", address: "10.0.2.15/24", gateway: "10.0.2.2", nameserver: "10.0.2.3" }

/**
 * What the guest has to do for its addresses, for `ip -batch -`: one process for all of them, where each costs tens of
 * milliseconds under emulation.
 *
 * **Details**
 *
 * `internet` also sets the default route over eth0. Addresses are replaced rather than added, so that saying it twice is
 * no error; a line of a batch takes no options before its object (`-6`), and needs none. IPv6 addresses skip duplicate
 * detection (`nodad`), which would keep them unusable for a second.
 */
export const ipBatch = (node: AddressedNode, options: { readonly internet: boolean }): string =>
  [
    "link set dev lo up",
    `link set dev ${userNetwork.device} up`,
    `address replace ${userNetwork.address} dev ${userNetwork.device}`,
    ...(options.internet ? [`route replace default via ${userNetwork.gateway}`] : []),
    ...node.interfaces.flatMap(({ device, ipv4, ipv6 }) => [
      `link set dev ${device} up`,
      `address replace ${ipv4}/24 dev ${device}`,
      `address replace ${ipv6}/64 dev ${device} nodad`
    ])
  ].join("\n") + "\n"

/**
 * The same for busybox's `ip`, which has no `-batch`, as shell commands.
 *
 * It also lacks `nodad`; duplicate detection is turned off for the interface instead.
 */
export const ipCommands = (node: AddressedNode, options: { readonly internet: boolean }): string =>
  [
    "for f in /proc/sys/net/ipv6/conf/*/accept_dad; do [ -e $f ] && echo 0 > $f; done",
    ...ipBatch(node, options)
      .trim()
      .split("\n")
      .map((line) => `ip ${line.replace("address replace", "addr replace").replace(" nodad", "")}`)
  ].join("\n") + "\n"

/** `/etc/resolv.conf`: QEMU's forwarder with `internet`; empty without it. */
export const resolvConf = (options: { readonly internet: boolean }): string =>
  options.internet ? `nameserver ${userNetwork.nameserver}\n` : ""
