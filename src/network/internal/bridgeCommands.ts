/**
 * What the fabric "bridge" is made of, as commands of `ip`, `tc` and `nft` for a shell in its namespace.
 *
 * ```text
 * card ── TAP ── v1p2 ── v1p2i ═ v1p2o ── v1          v1: the bridge of VLAN 1, v1p2: that of its second port
 * ```
 *
 * Each port has a bridge of its own, which is led to the VLAN's by a pair of `veth`. So a port is there before its card and after it, whatever
 * opens the TAP: its impairments are queues on the two ends of the pair, one for each direction, and its counters are those of the pair.
 */
import type { Impairment } from "../Impairment.ts"
import * as Random from "./random.ts"
import { areSeparated, type Groups } from "./vlanState.ts"

/** Bytes of the longest packet of a device: what a TAP takes at most. So the MTU of guests is their own. */
const mtu = 65521

/** The names of a port's devices, of at most 15 bytes (`IFNAMSIZ`). */
export interface Devices {
  /** The bridge that its card's TAP is on. */
  readonly bridge: string
  /** The end of the pair at the card: what it sends goes through here. */
  readonly inner: string
  /** The end of the pair at the VLAN: what the card receives goes through here. */
  readonly outer: string
  /** A TAP for a hypervisor that opens it by its name. */
  readonly tap: string
  /** A TAP for a `vde_switch`. */
  readonly vde: string
}

export const bridgeOf = (vlan: number): string => `v${vlan}`

/** The devices of the VLAN's `index`-th port. */
export const devicesOf = (vlan: number, index: number): Devices => {
  const bridge = `v${vlan}p${index}`
  return { bridge, inner: `${bridge}i`, outer: `${bridge}o`, tap: `${bridge}t`, vde: `${bridge}v` }
}

const batch = (tool: "ip" | "tc", lines: ReadonlyArray<string>): string =>
  `${tool} -batch - <<'.'\n${lines.join("\n")}\n.`

/**
 * All frames pass, also those that a bridge keeps for itself by default, such as LLDP's (`group_fwd_mask`; the kernel lets those of LACP and of flow
 * control through on no bridge). It learns nothing of multicast groups, so that all ports get these frames.
 */
const bridge = (name: string, ageing: boolean) => [
  `link add ${name} mtu ${mtu} type bridge stp_state 0 mcast_snooping 0 group_fwd_mask 0xfff8${ageing ? "" : " ageing_time 0"}`,
  `link set ${name} up`
]

/** The bridge of a VLAN. */
export const makeVlan = (vlan: number, hub: boolean): string => batch("ip", bridge(bridgeOf(vlan), !hub))

/** A port of a VLAN. */
export const makePort = (vlan: number, { bridge: name, inner, outer }: Devices): string =>
  batch("ip", [
    ...bridge(name, false),
    `link add ${inner} mtu ${mtu} type veth peer name ${outer} mtu ${mtu}`,
    `link set ${inner} master ${name} up`,
    `link set ${outer} master ${bridgeOf(vlan)} up`
  ])

/** A TAP that is there before the program that opens it by its name. */
export const makeTap = ({ bridge }: Devices, tap: string): string =>
  batch("ip", [`tuntap add ${tap} mode tap`, `link set ${tap} mtu ${mtu} master ${bridge} up`])

/** Pulls or plugs a port's cable. */
export const setLink = ({ inner }: Devices, up: boolean): string => `ip link set ${inner} ${up ? "up" : "down"}`

const percent = (share: number) => `${Math.round(share * 1e8) / 1e6}%`
const micros = (nanos: number) => `${Math.round(nanos / 1000)}us`

/** Frames that wait: as many as in vmtest's own switch where the rate makes them wait, else as many as a delay can hold. */
const limitOf = ({ rate }: Impairment) => (rate === undefined ? 1_000_000 : 1000)

/** With a rate, netem keeps frames in order whose delays vary; so there is always one where they do. */
const inOrder = "100gbit"

const rateOf = ({ jitter, rate, reorder }: Impairment) => {
  if (rate !== undefined) return `${Math.round(rate)}bit`
  return jitter > 0 && reorder === 0 ? inOrder : "0bit"
}

