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

describe("declared addresses", () => {
  it("take the place of those by rule, card by card", () => {
    const cards = [
      { vlan: 7, network: "dmz", mac: "52:54:00:AA:BB:CC", ipv4: "10.0.0.5", ipv6: "FD00:0::5/48" },
      { vlan: 1, ipv4: "none" },
      { vlan: 2, ipv6: "none" }
    ]
    assert.deepStrictEqual(Addresses.number({ name: "a", vlans: cards }, 3).interfaces, [
      {
        ...{ device: "eth1", vlan: 7, network: "dmz", mac: "52:54:00:aa:bb:cc" },
        ...{ ipv4: "10.0.0.5", ipv4Prefix: 24, ipv6: "fd00::5", ipv6Prefix: 48 }
      },
      {
        ...{ device: "eth2", vlan: 1, network: undefined, mac: "52:54:00:12:01:03" },
        ...{ ipv4: undefined, ipv4Prefix: 24, ipv6: "2001:db8:1::3", ipv6Prefix: 64 }
      },
      {
        ...{ device: "eth3", vlan: 2, network: undefined, mac: "52:54:00:12:02:03" },
        ...{ ipv4: "192.168.2.3", ipv4Prefix: 24, ipv6: undefined, ipv6Prefix: 64 }
      }
    ])
  })

  it("are all that a further card of a machine on one VLAN has", () => {
    const { interfaces } = Addresses.number({ name: "a", vlans: [7, 1, 7, { vlan: 7, ipv4: "10.0.0.5/8" }] }, 2)
    assert.deepStrictEqual(
      interfaces.map(({ device, ipv4, ipv4Prefix, ipv6, mac }) => [device, mac, ipv4, ipv4Prefix, ipv6]),
      [
        ["eth1", "52:54:00:12:07:02", "192.168.7.2", 24, "2001:db8:7::2"],
        ["eth2", "52:54:00:12:01:02", "192.168.1.2", 24, "2001:db8:1::2"],
        ["eth3", "52:54:00:13:07:02", undefined, 24, undefined],
        ["eth4", "52:54:00:14:07:02", "10.0.0.5", 8, undefined]
      ]
    )
  })

  const conflictOf = (a: ReadonlyArray<number | Addresses.Card>, b: ReadonlyArray<number | Addresses.Card>) =>
    Addresses.conflict(
      Addresses.assign([
        { name: "a", vlans: a },
        { name: "b", vlans: b }
      ])
    )

  it("are each on one card", () => {
    assert.isUndefined(conflictOf([1, 2, 1], [1, 2, 1]))
    const two = (own: Omit<Addresses.Card, "vlan">) => conflictOf([{ vlan: 1, ...own }], [2, { vlan: 1, ...own }])
    const reason = (what: string) => ({
      ...{ machine: "b", card: 1 },
      reason: `eth2 must have an address of its own, got ${what}, which eth1 of a has`
    })
    assert.deepStrictEqual(two({ mac: "52:54:00:aa:bb:cc" }), reason("the MAC address 52:54:00:aa:bb:cc"))
    assert.deepStrictEqual(two({ ipv4: "10.0.0.5" }), reason("10.0.0.5 on VLAN 1"))
    assert.deepStrictEqual(two({ ipv6: "fd00::5" }), reason("fd00::5 on VLAN 1"))
    assert.deepStrictEqual(two({ network: "lan", ipv6: "fd00::5" }), reason("fd00::5 on lan"))
    assert.isUndefined(two({ ipv4: "none", ipv6: "none" }))
  })

  it("are each on one card in whatever way they are written", () => {
    const mac = conflictOf([{ vlan: 1, mac: "52:54:00:AA:bb:cc" }], [{ vlan: 2, mac: "52:54:00:aa:bb:CC" }])
    assert.include(mac?.reason, "52:54:00:aa:bb:cc")
    const prefix = conflictOf([{ vlan: 1, ipv4: "10.0.0.5/8" }], [{ vlan: 1, ipv4: "10.0.0.5/16" }])
    assert.include(prefix?.reason, "10.0.0.5 on VLAN 1")
    const spelled = conflictOf([{ vlan: 1, ipv6: "fd00:0:0::0005" }], [{ vlan: 1, ipv6: "FD00::5" }])
    assert.include(spelled?.reason, "fd00::5 on VLAN 1")
  })

  it("are not those that another machine has by rule", () => {
    assert.include(
      conflictOf([1], [{ vlan: 1, ipv4: "192.168.1.1" }])?.reason,
      "192.168.1.1 on VLAN 1, which eth1 of a"
    )
    assert.include(conflictOf([1, 1], [{ vlan: 2, mac: "52:54:00:13:01:01" }])?.reason, "which eth2 of a has")
  })

  it("can be the same on two networks", () => {
    assert.isUndefined(conflictOf([{ vlan: 1, ipv4: "10.0.0.5" }], [{ vlan: 2, ipv4: "10.0.0.5" }]))
  })

  it("are each on one card of a machine", () => {
    const twice = conflictOf(
      [],
      [
        { vlan: 1, ipv4: "10.0.0.5" },
        { vlan: 1, ipv4: "10.0.0.5" }
      ]
    )
    assert.include(twice?.reason, "eth2 must have an address of its own, got 10.0.0.5 on VLAN 1, which eth1 of b has")
  })
})

