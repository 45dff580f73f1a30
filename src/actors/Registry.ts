/**
 * Registries: processes found by keys of one's own, once (`unique`) or in groups (`duplicate`).
 *
 * **Details**
 *
 * A registry is declared once, as a value that types its keys and values, and started somewhere in the tree; it is found by
 * its name in the actor system that one is in. A process registers itself. It is then linked to the registry: it ends when
 * the registry crashes, so that no process believes in a registration that is lost. When the process ends its entries are
 * gone at once. Lookups read the table directly and cost no message.
 *
 * Keys are compared by content: two arrays or objects with equal parts are one key.
 *
 * **Example** (A server found by a key)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { GenServer, Registry } from "vmtest/actors"
 *
 * const Rooms = Registry.unique<number>("rooms")
 *
 * const Room = GenServer.make(GenServer.protocol({ enter: GenServer.Call<string, number>() }), {
 *   init: () => GenServer.ok<ReadonlyArray<string>>([]),
 *   handlers: { enter: (name, inside) => GenServer.reply(inside.length + 1, [...inside, name]) }
 * })
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     yield* Registry.scoped(Rooms)
 *     const lobby = Registry.via(Rooms, 1)
 *     yield* GenServer.scoped(Room, [], { name: lobby })
 *     return yield* GenServer.call(GenServer.name(Room, lobby), "enter", "Ada")
 *   })
 * )
 * // gives 1
 * ```
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as GenServer from "./GenServer.ts"
import type { Via } from "./internal/process/names.ts"
import { implOf, Self } from "./internal/process/process.ts"
import { type News, RegistryLoop } from "./internal/process/registry.ts"
import { find, reading, using } from "./internal/process/registryAccess.ts"
import { lookup } from "./internal/process/registryQueries.ts"
import { start as startProcess } from "./internal/process/start.ts"
import { shutdownAndWait } from "./internal/process/stop.ts"
import type * as Pid from "./Pid.ts"
import { AlreadyRegistered, NotRegistered, type UnknownRegistry } from "./RegistryError.ts"
import type * as Supervisor from "./Supervisor.ts"

export * from "./internal/process/registryQueries.ts"
export { AlreadyRegistered, NotRegistered, UnknownRegistry } from "./RegistryError.ts"

// ----------------------------------------------------------------------------
// Declaring
// ----------------------------------------------------------------------------

/** Whether a key has at most one entry, or any number of them. */
export type Keys = "unique" | "duplicate"

/** A registry: `K` are its keys, `V` what is kept with an entry, `M` its metadata. */
export interface Registry<in out K, in out V, out Kind extends Keys = Keys, in out M = never> {
  readonly name: string
  readonly keys: Kind
  readonly listeners: ReadonlyArray<string>
  readonly meta: Readonly<Record<string, unknown>>
  readonly "~types"?: (_: [K, V, M]) => [K, V, M]
}

/** Any registry, whatever its keys and values. */
// biome-ignore lint/suspicious/noExplicitAny: the only way to write "some registry" for invariant parameters
export type Any = Registry<any, any, Keys, any>

/** One registration. */
export interface Entry<out V> {
  readonly pid: Pid.Any
  readonly value: V
}

/** One registration with its key. */
export interface KeyedEntry<out K, out V> extends Entry<V> {
  readonly key: K
}

export interface Options<M> {
  /** Names of processes that get {@link Registered} and {@link Unregistered}; not told of a process's death, which they can monitor. */
  readonly listeners?: ReadonlyArray<string>
  /** The metadata to begin with. */
  readonly meta?: Partial<M>
}

const declare =
  <Kind extends Keys>(keys: Kind) =>
  <K, V = undefined, M = Record<string, unknown>>(name: string, options?: Options<M>): Registry<K, V, Kind, M> => ({
    name,
    keys,
    listeners: options?.listeners ?? [],
    meta: options?.meta ?? {}
  })

