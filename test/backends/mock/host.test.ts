import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Mock from "../../../src/backends/mock/Mock.ts"
import * as DriverLayer from "../../../src/driver/DriverLayer.ts"
import * as Image from "../../../src/images/Image.ts"

class Web extends DriverLayer.Machine<Web>()("web", { image: Image.debian({ packages: ["nginx"] }), vlans: [] }) {}

const onMock = <A, E>(mock: Mock.Mock, program: Effect.Effect<A, E, Web>) =>
  program.pipe(Effect.provide(Web.layer), Effect.provide(DriverLayer.make()), Effect.provide(Mock.host(mock)))

describe("a mock as the host of a driver", () => {
  it.effect("builds no image, and boots machines whose other commands all fail", () =>
    Effect.gen(function* () {
      const mock = yield* Mock.make({
        guests: { web: { commands: [["nginx -v", "nginx\n"]], otherwise: { exitCode: 127 } } }
      })
      const codes = yield* onMock(
        mock,
        Effect.gen(function* () {
          const web = yield* Web
          return [(yield* web.execute("nginx -v")).exitCode, (yield* web.execute("apachectl")).exitCode]
        })
      )
      assert.deepStrictEqual(codes, [0, 127])
    })
  )

  it.effect("stores no snapshots: each machine boots", () =>
    Effect.gen(function* () {
      for (const _ of [1, 2]) {
        const mock = yield* Mock.make()
        const from = yield* onMock(
          mock,
          Effect.map(mock.machine("web"), (guest) => guest.from)
        )
        assert.isUndefined(from)
      }
    })
  )
})
