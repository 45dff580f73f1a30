import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as IpAddress from "../../src/network/IpAddress.ts"

const read = (family: IpAddress.Family, text: string) => Result.getOrElse(IpAddress.parse(family, text), (why) => why)

describe("an address of a declaration", () => {
  for (const [family, text, address, prefix] of [
    ["ipv4", "10.0.0.5", "10.0.0.5", 24],
    ["ipv4", "10.0.0.5/8", "10.0.0.5", 8],
    ["ipv4", "172.16.0.0/31", "172.16.0.0", 31],
    ["ipv4", "192.0.2.255/32", "192.0.2.255", 32],
    ["ipv6", "fd00::5", "fd00::5", 64],
    ["ipv6", "FD00:0:0:0::0005/48", "fd00::5", 48],
    ["ipv6", "2001:db8:0:1:0:0:0:1", "2001:db8:0:1::1", 64],
    ["ipv6", "fd00::/128", "fd00::", 128],
    ["ipv6", "fd00::1:0/127", "fd00::1:0", 127],
    ["ipv6", "fe80::1", "fe80::1", 64]
  ] as const) {
    it(`is read from ${text}`, () => {
      assert.deepStrictEqual(read(family, text), { address, prefix })
    })
  }

  for (const [family, text, words] of [
    ["ipv4", "", "must be an IPv4 address with a prefix of 1 to 32 (default 24), such as"],
    ["ipv4", "10.0.0", 'such as "10.0.0.5/24", or "none", got "10.0.0"'],
    ["ipv4", "10.0.0.256", "must be an IPv4 address"],
    ["ipv4", "10.0.0.05", "must be an IPv4 address"],
    ["ipv4", "fd00::5", "must be an IPv4 address"],
    ["ipv4", "10.0.0.5/0", "must be an IPv4 address"],
    ["ipv4", "10.0.0.5/33", "must be an IPv4 address"],
    ["ipv4", "10.0.0.5/24/24", "must be an IPv4 address"],
    ["ipv4", "10.0.0.5/", "must be an IPv4 address"],
    ["ipv4", "10.0.0.5/255.255.255.0", "must be an IPv4 address"],
    ["ipv4", "10.0.0.0", 'must not be the first address of its network, got "10.0.0.0"'],
    ["ipv4", "10.0.0.255", 'must not be the broadcast address of its network, got "10.0.0.255"'],
    ["ipv4", "10.0.3.255/22", "must not be the broadcast address of its network"],
    ["ipv4", "0.0.0.0", "must not be an address of no machine"],
    ["ipv4", "127.0.0.2", "must not be a loopback address"],
    ["ipv4", "224.0.0.251", "must not be a multicast address"],
    ["ipv4", "255.255.255.255", "must not be a broadcast or reserved address"],
    ["ipv4", "10.0.2.15", "must not be in 10.0.2.0/24, which is the network of eth0"],
    ["ipv6", "fd00:::5", 'must be an IPv6 address with a prefix of 1 to 128 (default 64), such as "fd00::5/64"'],
    ["ipv6", "10.0.0.5", "must be an IPv6 address"],
    ["ipv6", "fe80::1%eth1", "must be an IPv6 address"],
    ["ipv6", "fd00::5/129", "must be an IPv6 address"],
    ["ipv6", "fd00::", "must not be the first address of its network"],
    ["ipv6", "fd00::1:0/112", "must not be the first address of its network"],
    ["ipv6", "::", "must not be an unspecified, loopback or IPv4 address"],
    ["ipv6", "::1", "must not be an unspecified, loopback or IPv4 address"],
    ["ipv6", "::ffff:10.0.0.5", "must not be an IPv4 address"],
    ["ipv6", "ff02::1", "must not be a multicast address"],
    ["ipv6", "fec0::15", "must not be in fec0::/64, which is the network of eth0"]
  ] as const) {
    it(`is refused: ${JSON.stringify(text)} (${family})`, () => {
      const refused = read(family, text)
      assert(typeof refused === "string", JSON.stringify(refused))
      assert.include(refused, words)
    })
  }

  const Word = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: 0xffff })))
  it.prop("is the same for all spellings of IPv6", { a: Word, b: Word }, ({ a, b }) => {
    const [high, low] = [a.toString(16), b.toString(16)]
    const short = read("ipv6", `fd00::${high}:${low}`)
    assert.deepStrictEqual(read("ipv6", `FD00:0:0:0:0:0:${high.padStart(4, "0")}:${low.toUpperCase()}/64`), short)
    assert.deepStrictEqual(short, { address: `fd00::${high}:${low}`, prefix: 64 })
  })
})