/** Declares a registry whose keys have at most one entry, and which can name processes ({@link via}). */
export const unique = declare("unique")

/** Declares a registry whose keys can have many entries, of one process and of many. */
export const duplicate = declare("duplicate")

// ----------------------------------------------------------------------------
// Messages to listeners
// ----------------------------------------------------------------------------

/** A listener's news of a new entry. */
export class Registered extends Data.TaggedClass("Registered")<{
  readonly registry: string
  readonly key: unknown
  readonly pid: Pid.Any
  readonly value: unknown
}> {}

/** A listener's news that a process has given up all its entries of a key. */
export class Unregistered extends Data.TaggedClass("Unregistered")<{
  readonly registry: string
  readonly key: unknown
  readonly pid: Pid.Any
}> {}

// ----------------------------------------------------------------------------
// Starting
// ----------------------------------------------------------------------------

const newsOf = (registry: string): News => ({
  registered: (entry) => new Registered({ registry, ...entry }),
  unregistered: (key, pid) => new Unregistered({ registry, key, pid })
})

const startAs = (linked: boolean, registry: Any): Effect.Effect<Pid.Any, GenServer.StartError> =>
  startProcess(
    {
      kind: "Registry",
      label: registry.name,
      name: registry.name,
      linked,
      timeout: undefined,
      body: (process, init) => {
        process.trapExit = true
        const loop = new RegistryLoop(process, registry, newsOf(registry.name))
        process.details = () => ({ keys: registry.keys, entries: loop.size })
        init.done()
        return Effect.ensuring(
          loop.guarded(),
          Effect.sync(() => loop.close())
        )
      }
    },
    registry.name
  )

/** Starts a registry linked to this process. */
export const startLink = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>
): Effect.Effect<Pid.Any, GenServer.StartError, Self> => startAs(true, registry)

/** Starts a registry that belongs to a Scope; when it closes, the processes that are still registered end with it. */
export const scoped = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>
): Effect.Effect<Pid.Any, GenServer.StartError, Scope.Scope> =>
  Effect.acquireRelease(startAs(false, registry), (pid) => shutdownAndWait(implOf(pid)))

/** A registry for as long as the Layer lives. */
export const layer = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>
): Layer.Layer<never, GenServer.StartError> => Layer.effectDiscard(scoped(registry))

/** A registry as a child of a supervisor; its id is its name. */
export const childSpec = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>,
  options?: Supervisor.ChildOptions
): Supervisor.ChildSpec<Self> => ({ type: "supervisor", ...options, id: registry.name, start: startLink(registry) })

// ----------------------------------------------------------------------------
// Names
// ----------------------------------------------------------------------------

const nothing = () => {}

/**
 * A name for a process: it can be started under it, and called, sent to and looked up by it. The process is registered
 * under the key, with the value, until it ends.
 */
export const via = <K, V, M>(
  registry: Registry<K, V, "unique", M>,
  key: K,
  ...[value]: undefined extends V ? [value?: V] : [value: V]
): Via => ({
  _tag: "Via",
  whereis: (system) => find(system, registry)?.whereis(key),
  register: (pid) => {
    const process = implOf(pid)
    const loop = find(process.system, registry)
    // Taken back by the registry itself, which sees the process end.
    return loop === undefined || loop.register(key, process, value) !== undefined ? undefined : nothing
  }
})

// ----------------------------------------------------------------------------
// Entries
// ----------------------------------------------------------------------------

/** Registers this process under a key and links it to the registry, whose pid is the answer. */
export const register = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>,
  key: K,
  ...[value]: undefined extends V ? [value?: V] : [value: V]
): Effect.Effect<Pid.Any, UnknownRegistry | ("unique" extends Kind ? AlreadyRegistered : never), Self> =>
  Effect.flatMap(Self, (self) =>
    using(registry, (loop): Effect.Effect<Pid.Any, AlreadyRegistered> => {
      const holder = loop.register(key, implOf(self), value)
      return holder === undefined
        ? Exit.succeed(loop.process)
        : Exit.fail(new AlreadyRegistered({ registry: registry.name, key, pid: holder }))
    })
  ) as Effect.Effect<Pid.Any, UnknownRegistry | ("unique" extends Kind ? AlreadyRegistered : never), Self>

