import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Addresses from "../../src/network/Addresses.ts"
import * as FreeAddress from "../../src/network/FreeAddress.ts"

const choose = (
  nodes: ReadonlyArray<Addresses.Node>,
  others: ReadonlyArray<Addresses.AddressedNode> = [],
  declared?: { readonly address: string; readonly prefix: number }
) => FreeAddress.choose({ vlan: 1, machines: Addresses.assign(nodes), others, declared: { ipv4: declared } })

const chosen = (...given: Parameters<typeof choose>) => {
  const { ipv4, mac } = Result.getOrThrow(choose(...given))
  return `${ipv4.address}/${ipv4.prefix} ${mac}`
}

const card = (ipv4: string) => ({ name: "a", vlans: [{ vlan: 1, ipv4 }] })

describe("a free address", () => {
  it("is the highest one that nobody has", () => {
    assert.strictEqual(chosen([]), "192.168.1.254/24 52:54:00:12:01:fe")
    assert.strictEqual(chosen([{ name: "a", vlans: [1] }]), "192.168.1.254/24 52:54:00:12:01:fe")
    assert.strictEqual(chosen([card("192.168.1.254")]), "192.168.1.253/24 52:54:00:12:01:fe")
    const taken = { name: "b", vlans: [{ vlan: 2, mac: "52:54:00:12:01:fe" }] }
    assert.strictEqual(chosen([taken]), "192.168.1.254/24 52:54:00:12:01:fd")
    const [first] = Addresses.assign([{ name: "api", vlans: [{ vlan: 1, ipv4: "192.168.1.254" }] }])
    assert.strictEqual(chosen([], [first!]), "192.168.1.253/24 52:54:00:12:01:fe")
  })

  it("is in the network that the machines have declared, unless one of them is in the usual one", () => {
    assert.strictEqual(chosen([card("10.0.0.5/24")]), "10.0.0.254/24 52:54:00:12:01:fe")
    assert.strictEqual(chosen([card("10.1.0.5/16")]), "10.1.255.254/16 52:54:00:12:01:fe")
    assert.strictEqual(chosen([card("10.0.0.1/30")]), "10.0.0.2/30 52:54:00:12:01:fe")
    assert.strictEqual(chosen([card("none")]), "192.168.1.254/24 52:54:00:12:01:fe")
    const usual = { name: "b", vlans: [1] }
    assert.strictEqual(chosen([card("10.0.0.5/24"), usual]), "192.168.1.254/24 52:54:00:12:01:fe")
    // Those of another network do not count.
    const elsewhere = { name: "b", vlans: [{ vlan: 2, ipv4: "10.2.0.5/24" }] }
    assert.strictEqual(chosen([elsewhere]), "192.168.1.254/24 52:54:00:12:01:fe")
  })

  it("is the declared one, if nobody has it", () => {
    const declared = { address: "10.0.0.9", prefix: 20 }
    assert.strictEqual(chosen([card("10.0.0.5/24")], [], declared), "10.0.0.9/20 52:54:00:12:01:fe")
    assert.deepStrictEqual(
      choose([card("10.0.0.9/24")], [], declared),
      Result.fail({ option: "ipv4", reason: "ipv4 must be an address of its own, got 10.0.0.9, which a has" } as const)
    )
  })

  it("is one of IPv6, too, unless none is wanted or no machine has one", () => {
    const six = (
      nodes: ReadonlyArray<Addresses.Node>,
      ipv6?: { readonly address: string; readonly prefix: number } | "none"
    ) =>
      Result.map(
        FreeAddress.choose({ vlan: 1, machines: Addresses.assign(nodes), others: [], declared: { ipv6 } }),
        (own) => (own.ipv6 === undefined ? "none" : `${own.ipv6.address}/${own.ipv6.prefix}`)
      )
    const of = (ipv6: string) => ({ name: "a", vlans: [{ vlan: 1, ipv6 }] })
    assert.deepStrictEqual(six([{ name: "a", vlans: [1] }]), Result.succeed("2001:db8:1::fe/64"))
    assert.deepStrictEqual(six([of("2001:db8:1::fe/64")]), Result.succeed("2001:db8:1::fd/64"))
    assert.deepStrictEqual(six([of("fd00:0:0:7::5/64")]), Result.succeed("fd00:0:0:7::fe/64"))
    assert.deepStrictEqual(six([of("fd00::5/125")]), Result.succeed("fd00::7/125"))
    assert.deepStrictEqual(six([of("none")]), Result.succeed("none"))
    assert.deepStrictEqual(six([of("fd00::5")], "none"), Result.succeed("none"))
    assert.deepStrictEqual(six([of("none")], { address: "fd00::9", prefix: 48 }), Result.succeed("fd00::9/48"))
    assert.deepStrictEqual(
      six([of("fd00::5")], { address: "fd00::5", prefix: 64 }),
      Result.fail({ option: "ipv6", reason: "ipv6 must be an address of its own, got fd00::5, which a has" } as const)
    )
  })

  it("may not be left", () => {
    const two = [card("10.0.0.1/30"), { name: "b", vlans: [{ vlan: 1, ipv4: "10.0.0.2/30" }] }]
    assert.match(Result.getOrThrow(Result.flip(choose(two))).reason, /^ipv4 must be given, because/)
  })
})
