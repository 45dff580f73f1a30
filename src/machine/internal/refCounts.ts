/** Who still needs the folder of a snapshot, so that a replaced one goes with its last user. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { Snapshot } from "../Snapshot.ts"

/** Who still needs the folder of a snapshot. */
export interface RefCount {
  readonly scope: Scope.Closeable
  /** How many forks are starting from it. */
  users: number
  /** A later one has its name: the last user removes it. */
  replaced: boolean
}

/** Of all machines: a fork may continue from another machine's snapshot. */
const refCounts = new WeakMap<Snapshot, RefCount>()

/** Counts the users of a new snapshot, whose folder is in the scope. */
export const count = (snapshot: Snapshot, scope: Scope.Closeable): RefCount => {
  const refs: RefCount = { scope, users: 0, replaced: false }
  refCounts.set(snapshot, refs)
  return refs
}

const release = (refs: RefCount) =>
  refs.replaced && refs.users === 0 ? Scope.close(refs.scope, Exit.void) : Effect.void

/** Marks a snapshot as replaced; false if its users are not counted. */
export const replace = (snapshot: Snapshot): Effect.Effect<boolean> =>
  Effect.suspend(() => {
    const refs = refCounts.get(snapshot)
    if (refs === undefined) return Effect.succeed(false)
    refs.replaced = true
    return Effect.as(release(refs), true)
  })

/** Keeps the folder of a snapshot while something starts from it. */
export const keeping = <A, E>(snapshot: Snapshot, effect: Effect.Effect<A, E>): Effect.Effect<A, E> => {
  const refs = refCounts.get(snapshot)
  if (refs === undefined) return effect
  return Effect.acquireUseRelease(
    Effect.sync(() => {
      refs.users++
    }),
    () => effect,
    () =>
      Effect.suspend(() => {
        refs.users--
        return release(refs)
      })
  )
}
