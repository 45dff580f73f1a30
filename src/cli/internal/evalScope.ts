/** What a program of `vmtest eval` and `vmtest eval-file` has in scope without importing it. */
import { isNativeError } from "node:util/types"
import * as Effect from "effect/Effect"
import { Driver } from "../../driver/Driver.ts"
import * as Image from "../../images/Image.ts"
import { type AnyEffect, isToRun } from "./toRun.ts"

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

/** Runs an Effect; any other value is the program's result as it is, and so is an error that `Effect.flip` gave. */
export const vmtestRun = (value: unknown): AnyEffect =>
  Effect.isEffect(value) && !isNativeError(value) ? (value as AnyEffect) : Effect.succeed(value)

/** Runs a body, and the Effect that it returns: `return m.succeed("true")`. */
export const vmtestReturned = (body: AnyEffect): AnyEffect =>
  Effect.flatMap(body, (value) => (isToRun(value) ? value : Effect.succeed(value)))

export { Driver as vmtestDriver, Effect, Image }
