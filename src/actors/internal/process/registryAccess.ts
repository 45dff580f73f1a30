/**
 * Finding the running process of a declared registry.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Any } from "../../Registry.ts"
import { UnknownRegistry } from "../../RegistryError.ts"
import { currentSystem } from "./current.ts"
import { currentFiber } from "./park.ts"
import { RegistryLoop } from "./registry.ts"
import type { SystemImpl } from "./system.ts"

/** A running registry. */
export const find = (system: SystemImpl, registry: Any): RegistryLoop | undefined => {
  const behaviour = system.names.get(registry.name)?.behaviour
  return behaviour instanceof RegistryLoop ? behaviour : undefined
}

/** Uses a registry that must run. */
export const using = <A, E, R>(
  registry: Any,
  use: (loop: RegistryLoop) => Effect.Effect<A, E, R>
): Effect.Effect<A, E | UnknownRegistry, R> =>
  Effect.suspend((): Effect.Effect<A, E | UnknownRegistry, R> => {
    const loop = find(currentSystem(currentFiber()), registry)
    return loop === undefined ? Exit.fail(new UnknownRegistry({ registry: registry.name })) : use(loop)
  })

/** Reads a registry that must run. */
export const reading = <A>(registry: Any, read: (loop: RegistryLoop) => A): Effect.Effect<A, UnknownRegistry> =>
  using(registry, (loop) => Exit.succeed(read(loop)))
