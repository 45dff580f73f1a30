/**
 * Addresses for what joins a network without being declared as one of its machines: the highest that nobody has.
 *
 * **Example** (The first on VLAN 1, in a test with two machines)
 *
 * ```ts
 * const chosen = FreeAddress.choose({ vlan: 1, machines: nodes, others: [], declared: {} })
 * // { ipv4: { address: "192.168.1.254", prefix: 24 }, ipv6: { address: "2001:db8:1::fe", prefix: 64 }, mac: "52:54:00:12:01:fe" }
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
  /** Addresses that somebody has asked for. */
  readonly declared: {
    readonly ipv4?: IpAddress.Prefixed | undefined
    readonly ipv6?: IpAddress.Prefixed | "none" | undefined
    readonly mac?: string | undefined
  }
  /** MACs that are kept for others. Default none. */
  readonly reserved?: ReadonlySet<string> | undefined
}

/** Addresses and a MAC that nobody has. */
export interface Chosen {
  readonly ipv4: IpAddress.Prefixed
  /** Undefined where none was wanted, or the network's machines have none. */
  readonly ipv6: IpAddress.Prefixed | undefined
  readonly mac: string
}

/** Why nothing could be chosen: a sentence about one of the options. */
export interface NotFree {
  readonly option: IpAddress.Family
  readonly reason: string
}

const usualOf = (family: IpAddress.Family, vlan: number): IpAddress.Prefixed => ({
  address: (family === "ipv4" ? Addresses.ipv4 : Addresses.ipv6)(vlan, Addresses.maximum),
  prefix: IpAddress.defaultPrefix[family]
})

/** The addresses of one family that machines have on a VLAN, with their names. */
const addressesOn = (family: IpAddress.Family, vlan: number, nodes: ReadonlyArray<Addresses.AddressedNode>) =>
  nodes.flatMap(({ interfaces, name }) =>
    interfaces.flatMap((card) => {
      const address = card[family]
      return card.vlan === vlan && address !== undefined ? [{ name, address, prefix: card[`${family}Prefix`] }] : []
    })
  )

/** Where machines have their addresses on a VLAN: the usual network if one of them is in it, or none has any; else that of the first. */
const networkOf = (
  family: IpAddress.Family,
  machines: ReadonlyArray<Addresses.AddressedNode>,
  vlan: number
): IpAddress.Prefixed => {
  const usual = usualOf(family, vlan)
  const theirs = addressesOn(family, vlan, machines).filter(({ address }) => !IpAddress.isLinkLocal(address))
  const [first = usual] = theirs
  return theirs.some(({ address }) => IpAddress.holds(family, usual, address)) ? usual : first
}

/** The highest address of a network that nobody has; undefined if there is none among the highest 254, which for IPv6 are its first 254. */
const highest = (
  family: IpAddress.Family,
  network: IpAddress.Prefixed,
  taken: ReadonlySet<string>
): string | undefined => {
  const bits = (family === "ipv4" ? 32 : 128) - network.prefix
  // The last one of IPv4 is the network's broadcast address.
  const last = family === "ipv4" ? 2 ** bits - 2 : Math.min(Addresses.maximum, 2 ** bits - 1)
  return Array.from({ length: Addresses.maximum }, (_, index) => last - index)
    .filter((number) => number > 0)
    .map((number) => IpAddress.numbered(family, network, number))
    .find((address) => !taken.has(address))
}

/** The address of one family. */
const chooseOne = (
  family: IpAddress.Family,
  { machines, others, vlan }: Wanted,
  declared: IpAddress.Prefixed | undefined
): Result.Result<IpAddress.Prefixed, NotFree> => {
  const taken = new Map(addressesOn(family, vlan, [...machines, ...others]).map(({ address, name }) => [address, name]))
  const owner = declared === undefined ? undefined : taken.get(declared.address)
  if (declared !== undefined && owner !== undefined) {
    const reason = `${family} must be an address of its own, got ${declared.address}, which ${owner} has`
    return Result.fail({ option: family, reason })
  }
  const network = declared ?? networkOf(family, machines, vlan)
  const address = declared?.address ?? highest(family, network, new Set(taken.keys()))
  const reason = `${family} must be given, because the network of the machines' addresses has none left on VLAN ${vlan}`
  return address === undefined
    ? Result.fail({ option: family, reason })
    : Result.succeed({ address, prefix: network.prefix })
}

/** Chooses addresses. There is none of IPv6 if all of the network's machines are without. */
export const choose = (wanted: Wanted): Result.Result<Chosen, NotFree> => {
  const { declared, machines, others, reserved = new Set(), vlan } = wanted
  const macs = new Set([...machines, ...others].flatMap(({ interfaces }) => interfaces.map(({ mac }) => mac)))
  const numbers = Array.from({ length: Addresses.maximum }, (_, index) => Addresses.maximum - index)
  const isFree = (one: string) => !macs.has(one) && !reserved.has(one)
  const mac = declared.mac ?? numbers.map((number) => Addresses.mac(vlan, number)).find(isFree)
  if (mac === undefined) {
    return Result.fail({ option: "ipv4", reason: `there is no MAC address left on VLAN ${vlan}` })
  }
  const hasIpv6 = addressesOn("ipv6", vlan, machines).length > 0
  const isWanted = declared.ipv6 === undefined ? hasIpv6 : declared.ipv6 !== "none"
  return Result.flatMap(chooseOne("ipv4", wanted, declared.ipv4), (ipv4) =>
    isWanted
      ? Result.map(
          chooseOne("ipv6", wanted, declared.ipv6 === "none" ? undefined : declared.ipv6),
          (ipv6): Chosen => ({ ipv4, ipv6, mac })
        )
      : Result.succeed({ ipv4, ipv6: undefined, mac })
  )
}
