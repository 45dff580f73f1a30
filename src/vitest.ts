/**
 * Machines in a vitest suite, with `@effect/vitest`.
 *
 * The machines start before the block's first test, are shared by its tests, and end after its last test. Tests use the real clock. A test
 * whose subtests failed with `softFail` fails at its end.
 *
 * **Example** (A block of tests with one machine)
 *
 * ```ts
 * import { assert } from "@effect/vitest"
 * import { Effect } from "effect"
 * import { Image } from "vmtest"
 * import { Machine, machines } from "vmtest/vitest"
 *
 * class Web extends Machine<Web>()("web", { image: Image.tiny() }) {}
 *
 * machines(Web)("the web server", (it) => {
 *   it.effect("says hello", () => Effect.gen(function* () {
 *     const web = yield* Web
 *     assert.strictEqual(yield* web.succeed("echo hello"), "hello\n")
 *   }))
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Vitest from "@effect/vitest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Driver } from "./driver/Driver.ts"
import * as DriverLayer from "./driver/DriverLayer.ts"
import { Collector, SoftFailures } from "./driver/SoftFailure.ts"

export {
  /** Makes a service of a machine; see `DriverLayer.Machine`. */
  Machine,
  /** What `Machine` makes. */
  type MachineClass
} from "./driver/DriverLayer.ts"

/** The result of `Machine`: a service with the layer that declares its machine. */
export interface MachineService<Self> {
  readonly layer: Layer.Layer<Self, DriverLayer.MachineLayerError, Driver>
}

/** The timeout for the machines of a block to be ready, including a first build of their images. */
export const startTimeout: Duration.Input = "15 minutes"

type SelfOf<Service> = Service extends MachineService<infer Self> ? Self : never

/**
 * A block of tests that share these machines and their driver, on this host. Their pictures and copies go to
 * `vmtest-output/<block>/`.
 */
export const machines = <const Services extends ReadonlyArray<MachineService<never>>>(...services: Services) => {
  type Provided = SelfOf<Services[number]>
  const all = services
    .map(({ layer }) => layer)
    .reduce<Layer.Layer<never, DriverLayer.MachineLayerError, Driver>>(
      (merged, layer) => Layer.merge(merged, layer),
      Layer.empty
    )
  // Merging an array forgets which services it provides.
  const provided = all as Layer.Layer<Provided, DriverLayer.MachineLayerError, Driver>
  type Block = ReturnType<typeof onDriver<Provided, DriverLayer.MachineLayerError, DriverLayer.HostError>>
  const block: Block = (name, tests) => onDriver(DriverLayer.layer({ name }), provided)(name, tests)
  return block
}

/** As `machines`, with a driver of your own. */
export const onDriver = <Provided, E, D>(
  driver: Layer.Layer<Driver, D>,
  provided: Layer.Layer<Provided, E, Driver>
) => {
  const soft = new SoftFailures()
  const collected = Layer.provide(driver, Layer.succeed(Collector, soft))
  const block = Vitest.layer(Layer.provideMerge(provided, collected), {
    excludeTestServices: true,
    timeout: startTimeout
  })
  return (name: string, tests: Parameters<typeof block>[1]): void =>
    block(name, (it) => {
      // The layer outlives the test, so soft failures are raised at the end of the test itself.
      Vitest.afterEach(() =>
        Effect.runPromise(
          Effect.suspend(() => {
            const failed = soft.take()
            return failed === undefined ? Effect.void : Effect.fail(failed)
          })
        )
      )
      tests(it)
    })
}
