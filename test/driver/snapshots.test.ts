import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Snapshot from "../../src/machine/Snapshot.ts"
import { temporaryFolder } from "./storeSupport.ts"
import { driverOf, offline } from "./support.ts"

const box = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  const driver = yield* driverOf({ a: offline({ snapshot: false }) }, {}, { folder })
  yield* driver.begin
  return { driver, a: driver.machines.a! }
})

describe("machine.restore", () => {
  it.live("goes back once for each that asks, and leaves one machine", () =>
    Effect.gen(function* () {
      const { a, driver } = yield* box
      const snapshot = yield* a.snapshot("here")
      yield* Effect.all([a.restore(snapshot), a.restore(snapshot), a.restore("here")], { concurrency: "unbounded" })
      assert.strictEqual(yield* a.succeed("true"), "")
      assert.strictEqual(driver.live(), 1)
      yield* a.crash()
      assert.strictEqual(driver.live(), 0)
    })
  )

  it.live("refuses a snapshot whose name a later one has, and leaves the machine alone", () =>
    Effect.gen(function* () {
      const { a } = yield* box
      const first = yield* a.snapshot("here")
      yield* a.snapshot("here")
      for (const use of [a.restore(first), Effect.asVoid(a.fork({ from: first }))] as ReadonlyArray<
        Effect.Effect<void, Snapshot.RestoreError | Snapshot.ForkError>
      >) {
        const error = yield* Effect.flip(use)
        assert.strictEqual(error._tag, "NoSuchSnapshot")
        assert.include(error.message, "was replaced by a later one")
      }
      assert.isTrue(yield* a.isUp())
      yield* a.restore("here")
    })
  )
})
