/** Starting a hypervisor from where the machine is to come from, and the shell of a guest that need not boot. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import * as Scope from "effect/Scope"
import type { Hypervisor, SavedMachine, StartOptions } from "../../backends/Backend.ts"
import { MachineEvents } from "../../guest/MachineEvent.ts"
import { lastLines } from "../../host/Evidence.ts"
import { BootProgressListener, formatProgress } from "../../transport/Shell.ts"
import type { Environment } from "../MachineTree.ts"
import type { Origin } from "../Origin.ts"

/** A hypervisor of the backend. Whoever opens its shell, a boot that takes long, the first or a later one, is told as the machine's. */
const launch = Effect.fnUntraced(function* ({ backend, shape, spec }: Environment, options?: StartOptions) {
  const emit = yield* MachineEvents
  const hypervisor = yield* backend.start(shape, options)
  const shell = Effect.provideService(hypervisor.shell, BootProgressListener, (progress) =>
    emit({ _tag: "StillBooting", machine: spec.name, detail: formatProgress(progress) })
  )
  return { ...hypervisor, shell } satisfies Hypervisor
})

/** A guest that goes on answers within a fraction of a second; a busy host takes its time. */
const answersWithin = Duration.seconds(20)

/** Why there is no hypervisor. */
interface Refusal {
  readonly reason: string
}

interface Started {
  readonly hypervisor: Hypervisor
  readonly origin: Origin
}

/**
 * A machine that goes on from a saved one, and whose shell has answered: until then nobody can know that it is one. The first to open
 * the shell is given the one that answered.
 */
const resumeFrom = Effect.fnUntraced(function* (environment: Environment, from: SavedMachine) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const opening = yield* Scope.fork(scope)
  return yield* Effect.gen(function* () {
    const hypervisor = yield* Scope.provide(launch(environment, { from }), scope)
    const deadline = Duration.times(answersWithin, environment.backend.timeScale)
    const first = yield* Scope.provide(hypervisor.shell, opening).pipe(
      Effect.timeoutOrElse({
        duration: deadline,
        orElse: () => Effect.fail({ message: `its shell did not answer within ${Duration.format(deadline)}` })
      })
    )
    let opened = false
    const shell: Hypervisor["shell"] = Effect.suspend(() => {
      if (opened) return hypervisor.shell
      opened = true
      return Effect.acquireRelease(Effect.succeed(first), () => Scope.close(opening, Exit.void))
    })
    return { ...hypervisor, shell } satisfies Hypervisor
  }).pipe(
    Effect.onError(() => Scope.close(scope, Exit.void)),
    Effect.mapError((error): Refusal => {
      // What a hypervisor says last is why it ended; the console of a guest that does not answer is not.
      const said = Predicate.isTagged(error, "LoadFailed") ? lastLines(error.output, 1) : ""
      return { reason: `${error.message.split("\n")[0] ?? ""}${said === "" ? "" : `: ${said}`}` }
    })
  )
})

/**
 * Starts the machine. One that cannot go on from where it should is started as its origin says; `onStart` is told of each start that is tried,
 * before it is.
 */
export const start = (
  environment: Environment,
  origin: Origin,
  onStart: (origin: Origin) => Effect.Effect<void>
): Effect.Effect<Started, Refusal, Scope.Scope> => {
  const { from, otherwise } = origin
  const hypervisor =
    from === undefined
      ? Effect.mapError(launch(environment), ({ message }): Refusal => ({ reason: message }))
      : resumeFrom(environment, from)
  const started = Effect.andThen(
    onStart(origin),
    Effect.map(hypervisor, (hypervisor) => ({ hypervisor, origin }))
  )
  return from === undefined || otherwise === undefined
    ? started
    : Effect.catch(started, ({ reason }) =>
        Effect.flatMap(otherwise(reason), (next) => start(environment, next, onStart))
      )
}
