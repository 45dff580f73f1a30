/**
 * Where the machines of a run come from: the first of a shape boots and is saved, all others go on from there.
 *
 * Of several that start at once, one boots and the others wait for it. Booting side by side would be no faster for them, for each boot
 * keeps a processor busy to its end, and going on takes a fraction of a second.
 */
import * as Fs from "node:fs"
import * as ByteSize from "effect/ByteSize"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { BackendService, ControlService, MachineShape } from "../../backends/Backend.ts"
import * as Digest from "../../host/Digest.ts"
import * as Image from "../../images/Image.ts"
import type { Machine } from "../../machine/Machine.ts"
import type { MachineSpec } from "../../machine/MachineSpec.ts"
import * as Origin from "../../machine/Origin.ts"
import type { AddressedNode } from "../../network/Addresses.ts"
import * as SnapshotStore from "../SnapshotStore.ts"
import * as HostInputs from "./hostInputs.ts"
import { runBody } from "./refuse.ts"

/** A machine that is to start. */
export interface Subject {
  readonly spec: MachineSpec
  readonly shape: MachineShape
  readonly self: AddressedNode
  /** The digest of the script that declares it; undefined where nobody can tell what its functions do. */
  readonly script: string | undefined
  /** What of the script declares it: machines of one name in several tests are different machines. */
  readonly declaredIn: string
  /** Told once when it waits for another to be saved. */
  readonly onWait: (detail: string) => Effect.Effect<void>
}

export interface WarmStart {
  /** Where each start of the machine comes from. */
  readonly originsOf: (subject: Subject) => Origin.Origins
  /** Waits until all that was saved is in the store. */
  readonly finished: Effect.Effect<void>
  readonly store: SnapshotStore.SnapshotStore
}

/** What may say that nothing is to be kept or used: `VMTEST_SNAPSHOTS=off`. */
const switchedOff: Effect.Effect<boolean> = Effect.sync(() =>
  ["off", "0", "no", "false"].includes((process.env.VMTEST_SNAPSHOTS ?? "on").toLowerCase())
)

const version: string = JSON.parse(Fs.readFileSync(new URL("../../../package.json", import.meta.url), "utf8")).version

const size = (bytes: number) => ByteSize.format(ByteSize.fromInputUnsafe(Math.floor(bytes)))

/** Makes the machine's own disks what they were before its first start: sparse files of the declared sizes. */
const emptyDisks = ({ disks = [] }: MachineShape, spec: MachineSpec): Effect.Effect<void> =>
  Effect.sync(() => {
    for (const [index, { path }] of disks.entries()) {
      Fs.truncateSync(path, 0)
      Fs.truncateSync(path, spec.disks[index])
    }
  })

/** Runs a warm-up, if there is one. */
const warmUpOf = ({ warmUp }: MachineSpec) =>
  warmUp === undefined
    ? undefined
    : (machine: Machine) =>
        Effect.asVoid(
          runBody("the warm-up", warmUp.run(machine), { example: "(machine) => Effect.gen(function* () { … })" })
        )

/** A boot with its warm-up. What is on disks outlives a boot, and so does what the warm-up made there. */
const plainBoot =
  ({ spec }: Subject): Origin.Origins =>
  (start) =>
    Effect.succeed(start > 1 && spec.disks.length > 0 ? Origin.boot : { from: undefined, warmUp: warmUpOf(spec) })

const baseKey = ({ shape, spec }: Subject, host: SnapshotStore.SnapshotKey["host"]): SnapshotStore.SnapshotKey => ({
  name: `${Image.describe(spec.image)}, ${size(shape.memory)}${shape.cpus === 1 ? "" : `, ${shape.cpus} processors`}`,
  subject: {
    image: shape.image.digest,
    memory: `${shape.memory}`,
    processors: `${shape.cpus}`,
    cards: `${shape.networks.length}`,
    disks: spec.disks.join(" "),
    internet: `${shape.internet}`,
    reboot: `${shape.allowReboot}`
  },
  host
})

