import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Decode from "../../src/host/Decode.ts"
import * as Card from "../../src/network/Card.ts"
import * as NetworkSpec from "../../src/network/NetworkSpec.ts"

const check = Decode.checker(Card.Card, { whole: "card" })
const networks = NetworkSpec.resolve({ lan: {}, dmz: { vlan: 7 } })

describe("a card", () => {
  it("is on the network that its declaration names", () => {
    for (const declared of [7, "dmz", { vlan: 7 }, { vlan: "dmz" }]) {
      assert.deepStrictEqual(Card.resolve(networks, declared), Result.succeed({ vlan: 7, network: "dmz" }))
    }
    assert.deepStrictEqual(Card.resolve(undefined, 7), Result.succeed({ vlan: 7 }))
  })

  it("keeps what is declared of it, and can be declared as that again", () => {
    const declared = { vlan: "dmz", mac: "52:54:00:AA:bb:cc", ipv4: "10.0.0.5/24", ipv6: "none" }
    const card = Result.getOrThrow(Card.resolve(networks, declared))
    assert.deepStrictEqual(card, { ...declared, vlan: 7, network: "dmz" })
    assert.deepStrictEqual(Card.resolve(networks, Card.declarationOf(card)), Result.succeed(card))
  })

  it("has no IPv6 where the network's MTU is too small for it", () => {
    const small = NetworkSpec.resolve({ slip: { mtu: 1279 }, lan: { mtu: 1280 } })
    assert.deepStrictEqual(Card.resolve(small, "slip"), Result.succeed({ vlan: 1, network: "slip", ipv6: "none" }))
    assert.deepStrictEqual(Card.resolve(small, "lan"), Result.succeed({ vlan: 2, network: "lan" }))
    assert.deepStrictEqual(
      Card.resolve(small, { vlan: "slip", ipv6: "fd00::5" }),
      Result.fail(
        'ipv6 must be "none" on a network with an MTU below 1280, which IPv6 needs, got "fd00::5" on slip with 1279'
      )
    )
  })

  for (const fits of [
    { vlan: 1, mac: "02:00:00:00:00:01" },
    { vlan: 1, ipv4: "none", ipv6: "none" },
    { vlan: "lan", ipv4: "10.0.0.5", ipv6: "fd00::5" }
  ]) {
    it(`can be ${JSON.stringify(fits)}`, () => {
      assert.isUndefined(check(fits)?.reason)
    })
  }

  for (const [declared, words] of [
    [0, "card must be a number from 1 to 254, the name of a network, or an object { vlan, mac?, ipv4?, ipv6? }, got 0"],
    [true, "card must be a number from 1 to 254, the name of a network, or an object"],
    [{}, "vlan is missing: it must be a number from 1 to 254 or the name of a network"],
    [{ vlan: 255 }, "vlan must be a number from 1 to 254 or the name of a network, got 255"],
    [{ vlan: 1, mak: "52:54:00:aa:bb:cc" }, 'unknown option "mak"; did you mean "mac"?'],
    [{ network: "lan" }, "vlan"],
    [
      { vlan: 1, mac: "52:54:00:aa:bb" },
      'mac must be a MAC address of six hexadecimal octets, such as "52:54:00:aa:bb:cc"'
    ],
    [{ vlan: 1, mac: "52-54-00-aa-bb-cc" }, "mac must be a MAC address of six hexadecimal octets"],
    [{ vlan: 1, mac: "00:00:00:00:00:00" }, "mac must not be zero"],
    [{ vlan: 1, mac: "ff:ff:ff:ff:ff:ff" }, "not a broadcast or multicast address"],
    [{ vlan: 1, mac: "01:00:5e:00:00:01" }, "not a broadcast or multicast address"],
    [{ vlan: 1, mac: "52:54:00:12:00:01" }, "mac must not be that of eth0"],
    [{ vlan: 1, ipv4: "10.0.0" }, "ipv4 must be an IPv4 address"],
    [{ vlan: 1, ipv4: "10.0.0.255/24" }, "ipv4 must not be the broadcast address of its network"],
    [{ vlan: 1, ipv6: "10.0.0.5" }, "ipv6 must be an IPv6 address"]
  ] as const) {
    it(`is refused: ${JSON.stringify(declared)}`, () => {
      assert.include(check(declared)?.reason, words)
    })
  }
})
