/**
 * Where the machines of a run come from: the first of a shape boots and is saved, all others continue from it.
 *
 * Of several that start at once, one boots and the others wait for it. Booting side by side would be no faster for them, for each boot
 * keeps a processor busy to its end, and going on takes a fraction of a second.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type BackendService, type MachineShape, storageOf } from "../../backends/Backend.ts"
import * as Device from "../../backends/Device.ts"
import * as Digest from "../../host/Digest.ts"
import * as Disk from "../../host/Disk.ts"
import * as OwnFiles from "../../host/OwnFiles.ts"
import * as Image from "../../images/Image.ts"
import type { Machine } from "../../machine/Machine.ts"
import * as MachineSpec from "../../machine/MachineSpec.ts"
import * as Origin from "../../machine/Origin.ts"
import type { AddressedNode, Interface } from "../../network/Addresses.ts"
import * as SnapshotStore from "../SnapshotStore.ts"
import * as HostInputs from "./hostInputs.ts"
import * as Misspelt from "./misspelt.ts"
import { runBody } from "./refuse.ts"
import * as Saves from "./saves.ts"
import { size } from "./size.ts"

/** A machine that is to start. */
export interface Subject {
  readonly spec: MachineSpec.MachineSpec
  readonly shape: MachineShape
  readonly self: AddressedNode
  readonly backend: BackendService
  /** The digest of the script that declares it; undefined where it is not known what its functions do. */
  readonly script: string | undefined
  /** What of the script declares it: machines of one name in several tests are different machines. */
  readonly declaredIn: string
  /** Keeps the time of an effect off the test's clock. */
  readonly untimed: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Run once when it waits for another to be saved. */
  readonly onWait: (detail: string) => Effect.Effect<void>
}

export interface WarmStart {
  /** Where each start of the machine comes from. */
  readonly originsOf: (subject: Subject) => Origin.Origins
  /** Waits until all that was saved is in the store. */
  readonly finished: Effect.Effect<void>
  readonly store: SnapshotStore.SnapshotStore
}

/** Whether `VMTEST_SNAPSHOTS` is `off`, `0`, `no` or `false`. */
const switchedOff: Effect.Effect<boolean> = Effect.sync(() =>
  ["off", "0", "no", "false"].includes((process.env.VMTEST_SNAPSHOTS ?? "on").toLowerCase())
)

/** Makes the machine's own disks and sticks what they were before its first start: sparse files of the declared sizes. */
const emptyDisks = (shape: MachineShape, spec: MachineSpec.MachineSpec): Effect.Effect<void> =>
  Effect.sync(() => {
    const sizes = MachineSpec.storageOf(spec)
    for (const [index, path] of storageOf(shape).entries()) {
      Disk.emptyFile(path, sizes[index] ?? 0)
    }
  })

/** Whether the machine has storage that outlives its boots: a saved machine would not have what was written to it since. */
const isLasting = ({ devices, disks }: MachineSpec.MachineSpec): boolean =>
  disks.length > 0 || devices.some((device) => Device.isLasting(Device.kindOf(device)))

/** Runs a warm-up, if there is one. */
const warmUpOf = ({ name, warmUp }: MachineSpec.MachineSpec) =>
  warmUp === undefined
    ? undefined
    : (machine: Machine) =>
        Effect.asVoid(
          runBody("the warm-up", warmUp.run(Misspelt.told(name, machine)), {
            example: "(machine) => Effect.gen(function* () { … })"
          })
        )

/** A boot with its warm-up. What is on disks outlives a boot, and so does what the warm-up made there. */
const plainBoot =
  ({ spec }: Subject): Origin.Origins =>
  (start) =>
    Effect.succeed(start > 1 && isLasting(spec) ? Origin.boot : { from: undefined, warmUp: warmUpOf(spec) })

const addressesOf = ({ ipv4, ipv4Prefix, ipv6, ipv6Prefix, mac, vlan }: Interface): string =>
  [vlan, mac, ipv4 ?? "none", ipv4Prefix, ipv6 ?? "none", ipv6Prefix].join(",")

/** Name and addresses: what a service that starts at boot can have learned. */
const identityOf = ({ self, spec }: Subject): Readonly<Record<string, string>> => ({
  machine: spec.name,
  addresses: self.interfaces.map(addressesOf).join(" ")
})

