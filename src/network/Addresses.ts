/**
 * The addresses of a test's machines: the MAC, IPv4 and IPv6 address for each node and VLAN, and the commands that set them in a guest.
 *
 * Pure: networks are isolated from each other, so every test can use the same addresses. A declaration can give a card others.
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
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as IpAddress from "./IpAddress.ts"

/** Nodes and VLANs each have one octet of an address, less 0 and 255. */
export const maximum = 254

/** A test has more machines than there are addresses, or a machine is on a VLAN outside 1 to 254. */
export class InvalidAddresses extends Schema.TaggedError<InvalidAddresses>()("InvalidAddresses", {
  reason: Schema.String
}) {
  override get message() {
    return this.reason
  }
}

/** A network card as a declaration has it. */
export interface Card {
  readonly vlan: number
  /** The name of its network, if it has one. */
  readonly network?: string | undefined
  /** Six hexadecimal octets. Default: {@link mac}. */
  readonly mac?: string | undefined
  /** With or without a prefix, `"10.0.0.5/24"`, or `"none"`; see {@link "./IpAddress.ts"}. Default: {@link ipv4}, on the machine's first card of the VLAN. */
  readonly ipv4?: string | undefined
  /** With or without a prefix, `"fd00::5/64"`, or `"none"`. Default: {@link ipv6}, on the machine's first card of the VLAN. */
  readonly ipv6?: string | undefined
}

/** A machine and its cards, in their order; a number is a card on that VLAN. */
export interface Node {
  readonly name: string
  readonly vlans: ReadonlyArray<number | Card>
}

/** One network card of one machine. */
export interface Interface {
  /** `eth1` is the machine's first card; eth0 is the way to the host. */
  readonly device: string
  /** The number of its network. */
  readonly vlan: number
  /** The name of its network; undefined if the test declares no networks. */
  readonly network: string | undefined
  /** In lower case. */
  readonly mac: string
  /** Without its prefix; undefined for a card without one. */
  readonly ipv4: string | undefined
  /** The length of its prefix in bits; 24 by default. */
  readonly ipv4Prefix: number
  /** Without its prefix, spelled as guests print it; undefined for a card without one. */
  readonly ipv6: string | undefined
  /** The length of its prefix in bits; 64 by default. */
  readonly ipv6Prefix: number
}

/** One machine with its number and its addresses. */
export interface AddressedNode {
  readonly name: string
  /** Its number, from 1, in the alphabetical order of names. */
  readonly number: number
  readonly interfaces: ReadonlyArray<Interface>
}

/** The MAC of every machine's eth0: each is on a network of its own, so one does for all. */
export const eth0Mac = "52:54:00:12:00:01"

const hex = (octet: number) => octet.toString(16).padStart(2, "0")

/**
 * `52:54:00:12:<vlan>:<node>`, both as two hexadecimal digits; a machine's second card on one VLAN has 13 instead of 12, and so on. 52:54:00 is what
 * QEMU's own addresses begin with.
 */
export const mac = (vlan: number, node: number, before = 0): string =>
  `52:54:00:${hex(0x12 + before)}:${hex(vlan)}:${hex(node)}`

/** `192.168.<vlan>.<node>`. */
export const ipv4 = (vlan: number, node: number): string => `192.168.${vlan}.${node}`

/** `2001:db8:<vlan>::<node>`, both in the hexadecimal of IPv6. */
export const ipv6 = (vlan: number, node: number): string => `2001:db8:${vlan.toString(16)}::${node.toString(16)}`

const isOctet = (value: number) => Number.isInteger(value) && value >= 1 && value <= maximum

/** A card; a number is one on that VLAN. */
export const cardOf = (card: number | Card): Card => (typeof card === "number" ? { vlan: card } : card)

/** Why these machines cannot all have addresses, or undefined if they can. */
export const check = (nodes: ReadonlyArray<Node>): InvalidAddresses | undefined => {
  if (nodes.length > maximum) {
    return new InvalidAddresses({ reason: `a test can have at most ${maximum} machines, got ${nodes.length}` })
  }
  for (const { name, vlans } of nodes) {
    const wrong = vlans.map((card) => cardOf(card).vlan).find((vlan) => !isOctet(vlan))
    if (wrong !== undefined) {
      return new InvalidAddresses({
        reason: `${name}: a VLAN must be a whole number from 1 to ${maximum}, got ${wrong}`
      })
    }
  }
  return undefined
}

/** The declared address, or the one that follows from the numbers. */
const addressOf = (family: IpAddress.Family, declared: string | undefined, usual: string | undefined) => {
  const prefix = IpAddress.defaultPrefix[family]
  if (declared === undefined) return { address: usual, prefix }
  const parsed = IpAddress.parse(family, declared)
  return Result.isSuccess(parsed) ? parsed.success : { address: undefined, prefix }
}

/** The addresses of the machine with a number. Both the number and its VLANs are 1 to {@link maximum}; see {@link check}. */
export const number = ({ name, vlans }: Node, node: number): AddressedNode => {
  const cards = vlans.map(cardOf)
  const interfaces = cards.map((card, position): Interface => {
    const { network, vlan } = card
    const before = cards.slice(0, position).filter((other) => other.vlan === vlan).length
    const four = addressOf("ipv4", card.ipv4, before === 0 ? ipv4(vlan, node) : undefined)
    const six = addressOf("ipv6", card.ipv6, before === 0 ? ipv6(vlan, node) : undefined)
    return {
      ...{ device: `eth${position + 1}`, vlan, network },
      mac: card.mac?.toLowerCase() ?? mac(vlan, node, before),
      ...{ ipv4: four.address, ipv4Prefix: four.prefix, ipv6: six.address, ipv6Prefix: six.prefix }
    }
  })
  return { name, number: node, interfaces }
}

