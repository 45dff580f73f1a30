import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Addresses from "../../src/network/Addresses.ts"

const nodes = Addresses.assign([
  { name: "web", vlans: [1, 2] },
  { name: "client", vlans: [2] },
  { name: "alone", vlans: [] }
])
const [alone, client, web] = nodes as [Addresses.AddressedNode, Addresses.AddressedNode, Addresses.AddressedNode]

const Octet = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 1, maximum: Addresses.maximum })))

describe("numbers", () => {
  it("are given in alphabetical order, from 1", () => {
    assert.deepStrictEqual(
      nodes.map(({ name, number }) => [name, number]),
      [
        ["alone", 1],
        ["client", 2],
        ["web", 3]
      ]
    )
  })

  it("do not depend on the order of the declarations", () => {
    assert.deepStrictEqual(
      Addresses.assign(
        [...nodes].map(({ name, interfaces }) => ({ name, vlans: interfaces.map(({ vlan }) => vlan) })).reverse()
      ),
      nodes
    )
  })
})

describe("addresses", () => {
  it("hold the VLAN and the node's number", () => {
    assert.deepStrictEqual(web.interfaces, [
      {
        ...{ device: "eth1", vlan: 1, network: undefined, mac: "52:54:00:12:01:03" },
        ...{ ipv4: "192.168.1.3", ipv4Prefix: 24, ipv6: "2001:db8:1::3", ipv6Prefix: 64 }
      },
      {
        ...{ device: "eth2", vlan: 2, network: undefined, mac: "52:54:00:12:02:03" },
        ...{ ipv4: "192.168.2.3", ipv4Prefix: 24, ipv6: "2001:db8:2::3", ipv6Prefix: 64 }
      }
    ])
  })

  it.prop(
    "are well formed and each its own, for every VLAN and node",
    { vlan: Octet, node: Octet, other: Octet },
    (given) => {
      const { node, other, vlan } = given
      assert.match(Addresses.mac(vlan, node), /^52:54:00:12(:[0-9a-f]{2}){2}$/)
      assert.isTrue(URL.canParse(`http://${Addresses.ipv4(vlan, node)}/`))
      assert.isTrue(URL.canParse(`http://[${Addresses.ipv6(vlan, node)}]/`))
      for (const address of [Addresses.mac, Addresses.ipv4, Addresses.ipv6]) {
        assert.strictEqual(address(vlan, node) === address(vlan, other), node === other)
        assert.strictEqual(address(vlan, node) === address(other, node), vlan === other)
      }
    }
  )

  it("run out", () => {
    const many = (count: number) => Array.from({ length: count }, (_, index) => ({ name: `m${index}`, vlans: [1] }))
    assert.isUndefined(Addresses.check(many(254)))
    assert.include(Addresses.check(many(255))?.message, "at most 254 machines, got 255")
    for (const vlan of [0, 255, 1.5, Number.NaN]) {
      assert.include(
        Addresses.check([{ name: "web", vlans: [vlan] }])?.message,
        `web: a VLAN must be a whole number from 1 to 254, got ${vlan}`
      )
    }
  })
})

describe("a machine's /etc/hosts", () => {
  it("names the others by the network it shares with them", () => {
    const hosts = Addresses.hosts(nodes, client)
    assert.include(hosts, "192.168.2.3 web\n")
    assert.include(hosts, "2001:db8:2::3 web\n")
    assert.notInclude(hosts, "192.168.1.3")
    assert.notInclude(hosts, "alone")
  })

  it("names the machine itself, with or without a network", () => {
    assert.include(Addresses.hosts(nodes, web), "192.168.1.3 web\n")
    assert.include(Addresses.hosts(nodes, alone), "127.0.0.2 alone\n")
    assert.include(Addresses.hosts(nodes, alone), "127.0.0.1 localhost\n")
  })
})

describe("a guest's interfaces", () => {
  it("are set in one batch", () => {
    assert.strictEqual(
      Addresses.ipBatch(client, { internet: false }),
      `link set dev lo up
link set dev eth0 up
address replace 10.0.2.15/24 dev eth0
link set dev eth1 up
address replace 192.168.2.2/24 dev eth1
address replace 2001:db8:2::2/64 dev eth1 nodad
`
    )
  })

  it("have a way out only where it was asked for", () => {
    assert.include(Addresses.ipBatch(client, { internet: true }), "route replace default via 10.0.2.2\n")
    assert.strictEqual(Addresses.resolvConf({ internet: true }), "nameserver 10.0.2.3\n")
    assert.strictEqual(Addresses.resolvConf({ internet: false }), "")
  })

  it("are set with busybox's ip, too", () => {
    const commands = Addresses.ipCommands(client, { internet: true })
    assert.include(commands, "\nip addr replace 192.168.2.2/24 dev eth1\n")
    assert.notInclude(commands, "nodad")
    assert.notInclude(commands, "address ")
  })
})