/** The cards as the hypervisor made them: one with another longest packet, or one on a TAP, is another device to a saved machine. */
const cardsOf = ({ networks }: MachineShape): Readonly<Record<string, string>> => ({
  cards: `${networks.length}`,
  ...(networks.every(({ mtu }) => mtu === undefined) ? {} : { mtu: networks.map(({ mtu = "" }) => mtu).join(",") }),
  ...(networks.every(({ port }) => port?.tap === undefined)
    ? {}
    : { taps: networks.map(({ port }) => (port?.tap === undefined ? "socket" : "tap")).join(",") })
})

/** A machine starts from where one of its name and addresses was, unless its declaration shares the snapshots of all that are like it. */
const baseKey = (subject: Subject, host: SnapshotStore.SnapshotKey["host"]): SnapshotStore.SnapshotKey => {
  const { shape, spec } = subject
  const kind = `${Image.describe(spec.image)}, ${size(shape.memory)}${shape.cpus === 1 ? "" : `, ${shape.cpus} processors`}`
  const shared = spec.snapshot === "shared"
  return {
    name: shared ? kind : `${spec.name} (${kind})`,
    subject: {
      ...(shared ? {} : identityOf(subject)),
      image: shape.image.digest,
      memory: `${shape.memory}`,
      processors: `${shape.cpus}`,
      ...cardsOf(shape),
      disks: spec.disks.join(" "),
      ...(spec.devices.length === 0 ? {} : { devices: Digest.canonical(Device.nameAll(spec.devices)) }),
      ...(spec.hotplug ? { hotplug: "true" } : {}),
      ...(shape.hypervisor === undefined ? {} : { hypervisor: Digest.canonical(shape.hypervisor) }),
      ...(spec.qemuArguments.length === 0 ? {} : { arguments: Digest.canonical(spec.qemuArguments) }),
      ...(spec.keyboardLayout === undefined ? {} : { keyboard: spec.keyboardLayout }),
      internet: `${shape.internet}`,
      reboot: `${shape.allowReboot}`
    },
    host
  }
}

/** Of what a warm-up makes, with what it copies. */
interface WarmKey extends SnapshotStore.SnapshotKey {
  readonly inputs: Map<string, string>
}

/** A warm-up may write the machine's name and addresses anywhere, so its result is that of a machine with these. */
const warmKey = (subject: Subject, host: SnapshotStore.SnapshotKey["host"]): WarmKey | undefined => {
  const { declaredIn, script, spec } = subject
  const base = baseKey(subject, host)
  const named = spec.warmUp?.key === undefined ? undefined : `key ${spec.warmUp.key}`
  const given = named ?? (script === undefined ? undefined : `script ${script}, ${declaredIn}`)
  if (spec.warmUp === undefined || given === undefined) return undefined
  return {
    ...base,
    inputs: new Map(),
    name: `${base.name} after its warm-up`,
    subject: { ...base.subject, ...identityOf(subject), "warm-up": given }
  }
}