/** Numbers machines from 1 in the alphabetical order (by code unit) of their names, whatever the order of the input. */
export const assign = (nodes: ReadonlyArray<Node>): ReadonlyArray<AddressedNode> =>
  [...nodes]
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map((node, index) => number(node, index + 1))

/** An address that two cards have. */
export interface Conflict {
  /** The later one's machine, and the position of its card. */
  readonly machine: string
  readonly card: number
  /** A sentence that names both. */
  readonly reason: string
}

/** The first address that two cards of these machines have: a MAC of all the test's cards, an IP address of those of one VLAN. */
export const conflict = (nodes: ReadonlyArray<AddressedNode>): Conflict | undefined => {
  const seen = new Map<string, string>()
  for (const { interfaces, name } of nodes) {
    for (const [card, { device, ipv4, ipv6, mac, network, vlan }] of interfaces.entries()) {
      const where = network ?? `VLAN ${vlan}`
      const own = [
        `the MAC address ${mac}`,
        ...[ipv4, ipv6].flatMap((ip) => (ip === undefined ? [] : `${ip} on ${where}`))
      ]
      for (const address of own) {
        const owner = seen.get(address)
        if (owner !== undefined) {
          return {
            machine: name,
            card,
            reason: `${device} must have an address of its own, got ${address}, which ${owner} has`
          }
        }
        seen.set(address, `${device} of ${name}`)
      }
    }
  }
  return undefined
}

/** An address of a card, of one family. */
const addressIn = (card: Interface, family: IpAddress.Family): IpAddress.Prefixed | undefined => {
  const address = card[family]
  return address === undefined ? undefined : { address, prefix: card[`${family}Prefix`] }
}

/** The address of one family that a machine's name leads to for a reader; see {@link hosts}. */
const reached = (node: AddressedNode, reader: AddressedNode, family: IpAddress.Family): string | undefined => {
  const shared = reader.interfaces.flatMap((own) =>
    node.interfaces.flatMap((card) => {
      const [from, to] = [addressIn(own, family), addressIn(card, family)]
      if (own.vlan !== card.vlan || to === undefined || IpAddress.isLinkLocal(to.address)) return []
      return { address: to.address, direct: from !== undefined && IpAddress.holds(family, from, to.address) }
    })
  )
  return (shared.find(({ direct }) => direct) ?? shared[0])?.address
}

/**
 * `/etc/hosts` as one machine sees it.
 *
 * **Details**
 *
 * A machine is named by its address on the first VLAN that the reader shares with it, so that a name always leads over a
 * common network: the first that is in the network of an address of the reader's card there, and where none is, the first of all. A machine
 * that shares no VLAN is left out. The reader's own name leads to its first addresses, and to 127.0.0.2, as on Debian, when it has none.
 */
export const hosts = (nodes: ReadonlyArray<AddressedNode>, reader: AddressedNode): string => {
  const lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
  for (const node of nodes) {
    const addresses = [reached(node, reader, "ipv4") ?? [], reached(node, reader, "ipv6") ?? []].flat()
    lines.push(...addresses.map((address) => `${address} ${node.name}`))
    if (addresses.length === 0 && node.name === reader.name) lines.push(`127.0.0.2 ${node.name}`)
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
    ...node.interfaces.flatMap(({ device, ipv4, ipv4Prefix, ipv6, ipv6Prefix }) => [
      `link set dev ${device} up`,
      ...(ipv4 === undefined ? [] : [`address replace ${ipv4}/${ipv4Prefix} dev ${device}`]),
      ...(ipv6 === undefined ? [] : [`address replace ${ipv6}/${ipv6Prefix} dev ${device} nodad`])
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

/** `255.255.255.0` for 24 bits. */
const netmask = (prefix: number): string =>
  [0, 8, 16, 24].map((before) => 256 - 2 ** (8 - Math.min(8, Math.max(0, prefix - before)))).join(".")

/**
 * The same for the start of a guest, before anything has an address: `ifconfig` brings a card up with all its addresses in one process, and busybox's shell runs
 * it without starting a program. Each process of an emulated guest takes 8 to 15 ms. `failed` is a shell variable that becomes 1 where a card of a VLAN has not got
 * what it should. A guest without IPv6 gets IPv4 alone.
 */
export const ifconfigCommands = (
  node: AddressedNode,
  options: { readonly internet: boolean; readonly failed: string }
): string => {
  const up = (device: string, address: string | undefined, prefix: number) =>
    `ifconfig ${device}${address === undefined ? "" : ` ${address} netmask ${netmask(prefix)}`} up`
  const [address = "", prefix] = userNetwork.address.split("/")
  return [
    "for f in /proc/sys/net/ipv6/conf/*/accept_dad; do [ -e $f ] && echo 0 > $f; done",
    "ifconfig lo up",
    up(userNetwork.device, address, Number(prefix)),
    ...(options.internet ? [`route add default gw ${userNetwork.gateway}`] : []),
    "vm_6=; [ ! -e /proc/net/if_inet6 ] || vm_6=1",
    ...node.interfaces.map(({ device, ipv4, ipv4Prefix, ipv6, ipv6Prefix }) => {
      const add = ipv6 === undefined ? "" : ` \${vm_6:+add ${ipv6}/${ipv6Prefix}}`
      return `${up(device, ipv4, ipv4Prefix)}${add} || ${options.failed}=1`
    }),
    ""
  ].join("\n")
}

/** `/etc/resolv.conf`: QEMU's forwarder with `internet`; empty without it. */
export const resolvConf = (options: { readonly internet: boolean }): string =>
  options.internet ? `nameserver ${userNetwork.nameserver}\n` : ""
