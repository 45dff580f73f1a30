import { assert, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import type { Machine } from "../src/machine/Machine.ts"

/** Emulated processors answer late. */
const soon = { timeout: "2 minutes" } as const

const image = Image.debian({
  packages: ["keepalived", "etcd-server", "etcd-client"],
  // It would start with a cluster of its own.
  setup: "ln -sf /dev/null /etc/systemd/system/etcd.service"
})

/** One boots, the others are forks of it with names and addresses of their own. */
const three = Effect.gen(function* () {
  const driver = yield* Driver
  const a = yield* driver.machine("a", { image, memory: "512 MiB" })
  yield* a.succeed("true")
  const [b, c] = yield* Effect.all([a.fork({ name: "b", identity: true }), a.fork({ name: "c", identity: true })], {
    concurrency: 2
  })
  const nodes = [a, b, c].map((machine) => ({ machine, address: String(machine.interfaces[0]?.ipv4) }))
  return { a, b, c, nodes, network: driver.network(1) }
})

const virtual = "192.168.1.200"

const keepalived = (state: string, priority: number) => `vrrp_version 3
vrrp_instance web {
  state ${state}
  interface eth1
  virtual_router_id 7
  priority ${priority}
  advert_int 0.5
  virtual_ipaddress { ${virtual}/24 }
}
`

/** How long a backup of VRRP may take: three advertisements and less than one more (RFC 5798, 6.1), and the time of emulated processors. */
const failover = { timeout: "10 seconds" } as const

const owns = (machine: Machine) => machine.waitUntilSucceeds(`ip -4 addr show dev eth1 | grep -q ${virtual}`, failover)
const disowns = (machine: Machine) => machine.waitUntilFails(`ip -4 addr show dev eth1 | grep -q ${virtual}`, failover)

const live = <E>(title: string, program: Effect.Effect<unknown, E, Driver>) =>
  it.live(title, () => program.pipe(Effect.provide(DriverLayer.layer({ name: "clusters" }))), 1_200_000)

live(
  "keepalived moves an address away from a node whose cable is pulled, and back",
  Effect.gen(function* () {
    const { a, b, c, network } = yield* three
    for (const [machine, state, priority] of [
      [a, "MASTER", 150],
      [b, "BACKUP", 100]
    ] as const) {
      yield* machine.succeed("cat >/etc/keepalived/keepalived.conf", { stdin: keepalived(state, priority) })
      yield* machine.succeed("systemctl restart keepalived")
    }
    const answers = c.waitUntilSucceeds(`ping -c 1 -W 1 ${virtual}`, failover)
    /** Who has the address, as the third machine learns it. */
    const hardware = Effect.map(
      Effect.andThen(answers, c.succeed(`ip neigh show ${virtual}`)),
      (said) => /lladdr (\S+)/.exec(said)?.[1]
    )
    yield* owns(a)
    assert.strictEqual(yield* hardware, a.interfaces[0]?.mac)

    const begun = yield* Clock.currentTimeMillis
    yield* a.block("eth1")
    yield* owns(b)
    assert.strictEqual(yield* hardware, b.interfaces[0]?.mac)
    assert.isBelow((yield* Clock.currentTimeMillis) - begun, 15_000)
    yield* disowns(a)

    yield* a.unblock("eth1")
    yield* owns(a)
    yield* disowns(b)
    assert.strictEqual(yield* hardware, a.interfaces[0]?.mac)

    // Nothing tells a node that it is cut off: both have the address until they see each other again.
    yield* Effect.scoped(
      Effect.gen(function* () {
        yield* network.partition(a, [b, c])
        yield* owns(b)
        assert.strictEqual(yield* hardware, b.interfaces[0]?.mac)
        yield* owns(a)
      })
    )
    yield* disowns(b)
    yield* owns(a)
    assert.strictEqual(yield* hardware, a.interfaces[0]?.mac)
  })
)

live(
  "etcd keeps its data and its majority through a partition",
  Effect.gen(function* () {
    const { nodes, network } = yield* three
    const cluster = nodes.map(({ address, machine }) => `${machine.name}=http://${address}:2380`).join(",")
    yield* Effect.forEach(
      nodes,
      ({ address, machine }) =>
        machine.succeed(
          `systemd-run --unit kv etcd --name ${machine.name} --data-dir /var/lib/kv \\
            --initial-advertise-peer-urls http://${address}:2380 --listen-peer-urls http://${address}:2380 \\
            --advertise-client-urls http://${address}:2379 --listen-client-urls http://0.0.0.0:2379 \\
            --initial-cluster ${cluster} --heartbeat-interval 300 --election-timeout 3000`
        ),
      { concurrency: 3 }
    )
    const ctl = "ETCDCTL_API=3 etcdctl --endpoints http://127.0.0.1:2379 --command-timeout 5s"
    const put = (machine: Machine, value: string) => machine.waitUntilSucceeds(`${ctl} put key ${value}`, soon)
    /** What a node has itself, without asking the others. */
    const has = (machine: Machine, value: string) =>
      machine.waitUntilSucceeds(`${ctl} get --consistency=s --print-value-only key | grep -qx ${value}`, soon)
    yield* put(nodes[0]!.machine, "first")
    for (const { machine } of nodes) yield* has(machine, "first")

    // The leader is the one that is cut off.
    const leading = yield* Effect.forEach(nodes, ({ machine }) =>
      Effect.map(machine.succeed(`${ctl} endpoint status`), (said) => said.split(", ")[4] === "true")
    )
    assert.strictEqual(leading.filter((leads) => leads).length, 1, String(leading))
    const minority = nodes[leading.indexOf(true)]!.machine
    const majority = nodes.map(({ machine }) => machine).filter((machine) => machine !== minority)
    yield* Effect.scoped(
      Effect.gen(function* () {
        yield* network.partition(minority, majority)
        yield* minority.fail(`${ctl} put key lost`)
        yield* put(majority[0]!, "second")
        yield* has(majority[1]!, "second")
        yield* minority.fail(`${ctl} put key lost`)
        // A read that asks the others is refused, too, and one that does not is old.
        yield* minority.fail(`${ctl} get key`)
        yield* has(minority, "first")
      })
    )
    for (const { machine } of nodes) yield* has(machine, "second")
    yield* put(minority, "third")
    for (const { machine } of nodes) yield* has(machine, "third")
    const hashes = yield* Effect.forEach(nodes, ({ machine }) =>
      Effect.map(machine.succeed(`${ctl} endpoint hashkv`), (said) => said.split(", ")[1]?.trim())
    )
    assert.strictEqual(new Set(hashes).size, 1, String(hashes))
  })
)
