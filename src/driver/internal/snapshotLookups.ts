/** Looking for a stored machine: a hit, or after a miss the right to make it, which one machine of one run has at a time. */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { CacheUnwritable } from "../../host/Cache.ts"
import * as Store from "../../host/Store.ts"
import type { Hit, Miss, SnapshotKey, SnapshotStore, StoredSnapshot } from "../SnapshotStore.ts"
import * as Checks from "./snapshotChecks.ts"
import * as Entries from "./snapshotEntries.ts"

const snapshotSpan = (name: string, id: string, key: SnapshotKey) => {
  const attributes = { "vmtest.snapshot.id": id, "vmtest.snapshot.name": key.name }
  return [`vmtest.snapshot.${name}`, { attributes, captureStackTrace: false }] as const
}

const snapshotOf = ({ folder, id, manifest }: Entries.Entry): StoredSnapshot => ({
  id,
  instance: manifest.instance,
  name: manifest.name,
  directory: Entries.machineOf(folder)
})

const hit = (store: Store.Store, entry: Entries.Entry): Effect.Effect<Hit> =>
  Effect.as(Store.markUsed(store, entry.id), { _tag: "Hit", snapshot: snapshotOf(entry) })

/** Looking for an entry, which one machine of the run does at a time. */
interface One {
  readonly turn: Semaphore.Semaphore
  /** Open while that machine makes the entry. */
  readonly making: Latch.Latch
}

/** The lookups of one run. `published` is run after each machine that was stored. */
export const make = (options: {
  readonly opened: Effect.Effect<Store.Store, CacheUnwritable>
  readonly timeout: Duration.Input
  readonly published: Effect.Effect<void>
}): SnapshotStore["lookup"] => {
  const { opened, published, timeout } = options
  const ones = new Map<string, One>()
  const { check, sound } = Checks.make()

  /** One at a time in this process for each entry: machines that start together read it once. */
  const oneOf = (id: string) => {
    const known = ones.get(id) ?? { turn: Semaphore.makeUnsafe(1), making: Latch.makeUnsafe() }
    ones.set(id, known)
    return known
  }

  const publish = Effect.fnUntraced(function* (store: Store.Store, folder: string, id: string, key: SnapshotKey) {
    const createdAt = yield* Clock.currentTimeMillis
    const { host, name, subject } = key
    const inputs = Object.fromEntries(key.inputs ?? [])
    const entry = yield* Entries.publish(store, folder, id, { name, subject, host, createdAt, inputs })
    // It was read to be stored.
    sound.add(entry.manifest.instance)
    yield* Store.markUsed(store, id)
    yield* published
    return snapshotOf(entry)
  })

  const find = Effect.fnUntraced(function* (
    store: Store.Store,
    id: string,
    key: SnapshotKey,
    onWait: (holder: string) => Effect.Effect<void>
  ) {
    yield* Store.pin(store, id)
    const first = yield* check(store, id, key)
    if (first !== undefined && !("problem" in first)) return yield* hit(store, first)
    if (store.unwritable !== undefined) {
      if (first !== undefined && !("expected" in first)) yield* Checks.warnUnused(key.name, first.problem)
      return yield* store.unwritable
    }
    yield* Store.reserve(store, id, { timeout, onWait })
    // Another run may have made it while this one waited.
    const second = yield* check(store, id, key)
    if (second !== undefined) {
      if (!("problem" in second)) return yield* hit(store, second)
      const path = Store.folderOf(store, id)
      const reason = Entries.hindrance(path)
      if (reason !== undefined) return yield* new Store.StoreFailed({ path, reason })
      if (!("expected" in second)) yield* Checks.warn(key.name, second.problem)
      if (!(yield* Store.remove(store, id))) {
        return yield* new Store.StoreFailed({ path, reason: "it could not be removed" })
      }
    }
    yield* Checks.discardOutdated(store, id, key)
    const folder = yield* Store.workspace(store, id)
    const miss: Miss = {
      _tag: "Miss",
      folder: yield* Entries.makeMachine(folder),
      publish: publish(store, folder, id, key).pipe(Effect.withSpan(...snapshotSpan("publish", id, key)))
    }
    return miss
  })

  return (key, onWait = () => Effect.void) => {
    const id = Entries.idOf(key.subject, key.host)
    const one = oneOf(id)
    return Effect.gen(function* () {
      const store = yield* opened
      // What keeps the others out: after a miss until it is published, or the caller's scope closes; else only while looking.
      const exclusion = yield* Scope.fork(yield* Effect.scope)
      const letOthersIn = Scope.close(exclusion, Exit.void)
      const found = yield* Effect.gen(function* () {
        const { making, turn } = one
        const free = yield* turn.withPermitsIfAvailable(1)(Effect.void)
        // One that only reads what is stored lets the others in within a moment.
        const told = Effect.andThen(making.await, onWait("another machine of this run"))
        const telling = Option.isNone(free) ? yield* Effect.forkChild(told) : undefined
        yield* Effect.acquireRelease(turn.take(1), () => turn.release(1), { interruptible: true })
        if (telling !== undefined) yield* Fiber.interrupt(telling)
        const found = yield* find(store, id, key, onWait)
        if (found._tag === "Miss") yield* Effect.acquireRelease(making.open, () => making.close)
        return found
      }).pipe(
        Scope.provide(exclusion),
        Effect.onExit((exit) => (Exit.isSuccess(exit) && exit.value._tag === "Miss" ? Effect.void : letOthersIn))
      )
      return found._tag === "Hit" ? found : { ...found, publish: Effect.onExit(found.publish, () => letOthersIn) }
    }).pipe(
      Effect.tap(({ _tag }) => Effect.annotateCurrentSpan("vmtest.store.hit", _tag === "Hit")),
      Effect.withSpan(...snapshotSpan("lookup", id, key))
    )
  }
}
