/**
 * Addresses for what joins a network without being declared as one of its machines: the highest that nobody has.
 *
 * **Example** (The first on VLAN 1, in a test with two machines)
 *
 * ```ts
 * const chosen = FreeAddress.choose({ vlan: 1, machines: nodes, others: [], declared: undefined })
 * // { ipv4: { address: "192.168.1.254", prefix: 24 }, mac: "52:54:00:12:01:fe" }
 * ```
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Addresses from "./Addresses.ts"
import * as IpAddress from "./IpAddress.ts"

/** Who is on the network, and what is wanted. */
export interface Wanted {
  readonly vlan: number
  readonly machines: ReadonlyArray<Addresses.AddressedNode>
  /** Those that were given such addresses before. */
  readonly others: ReadonlyArray<Addresses.AddressedNode>
  /** An address that somebody has asked for. */
  readonly declared: IpAddress.Prefixed | undefined
}

/** An IPv4 address and a MAC that nobody has. */
export interface Chosen {
  readonly ipv4: IpAddress.Prefixed
  readonly mac: string
}

/** Where machines have their addresses on a VLAN: the usual network if one of them is in it, or none has any; else that of the first. */
const networkOf = (machines: ReadonlyArray<Addresses.AddressedNode>, vlan: number): IpAddress.Prefixed => {
  const usual = { address: Addresses.ipv4(vlan, Addresses.maximum), prefix: IpAddress.defaultPrefix.ipv4 }
  const theirs = machines.flatMap(({ interfaces }) =>
    interfaces.flatMap(({ ipv4, ipv4Prefix, vlan: number }) =>
      number === vlan && ipv4 !== undefined ? [{ address: ipv4, prefix: ipv4Prefix }] : []
    )
  )
  const [first = usual] = theirs
  return theirs.some(({ address }) => IpAddress.holds("ipv4", usual, address)) ? usual : first
}

/** The highest address of a network that nobody has; undefined if there is none among the highest 254. */
const highest = ({ address, prefix }: IpAddress.Prefixed, taken: ReadonlySet<string>): string | undefined => {
  const bytes = Buffer.from(address.split(".").map(Number))
  const size = 2 ** (32 - prefix)
  const first = Math.floor(bytes.readUInt32BE() / size) * size
  // The last one is the network's broadcast address.
  for (let host = size - 2; host > Math.max(0, size - 2 - Addresses.maximum); host -= 1) {
    bytes.writeUInt32BE(first + host)
    const text = bytes.join(".")
    if (!taken.has(text)) return text
  }
  return undefined
}

/** Chooses addresses. The failure is a sentence about `ipv4`. */
export const choose = ({ declared, machines, others, vlan }: Wanted): Result.Result<Chosen, string> => {
  const all = [...machines, ...others]
  const owners = new Map(
    all.flatMap(({ interfaces, name }) =>
      interfaces.flatMap((card) => (card.vlan === vlan && card.ipv4 !== undefined ? [[card.ipv4, name] as const] : []))
    )
  )
  const owner = declared === undefined ? undefined : owners.get(declared.address)
  if (declared !== undefined && owner !== undefined) {
    return Result.fail(`ipv4 must be an address of its own, got ${declared.address}, which ${owner} has`)
  }
  const network = declared ?? networkOf(machines, vlan)
  const address = declared?.address ?? highest(network, new Set(owners.keys()))
  const macs = new Set(all.flatMap(({ interfaces }) => interfaces.map(({ mac }) => mac)))
  const numbers = Array.from({ length: Addresses.maximum }, (_, index) => Addresses.maximum - index)
  const mac = numbers.map((number) => Addresses.mac(vlan, number)).find((one) => !macs.has(one))
  return address === undefined || mac === undefined
    ? Result.fail(`ipv4 must be given, because the network of the machines' addresses has none left on VLAN ${vlan}`)
    : Result.succeed({ ipv4: { address, prefix: network.prefix }, mac })
}
