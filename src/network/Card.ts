/**
 * The declaration of a machine's network cards: which network each is on, and its addresses.
 *
 * **Example** (Cards on two networks, and two cards on one)
 *
 * ```ts
 * const vlans = ["lan", { vlan: "dmz", mac: "52:54:00:aa:bb:cc", ipv4: "10.0.0.5/24", ipv6: "none" }, { vlan: "dmz" }]
 * ```
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Fields from "../host/Fields.ts"
import * as Addresses from "./Addresses.ts"
import * as IpAddress from "./IpAddress.ts"
import * as NetworkSpec from "./NetworkSpec.ts"

/** Why a text is not a card's MAC; completes "mac …". */
const macProblem = (mac: string): string | undefined => {
  const got = `got ${JSON.stringify(mac)}`
  if (!/^[\da-f]{2}(:[\da-f]{2}){5}$/i.test(mac)) {
    return `must be a MAC address of six hexadecimal octets, such as "52:54:00:aa:bb:cc", ${got}`
  }
  if (/^0[0:]*$/.test(mac)) return `must not be zero, ${got}`
  if (Number.parseInt(mac.slice(0, 2), 16) % 2 === 1) {
    return `must be the address of one card, not a broadcast or multicast address, whose first octet is odd, ${got}`
  }
  if (mac.toLowerCase() === Addresses.eth0Mac) return `must not be that of eth0, ${got}`
  return undefined
}

const address = (family: IpAddress.Family) =>
  Schema.String.check(
    Schema.makeFilter((text: string) => {
      const parsed = text === "none" ? undefined : IpAddress.parse(family, text)
      return parsed !== undefined && Result.isFailure(parsed) ? parsed.failure : undefined
    })
  )

const Vlan = Fields.whole(1, Addresses.maximum)

/** A card with what is particular to it. */
export const CardOptions = Schema.Struct({
  /** The number or the name of its network. */
  vlan: Schema.Union([Vlan, Schema.String]).annotate({
    expected: `a number from 1 to ${Addresses.maximum} or the name of a network`
  }),
  /** Six hexadecimal octets: `"52:54:00:aa:bb:cc"`. Default: `52:54:00:12:<vlan>:<node>`, and 13, 14, … for a machine's further cards on one VLAN. */
  mac: Schema.optional(Schema.String.check(Schema.makeFilter(macProblem))),
  /**
   * `"10.0.0.5/24"`, with a prefix of 24 bits by default, or `"none"`. Default: `192.168.<vlan>.<node>`, and none for a machine's further cards on one
   * VLAN.
   */
  ipv4: Schema.optional(address("ipv4")),
  /**
   * `"fd00::5/64"`, with a prefix of 64 bits by default, or `"none"`. Default: `2001:db8:<vlan>::<node>`, and none for a machine's further cards on one
   * VLAN.
   */
  ipv6: Schema.optional(address("ipv6"))
}).annotate({
  expected: "an object { vlan, mac?, ipv4?, ipv6? }",
  aliases: { network: "vlan", name: "vlan", address: "ipv4", ip: "ipv4", ip6: "ipv6", macaddress: "mac" }
})

/** A card: the number or the name of its network, or an object with these and its addresses. */
export const Card = Schema.Union([Vlan, Schema.String, CardOptions]).annotate({
  expected: `a number from 1 to ${Addresses.maximum}, the name of a network, or an object { vlan, mac?, ipv4?, ipv6? }`
})

/** A card of a declaration. */
export type Card = Schema.Codec.Encoded<typeof Card>

/** Linux has no IPv6 on a card whose MTU is less than IPv6 asks for (RFC 8200, section 5). */
const ipv6Mtu = 1280

/**
 * The card that a declaration means, with the number of its network. A network whose MTU is below 1280 has no IPv6. The failure is a sentence:
 * `unknown network "lna"; did you mean "lan"?`.
 */
export const resolve = (
  networks: ReadonlyArray<NetworkSpec.NetworkSpec> | undefined,
  declared: typeof Card.Type
): Result.Result<Addresses.Card, string> => {
  const { vlan, ...own } = typeof declared === "object" ? declared : { vlan: declared }
  return Result.flatMap(NetworkSpec.find(networks, vlan), ({ mtu = ipv6Mtu, name, vlan }) => {
    const { ipv6 = mtu < ipv6Mtu ? "none" : undefined } = own
    if (mtu < ipv6Mtu && ipv6 !== "none") {
      const where = `a network with an MTU below ${ipv6Mtu}, which IPv6 needs`
      return Result.fail(`ipv6 must be "none" on ${where}, got ${JSON.stringify(ipv6)} on ${name} with ${mtu}`)
    }
    return Result.succeed({
      ...{ vlan, ...(name === undefined ? {} : { network: name }), ...own },
      ...(ipv6 === undefined ? {} : { ipv6 })
    })
  })
}

/** What {@link resolve} gave, as a declaration again. */
export const declarationOf = ({ network: _, ...card }: Addresses.Card): Card => card