/** Every start is a boot where the machine's backend has no snapshots, or the user switched them off. */
export const make = Effect.fnUntraced(function* (options?: boolean | SnapshotStore.StoreOptions) {
  const scope = yield* Effect.scope
  const store = yield* SnapshotStore.make(typeof options === "object" ? options : {})
  const off = yield* switchedOff
  const stores = ({ backend, shape }: Subject): boolean =>
    !off &&
    (shape.hypervisor === undefined || backend.saves?.(shape.hypervisor) !== false) &&
    backend.capabilities.has("snapshots") &&
    (options ?? backend.storesSnapshots ?? true) !== false
  const saves = Saves.make(store, scope)

  /**
   * A machine that continues from what is stored. Where that is damaged it is discarded, and the machine starts as if it had not been there. Where
   * something else went wrong the machine boots, and what is stored is discarded only if a whole boot takes less time than this was given.
   */
  const resumeFrom = Effect.fnUntraced(function* (
    { shape, spec }: Subject,
    key: SnapshotStore.SnapshotKey,
    snapshot: SnapshotStore.StoredSnapshot,
    instead: { readonly again: Effect.Effect<Origin.Origin, never, Scope.Scope>; readonly boot: Origin.Origin }
  ): Effect.fn.Return<Origin.Origin> {
    const began = yield* Clock.currentTimeMillis
    const discard = (reason: string) =>
      Effect.map(store.discard(snapshot, reason), (was) => {
        if (was) saves.loadFailed(key)
      })
    const bootInstead = Effect.fnUntraced(function* (reason: string) {
      const failed = yield* Clock.currentTimeMillis
      saves.loadFailed(key)
      yield* Effect.logWarning(`could not resume ${spec.name} from its snapshot (${reason}); booting instead`)
      const onAnswer = Effect.flatMap(Clock.currentTimeMillis, (now) =>
        now - failed < failed - began
          ? discard(`it did not come up in the time in which ${spec.name} boots`)
          : Effect.void
      )
      return { ...instead.boot, onAnswer }
    })
    return {
      from: { directory: snapshot.directory },
      name: `snapshot ${snapshot.id.slice(0, 8)} of ${snapshot.name}`,
      otherwise: ({ damaged, reason }) =>
        Effect.gen(function* () {
          // The saved machine's disks were put in their place.
          yield* emptyDisks(shape, spec)
          if (!damaged) return yield* bootInstead(reason)
          yield* discard(reason)
          return yield* instead.again
        })
    }
  })

  const settledOrigin = (
    subject: Subject,
    key: SnapshotStore.SnapshotKey
  ): Effect.Effect<Origin.Origin, never, Scope.Scope> =>
    Effect.flatMap(subject.untimed(saves.lookup(key, subject)), (found) => {
      if (found === undefined) return Effect.succeed(Origin.boot)
      if (found._tag === "Miss") {
        return Effect.succeed<Origin.Origin>({ from: undefined, onSettled: found.save, untimed: subject.untimed })
      }
      const again = Effect.suspend(() => settledOrigin(subject, key))
      return resumeFrom(subject, key, found.snapshot, { again, boot: Origin.boot })
    })

  const warmOrigin = (
    subject: Subject,
    host: SnapshotStore.SnapshotKey["host"]
  ): Effect.Effect<Origin.Origin, never, Scope.Scope> =>
    Effect.gen(function* () {
      const key = warmKey(subject, host)
      const run = warmUpOf(subject.spec)
      if (run !== undefined && key === undefined) {
        yield* saves.warnOnce(
          `warm-up of ${subject.spec.name}`,
          `the warm-up of ${subject.spec.name} runs at every start: outside of scripts its result is kept only with a key (warmUp: { run, key })`
        )
      }
      const found = key === undefined ? undefined : yield* subject.untimed(saves.lookup(key, subject))
      if (key !== undefined && found?._tag === "Hit") {
        const again = Effect.suspend(() => warmOrigin(subject, host))
        return yield* resumeFrom(subject, key, found.snapshot, { again, boot: { from: undefined, warmUp: run } })
      }
      const withWarmUp = (origin: Origin.Origin): Origin.Origin => ({
        ...origin,
        otherwise:
          origin.otherwise === undefined ? undefined : (refusal) => Effect.map(origin.otherwise!(refusal), withWarmUp),
        warmUp:
          run === undefined
            ? undefined
            : (machine, control) =>
                Effect.andThen(
                  run(key === undefined ? machine : HostInputs.recording(machine, key.inputs)),
                  found?._tag === "Miss" ? subject.untimed(found.save(control)) : Effect.void
                )
      })
      return withWarmUp(yield* settledOrigin(subject, baseKey(subject, host)))
    })

  const warm: WarmStart = {
    originsOf: (subject) => {
      // Nobody knows what a start script reads, so nobody knows when what was stored of it is out of date.
      const { backend } = subject
      if (!stores(subject) || !subject.spec.snapshot || subject.shape.image.guest === "script")
        return plainBoot(subject)
      return (start) =>
        // Disks keep what was written to them; a saved machine would not know of it.
        start > 1 && isLasting(subject.spec)
          ? Effect.succeed(Origin.boot)
          : Effect.flatMap(backend.fingerprint, (facts) =>
              warmOrigin(subject, { vmtest: OwnFiles.version, backend: backend.name, ...facts })
            )
    },
    finished: saves.finished,
    store
  }
  return warm
})
