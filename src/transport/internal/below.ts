/** Processes of the actor runtime that belong to a scope, and are shown below the process that made them where one did. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as ExitReason from "../../actors/ExitReason.ts"
import * as GenServer from "../../actors/GenServer.ts"
import type * as Pid from "../../actors/Pid.ts"
import * as Process from "../../actors/Process.ts"

/**
 * Starts a behaviour that ends with the scope: as a child of the process that runs this fiber, where one does, else as a process of its
 * own. With `linked` a crash of it ends that process, too; closing the scope never does.
 */
export const below = <P, E, R, R2>(
  linked: Effect.Effect<Pid.Pid<P>, E, R | Process.Self>,
  alone: Effect.Effect<Pid.Pid<P>, E, R2 | Scope.Scope>,
  options: { readonly linked?: boolean } = {}
): Effect.Effect<Pid.Pid<P>, never, Exclude<R, Process.Self> | R2 | Scope.Scope> =>
  Effect.flatMap(Effect.serviceOption(Process.Self), (self) =>
    Effect.gen(function* () {
      if (Option.isNone(self) || !(yield* Process.isAlive(self.value))) return yield* alone
      return yield* Effect.acquireRelease(
        Effect.tap(linked, (pid) => (options.linked === true ? Effect.void : Process.unlink(pid))).pipe(
          Effect.provideService(Process.Self, self.value)
        ),
        (pid) =>
          Process.unlink(pid).pipe(
            Effect.provideService(Process.Self, self.value),
            Effect.andThen(GenServer.stop(pid, { reason: ExitReason.shutdown })),
            Effect.ignore
          )
      )
    })
  ).pipe(Effect.orDie) as never
