/**
 * Snapshots of machines, to go back to or to fork.
 *
 * A snapshot is the whole machine at one moment: memory, processors, disks, and the connections of its processes. Any number of machines can
 * continue from it, each with its own memory and disks.
 *
 * **Example** (An upgrade, tried twice)
 *
 * ```ts
 * const before = yield* db.snapshot("before the upgrade")
 * yield* db.succeed("upgrade --fast")
 * yield* db.restore(before)
 * const other = yield* db.fork({ from: before })
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { SavedMachine } from "../backends/Backend.ts"
import { type SaveFailed, type Unsupported, unsupported } from "../backends/BackendError.ts"
import { guard, traced } from "../guest/Action.ts"
import * as Arguments from "../guest/Arguments.ts"
import type { CutShort, Guest, Unavailable } from "../guest/Guest.ts"
import { InvalidArgument } from "../guest/MachineError.ts"
import type { PollingConditionFailed } from "../guest/PollingCondition.ts"
import * as Disk from "../host/Disk.ts"
import * as Fields from "../host/Fields.ts"
import type { InvalidAddresses } from "../network/Addresses.ts"
import * as KeptTime from "./internal/keptTime.ts"
import * as RefCounts from "./internal/refCounts.ts"
import type { Machine } from "./Machine.ts"
import type { InvalidMachine } from "./MachineSpec.ts"

/** A snapshot of a machine, which exists until the test ends. */
export interface Snapshot {
  /** Its name among those of its machine. */
  readonly name: string
  /** The machine that it was taken of. */
  readonly machine: string
  /** Its files, for a `Backend`. */
  readonly saved: SavedMachine
}

/** The machine has no snapshot of that name, or a later one replaced it; `known` are the names of its snapshots. */
export class NoSuchSnapshot extends Schema.TaggedError<NoSuchSnapshot>()("NoSuchSnapshot", {
  machine: Schema.String,
  name: Schema.String,
  known: Schema.Array(Schema.String),
  /** It existed, but a later one has replaced it. */
  replaced: Schema.Boolean
}) {
  override get message() {
    if (this.replaced) return `${this.machine}: the snapshot ${JSON.stringify(this.name)} was replaced by a later one`
    const there = this.known.length === 0 ? "it has none" : `it has ${this.known.join(", ")}`
    return `${this.machine}: there is no snapshot ${JSON.stringify(this.name)}; ${there}`
  }
}

/** The files of a snapshot could not be written. */
export class SnapshotFailed extends Schema.TaggedError<SnapshotFailed>()("SnapshotFailed", {
  machine: Schema.String,
  reason: Schema.String
}) {
  override get message() {
    return `${this.machine}: could not take a snapshot: ${this.reason}`
  }
}

/** What taking a snapshot can fail with. */
export type SnapshotError =
  | Unavailable
  | Unsupported
  | SaveFailed
  | SnapshotFailed
  | PollingConditionFailed
  | InvalidArgument

/** What going back to a snapshot can fail with; `BootFailed` if the machine cannot continue from it. */
export type RestoreError = CutShort | Unsupported | NoSuchSnapshot | InvalidArgument

/** What a fork can fail with. */
export type ForkError = SnapshotError | NoSuchSnapshot | InvalidMachine | InvalidAddresses

/** A snapshot itself, which is known by its identity. */
const AnySnapshot = Schema.declare<Snapshot>(
  (value): value is Snapshot =>
    Predicate.hasProperty(value, "saved") &&
    Predicate.hasProperty(value.saved, "directory") &&
    Predicate.hasProperty(value, "name") &&
    Predicate.hasProperty(value, "machine"),
  { expected: "a snapshot" }
)

const SnapshotOrName = Schema.Union([Schema.String, AnySnapshot]).annotate({
  expected: "a snapshot, or the name of one"
})

/** The identity of a fork. */
export const ForkIdentity = Schema.Struct({
  /** Whether it gets its own SSH host keys, if the guest has any. Default true. */
  sshHostKeys: Schema.optional(Schema.Boolean)
})

/** The identity of a fork. */
export interface ForkIdentity extends Schema.Schema.Type<typeof ForkIdentity> {}

