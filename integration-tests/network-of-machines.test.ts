import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { Driver } from "../src/driver/Driver.ts"
import * as Image from "../src/images/Image.ts"
import { Machine, machines } from "../src/vitest.ts"

const small = { image: Image.tiny({ modules: ["8021q"] }), memory: "256 MiB" } as const
const longName = `${"a-label-of-63-characters-".repeat(3).slice(0, 62)}9`

class Inner extends Machine<Inner>()("inner", { ...small, vlans: [2] }) {}
class Router extends Machine<Router>()("router", { ...small, vlans: [1, 2] }) {}
class Outer extends Machine<Outer>()("outer", small) {}
class Long extends Machine<Long>()(longName, small) {}

machines(
  Inner,
  Router,
  Outer,
  Long
)("machines on networks", (it) => {
  it.effect("reach each other by name, over both families, on the VLANs they share", () =>
    Effect.gen(function* () {
      const [inner, router, outer] = [yield* Inner, yield* Router, yield* Outer]
      yield* router.succeed("ping -c 1 -w 10 inner", "ping -c 1 -w 10 outer")
      yield* inner.succeed("ping -c 1 -w 10 router")
      yield* outer.succeed("ping -c 1 -w 10 router")
      yield* outer.succeed("ping6 -c 1 -w 10 router || ping -6 -c 1 -w 10 router")
      yield* outer.fail("ping -c 1 -w 2 inner")
    })
  )

  it.effect("reach one whose name is as long as a name can be", () =>
    Effect.gen(function* () {
      const [outer, long] = [yield* Outer, yield* Long]
      assert.strictEqual(longName.length, 63)
      assert.strictEqual(yield* long.succeed("hostname"), `${longName}\n`)
      yield* outer.succeed(`ping -c 1 -w 10 ${longName}`)
    })
  )

  it.effect("send frames of any size, with any number of VLAN tags", () =>
    Effect.gen(function* () {
      const [router, outer] = [yield* Router, yield* Outer]
      for (const machine of [router, outer]) {
        assert.strictEqual(yield* machine.succeed("cat /sys/class/net/eth1/mtu"), "1500\n")
        // The way to the host carries no longer ones.
        yield* machine.fail("ip link set eth0 mtu 9000")
      }
      // 28 bytes of headers.
      yield* outer.succeed("ping -c 1 -w 10 -s 1472 router")
      const [low, high] = [
        [router, 1],
        [outer, 2]
      ] as const
      for (const [machine, number] of [low, high]) {
        yield* machine.succeed(
          "ip link add link eth1 name tagged type vlan id 5",
          `ip addr add 10.5.0.${number}/24 dev tagged`,
          "ip link set tagged up",
          "ip link add link tagged name twice type vlan id 6",
          `ip addr add 10.6.0.${number}/24 dev twice`,
          "ip link set twice up"
        )
      }
      yield* outer.succeed("ping -c 1 -w 10 -s 1472 10.5.0.1", "ping -c 1 -w 10 -s 1472 10.6.0.1")
      for (const machine of [router, outer]) yield* machine.succeed("ip link set eth1 mtu 9000")
      yield* outer.succeed("ping -c 1 -w 10 -s 8972 router")
      for (const machine of [router, outer]) yield* machine.succeed("ip link set eth1 mtu 1500")
    })
  )

  it.effect("wait for each other's ports", () =>
    Effect.gen(function* () {
      const [router, outer] = [yield* Router, yield* Outer]
      yield* router.succeed("nc -ll -p 7000 -e true </dev/null >/dev/null 2>&1 &")
      yield* outer.waitForOpenPort(7000, "router", { timeout: "1 minute" })
    })
  )

  it.effect("lose each other when a cable is pulled, and find each other again", () =>
    Effect.gen(function* () {
      const [inner, router, outer] = [yield* Inner, yield* Router, yield* Outer]
      yield* router.block(1)
      yield* outer.waitUntilFails("ping -c 1 -w 2 router", { timeout: "1 minute" })
      yield* inner.succeed("ping -c 1 -w 10 router")
      yield* router.unblock()
      yield* outer.waitUntilSucceeds("ping -c 1 -w 2 router", { timeout: "1 minute" })
    })
  )

  it.effect("have no way out of the host", () =>
    Effect.gen(function* () {
      const outer = yield* Outer
      assert.notInclude(yield* outer.succeed("ip route"), "default")
    })
  )

  let wentOn = false
  it.effect.fails("fail a test at its end that a part of it failed softly", () =>
    Effect.gen(function* () {
      const driver = yield* Driver
      const router = yield* Router
      yield* driver.subtest("the router knows everybody", router.succeed("ping -c 1 -w 2 nobody"), { softFail: true })
      yield* router.succeed("true")
      wentOn = true
    })
  )

  it.effect("start together, and are waited for until all have ended", () =>
    Effect.gen(function* () {
      assert.isTrue(wentOn)
      const driver = yield* Driver
      const [inner, router, outer, long] = [yield* Inner, yield* Router, yield* Outer, yield* Long]
      yield* inner.shutdown()
      yield* driver.startAll()
      for (const machine of [inner, router, outer, long]) assert.isTrue(yield* machine.isUp())
      const late = yield* Effect.flip(driver.joinAll({ timeout: "1 second" }))
      assert.strictEqual(late._tag, "WaitTimeout")
      const joining = yield* Effect.forkChild(driver.joinAll({ timeout: "2 minutes" }))
      yield* Effect.forEach([inner, router, outer, long], (machine) => machine.shutdown(), { concurrency: "unbounded" })
      yield* Fiber.join(joining)
    })
  )
})
