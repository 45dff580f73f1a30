/**
 * What registries answer when they cannot do as told.
 *
 * **Example** (A key that is taken)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Process, Registry } from "vmtest/actors"
 *
 * const Rooms = Registry.unique<string>("rooms")
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     const early = yield* Effect.flip(Registry.lookup(Rooms, "red"))
 *     yield* Registry.scoped(Rooms)
 *     const taken = Process.run(
 *       Effect.andThen(Registry.register(Rooms, "red"), Effect.flip(Registry.register(Rooms, "red")))
 *     )
 *     return [early._tag, (yield* taken)._tag]
 *   })
 * )
 * // gives ["UnknownRegistry", "AlreadyRegistered"]
 * ```
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type * as Pid from "./Pid.ts"

/** No registry of that name runs in this actor system. */
export class UnknownRegistry extends Data.TaggedError("UnknownRegistry")<{ readonly registry: string }> {
  override get message() {
    return `unknown registry: "${this.registry}" is not running`
  }
}

/** The unique key is taken, possibly by the caller itself. */
export class AlreadyRegistered extends Data.TaggedError("AlreadyRegistered")<{
  readonly registry: string
  readonly key: unknown
  readonly pid: Pid.Any
}> {
  override get message() {
    return `${JSON.stringify(this.key)} is already registered in "${this.registry}" by ${this.pid}`
  }
}

/** The calling process has no entry under the key. */
export class NotRegistered extends Data.TaggedError("NotRegistered")<{
  readonly registry: string
  readonly key: unknown
}> {
  override get message() {
    return `${JSON.stringify(this.key)} is not registered in "${this.registry}" by this process`
  }
}
