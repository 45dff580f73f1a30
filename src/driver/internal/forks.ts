/** Saving all machines of a test, for `driver.fork`. */
import * as Path from "node:path"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { type Unsupported, unsupported } from "../../backends/BackendError.ts"
import type { Handle } from "../../machine/MachineTree.ts"
import { ForkFailed } from "../ForkFailed.ts"
import { type Saved, saveAll } from "./saveAll.ts"

/** Machines that were saved together for one or several forks; removed when the last fork has ended. */
interface Batch {
  readonly scope: Scope.Closeable
  readonly saved: Deferred.Deferred<Saved, ForkFailed>
  users: number
}

export interface Forks {
  /**
   * Saves the machines at some point after this was called; they are kept until the scope closes. Calls that arrive while others are being saved
   * share the next save.
   */
  readonly saved: Effect.Effect<Saved, ForkFailed | Unsupported, Scope.Scope>
}

export const make = Effect.fnUntraced(function* (options: {
  /** A new folder for machines, there until the scope closes. */
  readonly temporary: Effect.Effect<string, { readonly message: string }, Scope.Scope>
  readonly handles: () => Iterable<Handle>
}) {
  const { handles, temporary } = options
  const scope = yield* Effect.scope
  const one = yield* Semaphore.make(1)
  let next: Batch | undefined

  const fill = (batch: Batch) =>
    Effect.gen(function* () {
      // From here on, later calls need a new batch.
      next = undefined
      const folder = yield* Effect.mapError(
        Scope.provide(temporary, batch.scope),
        ({ message }) => new ForkFailed({ machine: "", reason: message })
      )
      return yield* saveAll(handles(), (machine) => Path.join(folder, machine), { goOn: true })
    }).pipe(
      one.withPermits(1),
      Effect.onExit((exit) => Deferred.done(batch.saved, exit))
    )

  const join = Effect.gen(function* () {
    if (next !== undefined) {
      next.users += 1
      return next
    }
    const batch: Batch = { scope: yield* Scope.fork(scope), saved: Deferred.makeUnsafe(), users: 1 }
    next = batch
    yield* Effect.forkIn(Effect.exit(fill(batch)), batch.scope, { startImmediately: true })
    return batch
  })

  const leave = (batch: Batch) =>
    Effect.suspend(() => {
      batch.users -= 1
      if (batch.users > 0) return Effect.void
      if (next === batch) next = undefined
      return Scope.close(batch.scope, Exit.void)
    })

  const forks: Forks = {
    saved: Effect.gen(function* () {
      const unable = [...handles()].find(({ backend }) => !backend.capabilities.has("snapshots"))
      if (unable !== undefined) return yield* unsupported(unable.backend.name, "snapshots")
      const { saved } = yield* Effect.acquireRelease(join, leave)
      return yield* Deferred.await(saved)
    })
  }
  return forks
})
