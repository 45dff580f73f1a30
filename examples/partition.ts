import { Effect } from "effect"
import { Image, type Machine, test } from "vmtest"

const machine = { image: Image.tiny(), memory: "128 MiB" } as const

/** Milliseconds of the slowest of five pings. */
const slowest = (from: Machine, to: string) =>
  Effect.map(from.succeed(`ping -c 5 -i 0.2 -W 5 ${to}`), (said) =>
    Math.max(...[...said.matchAll(/time=([\d.]+)/g)].map(([, time]) => Number(time)))
  )

/** A network that is slow and loses packets, falls apart, and heals. */
export default test(
  "a network fails and heals",
  { machines: { a: machine, b: machine, c: machine } },
  ({ a, b, c }, driver) =>
    Effect.gen(function* () {
      // An impairment ends with its scope.
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* b.link("eth1").impair({ latency: "200 millis", jitter: "20 millis" })
          const time = yield* slowest(a, "b")
          if (time < 180)
            return yield* Effect.fail(`the link must add at least 180 ms, but a round trip took ${time} ms`)
        })
      )

      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* b.link().impair({ loss: "50 %", seed: 1 })
          yield* a.execute("ping -q -c 40 -i 0.05 -W 2 b")
          const { lost } = yield* b.link().counts()
          if (lost < 10) return yield* Effect.fail(`the link must lose about 20 packets, but lost ${lost}`)
        })
      )

      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* driver.network(1).partition([a, b], c)
          yield* a.waitUntilSucceeds("ping -c 1 -W 1 b")
          yield* a.fail("ping -c 1 -W 1 c")
        })
      )
      yield* a.waitUntilSucceeds("ping -c 1 -W 1 c")

      // The guest sees that its cable is pulled.
      yield* c.block("eth1")
      yield* c.waitUntilSucceeds('[ "$(cat /sys/class/net/eth1/carrier)" = 0 ]')
      yield* c.unblock("eth1")
      yield* a.waitUntilSucceeds("ping -c 1 -W 1 c")
    })
)
