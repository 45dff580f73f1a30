import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import { Machine, onDriver } from "../src/vitest.ts"
import { added, fetchSum, flood, median, roundTrips, serve, snmp } from "./networkFaults.ts"

const small = { image: Image.tiny(), memory: "128 MiB" } as const

class Alice extends Machine<Alice>()("alice", small) {}
class Bob extends Machine<Bob>()("bob", { ...small, vlans: ["lan"] }) {}
class Router extends Machine<Router>()("router", { ...small, vlans: ["lan", "dmz"] }) {}
class Web extends Machine<Web>()("web", { ...small, vlans: ["dmz"] }) {}

const driver = DriverLayer.layer({ name: "networks that fail", networks: { lan: {}, dmz: { vlan: 7 } } })

const carrier = "cat /sys/class/net/eth1/carrier /sys/class/net/eth2/carrier"

onDriver(driver, Layer.mergeAll(Alice.layer, Bob.layer, Router.layer, Web.layer))(
  "machines on networks that fail",
  (it) => {
    it.effect("reach a machine on another network through a router, over both families, TCP and UDP", () =>
      Effect.gen(function* () {
        const [alice, router, web] = [yield* Alice, yield* Router, yield* Web]
        yield* alice.fail("ping -c 1 -W 1 192.168.7.4")
        yield* router.succeed("sysctl -w net.ipv4.ip_forward=1", "sysctl -w net.ipv6.conf.all.forwarding=1")
        yield* alice.succeed(
          "ip route add 192.168.7.0/24 via 192.168.1.3",
          "ip -6 route add 2001:db8:7::/64 via 2001:db8:1::3"
        )
        yield* web.succeed(
          "ip route add 192.168.1.0/24 via 192.168.7.3",
          "ip -6 route add 2001:db8:1::/64 via 2001:db8:7::3"
        )
        yield* alice.succeed("ping -c 1 -w 10 192.168.7.4", "ping6 -c 1 -w 10 2001:db8:7::4")
        // Names of machines that were made later come a moment later.
        yield* alice.waitUntilSucceeds("ping -c 1 -w 10 router")
        // Names are those of machines that share a network.
        yield* alice.fail("ping -c 1 -W 1 web")
        yield* router.succeed("ping -c 1 -w 10 web", "ping -c 1 -w 10 alice")
        // Its probes are UDP.
        const hops = yield* alice.succeed("traceroute -n -q 1 -w 5 192.168.7.4")
        assert.match(hops, /1 {2}192\.168\.1\.3 .*\n 2 {2}192\.168\.7\.4 /)
        const sum = yield* serve(web, 1)
        assert.strictEqual(yield* fetchSum(alice, "192.168.7.4"), sum)
        assert.strictEqual(yield* fetchSum(alice, "2001:db8:7::4"), sum)
        assert.isAbove((yield* web.link("dmz").counts()).sent, 700)
      })
    )

    it.effect("add the latency of a link, one way or both", () =>
      Effect.gen(function* () {
        const [alice, bob] = [yield* Alice, yield* Bob]
        for (const [direction, milliseconds] of [
          ["out", 100],
          ["in", 100],
          ["both", 200]
        ] as const) {
          const impair = bob.link("eth1").impair({ latency: "100 millis", direction })
          const more = yield* added(alice, "bob", impair)
          process.stderr.write(`100 ms of latency, ${direction}: ${more.toFixed(1)} ms more round trip\n`)
          assert.approximately(more, milliseconds, 20, direction)
        }
        assert.isBelow(median(yield* roundTrips(alice, "bob", 20)), 80)
      })
    )

    it.effect("vary the latency by the jitter", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const [alice, bob] = [yield* Alice, yield* Bob]
          yield* bob.link().impair({ latency: "100 millis", jitter: "80 millis" })
          const times = yield* roundTrips(alice, "bob", 40)
          assert.isBelow(Math.min(...times), 80)
          assert.isAbove(Math.max(...times), 130)
          assert.isAtLeast(Math.min(...times), 20)
        })
      )
    )

    it.effect("lose 10 ± 3 % of 2,000 packets, as pings, the receiver and the link count them", () =>
      Effect.gen(function* () {
        const [alice, bob] = [yield* Alice, yield* Bob]
        const counters = Effect.all({
          lost: Effect.map(alice.link().counts(), ({ lost }) => lost),
          arrived: snmp(bob, "Icmp", "InEchos"),
          answered: snmp(alice, "Icmp", "InEchoReps")
        })
        const before = yield* counters
        const { received, sent } = yield* Effect.scoped(
          Effect.andThen(alice.link().impair({ loss: "10 %", seed: 1 }), flood(alice, "bob", 2000))
        )
        const after = yield* counters
        const missing = sent - received
        process.stderr.write(`lost: ${missing} of ${sent} pings, ${after.lost - before.lost} frames on the link\n`)
        assert.isAtLeast(sent, 2000)
        assert.approximately((missing / sent) * 100, 10, 3)
        assert.strictEqual(after.arrived - before.arrived, received)
        assert.strictEqual(after.answered - before.answered, received)
        // The link also lost what the guest sent of its own accord, such as a question for an address.
        assert.approximately(after.lost - before.lost, missing, 5)
        assert.strictEqual((yield* flood(alice, "bob", 50)).received, 50)
      })
    )

    it.effect("lose the same packets with the same seed", () =>
      Effect.gen(function* () {
        const alice = yield* Alice
        const network = (yield* Driver).network(1)
        // Whatever the frame: a guest also asks for addresses now and then.
        const missing = (seed: number) =>
          Effect.scoped(
            Effect.gen(function* () {
              yield* alice.link().impair({ loss: "20 %", seed })
              const sent = yield* network.capture.pipe(
                Stream.filter(({ from }) => from === "alice eth1"),
                Stream.take(100),
                Stream.runCollect,
                Effect.forkScoped({ startImmediately: true })
              )
              yield* alice.execute("ping -c 100 -i 0.01 -W 2 192.168.1.2")
              return (yield* Fiber.join(sent)).flatMap(({ fate }, index) => (fate === "lost" ? [index] : []))
            })
          )
        const first = yield* missing(7)
        assert.isAbove(first.length, 5)
        assert.deepStrictEqual(yield* missing(7), first)
        assert.notDeepEqual(yield* missing(8), first)
      })
    )

    it.effect("see packets twice, out of order, and with wrong bits", () =>
      Effect.gen(function* () {
        const [alice, bob] = [yield* Alice, yield* Bob]
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* bob.link().impair({ duplicate: 1 })
            assert.include(yield* alice.succeed("ping -c 3 -i 0.1 bob"), "DUP!")
          })
        )
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* bob.link().impair({ latency: "100 millis", reorder: "50 %", seed: 3 })
            const said = yield* alice.succeed("ping -c 20 -i 0.02 -W 3 bob")
            const order = [...said.matchAll(/seq=(\d+)/g)].map(([, number]) => Number(number))
            assert.strictEqual(order.length, 20)
            assert.notDeepEqual(
              order,
              order.toSorted((one, other) => one - other)
            )
          })
        )
        const sum = yield* serve(bob, 1)
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* bob.link().impair({ corrupt: "5 %", seed: 1 })
            assert.strictEqual(yield* fetchSum(alice, "192.168.1.2"), sum)
          })
        )
        const { corrupted, duplicated, reordered } = yield* bob.link().counts()
        assert.isAbove(yield* snmp(alice, "Tcp", "InCsumErrors"), 3)
        assert.isAbove(corrupted, 10)
        assert.isAtLeast(duplicated, 3)
        assert.isAbove(reordered, 3)
      })
    )

    it.effect("carry as much as the rate of a link", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const [alice, bob] = [yield* Alice, yield* Bob]
          const sum = yield* serve(bob, 1)
          yield* bob.link().impair({ rate: "2 Mbit/s" })
          const begun = yield* Clock.currentTimeMillis
          assert.strictEqual(yield* fetchSum(alice, "192.168.1.2"), sum)
          const seconds = ((yield* Clock.currentTimeMillis) - begun) / 1000
          // 1514 bytes for each 1448 of the file.
          const rate = (2 ** 20 * 8 * 1514) / 1448 / seconds / 1e6
          assert.approximately(rate, 2, 0.3)
        })
      )
    )

    it.effect("end a TCP transfer whole whose link is healed while it runs", () =>
      Effect.gen(function* () {
        const [alice, bob] = [yield* Alice, yield* Bob]
        const sum = yield* serve(bob, 8)
        yield* bob
          .link()
          .impair({ latency: "150 millis", loss: "20 %", corrupt: "1 %", duplicate: "1 %", rate: "4 Mbit/s" })
        const { sent } = yield* bob.link().counts()
        const fetching = yield* Effect.forkChild(fetchSum(alice, "192.168.1.2"))
        // It has begun, and would take minutes.
        yield* Effect.repeat(Effect.andThen(Effect.sleep("100 millis"), bob.link().counts()), {
          until: (counts) => counts.sent > sent + 50
        })
        yield* bob.link().heal()
        assert.strictEqual(yield* Fiber.join(fetching), sum)
      })
    )

    it.effect("are separated by partitions, and find each other again", () =>
      Effect.gen(function* () {
        const [alice, bob, router] = [yield* Alice, yield* Bob, yield* Router]
        const lan = (yield* Driver).network("lan")
        // One that has asked for an address in vain gives the next packet up, too, with the answer that it still waits for.
        const reach = (from: typeof alice, whom: string, expected: boolean) =>
          expected
            ? from.waitUntilSucceeds(`ping -c 1 -W 1 ${whom}`, { timeout: "20 seconds" })
            : from.fail(`ping -c 1 -W 1 ${whom}`)
        const all = (ab: boolean, bc: boolean, ca: boolean) =>
          Effect.all([reach(alice, "bob", ab), reach(bob, "router", bc), reach(router, "alice", ca)], {
            concurrency: 3,
            discard: true
          })
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* lan.partition([alice, bob], router)
            yield* all(true, false, false)
            yield* reach(router, "web", true)
            assert.strictEqual(yield* bob.succeed("cat /sys/class/net/eth1/carrier"), "1\n")
            yield* lan.partition(alice)
            yield* all(false, false, false)
            yield* lan.heal()
            yield* all(true, true, true)
            yield* lan.partition(bob)
            yield* all(false, false, true)
          })
        )
        yield* all(true, true, true)
      })
    )

    it.effect("see the carriers of their cards, which are blocked by interface, network and VLAN", () =>
      Effect.gen(function* () {
        const router = yield* Router
        for (const [card, seen] of [
          ["eth1", "0\n1\n"],
          ["lan", "0\n1\n"],
          [1, "0\n1\n"],
          ["eth2", "1\n0\n"],
          ["dmz", "1\n0\n"],
          [7, "1\n0\n"],
          [undefined, "0\n0\n"]
        ] as const) {
          yield* router.block(card)
          yield* router.waitUntilSucceeds(`[ "$(${carrier} | tr -d '\\n')" = ${seen.replaceAll("\n", "")} ]`)
          yield* router.unblock(card)
          yield* router.waitUntilSucceeds(`[ "$(${carrier} | tr -d '\\n')" = 11 ]`)
        }
        yield* router.link("dmz").block()
        yield* router.waitUntilSucceeds(`[ "$(${carrier} | tr -d '\\n')" = 10 ]`)
        yield* router.link().unblock()
        yield* router.succeed("ping -c 1 -w 10 web", "ping -c 1 -w 10 alice")
      })
    )
  }
)
