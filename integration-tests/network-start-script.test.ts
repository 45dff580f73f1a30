import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import { added, crashSwitch } from "./networkFaults.ts"
import { scripts } from "./nixosScript.ts"

const env = { VMTEST_TEST: `${process.pid}` }
const soon = { timeout: "1 minute" } as const
const address = "192.168.1.7"

it.live(
  "a machine of a start script and one of an image reach each other, and their links fail as those of others do",
  () =>
    Effect.gen(function* () {
      const { make } = yield* scripts
      const path = yield* make({ name: "nix", address })
      const driver = yield* Driver
      // Its script names the socket of VLAN 1 alone.
      const declared = { image: Image.startScript({ path, env }), vlans: [1, 2] }
      const [nix, tiny] = yield* Effect.all(
        [driver.machine("nix", declared), driver.machine("tiny", { image: Image.tiny(), memory: "128 MiB" })],
        { concurrency: 2 }
      )
      const reaches = `ping -c 1 -W 2 ${address}`
      yield* nix.succeed("true")
      yield* tiny.waitUntilSucceeds(reaches, soon)
      yield* nix.succeed(`ping -c 1 -W 5 ${tiny.interfaces[0]?.ipv4}`)

      assert.approximately(yield* added(tiny, address, nix.link().impair({ latency: "100 millis" })), 100, 20)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* nix.link("eth1").impair({ loss: 1, direction: "in" })
          yield* tiny.fail(reaches)
          assert.isAbove((yield* nix.link("eth1").counts()).lost, 0)
        })
      )
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* driver.network(1).partition(nix, tiny)
          yield* tiny.fail(reaches)
        })
      )
      yield* tiny.waitUntilSucceeds(reaches, soon)
      yield* nix.block(1)
      yield* nix.waitUntilSucceeds('[ "$(cat /sys/class/net/eth1/carrier)" = 0 ]', soon)
      yield* tiny.fail(reaches)
      yield* nix.unblock(1)
      yield* tiny.waitUntilSucceeds(reaches, soon)
      const refused = yield* Effect.flip(nix.block(2))
      assert.include(refused.message, "its start script plugs no card into $QEMU_VDE_SOCKET_2")

      assert.isTrue(yield* crashSwitch(1))
      yield* tiny.waitUntilSucceeds(reaches, soon)
    }).pipe(
      Effect.scoped,
      Effect.provide(Layer.mergeAll(DriverLayer.layer({ name: "a start script's network" }), ImageStore.layer))
    ),
  900_000
)
