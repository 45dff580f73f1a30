import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import type { Machine as MachineOf } from "../src/machine/Machine.ts"
import { Machine, onDriver } from "../src/vitest.ts"

const small = { image: Image.tiny({ modules: ["bonding"] }), memory: "256 MiB" } as const
const none = { ipv4: "none", ipv6: "none" } as const

/** Boots, whatever the store has. */
class Alpha extends Machine<Alpha>()("alpha", {
  ...small,
  snapshot: false,
  vlans: [
    "lan",
    { vlan: "dmz", mac: "52:54:00:aa:00:01", ipv4: "10.7.0.1/16", ipv6: "fd07::1/48" },
    "dmz",
    { vlan: "dmz" }
  ]
}) {}

/** Reached over its third card only. Continues from the store's where that has one. */
class Beta extends Machine<Beta>()("beta", {
  ...small,
  vlans: [
    { vlan: "lan", ...none },
    { vlan: 7, ...none },
    { vlan: "dmz", mac: "52:54:00:AA:00:02", ipv4: "10.7.200.2/16", ipv6: "fd07:0:0:9::2/48" }
  ]
}) {}

const driver = DriverLayer.layer({ name: "network addresses", networks: { lan: {}, dmz: { vlan: 7 } } })

/** The MACs and addresses that the guest has on its cards, but for those of every card. */
const seen = (machine: MachineOf) =>
  Effect.forEach(machine.interfaces, ({ device }) =>
    Effect.gen(function* () {
      const text = yield* machine.succeed(`cat /sys/class/net/${device}/address; ip addr show ${device}`)
      const addresses = [...text.matchAll(/inet6? (\S+)/g)].map(([, address]) => address)
      return [text.split("\n")[0], ...addresses.filter((address) => address?.startsWith("fe80:") !== true)]
    })
  )

const alphas = [
  ["52:54:00:12:01:01", "192.168.1.1/24", "2001:db8:1::1/64"],
  ["52:54:00:aa:00:01", "10.7.0.1/16", "fd07::1/48"],
  ["52:54:00:13:07:01"],
  ["52:54:00:14:07:01"]
]
const betas = [["52:54:00:12:01:02"], ["52:54:00:12:07:02"], ["52:54:00:aa:00:02", "10.7.200.2/16", "fd07:0:0:9::2/48"]]

/** Each has its addresses, and finds the other by its name. */
const haveAddresses = (alpha: MachineOf, beta: MachineOf) =>
  Effect.gen(function* () {
    assert.deepStrictEqual(yield* seen(alpha), alphas)
    assert.deepStrictEqual(yield* seen(beta), betas)
    for (const [machine, other] of [
      [alpha, "beta"],
      [beta, "alpha"]
    ] as const) {
      yield* machine.succeed(`ping -c 1 -w 10 ${other}`, `ping6 -c 1 -w 10 ${other} || ping -6 -c 1 -w 10 ${other}`)
    }
  })

onDriver(driver, Layer.mergeAll(Alpha.layer, Beta.layer))("machines with addresses of their own", (it) => {
  it.effect("have them when they boot, and are found by name", () =>
    Effect.gen(function* () {
      const [alpha, beta] = [yield* Alpha, yield* Beta]
      assert.deepStrictEqual(
        beta.interfaces.map(({ device, ipv4, ipv4Prefix, ipv6Prefix, network, vlan }) => [
          ...[device, network, vlan, ipv4, ipv4Prefix, ipv6Prefix]
        ]),
        [
          ["eth1", "lan", 1, undefined, 24, 64],
          ["eth2", "dmz", 7, undefined, 24, 64],
          ["eth3", "dmz", 7, "10.7.200.2", 16, 48]
        ]
      )
      yield* haveAddresses(alpha, beta)
      assert.include(yield* alpha.readFile("/etc/hosts"), "10.7.200.2 beta\nfd07:0:0:9::2 beta\n")
      assert.include(yield* beta.readFile("/etc/hosts"), "10.7.0.1 alpha\nfd07::1 alpha\n")
    })
  )

  it.effect("make a bond of two cards on one network", () =>
    Effect.gen(function* () {
      const [alpha, beta] = [yield* Alpha, yield* Beta]
      const bond = "/sys/class/net/bond8/bonding"
      yield* alpha.succeed(
        "echo +bond8 >/sys/class/net/bonding_masters",
        `echo active-backup >${bond}/mode`,
        `for card in eth3 eth4; do ip link set $card down; echo +$card >${bond}/slaves; done`,
        "ip link set bond8 up",
        "ip addr add 10.8.0.1/24 dev bond8"
      )
      yield* beta.succeed("ip addr add 10.8.0.2/24 dev eth2")
      for (const card of ["eth3", "eth4"]) {
        yield* alpha.succeed(`echo ${card} >${bond}/active_slave`, "ping -c 1 -w 10 10.8.0.2")
        assert.strictEqual(yield* alpha.succeed(`cat ${bond}/active_slave`), `${card}\n`)
      }
      yield* alpha.succeed("echo -bond8 >/sys/class/net/bonding_masters", "ip link set eth3 up", "ip link set eth4 up")
      yield* beta.succeed("ip addr del 10.8.0.2/24 dev eth2")
    })
  )

  it.effect("have them in a fork of all machines", () =>
    Effect.gen(function* () {
      const driver = yield* Driver
      yield* driver.fork(({ alpha, beta }) => haveAddresses(alpha!, beta!))
    })
  )

  it.effect("have them in a fork that is alone, and others in one that joins the networks", () =>
    Effect.gen(function* () {
      const alpha = yield* Alpha
      const alone = yield* alpha.fork()
      assert.deepStrictEqual(yield* seen(alone), alphas)
      const third = yield* alpha.fork({ name: "gamma", identity: true })
      assert.deepStrictEqual(yield* seen(third), [
        ["52:54:00:12:01:03", "192.168.1.3/24", "2001:db8:1::3/64"],
        ["52:54:00:12:07:03", "192.168.7.3/24", "2001:db8:7::3/64"],
        ["52:54:00:13:07:03"],
        ["52:54:00:14:07:03"]
      ])
      yield* alpha.waitUntilSucceeds("ping -c 1 -w 10 gamma")
      yield* third.succeed("ping -c 1 -w 10 alpha")
    })
  )
})
