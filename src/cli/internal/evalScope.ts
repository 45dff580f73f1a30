/** What a program of `vmtest eval` and `vmtest eval-file` has in scope without importing it. */
import * as Effect from "effect/Effect"
import { Driver } from "../../driver/Driver.ts"
import * as Image from "../../images/Image.ts"

/**
 * The driver for programs that are modules: their top level runs before the driver exists, so each method gives an
 * Effect that uses the `Driver` service.
 */
export const driver: unknown = new Proxy(
  {},
  {
    get:
      (_, method) =>
      (...args: ReadonlyArray<unknown>) =>
        Driver.use((service) => vmtestRun(Reflect.apply(Reflect.get(service, method), service, args)))
  }
)

/** Runs an Effect; any other value is the program's result as it is. */
export const vmtestRun = (value: unknown): Effect.Effect<unknown, unknown, unknown> =>
  Effect.isEffect(value) ? (value as Effect.Effect<unknown, unknown, unknown>) : Effect.succeed(value)

export { Driver as vmtestDriver, Effect, Image }