describe("a machine's /etc/hosts", () => {
  const hostsOf = (
    reader: ReadonlyArray<number | Addresses.Card>,
    other: ReadonlyArray<number | Addresses.Card>
  ): ReadonlyArray<string> => {
    const both = Addresses.assign([
      { name: "other", vlans: other },
      { name: "reader", vlans: reader }
    ])
    return Addresses.hosts(both, both[1]!)
      .split("\n")
      .filter((line) => line.endsWith(" other"))
  }
  const none = { ipv4: "none", ipv6: "none" }

  it("names one without an address on the first shared network by the next", () => {
    assert.deepStrictEqual(hostsOf([1, 2], [{ vlan: 1, ...none }, 2]), ["192.168.2.1 other", "2001:db8:2::1 other"])
    assert.deepStrictEqual(hostsOf([1, 2], [{ vlan: 1, ipv4: "none" }, 2]), [
      "192.168.2.1 other",
      "2001:db8:1::1 other"
    ])
    const further = [
      { vlan: 1, ...none },
      { vlan: 1, ipv4: "192.168.1.77" }
    ]
    assert.deepStrictEqual(hostsOf([1], further), ["192.168.1.77 other"])
    assert.deepStrictEqual(hostsOf([1], [{ vlan: 1, ...none }, 2]), [])
  })

  it("names one by an address that the reader reaches without a router, if there is one", () => {
    assert.deepStrictEqual(hostsOf([{ vlan: 1, ...none }, 2], [1, 2]), ["192.168.2.1 other", "2001:db8:2::1 other"])
    const far = { vlan: 1, ipv4: "10.0.0.5", ipv6: "fd00::5" }
    assert.deepStrictEqual(hostsOf([1], [far]), ["10.0.0.5 other", "fd00::5 other"])
    assert.deepStrictEqual(hostsOf([1], [far, { vlan: 1, ipv4: "192.168.1.7" }]), [
      "192.168.1.7 other",
      "fd00::5 other"
    ])
    assert.deepStrictEqual(hostsOf([{ vlan: 1, ipv6: "fd00::9/16" }], [far]), ["10.0.0.5 other", "fd00::5 other"])
  })

  it("names nobody by a link-local address, which means something else on each card", () => {
    const cards = [{ vlan: 1, ipv6: "fe80::5" }]
    assert.deepStrictEqual(hostsOf([1], cards), ["192.168.1.1 other"])
  })

  it("names a machine without addresses by 127.0.0.2", () => {
    const [bare] = Addresses.assign([{ name: "bare", vlans: [{ vlan: 1, ...none }] }])
    assert.include(Addresses.hosts([bare!], bare!), "127.0.0.2 bare\n")
  })

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

  it("have only the addresses that they were given, with their prefixes", () => {
    const [node] = Addresses.assign([
      {
        name: "a",
        vlans: [{ vlan: 1, ipv4: "10.0.0.5/16", ipv6: "none" }, { vlan: 1 }, { vlan: 1, ipv6: "fd00::5/48" }]
      }
    ])
    assert.strictEqual(
      Addresses.ipBatch(node!, { internet: false }).split("dev eth0\n")[1],
      `link set dev eth1 up
address replace 10.0.0.5/16 dev eth1
link set dev eth2 up
link set dev eth3 up
address replace fd00::5/48 dev eth3 nodad
`
    )
  })

  it("have a way out only where it was asked for", () => {
    assert.include(Addresses.ipBatch(client, { internet: true }), "route replace default via 10.0.2.2\n")
    assert.strictEqual(Addresses.resolvConf({ internet: true }), "nameserver 10.0.2.3\n")
    assert.strictEqual(Addresses.resolvConf({ internet: false }), "")
  })

  it("are set in as few processes as busybox allows while a guest starts", () => {
    const [node] = Addresses.assign([
      {
        name: "a",
        vlans: [
          { vlan: 1, ipv4: "10.0.0.5/9" },
          { vlan: 2, ipv4: "172.16.0.1/32", ipv6: "none" }
        ]
      }
    ])
    assert.strictEqual(
      Addresses.ifconfigCommands(node!, { internet: true, failed: "no" }).replace(/^for .*\n/, ""),
      `ifconfig lo up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
route add default gw 10.0.2.2
vm_6=; [ ! -e /proc/net/if_inet6 ] || vm_6=1
ifconfig eth1 10.0.0.5 netmask 255.128.0.0 up \${vm_6:+add 2001:db8:1::1/64} || no=1
ifconfig eth2 172.16.0.1 netmask 255.255.255.255 up || no=1
`
    )
  })

  it("are set with busybox's ip, too", () => {
    const commands = Addresses.ipCommands(client, { internet: true })
    assert.include(commands, "\nip addr replace 192.168.2.2/24 dev eth1\n")
    assert.notInclude(commands, "nodad")
    assert.notInclude(commands, "address ")
  })
})
