/**
 * Machines in a vitest suite, with `@effect/vitest`.
 *
 * A failed method's error names the line of its call. A test may take 30 minutes where neither it nor
 * vitest's `testTimeout` says. The machines start before the block's first test, are shared by its tests, and end after its last test. Tests use the real clock. A test
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
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"

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

/**
 * How long a test of a block may take where neither it nor vitest's `testTimeout` says: as long as one of `vmtest run`. vitest's own limit of 5 seconds
 * would end a test before a wait can say what it saw last.
 */
export const testTimeout: Duration.Input = "30 minutes"

/** vitest's default, and what it says that the project asks for. It has no public word for the latter. */
const vitestTimeout = 5000
const configuredTimeout = (): unknown => {
  const worker: unknown = Reflect.get(globalThis, "__vitest_worker__")
  const config = Predicate.hasProperty(worker, "config") ? worker.config : undefined
  return Predicate.hasProperty(config, "testTimeout") ? config.testTimeout : undefined
}

/** Gives the tests of the block that is being collected their time; one that the project has chosen is left as it is. */
const setTimeouts = (): void => {
  const configured = configuredTimeout()
  if (configured !== undefined && configured !== vitestTimeout) return
  const { options } = Vitest.TestRunner.getCurrentSuite()
  if (options !== undefined) options.timeout ??= Duration.toMillis(Duration.fromInputUnsafe(testTimeout))
}

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
      setTimeouts()
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
