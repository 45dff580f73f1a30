import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { Driver } from "../src/driver/Driver.ts"
import * as Image from "../src/images/Image.ts"
import { Machine, machines } from "../src/vitest.ts"

const small = { image: Image.tiny(), memory: "256 MiB" } as const

class Inner extends Machine<Inner>()("inner", { ...small, vlans: [2] }) {}
class Router extends Machine<Router>()("router", { ...small, vlans: [1, 2] }) {}
class Outer extends Machine<Outer>()("outer", small) {}

machines(
  Inner,
  Router,
  Outer
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
      const [inner, router, outer] = [yield* Inner, yield* Router, yield* Outer]
      yield* inner.shutdown()
      yield* driver.startAll()
      for (const machine of [inner, router, outer]) assert.isTrue(yield* machine.isUp())
      const late = yield* Effect.flip(driver.joinAll({ timeout: "1 second" }))
      assert.strictEqual(late._tag, "WaitTimeout")
      const joining = yield* Effect.forkChild(driver.joinAll({ timeout: "2 minutes" }))
      yield* Effect.forEach([inner, router, outer], (machine) => machine.shutdown(), { concurrency: "unbounded" })
      yield* Fiber.join(joining)
    })
  )
})
