/**
 * A world of processes: their table, their local names and their run queue.
 *
 * There is one for the whole program, made when it is first needed, so nothing has to be provided. A test, or a part of a
 * program that must leave nothing behind, provides its own: closing it kills every process that is left in it.
 *
 * **Example** (Nothing is left)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ActorSystem, Process } from "vmtest/actors"
 *
 * export const program = Effect.gen(function* () {
 *   let cleaned = false
 *   const body = Effect.ensuring(
 *     Effect.never,
 *     Effect.sync(() => (cleaned = true))
 *   )
 *   const alive = yield* ActorSystem.scoped(
 *     Effect.gen(function* () {
 *       yield* Process.spawn(body)
 *       yield* Effect.yieldNow
 *       return (yield* ActorSystem.ActorSystem).processes.size
 *     })
 *   )
 *   return [alive, cleaned]
 * })
 * // gives [1, true]
 * ```
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as ExitReason from "./ExitReason.ts"
import { CurrentSystem, defaultAbandonAfter } from "./internal/process/current.ts"
import { sendExit } from "./internal/process/process.ts"
import { SystemImpl } from "./internal/process/system.ts"
import { Watcher } from "./internal/process/watcher.ts"
import type * as Pid from "./Pid.ts"

/** The part of an actor system that everyone may see. */
export interface ActorSystem {
  /** Every live process, in the order of their starts. */
  readonly processes: ReadonlySet<Pid.Any>
  /** The local names. */
  readonly names: ReadonlyMap<string, Pid.Any>
  /** How many killed processes were left behind because their clean-up hung. */
  readonly abandoned: number
}

/** The actor system of the current fiber; the program's own one by default. */
export const ActorSystem: Context.Reference<SystemImpl> = CurrentSystem

export interface Options {
  /** How long the clean-up of a killed process may take before the process is left behind and reported. 5 seconds by default. */
  readonly abandonAfter?: Duration.Input
}

class LastWords extends Watcher {
  private readonly done: () => void
  constructor(done: () => void) {
    super()
    this.done = done
  }
  fire() {}
  down() {
    this.done()
  }
}

/** Kills every process of the system and waits until all are gone. Those whose clean-up hangs are left behind in time. */
const close = (system: SystemImpl): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    const next = (): void => {
      const [process] = system.processes
      for (const each of system.processes) sendExit(undefined, each, ExitReason.kill, false)
      if (process === undefined) resume(Effect.void)
      else process.watch(new LastWords(next))
    }
    next()
  })

/** A fresh actor system; when the scope closes, every process left in it is killed and awaited. */
export const make = (options?: Options): Effect.Effect<SystemImpl, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(
      () =>
        new SystemImpl({
          abandonAfter:
            options?.abandonAfter === undefined
              ? defaultAbandonAfter
              : Duration.toMillis(Duration.fromInputUnsafe(options.abandonAfter))
        })
    ),
    close
  )

/** Provides a fresh actor system. */
export const layer = (options?: Options): Layer.Layer<never> => Layer.effect(ActorSystem, make(options))

/** Runs an Effect in an actor system of its own, which is gone with all its processes before the Effect returns. */
export const scoped = <A, E, R>(self: Effect.Effect<A, E, R>, options?: Options): Effect.Effect<A, E, R> =>
  Effect.scoped(Effect.flatMap(make(options), (system) => Effect.provideService(self, ActorSystem, system)))