/** Gives up every entry that this process has under a key, if any. */
export const unregister = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>,
  key: K
): Effect.Effect<void, UnknownRegistry, Self> => unregisterMatch(registry, key, () => true)

/** Gives up those entries that this process has under a key whose value is accepted. */
export const unregisterMatch = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>,
  key: K,
  matches: (value: V) => boolean
): Effect.Effect<void, UnknownRegistry, Self> =>
  Effect.flatMap(Self, (self) =>
    reading(registry, (loop) => loop.unregister(key, implOf(self), (value) => matches(value as V)))
  )

/** Changes the value of this process's own entry. The answer is the new value and the old one. */
export const updateValue = <K, V, M>(
  registry: Registry<K, V, "unique", M>,
  key: K,
  update: (value: V) => V
): Effect.Effect<readonly [updated: V, old: V], UnknownRegistry | NotRegistered, Self> =>
  Effect.flatMap(Self, (self) =>
    using(registry, (loop): Effect.Effect<readonly [V, V], NotRegistered> => {
      const [entry] = loop.held(key, implOf(self))
      if (entry === undefined) return Exit.fail(new NotRegistered({ registry: registry.name, key }))
      const old = entry.value as V
      const updated = update(old)
      loop.replace(entry, updated)
      return Exit.succeed([updated, old])
    })
  )

/** Runs an Effect, in the caller, with all entries of a key; does nothing when there are none. */
export const dispatch = <K, V, Kind extends Keys, M, E, R>(
  registry: Registry<K, V, Kind, M>,
  key: K,
  use: (entries: ReadonlyArray<Entry<V>>) => Effect.Effect<unknown, E, R>
): Effect.Effect<void, E | UnknownRegistry, R> =>
  Effect.flatMap(lookup(registry, key), (entries) => (entries.length === 0 ? Exit.void : Effect.asVoid(use(entries))))

// ----------------------------------------------------------------------------
// Locks and metadata
// ----------------------------------------------------------------------------

/**
 * Runs an Effect while no other holds the lock of the same key; the others wait in line. The lock is free again however the
 * Effect ends. Locks have nothing to do with entries.
 */
export const lock = <K, V, Kind extends Keys, M, A, E, R>(
  registry: Registry<K, V, Kind, M>,
  key: unknown,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E | UnknownRegistry, R> =>
  using(registry, (loop) =>
    Effect.acquireUseRelease(
      Effect.sync(() => loop.enter(key)),
      (semaphore) => semaphore.withPermit(effect),
      () => Effect.sync(() => loop.leave(key))
    )
  )

/** A piece of the registry's metadata; `undefined` when there is none. */
export const meta = <K, V, Kind extends Keys, M, const P extends keyof M & string>(
  registry: Registry<K, V, Kind, M>,
  key: P
): Effect.Effect<M[P] | undefined, UnknownRegistry> =>
  reading(registry, (loop) => loop.meta.get(key) as M[P] | undefined)

/** Sets a piece of the registry's metadata. It is gone when the registry is restarted. */
export const putMeta = <K, V, Kind extends Keys, M, const P extends keyof M & string>(
  registry: Registry<K, V, Kind, M>,
  key: P,
  value: M[P]
): Effect.Effect<void, UnknownRegistry> =>
  reading(registry, (loop) => {
    loop.meta.set(key, value)
  })

/** Removes a piece of the registry's metadata. */
export const deleteMeta = <K, V, Kind extends Keys, M>(
  registry: Registry<K, V, Kind, M>,
  key: keyof M & string
): Effect.Effect<void, UnknownRegistry> =>
  reading(registry, (loop) => {
    loop.meta.delete(key)
  })