/** The words of `netem`. All of them, as what is not named keeps its former value. */
export const netem = (impairment: Impairment): string => {
  const { corrupt, duplicate, jitter, latency, loss, reorder } = impairment
  return [
    `netem limit ${limitOf(impairment)} delay ${micros(latency)} ${micros(jitter)}`,
    `loss ${percent(loss)} duplicate ${percent(duplicate)} corrupt ${percent(corrupt)}`,
    // It refuses this word where there is no delay; then there is no order to break.
    ...(latency > 0 ? [`reorder ${percent(reorder)}`] : []),
    `rate ${rateOf(impairment)}`
  ].join(" ")
}

/** Nothing happens to frames. What waits in the queue still arrives when it is due. */
export const unimpaired: Impairment = {
  ...{ latency: 0, jitter: 0, loss: 0, duplicate: 0, corrupt: 0, reorder: 0, rate: undefined, seed: undefined }
}

/** Sets the impairments of a port: `out` is for what its card sends, `in` for what it receives. Seeds follow from the same things as those of the switch. */
export const impair = (
  { inner, outer }: Devices,
  impairments: { readonly out: Impairment | undefined; readonly in: Impairment | undefined },
  /** The name of the port, where `tc` takes seeds. */
  seeded?: string
): string => {
  const set = (direction: "out" | "in", device: string) => {
    const impairment = impairments[direction]
    if (impairment === undefined) return []
    const seed = seeded === undefined ? "" : ` seed ${Random.wordOf(`${seeded} ${direction} ${impairment.seed ?? ""}`)}`
    return [`qdisc replace dev ${device} root ${netem(impairment)}${seed}`]
  }
  return batch("tc", [...set("out", inner), ...set("in", outer)])
}

/** The pairs of ports between which nothing may pass. */
export const separated = (
  ports: ReadonlyMap<string, Devices>,
  partitions: ReadonlyArray<Groups>
): ReadonlyArray<readonly [string, string]> =>
  [...ports].flatMap(([name, { outer }]) =>
    [...ports]
      .filter(([other]) => other !== name && partitions.some((groups) => areSeparated(groups, name, other)))
      .map(([, device]) => [outer, device.outer] as const)
  )

/** Puts these partitions in the place of the VLAN's former ones, in one transaction. */
export const partition = (vlan: number, pairs: ReadonlyArray<readonly [string, string]>): string => {
  const table = `bridge vmtest${vlan}`
  const elements = pairs.map(([from, to]) => `"${from}" . "${to}"`).join(", ")
  const rules =
    pairs.length === 0
      ? []
      : [
          `table ${table} {`,
          "chain forward {",
          "type filter hook forward priority 0;",
          `iifname . oifname { ${elements} } drop`,
          "}",
          "}"
        ]
  return ["nft -f - <<'.'", `add table ${table}`, `delete table ${table}`, ...rules, "."].join("\n")
}

/** Prints the counters of all devices, and of a port's queues, the card's own first. */
export const count = ({ inner, outer }: Devices): string =>
  `cat /proc/net/dev; tc -s qdisc show dev ${inner} root; echo received; tc -s qdisc show dev ${outer} root`

/** The frames that a queue of netem has lost. */
const lostIn = (queue = "") => Number(/^qdisc netem .*\n\s*Sent .*\(dropped (\d+)/m.exec(queue)?.[1] ?? 0)

/** Frames that a card sent and received, and those that its impairments lost, from what {@link count} printed. */
export const countsIn = (printed: string, { outer }: Devices) => {
  const [sending, receiving] = printed.split("\nreceived\n")
  const fields = new RegExp(`^\\s*${outer}:(.*)$`, "m").exec(printed)?.[1]?.trim().split(/\s+/).map(Number) ?? []
  const out = lostIn(sending)
  // Packets are the second of eight columns of what is received, then the second of what is sent.
  return { sent: (fields[1] ?? 0) + out, received: fields[9] ?? 0, lost: out + lostIn(receiving) }
}

/** KiB that wait for a tcpdump that does not read: about 250 packets, as each has room for the longest. By default it has 2 MiB. */
const captureBuffer = 16 * 1024

/** What captures the frames that a port's card sends; those that are tagged have their tags, as ever. The filter `inbound` would lose the first one. */
export const tcpdumpOf = ({ outer }: Devices): ReadonlyArray<string> => [
  ...["-i", outer, "-Q", "in", "-p", "-n", "-s", "262144", "-U", "--immediate-mode", "-B", `${captureBuffer}`],
  ...["--time-stamp-precision=nano", "-Z", "root", "-w", "-"]
]