/** How to fork a machine. */
export const ForkOptions = Fields.options(
  {
    /** The name of the fork. Default: the machine's name with `-fork1`, `-fork2`, … */
    name: Schema.optional(Schema.String),
    /** The snapshot to continue from, or its name. Default: the machine as it is now. */
    from: Schema.optional(SnapshotOrName),
    /**
     * `false`, the default: the guest keeps its host name, MAC and addresses, on its own networks with no other machine. `true`, or an object:
     * it joins the test's networks, with its own host name (`name`), MAC, addresses and SSH host keys.
     *
     * In both cases it has its own machine-id and entropy, and the current time.
     */
    identity: Schema.optional(
      Schema.Union([Schema.Boolean, ForkIdentity]).annotate({ expected: "true, false or { sshHostKeys }" })
    )
  },
  '{ name: "other" }'
)

/** How to fork a machine. */
export interface ForkOptions extends Schema.Schema.Type<typeof ForkOptions> {}

/** The snapshots of a machine. */
export interface SnapshotMethods {
  /**
   * Takes a snapshot; the machine stops for it and continues. A snapshot of the same name is replaced. Default name: `snapshot 1`,
   * `snapshot 2`, …
   */
  readonly snapshot: (name?: string) => Effect.Effect<Snapshot, SnapshotError>
  /**
   * Goes back to a snapshot, whatever state the machine is in, and waits until it is ready. It keeps its identity and its connections, and its
   * clock shows the current time. Commands that are running fail.
   */
  readonly restore: (snapshot: Snapshot | string) => Effect.Effect<void, RestoreError>
  /**
   * Creates a machine that continues from this one, or from a snapshot, and waits until it is ready. This machine continues as well. The fork
   * has no `forwards`: each port of the host can lead to only one machine.
   */
  readonly fork: (options?: ForkOptions) => Effect.Effect<Machine, ForkError>
}

/** A fork for the driver to make. */
export interface ForkRequest {
  readonly name: string | undefined
  readonly from: SavedMachine
  readonly identity: ForkIdentity | undefined
}

/** What snapshots need from their machine. */
export interface Hooks {
  readonly isPaused: Effect.Effect<boolean>
  /** A new folder for one snapshot, which exists until the scope closes. */
  readonly folder: Effect.Effect<string, { readonly message: string }, Scope.Scope>
  /** Ends the running machine, and starts it from there, with its identity; only once at a time. */
  readonly restart: (from: SavedMachine) => Effect.Effect<void, CutShort>
  readonly fork: (request: ForkRequest) => Effect.Effect<Machine, Unavailable | InvalidMachine | InvalidAddresses>
}

/** What its methods take. */
export const parameters = Arguments.of<SnapshotMethods>({
  snapshot: Arguments.takes({ name: Schema.optional(Schema.String) }),
  restore: Arguments.takes({ snapshot: SnapshotOrName }),
  fork: Arguments.takes({ options: Schema.optional(ForkOptions) })
})

/** Saves a guest into a folder of that name. */
const save = Effect.fnUntraced(function* (guest: Guest, hooks: Hooks, name: string, folder: string) {
  const failed = (reason: string) => new SnapshotFailed({ machine: guest.name, reason })
  const control = yield* guest.control
  const saving = Effect.gen(function* () {
    const parent = yield* Effect.mapError(hooks.folder, ({ message }) => failed(message))
    const directory = Path.join(parent, folder)
    yield* Effect.try({
      try: () => Fs.mkdirSync(directory, { recursive: true, mode: 0o700 }),
      catch: (error) => failed(Disk.reasonOf(error))
    })
    return yield* guard(guest, `taking the snapshot ${JSON.stringify(name)}`, control.save(directory))
  })
  // A guest that is paused takes no command, and has no time to keep.
  const saved = yield* (yield* hooks.isPaused)
    ? saving
    : KeptTime.through(
        guest.shell,
        Effect.andThen(
          Effect.flatMap(guest.shell, (shell) => shell.awaitIdle),
          saving
        )
      )
  return { name, machine: guest.name, saved } satisfies Snapshot
})

