/** What the machines of a run save for later ones, and what they find saved. */
import * as Fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { ControlService } from "../../backends/Backend.ts"
import * as Digest from "../../host/Digest.ts"
import * as MachineSpec from "../../machine/MachineSpec.ts"
import type { SnapshotKey, SnapshotStore } from "../SnapshotStore.ts"
import { size } from "./size.ts"
import type { Subject } from "./warmStart.ts"

/** How often a snapshot that did not load is made again in a run; after that, machines of its key boot. */
const retries = 1

/** The saves of a run; `scope` is the run's. */
export const make = (store: SnapshotStore, scope: Scope.Scope) => {
  const publishing = new Set<Fiber.Fiber<unknown, unknown>>()
  const failures = new Map<string, number>()
  const keyText = (key: SnapshotKey) => Digest.canonical([key.subject, key.host])
  const isDisabled = (key: SnapshotKey) => (failures.get(keyText(key)) ?? 0) > retries
  const disable = (key: SnapshotKey) => failures.set(keyText(key), Infinity)

  /** Notes that what was stored did not load. */
  const loadFailed = (key: SnapshotKey) => failures.set(keyText(key), (failures.get(keyText(key)) ?? 0) + 1)

  const warned = new Set<string>()
  const warnOnce = (about: string, line: string) =>
    Effect.suspend(() => {
      if (warned.has(about)) return Effect.void
      warned.add(about)
      return Effect.logWarning(line)
    })

  const notSaved = (key: SnapshotKey, reason: string) => {
    disable(key)
    return warnOnce(
      keyText(key),
      `could not save a snapshot of ${key.name}: ${reason}; booting machines like it instead`
    )
  }

  /** A snapshot to continue from, how to save one, or undefined where the machine boots and is not saved. */
  const lookup = Effect.fnUntraced(function* (key: SnapshotKey, subject: Subject) {
    if (isDisabled(key)) return undefined
    const lookupScope = yield* Scope.fork(scope)
    const letOthersIn = Scope.close(lookupScope, Exit.void)
    let publishes = false
    // A machine that ends before it was saved leaves the task to the next.
    yield* Effect.addFinalizer(() => (publishes ? Effect.void : letOthersIn))
    const found = yield* store
      .lookup(key, (holder) => subject.onWait(`waiting for ${holder}, which is saving a machine like this one`))
      .pipe(
        Scope.provide(lookupScope),
        Effect.catch((error) => {
          // One that somebody else is making says nothing of the others.
          if (error._tag === "LockTimeout") return Effect.as(notSaved(key, error.message), undefined)
          disable(key)
          const line =
            error._tag === "CacheUnwritable"
              ? `could not save snapshots: ${error.message}; machines without one boot`
              : `could not use the snapshot store: ${error.message}; booting machines instead`
          return Effect.as(warnOnce("store", line), undefined)
        })
      )
    if (found?._tag !== "Miss") return found
    // Others have tried while this one waited.
    if (isDisabled(key)) return yield* Effect.as(letOthersIn, undefined)
    const { folder, publish } = found
    const save = Effect.fnUntraced(
      function* (control: ControlService) {
        const { bavail, bsize } = yield* Effect.try(() => Fs.statfsSync(folder))
        const needed = subject.shape.memory + MachineSpec.storageOf(subject.spec).reduce((sum, bytes) => sum + bytes, 0)
        if (bavail * bsize < needed) {
          return yield* Effect.fail(new Error(`it needs ${size(needed)}, and only ${size(bavail * bsize)} are free`))
        }
        yield* control.save(folder)
        publishes = true
        const fiber = yield* publish.pipe(
          Effect.catch(({ message }) => notSaved(key, message)),
          Effect.ensuring(letOthersIn),
          Effect.forkIn(scope, { startImmediately: true })
        )
        publishing.add(fiber)
      },
      Effect.catch((error) => Effect.andThen(notSaved(key, error.message), letOthersIn))
    )
    return { _tag: "Miss", save } as const
  })

  /** Waits until all that was saved is in the store. */
  const finished = Effect.suspend(() => Effect.asVoid(Fiber.awaitAll([...publishing])))

  return { lookup, loadFailed, warnOnce, finished }
}
