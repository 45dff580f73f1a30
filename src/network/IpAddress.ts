/**
 * IP addresses as declarations give them: `"10.0.0.5/24"`, `"fd00::5/64"`.
 *
 * **Example** (An address with the length of its network's prefix)
 *
 * ```ts
 * IpAddress.parse("ipv4", "10.0.0.5") // Result.succeed({ address: "10.0.0.5", prefix: 24 })
 * IpAddress.parse("ipv4", "10.0.0.255") // Result.fail('must not be the broadcast address of its network, got "10.0.0.255"')
 * ```
 *
 * @since 0.1.0
 */
import { BlockList, isIPv4, isIPv6 } from "node:net"
import * as Result from "effect/Result"

/** The version of the internet protocol. */
export type Family = "ipv4" | "ipv6"

/** An address, and how many of its first bits are its network's. */
export interface Prefixed {
  /** In the one spelling that guests print: lower case, the longest run of zeros as `::`. */
  readonly address: string
  readonly prefix: number
}

/** One spelling of each IPv6 address; anything else stays as it is. */
export const canonical = (address: string): string => {
  const url = `http://[${address}]`
  return URL.canParse(url) ? new URL(url).hostname.slice(1, -1) : address
}

const families = {
  ipv4: { title: "an IPv4", example: "10.0.0.5/24", bits: 32, prefix: 24, group: 8, is: isIPv4 },
  // A zone (`%eth1`) is no part of an address that others can use.
  ipv6: { title: "an IPv6", example: "fd00::5/64", bits: 128, prefix: 64, group: 16, is: isIPv6 }
} as const

/** The length of a prefix where none is declared. */
export const defaultPrefix = { ipv4: families.ipv4.prefix, ipv6: families.ipv6.prefix } as const

const range = (family: Family, address: string, prefix: number, what: string) => {
  const list = new BlockList()
  list.addSubnet(address, prefix, family)
  return { family, list, what }
}

/** What no card of a machine can have, and what it is. */
const refused = [
  range("ipv4", "0.0.0.0", 8, "an address of no machine (0.0.0.0/8)"),
  range("ipv4", "127.0.0.0", 8, "a loopback address"),
  range("ipv4", "224.0.0.0", 4, "a multicast address"),
  range("ipv4", "240.0.0.0", 4, "a broadcast or reserved address (240.0.0.0/4)"),
  range("ipv4", "10.0.2.0", 24, "in 10.0.2.0/24, which is the network of eth0"),
  range("ipv6", "::", 96, "an unspecified, loopback or IPv4 address"),
  range("ipv6", "::ffff:0:0", 96, "an IPv4 address"),
  range("ipv6", "ff00::", 8, "a multicast address"),
  range("ipv6", "fec0::", 64, "in fec0::/64, which is the network of eth0")
]

/** The groups of a canonical address: bytes of IPv4, words of IPv6. */
const groupsOf = (family: Family, address: string): ReadonlyArray<number> => {
  if (family === "ipv4") return address.split(".").map(Number)
  const [before = "", after] = address.split("::")
  const words = (text: string) => (text === "" ? [] : text.split(":").map((word) => Number.parseInt(word, 16)))
  const [head, tail] = [words(before), words(after ?? "")]
  return [...head, ...Array.from({ length: after === undefined ? 0 : 8 - head.length - tail.length }, () => 0), ...tail]
}

/** A canonical address as one number. */
const numberOf = (family: Family, address: string): bigint => {
  const width = BigInt(families[family].group)
  return groupsOf(family, address).reduce((sum, part) => (sum << width) | BigInt(part), 0n)
}

/** The bits of an address after its prefix: whether all are 0, and whether all are 1. */
const hostPart = (family: Family, { address, prefix }: Prefixed) => {
  const whole = numberOf(family, address)
  const mask = (1n << BigInt(families[family].bits - prefix)) - 1n
  return { zeros: (whole & mask) === 0n, ones: (whole & mask) === mask }
}

/**
 * Reads an address of a card with an optional prefix, by default of 24 bits for IPv4 and of 64 for IPv6. A failure completes "<name> …".
 *
 * It fails for what no card can have: addresses of a loopback, of a multicast group, of nobody; the first address of a network, which names the
 * network itself, and for IPv4 the last one, its broadcast address (not in networks of one or two addresses); and for eth0's network. `none` says whether the
 * caller also takes `"none"`, for the words of the failure.
 */
export const parse = (
  family: Family,
  text: string,
  { none = true }: { readonly none?: boolean } = {}
): Result.Result<Prefixed, string> => {
  const { bits, example, is, prefix: usual, title } = families[family]
  const got = `got ${JSON.stringify(text)}`
  const [given = "", length, ...more] = text.split("/")
  const prefix = length === undefined ? usual : /^\d{1,3}$/.test(length) ? Number(length) : Number.NaN
  if (!is(given) || given.includes("%") || more.length > 0 || !(prefix >= 1 && prefix <= bits)) {
    const form = `${title} address with a prefix of 1 to ${bits} (default ${usual}), such as ${JSON.stringify(example)}`
    return Result.fail(`must be ${form}${none ? ', or "none"' : ""}, ${got}`)
  }
  const address = family === "ipv6" ? canonical(given) : given
  const wrong = refused.find((one) => one.family === family && one.list.check(address, family))
  if (wrong !== undefined) return Result.fail(`must not be ${wrong.what}, ${got}`)
  const host = hostPart(family, { address, prefix })
  if (prefix < bits - 1 && host.zeros) return Result.fail(`must not be the first address of its network, ${got}`)
  if (family === "ipv4" && prefix < bits - 1 && host.ones) {
    return Result.fail(`must not be the broadcast address of its network, ${got}`)
  }
  return Result.succeed({ address, prefix })
}

/** Whether an address is in the network of another, so that it is reached without a router. Both are canonical. */
export const holds = (family: Family, { address, prefix }: Prefixed, other: string): boolean =>
  (numberOf(family, address) ^ numberOf(family, other)) >> BigInt(families[family].bits - prefix) === 0n

const linkLocal = range("ipv6", "fe80::", 10, "")

/** The address with a number in the network of another; the last bits are the number's. */
export const numbered = (family: Family, { address, prefix }: Prefixed, number: number): string => {
  const { bits, group } = families[family]
  const host = (1n << BigInt(bits - prefix)) - 1n
  const whole = (numberOf(family, address) & ~host) | (BigInt(number) & host)
  const groups = Array.from({ length: bits / group }, (_, index) =>
    Number((whole >> BigInt(bits - group * (index + 1))) & ((1n << BigInt(group)) - 1n))
  )
  return family === "ipv4" ? groups.join(".") : canonical(groups.map((word) => word.toString(16)).join(":"))
}

/** Whether an IPv6 address means something on one network card only, so that no name can lead to it. */
export const isLinkLocal = (address: string): boolean => linkLocal.list.check(address, "ipv6")
