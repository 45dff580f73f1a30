/**
 * Which things of a cache are removed: those that nobody needs, those that were not used for long, and the least recently used until the rest
 * is small enough.
 *
 * **Example** (at most a gigabyte, and nothing older than a week)
 *
 * ```ts
 * const { bytes, removed } = yield* Prune.prune({
 *   candidates: [{ id: "a", bytes: 2e9, lastUsed: 0 }],
 *   expendable: () => false,
 *   olderThan: "7 days",
 *   maxBytes: 1e9,
 *   remove: ({ id }) => Store.removeUnpinned(store, id)
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** What to prune. */
export interface PruneOptions {
  /** Entries that were not used for longer than this are removed. Default 30 days. */
  readonly olderThan?: Duration.Input | undefined
  /** The least recently used entries are removed until the rest takes no more bytes than this. Default: the store's limit. */
  readonly maxBytes?: number | undefined
}

/** What was pruned. Entries in use, and those that could not be removed, stay, and are not counted. */
export interface Pruned<A> {
  readonly removed: ReadonlyArray<A>
  readonly bytes: number
}

/** What pruning looks at. */
export interface Candidate {
  readonly id: string
  readonly bytes: number
  /** Milliseconds since the epoch. */
  readonly lastUsed: number
}

/**
 * Prunes with `remove`, which says whether it could: first those that are `expendable` whatever their age and size, then the least recently
 * used.
 */
export const prune = Effect.fnUntraced(function* <A extends Candidate, E, R>(options: {
  readonly candidates: ReadonlyArray<A>
  readonly expendable: (candidate: A) => boolean
  readonly olderThan?: Duration.Input | undefined
  readonly maxBytes: number
  readonly remove: (candidate: A) => Effect.Effect<boolean, E, R>
}) {
  const { candidates, expendable, maxBytes } = options
  const oldest = (yield* Clock.currentTimeMillis) - Duration.toMillis(options.olderThan ?? "30 days")
  const ordered = [...candidates].sort(
    (a, b) => Number(expendable(b)) - Number(expendable(a)) || a.lastUsed - b.lastUsed || (a.id < b.id ? -1 : 1)
  )
  let total = candidates.reduce((sum, { bytes }) => sum + bytes, 0)
  const removed: Array<A> = []
  for (const one of ordered) {
    const goes = expendable(one) || one.lastUsed < oldest || total > maxBytes
    if (!goes || !(yield* options.remove(one))) continue
    total -= one.bytes
    removed.push(one)
  }
  const pruned: Pruned<A> = { removed, bytes: removed.reduce((sum, { bytes }) => sum + bytes, 0) }
  return pruned
})
