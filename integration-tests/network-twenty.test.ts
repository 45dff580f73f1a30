import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"

const count = 20

it.live(
  "twenty machines on one network reach each other",
  () =>
    Effect.gen(function* () {
      const driver = yield* Driver
      const first = yield* driver.machine("m1", { image: Image.tiny(), memory: "128 MiB" })
      yield* first.succeed("true")
      const others = yield* Effect.forEach(
        Array.from({ length: count - 1 }, (_, index) => `m${index + 2}`),
        (name) => first.fork({ name, identity: true }),
        { concurrency: 4 }
      )
      const all = [first, ...others]
      assert.strictEqual(new Set(all.map(({ interfaces }) => interfaces[0]?.ipv4)).size, count)
      // Each asks two others, by name and by address of the other family.
      yield* Effect.forEach(
        all,
        (machine, index) => {
          const [one, other] = [all[(index + 7) % count], all[(index + 13) % count]]
          return machine.waitUntilSucceeds(
            `ping -c 1 -W 5 ${one?.name} && ping6 -c 1 -W 5 ${other?.interfaces[0]?.ipv6}`,
            { timeout: "1 minute" }
          )
        },
        { concurrency: 4, discard: true }
      )
      // And all answer one.
      yield* first.succeed(...all.slice(1).map(({ name }) => `ping -c 1 -W 10 ${name}`))
    }).pipe(Effect.scoped, Effect.provide(DriverLayer.layer({ name: "twenty machines" }))),
  300_000
)
