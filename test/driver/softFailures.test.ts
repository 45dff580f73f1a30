import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { Backend } from "../../src/backends/Backend.ts"
import * as Mock from "../../src/backends/mock/Mock.ts"
import { Driver } from "../../src/driver/Driver.ts"
import * as DriverLayer from "../../src/driver/DriverLayer.ts"
import * as RunDirectory from "../../src/host/RunDirectory.ts"
import * as ImageStore from "../../src/images/ImageStore.ts"
import { onDriver } from "../../src/vitest.ts"

/** A driver on the mock; it makes no machines. */
const driver = Layer.unwrap(
  Effect.gen(function* () {
    const base = mkdtempSync(join(tmpdir(), "vmtest-soft-"))
    yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(base, { recursive: true, force: true })))
    const { backend } = yield* Mock.make()
    return DriverLayer.make({ snapshots: false }).pipe(
      Layer.provide(Layer.succeed(Backend, backend)),
      Layer.provide(Layer.effect(RunDirectory.RunDirectory, RunDirectory.make({ base }))),
      Layer.provide(ImageStore.ImageStore.layer)
    )
  })
).pipe(Layer.provide(NodeServices.layer))

const failing = Effect.flatMap(Driver, ({ subtest }) =>
  subtest("the small print", Effect.fail(new Error("it was wrong")), { softFail: true })
)

describe("a subtest that fails softly", () => {
  it.live("fails the end of the layer that its driver is of", () =>
    Effect.gen(function* () {
      let wentOn = false
      const exit = yield* failing.pipe(
        Effect.andThen(Effect.sync(() => (wentOn = true))),
        Effect.provide(driver),
        Effect.exit
      )
      assert.isTrue(wentOn)
      assert.isTrue(Exit.isFailure(exit))
      if (Exit.isSuccess(exit)) return
      const error = Cause.squash(exit.cause)
      assert.instanceOf(error, DriverLayer.SubtestsFailed)
      assert.include(error.message, 'subtest "the small print" failed')
      assert.include(error.message, "it was wrong")
    })
  )

  it.live("that is interrupted, or passes, fails nothing", () =>
    Effect.gen(function* () {
      const driver = yield* Driver
      yield* driver.subtest("passes", Effect.void, { softFail: true })
      yield* Effect.timeoutOption(driver.subtest("is given up", Effect.never, { softFail: true }), "10 millis")
    }).pipe(Effect.provide(driver))
  )
})

onDriver(driver, Layer.empty)("a suite's test with a subtest that fails softly", (it) => {
  let wentOn = false
  it.effect.fails("fails at its end", () =>
    Effect.andThen(
      failing,
      Effect.sync(() => (wentOn = true))
    )
  )

  it.effect("went on before, and fails none of the others, nor the suite", () =>
    Effect.sync(() => {
      assert.isTrue(wentOn)
    })
  )
})
