import { assert, describe, it } from "@effect/vitest"
import { hostsFile, type Peer } from "../../src/machine/internal/identity.ts"

const peer = (name: string, node: number, vlans: ReadonlyArray<number>): Peer => ({
  name,
  interfaces: vlans.map((vlan, index) => ({
    device: `eth${index + 1}`,
    vlan,
    ipv4: `192.168.${vlan}.${node}`,
    ipv6: `2001:db8:${vlan}::${node}`
  }))
})

describe("the names a guest knows", () => {
  it("lists every machine with both addresses, itself first", () => {
    const [a, b] = [peer("a", 1, [1]), peer("b", 2, [1])]
    assert.strictEqual(
      hostsFile(b!, [a!, b!]),
      `127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
192.168.1.2 b
2001:db8:1::2 b
192.168.1.1 a
2001:db8:1::1 a
`
    )
  })

  it("reaches a peer on the first VLAN that both are on", () => {
    const router = peer("router", 2, [1, 2])
    assert.include(hostsFile(peer("inner", 1, [2]), [router]), "192.168.2.2 router\n")
    assert.include(hostsFile(peer("outer", 1, [1]), [router]), "192.168.1.2 router\n")
  })

  it("knows itself without any network", () => {
    assert.include(hostsFile(peer("alone", 1, []), []), "127.0.1.1 alone\n")
  })
})