/** The snapshot methods of a guest. */
export const make = (guest: Guest, hooks: Hooks): SnapshotMethods => {
  const named = new Map<string, Snapshot>()
  /** The folders of replaced snapshots. */
  const replaced = new Set<string>()
  let taken = 0
  let unnamed = 0
  /**
   * One restore at a time: each ends the running machine, and one machine must be left. Nor may a snapshot be replaced while a restore uses it.
   */
  const restoring = Semaphore.makeUnsafe(1)
  /** One save at a time, with what is run in the guest before and after it: a fork whose guest was saved in the middle of that would go on with it. */
  const saving = Semaphore.makeUnsafe(1)
  const alone = <A, E>(effect: Effect.Effect<A, E>) => guest.conditions.guard(restoring.withPermit(effect))

  const able = Effect.suspend(() =>
    guest.backend.capabilities.has("snapshots") ? Effect.void : unsupported(guest.backend.name, "snapshots")
  )

  /** In its own scope, which ends with the test at the latest. */
  const take = Effect.fnUntraced(function* (name: string) {
    const scope = yield* Scope.fork(guest.scope)
    const snapshot = yield* saving.withPermit(save(guest, hooks, name, `${guest.name}-${taken++}`)).pipe(
      Scope.provide(scope),
      Effect.onError(() => Scope.close(scope, Exit.void))
    )
    return { snapshot, refs: RefCounts.count(snapshot, scope) }
  })

  const find = (which: Snapshot | string): Effect.Effect<Snapshot, NoSuchSnapshot> =>
    Effect.suspend(() => {
      const none = (machine: string, name: string, replaced: boolean) =>
        new NoSuchSnapshot({ machine, name, known: [...named.keys()], replaced })
      if (typeof which !== "string") {
        return replaced.has(which.saved.directory) ? none(which.machine, which.name, true) : Effect.succeed(which)
      }
      const known = named.get(which)
      return known === undefined ? none(guest.name, which, false) : Effect.succeed(known)
    })

  const snapshot = Effect.fnUntraced(function* (name: string) {
    yield* able
    const { snapshot } = yield* take(name)
    const giveName = Effect.gen(function* () {
      const before = named.get(name)
      named.set(name, snapshot)
      if (before !== undefined && (yield* RefCounts.replace(before))) replaced.add(before.saved.directory)
    })
    yield* alone(giveName)
    return snapshot
  })

  const restore = Effect.fnUntraced(function* (which: Snapshot | string) {
    yield* able
    const { machine, name, saved } = yield* find(which)
    if (machine !== guest.name) {
      const reason = `snapshot must be one of ${guest.name}, got ${JSON.stringify(name)} of ${machine}; fork({ from }) makes a machine from it`
      const refused = { method: "restore", argument: "snapshot", value: name, reason } as const
      return yield* new InvalidArgument({ machine: guest.name, ...refused })
    }
    yield* hooks.restart(saved)
  })

  const fork = Effect.fnUntraced(function* ({ from, identity = false, name }: ForkOptions) {
    yield* able
    const wanted = identity === false ? undefined : identity === true ? {} : identity
    // Once it runs it does not need the files any more.
    const forkOf = (snapshot: Snapshot) =>
      RefCounts.keeping(snapshot, hooks.fork({ name, from: snapshot.saved, identity: wanted }))
    if (from !== undefined) return yield* forkOf(yield* find(from))
    const { refs, snapshot } = yield* take("for a fork")
    refs.replaced = true
    return yield* forkOf(snapshot)
  })

  const nameOf = (which: Snapshot | string | undefined) => (typeof which === "object" ? which.name : which)
  return Arguments.checked<SnapshotMethods>(guest.name, parameters, {
    snapshot: (name = `snapshot ${++unnamed}`) =>
      traced(guest, { name: "snapshot", attributes: { "snapshot.name": name } }, snapshot(name)),
    restore: (which) =>
      traced(guest, { name: "restore", attributes: { "snapshot.name": nameOf(which) } }, alone(restore(which))),
    fork: (options = {}) =>
      traced(guest, { name: "fork", attributes: { "snapshot.name": nameOf(options.from) } }, fork(options))
  })
}
