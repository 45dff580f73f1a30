/** Which stored machines can be used: what is damaged or outdated is discarded with a warning. */
import * as Effect from "effect/Effect"
import * as Store from "../../host/Store.ts"
import type { SnapshotKey } from "../SnapshotStore.ts"
import * as HostInputs from "./hostInputs.ts"
import * as Entries from "./snapshotEntries.ts"

/** The one warning about a snapshot that is not used. */
export const warn = (name: string, problem: string) =>
  Effect.logWarning(`discarding the snapshot of ${name} (${problem}); booting instead`)

/** The same where nothing can be discarded. */
export const warnUnused = (name: string, problem: string) =>
  Effect.logWarning(`could not use the snapshot of ${name}: ${problem}; booting instead`)

/** Discards what this host stored of the same subject when it was another: another QEMU, another processor. */
export const discardOutdated = Effect.fnUntraced(function* (store: Store.Store, id: string, key: SnapshotKey) {
  const here = yield* Entries.origin
  for (const other of Store.ids(store).filter((one) => one !== id && Entries.sameSubject(one, id))) {
    const entry = Entries.read(store, other)
    if (entry === undefined || "problem" in entry || entry.manifest.origin !== here) continue
    // A run that asks for another accelerator does not make the host another one.
    if (entry.manifest.host.accelerator !== key.host.accelerator) continue
    // Another version of vmtest may use the same cache, and would discard ours in turn. Its snapshots go when nobody uses them any more.
    if (Entries.isOfAnotherVersion(entry, key.host)) continue
    const problem = Entries.mismatch(entry, key.subject, key.host)
    if (problem === undefined) continue
    if (yield* Store.removeUnpinned(store, other)) yield* warn(key.name, problem)
  }
})

/** The checks of one run: versions and sizes each time, everything once. */
export const make = () => {
  /** The instances that were read whole in this run, and found right. */
  const sound = new Set<string>()
  /** Instances that have copied a file which has changed since, with its path; each file is read once in a run. */
  const outdated = new Map<string, string>()
  const check = Effect.fnUntraced(function* (store: Store.Store, id: string, key: SnapshotKey) {
    const found = Entries.read(store, id)
    if (found === undefined || "problem" in found) return found
    const mismatch = Entries.mismatch(found, key.subject, key.host)
    if (mismatch !== undefined) return { problem: mismatch }
    const { inputs, instance } = found.manifest
    if (sound.has(instance)) return found
    const changed = outdated.get(instance) ?? (yield* HostInputs.changed(inputs))
    if (changed !== undefined) {
      outdated.set(instance, changed)
      // It is to change when its makers work on it; nobody needs to be warned.
      return { problem: `${changed} has changed`, expected: true }
    }
    const problem = yield* Entries.damage(found)
    if (problem !== undefined) return { problem }
    sound.add(instance)
    return found
  })
  return { check, sound }
}
