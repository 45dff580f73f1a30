import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import { Machine, onDriver } from "../src/vitest.ts"
import { crashSwitch, fetchSum, median, roundTrips, serve } from "./networkFaults.ts"

const small = { image: Image.tiny(), memory: "128 MiB" } as const

class Client extends Machine<Client>()("client", small) {}
class Server extends Machine<Server>()("server", small) {}

onDriver(DriverLayer.layer({ name: "networks that live on" }), Layer.mergeAll(Client.layer, Server.layer))(
  "a network between machines",
  (it) => {
    it.effect("comes back after its switch has crashed: a transfer and a ping only see a pause", () =>
      Effect.gen(function* () {
        const [client, server] = [yield* Client, yield* Server]
        const sum = yield* serve(server, 24)
        const { sent } = yield* server.link().counts()
        const fetching = yield* Effect.forkChild(fetchSum(client, "192.168.1.2"))
        const pinging = yield* Effect.forkChild(client.succeed("ping -q -c 50 -i 0.1 -W 5 192.168.1.2"))
        yield* Effect.repeat(Effect.andThen(Effect.sleep("50 millis"), server.link().counts()), {
          until: (counts) => counts.sent > sent + 500
        })
        for (let time = 0; time < 3; time += 1) {
          assert.isTrue(yield* crashSwitch(1))
          yield* Effect.sleep("500 millis")
        }
        assert.strictEqual(yield* Fiber.join(fetching), sum)
        // What its cards send meanwhile waits in their sockets.
        assert.include(yield* Fiber.join(pinging), "50 packets received")
        assert.isAbove((yield* server.link().counts()).sent, sent + 10_000)
      })
    )

    it.effect("keeps the connections of a machine that goes back to a snapshot", () =>
      Effect.gen(function* () {
        const [client, server] = [yield* Client, yield* Server]
        yield* server.succeed("nc -ll -p 7 -e cat </dev/null >/dev/null 2>&1 &")
        yield* server.waitForOpenPort(7)
        yield* client.succeed(
          "mkfifo /tmp/in; (nc 192.168.1.2 7 </tmp/in >/tmp/out 2>&1 &) ; (sleep 100000 >/tmp/in &)"
        )
        const say = (text: string) =>
          client.succeed(
            `echo ${text} >/tmp/in; i=0; until grep -q ${text} /tmp/out; do sleep 0.1; i=$((i+1)); [ $i -lt 300 ]; done`
          )
        yield* say("before")
        const snapshot = yield* client.snapshot()
        yield* client.restore(snapshot)
        yield* say("after")
        assert.strictEqual(yield* client.succeed("cat /tmp/out"), "before\nafter\n")
      })
    )

    it.effect("has a port for a fork with an identity of its own, and none of the impairments of the original", () =>
      Effect.gen(function* () {
        const [client, server] = [yield* Client, yield* Server]
        yield* server.link().impair({ latency: "300 millis", direction: "both" })
        yield* server.succeed("true")
        const fork = yield* server.fork({ name: "another", identity: true })
        const [{ ipv4 } = { ipv4: undefined }] = fork.interfaces
        assert.isBelow(median(yield* roundTrips(client, String(ipv4), 10)), 150)
        assert.isAbove(median(yield* roundTrips(client, "192.168.1.2", 5)), 300)
        yield* fork.link().impair({ latency: "200 millis" })
        assert.isAbove(median(yield* roundTrips(client, String(ipv4), 5)), 200)
        const driver = yield* Driver
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* driver.network(1).partition(fork)
            yield* client.fail(`ping -c 1 -W 1 ${ipv4}`)
            yield* client.succeed("ping -c 1 -W 5 192.168.1.2")
          })
        )
        // One that is alone has no place on the network.
        const alone = yield* client.fork()
        const refused = yield* Effect.flip(Effect.scoped(driver.network(1).partition(alone)))
        assert.include(refused.message, "client-fork1 is not on network 1")
        const { message } = yield* Effect.flip(alone.link().heal())
        assert.include(message, "client-fork1.link().heal: client-fork1 is a fork that is alone on networks of its own")
        yield* alone.fail("ping -c 1 -W 1 192.168.1.2")
        yield* Effect.forEach([fork, alone], (machine) => machine.crash(), { discard: true })
      })
    )

    it.effect("is another one in a fork of the test, without impairments and partitions", () =>
      Effect.gen(function* () {
        const [client, server] = [yield* Client, yield* Server]
        const driver = yield* Driver
        yield* server.link().impair({ loss: 1 })
        yield* driver.network(1).partition(client)
        yield* driver.fork((machines) =>
          Effect.gen(function* () {
            yield* machines.client!.waitUntilSucceeds("ping -c 1 -W 2 server", { timeout: "20 seconds" })
            yield* machines.server!.link().impair({ loss: 1 })
            yield* machines.client!.fail("ping -c 1 -W 1 server")
          })
        )
        yield* client.fail("ping -c 1 -W 1 server")
        yield* driver.network(1).heal()
        yield* client.waitUntilSucceeds("ping -c 1 -W 2 server", { timeout: "20 seconds" })
      })
    )
  }
)

/** A network that is a hub, and a switch. */
class Sniffer extends Machine<Sniffer>()("sniffer", { ...small, vlans: ["hub", "lan"] }) {}
class Left extends Machine<Left>()("left", { ...small, vlans: ["hub", "lan"] }) {}
class Right extends Machine<Right>()("right", { ...small, vlans: ["hub", "lan"] }) {}

onDriver(
  DriverLayer.layer({ name: "a hub", networks: { lan: {}, hub: { hub: true } } }),
  Layer.mergeAll(Sniffer.layer, Left.layer, Right.layer)
)("a hub", (it) => {
  it.effect("shows a machine what others send to each other, and a switch does not", () =>
    Effect.gen(function* () {
      const [sniffer, left, right] = [yield* Sniffer, yield* Left, yield* Right]
      const seen = Effect.map(
        sniffer.succeed("cat /sys/class/net/eth1/statistics/rx_packets /sys/class/net/eth2/statistics/rx_packets"),
        (said) => said.trim().split("\n").map(Number)
      )
      for (const card of ["eth1", "eth2"]) yield* sniffer.succeed(`ip link set ${card} promisc on`)
      const ping = Effect.forEach(right.interfaces, ({ ipv4 }) => left.succeed(`ping -q -c 50 -i 0.02 ${ipv4}`))
      // Everybody is known after the first.
      yield* ping
      const before = yield* seen
      yield* ping
      const [hub = 0, lan = 0] = (yield* seen).map((count, index) => count - (before[index] ?? 0))
      assert.isAtLeast(hub, 100)
      assert.isBelow(lan, 20)
    })
  )
})
