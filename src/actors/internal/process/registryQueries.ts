/**
 * What can be asked of a registry; part of `Registry`. Reads the table directly and costs no message.
 */
import * as Effect from "effect/Effect"
import type * as Pid from "../../Pid.ts"
import type { Entry, KeyedEntry, Keys, Registry } from "../../Registry.ts"
import type { UnknownRegistry } from "../../RegistryError.ts"
import { implOf } from "./process.ts"
import { reading } from "./registryAccess.ts"

/** The entries under a key: at most one in a unique registry, else in the order in which they were made. */
export const lookup = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>,
  key: K
): Effect.Effect<ReadonlyArray<Entry<V>>, UnknownRegistry> =>
  reading(registry, (loop) => loop.lookup(key) as ReadonlyArray<KeyedEntry<K, V>>)

/** The process that has a unique key. */
export const whereis = <K, V, M>(
  registry: Registry<K, V, "unique", M>,
  key: K
): Effect.Effect<Pid.Any | undefined, UnknownRegistry> => reading(registry, (loop) => loop.whereis(key))

/** The keys of a process, one for every entry, in the order in which they were made. */
export const keys = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>,
  pid: Pid.Any
): Effect.Effect<ReadonlyArray<K>, UnknownRegistry> =>
  reading(registry, (loop) => loop.ownedBy(implOf(pid)).map((entry) => entry.key as K))

/** What a process has registered under a key. */
export const values = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>,
  key: K,
  pid: Pid.Any
): Effect.Effect<ReadonlyArray<V>, UnknownRegistry> =>
  reading(registry, (loop) => loop.held(key, implOf(pid)).map((entry) => entry.value as V))

/** How many entries there are. */
export const count = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>
): Effect.Effect<number, UnknownRegistry> => reading(registry, (loop) => loop.size)

/** The entries under a key whose value is accepted; a type guard narrows their values. */
export const match: {
  <K, V, Kind extends Keys, M, W extends V>(
    registry: Registry<K, V, Kind, M>,
    key: K,
    matches: (value: V) => value is W
  ): Effect.Effect<ReadonlyArray<Entry<W>>, UnknownRegistry>
  <K, V, Kind extends Keys, M>(
    registry: Registry<K, V, Kind, M>,
    key: K,
    matches: (value: V) => boolean
  ): Effect.Effect<ReadonlyArray<Entry<V>>, UnknownRegistry>
} = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>,
  key: K,
  matches: (value: V) => boolean
): Effect.Effect<ReadonlyArray<Entry<never>>, UnknownRegistry> =>
  Effect.map(lookup(registry, key), (entries) =>
    (entries as ReadonlyArray<Entry<never>>).filter((entry) => matches(entry.value))
  )

/** How many entries under a key have a value that is accepted. */
export const countMatch = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>,
  key: K,
  matches: (value: V) => boolean
): Effect.Effect<number, UnknownRegistry> => Effect.map(match(registry, key, matches), (found) => found.length)

/** Goes through all entries and keeps what `pick` makes of them, `undefined` apart. Costs time in proportion to their number. */
export const select = <K, V, Kind extends Keys, M, A>(
  registry: Registry<K, V, Kind, M>,
  pick: (entry: KeyedEntry<K, V>) => A | undefined
): Effect.Effect<ReadonlyArray<A>, UnknownRegistry> =>
  reading(registry, (loop) => {
    const picked: Array<A> = []
    for (const entry of loop.all()) {
      const value = pick(entry as KeyedEntry<K, V>)
      if (value !== undefined) picked.push(value)
    }
    return picked
  })

/** How many of all entries are accepted. */
export const countSelect = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>,
  matches: (entry: KeyedEntry<K, V>) => boolean
): Effect.Effect<number, UnknownRegistry> =>
  Effect.map(
    select(registry, (entry) => matches(entry) || undefined),
    (found) => found.length
  )
