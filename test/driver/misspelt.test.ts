import { inspect, isDeepStrictEqual } from "node:util"
import { isProxy } from "node:util/types"
import { assert, describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type { DriverService } from "../../src/driver/Driver.ts"
import * as Failure from "../../src/driver/Failure.ts"
import { test } from "../../src/driver/TestCase.ts"
import type { Machine } from "../../src/machine/Machine.ts"
import { driverOf, offline, runOnMock } from "./support.ts"

/** Calls a method as a script does that nothing has checked. */
const call = (object: object, name: string): unknown => Reflect.apply(Reflect.get(object, name), object, ["true"])

const messageOf = (run: () => unknown): string => {
  try {
    run()
    return "nothing was thrown"
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

describe("a misspelt method", () => {
  it.live("of a machine or the driver says which one was meant", () =>
    Effect.gen(function* () {
      const { machines, service } = yield* driverOf({ web: offline() })
      const web = machines.web!
      for (const [object, name, said] of [
        [web, "suceed", 'web has no method "suceed"; did you mean "succeed"?'],
        [web, "wait_for_unit", 'web has no method "wait_for_unit"; did you mean "waitForUnit"?'],
        [web, "waitForOpenPorts", 'web has no method "waitForOpenPorts"; did you mean "waitForOpenPort"?'],
        [service, "subTest", 'driver has no method "subTest"; did you mean "subtest"?'],
        [service, "wait_all", 'driver has no method "wait_all"; did you mean "waitAll"?']
      ] as const) {
        assert.strictEqual(
          messageOf(() => call(object, name)),
          said
        )
      }
      // One that is like none of them is JavaScript's own error.
      assert.isUndefined(Reflect.get(web, "frobnicate"))
    }).pipe(Effect.scoped)
  )

  it.live("fails the test with the line of the call, also in a warm-up", () =>
    Effect.gen(function* () {
      const [result, warm] = yield* runOnMock([
        test("t", { machines: { web: offline() } }, ({ web }) =>
          Effect.gen(function* () {
            yield* web.succeed("true")
            yield* call(web, "suceed") as Effect.Effect<string>
          })
        ),
        test(
          "warm",
          { machines: { web: offline({ warmUp: (web) => call(web, "suceed") as Effect.Effect<string> }) } },
          () => Effect.void
        )
      ])
      assert.strictEqual(result?.failure?.kind, "TypeError")
      assert.include(Failure.render(result!.failure!), 'web has no method "suceed"; did you mean "succeed"?')
      assert.include(warm?.failure?.message, 'web has no method "suceed"; did you mean "succeed"?')
    })
  )

  it("of Image says which one was meant", () => {
    const error = new TypeError("Image.debain is not a function")
    assert.strictEqual(Failure.messageOf(error), 'Image.debain is not a function; did you mean "debian"?')
    assert.strictEqual(Failure.messageOf(new TypeError("Image.x is not a function")), "Image.x is not a function")
  })
})

describe("a machine", () => {
  it.live("can be awaited, shown, compared, copied, and asked what any value is asked", () =>
    Effect.gen(function* () {
      const { machines, service } = yield* driverOf({ web: offline(), db: offline() })
      const web: Machine = machines.web!
      for (const object of [web, service] as ReadonlyArray<Machine | DriverService>) {
        assert.strictEqual(yield* Effect.promise(() => Promise.resolve(object)), object)
        assert.include(inspect(object), object === web ? "succeed" : "subtest")
        assert.isFalse(isDeepStrictEqual(object, machines.db))
        assert.isTrue(Equal.equals(object, object))
        assert.isFalse(Effect.isEffect(object))
        expect(object).toEqual(object)
        expect(object).not.toEqual(machines.db)
        expect(() => expect(object).toEqual({ name: "other" })).toThrow(/expected .* to deeply equal/)
        expect(() => expect(object).toMatchObject({ name: "other" })).toThrow()
        assert.deepStrictEqual(Object.keys({ ...object }), Object.keys(object))
        assert.isString(JSON.stringify(object))
        assert.isString(`${object}`)
        // The prompt of vmtest resume completes no names of a Proxy.
        assert.isFalse(isProxy(object))
      }
      assert.strictEqual(web.name, "web")
    }).pipe(Effect.scoped)
  )
})