/** Of what a warm-up makes, with what it copies. */
interface WarmKey extends SnapshotStore.SnapshotKey {
  readonly inputs: Map<string, string>
}

/** A warm-up may write the machine's name and addresses anywhere, so its result is that of a machine with these. */
const warmKey = (subject: Subject, host: SnapshotStore.SnapshotKey["host"]): WarmKey | undefined => {
  const { declaredIn, script, self, spec } = subject
  const base = baseKey(subject, host)
  const named = spec.warmUp?.key === undefined ? undefined : `key ${spec.warmUp.key}`
  const given = named ?? (script === undefined ? undefined : `script ${script}, ${declaredIn}`)
  if (spec.warmUp === undefined || given === undefined) return undefined
  const addresses = self.interfaces.map(({ ipv4, vlan }) => `${vlan}:${ipv4}`).join(" ")
  return {
    ...base,
    inputs: new Map(),
    name: `${spec.name} after its warm-up (${base.name})`,
    subject: { ...base.subject, machine: spec.name, addresses, "warm-up": given }
  }
}

/** Nothing is kept or used where the backend cannot, or the user said so; then every start is a boot. */
export const make = Effect.fnUntraced(function* (
  backend: BackendService,
  options: boolean | SnapshotStore.StoreOptions = true
) {
  const scope = yield* Effect.scope
  const store = yield* SnapshotStore.make(typeof options === "object" ? options : {})
  const off = options === false || !backend.capabilities.has("snapshots") || (yield* switchedOff)
  const publishing = new Set<Fiber.Fiber<unknown, unknown>>()
  const keyText = (key: SnapshotStore.SnapshotKey) => Digest.canonical([key.subject, key.host])
  /** How often what was saved did not load in this run; what was made anew is given a second chance, and no third. */
  const failures = new Map<string, number>()
  const failuresOf = (key: SnapshotStore.SnapshotKey) => failures.get(keyText(key)) ?? 0
  const doNotRetry = (key: SnapshotStore.SnapshotKey) => failures.set(keyText(key), Infinity)
  const told = new Set<string>()
  const tellOnce = (about: string, line: string) =>
    Effect.suspend(() => {
      if (told.has(about)) return Effect.void
      told.add(about)
      return Effect.logWarning(line)
    })

  /** A snapshot to go on from, how to save one, or undefined where the machine is to boot and not to be saved. */
  const lookup = Effect.fnUntraced(function* (key: SnapshotStore.SnapshotKey, subject: Subject) {
    if (failuresOf(key) > 1) return undefined
    const notSaved = (reason: string) => {
      doNotRetry(key)
      return tellOnce(
        keyText(key),
        `could not save a snapshot of ${key.name}: ${reason}; booting machines like it instead`
      )
    }
    const lookupScope = yield* Scope.fork(scope)
    let publishes = false
    // A machine that ends before it was saved leaves the task to the next.
    yield* Effect.addFinalizer(() => (publishes ? Effect.void : Scope.close(lookupScope, Exit.void)))
    const found = yield* store
      .lookup(key, (holder) => subject.onWait(`waiting for ${holder}, which is saving a machine like this one`))
      .pipe(
        Scope.provide(lookupScope),
        Effect.catch((error) => {
          // One that somebody else is making says nothing of the others.
          if (error._tag === "LockTimeout") return Effect.as(notSaved(error.message), undefined)
          doNotRetry(key)
          return Effect.as(
            tellOnce("store", `could not use the snapshot store: ${error.message}; booting machines instead`),
            undefined
          )
        })
      )
    if (found?._tag !== "Miss") return found
    // Others have tried while this one waited.
    if (failuresOf(key) > 1) return yield* Effect.as(Scope.close(lookupScope, Exit.void), undefined)
    const { folder, publish } = found
    const save = Effect.fnUntraced(
      function* (control: ControlService) {
        const { bavail, bsize } = yield* Effect.try(() => Fs.statfsSync(folder))
        const needed = subject.shape.memory + subject.spec.disks.reduce((sum, bytes) => sum + bytes, 0)
        if (bavail * bsize < needed)
          return yield* Effect.fail(new Error(`it needs ${size(needed)}, and only ${size(bavail * bsize)} are free`))
        yield* control.save(folder)
        publishes = true
        const fiber = yield* publish.pipe(
          Effect.catch(({ message }) => notSaved(message)),
          Effect.ensuring(Scope.close(lookupScope, Exit.void)),
          Effect.forkIn(scope, { startImmediately: true })
        )
        publishing.add(fiber)
      },
      Effect.catch((error) => Effect.andThen(notSaved(error.message), Scope.close(lookupScope, Exit.void)))
    )
    return { _tag: "Miss", save } as const
  })

  /** A machine that goes on from what is stored; where that does not work it is discarded, and the machine starts as if it had not been there. */
  const resumeFrom = (
    { shape, spec }: Subject,
    key: SnapshotStore.SnapshotKey,
    snapshot: SnapshotStore.StoredSnapshot,
    again: Effect.Effect<Origin.Origin, never, Scope.Scope>
  ): Origin.Origin => ({
    from: { directory: snapshot.directory },
    otherwise: (reason) =>
      Effect.gen(function* () {
        // The saved machine's disks were put in their place.
        yield* emptyDisks(shape, spec)
        if (yield* store.discard(snapshot, reason)) failures.set(keyText(key), failuresOf(key) + 1)
        return yield* again
      })
  })

  const settledOrigin = (
    subject: Subject,
    key: SnapshotStore.SnapshotKey
  ): Effect.Effect<Origin.Origin, never, Scope.Scope> =>
    Effect.map(lookup(key, subject), (found) => {
      if (found === undefined) return Origin.boot
      if (found._tag === "Miss") return { from: undefined, onSettled: found.save }
      return resumeFrom(subject, key, found.snapshot, settledOrigin(subject, key))
    })

  const warmOrigin = (
    subject: Subject,
    host: SnapshotStore.SnapshotKey["host"]
  ): Effect.Effect<Origin.Origin, never, Scope.Scope> =>
    Effect.gen(function* () {
      const key = warmKey(subject, host)
      const run = warmUpOf(subject.spec)
      if (run !== undefined && key === undefined) {
        yield* tellOnce(
          `warm-up of ${subject.spec.name}`,
          `the warm-up of ${subject.spec.name} runs at every start: outside of scripts its result is kept only with a key (warmUp: { run, key })`
        )
      }
      const found = key === undefined ? undefined : yield* lookup(key, subject)
      if (key !== undefined && found?._tag === "Hit") {
        return resumeFrom(
          subject,
          key,
          found.snapshot,
          Effect.suspend(() => warmOrigin(subject, host))
        )
      }
      const withWarmUp = (origin: Origin.Origin): Origin.Origin => ({
        ...origin,
        otherwise:
          origin.otherwise === undefined ? undefined : (reason) => Effect.map(origin.otherwise!(reason), withWarmUp),
        warmUp:
          run === undefined
            ? undefined
            : (machine, control) =>
                Effect.andThen(
                  run(key === undefined ? machine : HostInputs.recording(machine, key.inputs)),
                  found?._tag === "Miss" ? found.save(control) : Effect.void
                )
      })
      return withWarmUp(yield* settledOrigin(subject, baseKey(subject, host)))
    })

  const warm: WarmStart = {
    originsOf: (subject) => {
      if (off || !subject.spec.snapshot) return plainBoot(subject)
      return (start) =>
        // Disks keep what was written to them; a saved machine would not know of it.
        start > 1 && subject.spec.disks.length > 0
          ? Effect.succeed(Origin.boot)
          : Effect.flatMap(backend.fingerprint, (facts) =>
              warmOrigin(subject, { vmtest: version, backend: backend.name, ...facts })
            )
    },
    finished: Effect.suspend(() => Effect.asVoid(Fiber.awaitAll([...publishing]))),
    store
  }
  return warm
})
