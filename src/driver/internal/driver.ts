/** One test's driver: the machines of a tree, and the service over them. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { MachineShape } from "../../backends/Backend.ts"
import { Backend } from "../../backends/Backend.ts"
import { MachineEvents } from "../../guest/MachineEvent.ts"
import * as PollingCondition from "../../guest/PollingCondition.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import { RunDirectory } from "../../host/RunDirectory.ts"
import type { BootImage } from "../../images/BootImage.ts"
import type { Image } from "../../images/Image.ts"
import type { Machine } from "../../machine/Machine.ts"
import * as MachineSpec from "../../machine/MachineSpec.ts"
import * as MachineTree from "../../machine/MachineTree.ts"
import type { Origins } from "../../machine/Origin.ts"
import * as Origin from "../../machine/Origin.ts"
import type * as Snapshot from "../../machine/Snapshot.ts"
import * as Addresses from "../../network/Addresses.ts"
import { Driver, type DriverService, type ForkError } from "../Driver.ts"
import type { ImageUnavailable } from "../ImageUnavailable.ts"
import { Reporter, type RunEvent } from "../RunEvent.ts"
import type { SubtestResult } from "../TestResult.ts"
import * as DriverTree from "./driverTree.ts"
import * as Forks from "./forks.ts"
import { givingEffects, machinesOf, mustBeEffect, runBody } from "./refuse.ts"
import type { Saved } from "./saveAll.ts"
import type { Location } from "./scriptLocation.ts"
import * as Subtests from "./subtests.ts"
import type { WarmStart } from "./warmStart.ts"

export interface Options {
  readonly test: string
  readonly machines: ReadonlyArray<MachineSpec.MachineSpec>
  /** Tells the test's folders apart from those of other tests of the run. */
  readonly prefix: string
  readonly output: string
  /** Told of each subtest's end; `failsLater` says whether its failure is for the end of the test to count. */
  readonly onSubtest: (result: SubtestResult, failsLater: boolean) => void
  /** Why subtests are interrupted, once that is known. */
  readonly interruptedBy?: (() => unknown) | undefined
  /** The place of failures that have none in the script. */
  readonly declaredAt?: () => Location | undefined
  readonly resolve: (image: Image) => Effect.Effect<BootImage, ImageUnavailable>
  readonly warm: WarmStart
  /** The digest of the script that declares the machines, if there is one. */
  readonly script?: string | undefined
  /** Which of the script's tests of this name it is, from 1. Default 1. */
  readonly occurrence?: number | undefined
  /** What declares its machines, where that is not the test itself. */
  readonly declaredIn?: { readonly others: string; readonly machines: ReadonlyMap<string, string> } | undefined
  /** Machines that go on from where they were saved, under the numbers that they had; all others start as they were declared. */
  readonly saved?: SavedMachines | undefined
  /** Of the test that these machines are forks of. */
  readonly conditions?: PollingCondition.PollingConditions | undefined
}

export interface Running {
  readonly service: DriverService
  /** The machines as they were declared, keyed by name. */
  readonly machines: Readonly<Record<string, Machine>>
  /** Starts the machines that start by themselves. */
  readonly begin: Effect.Effect<void, Effect.Error<ReturnType<DriverService["startAll"]>>>
  /** Runs the test's program as a process of the tree. */
  readonly script: DriverTree.DriverTree["script"]
  /** The machines as they are declared and numbered now, those of `DriverService.machine` included. */
  readonly handles: () => ReadonlyArray<MachineTree.Handle>
}

interface SavedMachines {
  readonly machines: Saved
  /** In the order of the machines that are declared. */
  readonly nodes: ReadonlyArray<Addresses.AddressedNode>
  /** Who they are when they go on. Default: what they are declared to be. */
  readonly identity?: Origin.Origin["identity"]
}

type Services = Backend | FileSystem.FileSystem | RunDirectory | Scope.Scope

export const make: (options: Options) => Effect.Effect<Running, ImageUnavailable, Services> = Effect.fnUntraced(
  function* (options: Options) {
    const backend = yield* Backend
    const fs = yield* FileSystem.FileSystem
    const scope = yield* Effect.scope
    const emit = yield* Reporter
    const own = yield* PollingCondition.make
    const conditions = options.conditions === undefined ? own : PollingCondition.under(options.conditions, own)
    const folders = yield* RunDirectory
    const tree = yield* DriverTree.make(yield* Effect.orDie(folders.folder(`${options.prefix}-net`)), (error) =>
      conditions.abort(`VLAN ${error.vlan} is up`, error.message)
    )
    const handles = new Map<string, MachineTree.Handle>()
    const machines: Record<string, Machine> = {}
    yield* Effect.addFinalizer(() => Effect.forEach(handles.values(), ({ retire }) => retire, { discard: true }))

    /** A sparse file. */
    const emptyDisk = (path: string, size: number) =>
      fs
        .writeFile(path, new Uint8Array(), { mode: 0o600 })
        .pipe(Effect.andThen(fs.truncate(path, size)), Effect.as({ path }))

    const here = options.declaredIn?.others ?? `test ${options.occurrence ?? 1} of the name ${options.test}`
    const declaredIn = ({ name }: MachineSpec.MachineSpec) => options.declaredIn?.machines.get(name) ?? here

    const originsOf = (spec: MachineSpec.MachineSpec, shape: MachineShape, self: Addresses.AddressedNode): Origins => {
      const warm = options.warm.originsOf({
        spec,
        shape,
        self,
        script: options.script,
        declaredIn: declaredIn(spec),
        onWait: (detail) =>
          emit({
            _tag: "MachineEvent",
            test: options.test,
            event: { _tag: "StillBooting", machine: spec.name, detail }
          })
      })
      const from = options.saved?.machines.get(spec.name)
      const origin = from === undefined ? undefined : { from, identity: options.saved?.identity }
      return (start) => (start === 1 && origin !== undefined ? Effect.succeed(origin) : warm(start))
    }

    /** Machines that share the test's networks. */
    const neighbours = () => [...handles.values()].filter(({ spec, self }) => spec.name === self.name)

    const nextNumber = () => Math.max(0, ...neighbours().map(({ self }) => self.number)) + 1

    const add: (
      spec: MachineSpec.MachineSpec,
      self: Addresses.AddressedNode,
      first?: Origin.Origin
    ) => Effect.Effect<MachineTree.Handle, ImageUnavailable> = Effect.fnUntraced(function* (spec, self, first) {
      const image = yield* options.resolve(spec.image)
      const directory = yield* Effect.orDie(folders.folder(`${options.prefix}-${spec.name}`))
      const networks = yield* Effect.forEach(self.interfaces, ({ mac, vlan }) =>
        // A fork that is called otherwise than its guest keeps to itself: there is another with its addresses.
        Effect.map(spec.name === self.name ? Effect.orDie(tree.vlan(vlan)) : Effect.succeed(undefined), (socket) => ({
          vlan,
          socket,
          mac
        }))
      )
      const disks = yield* Effect.forEach(spec.disks, (size, index) =>
        Effect.orDie(emptyDisk(`${directory}/disk${index + 1}`, size))
      )
      const shape: MachineShape = {
        name: spec.name,
        image,
        memory: spec.memory,
        cpus: spec.cpus,
        disks,
        networks,
        internet: spec.internet,
        forwards: spec.forwards,
        allowReboot: spec.allowReboot,
        directory
      }
      const handle = yield* MachineTree.make({
        spec,
        self,
        all: Effect.sync(() => neighbours().map(({ self }) => self)),
        shape,
        backend,
        conditions,
        fs,
        output: options.output,
        scope,
        origins: Origin.first(first, originsOf(spec, shape, self)),
        snapshots: options.warm.store.temporary,
        fork: (request) => forkOne(spec, self, request),
        supervisor: tree.machines
      }).pipe(
        Effect.provideService(MachineEvents, (event) => emit({ _tag: "MachineEvent", test: options.test, event }))
      )
      handles.set(spec.name, handle)
      machines[spec.name] = handle.machine
      return handle
    })

    // A fork is called otherwise than its guest, so names do not tell which node is whose.
    const nodes: ReadonlyArray<readonly [MachineSpec.MachineSpec, Addresses.AddressedNode | undefined]> =
      options.saved === undefined
        ? Addresses.assign(options.machines).map((node) => [
            options.machines.find(({ name }) => name === node.name)!,
            node
          ])
        : options.machines.map((spec, index) => [spec, options.saved?.nodes[index]])
    for (const [spec, node] of nodes) if (node !== undefined) yield* add(spec, node)

    const starting = (names: Iterable<MachineTree.Handle>) =>
      Effect.forEach(names, ({ machine }) => machine.start(), { concurrency: "unbounded", discard: true })

    /** Whether there is an address for one more machine of the test's networks. */
    const checkAddresses = (spec: MachineSpec.MachineSpec) =>
      Effect.suspend(
        () =>
          Addresses.check([...neighbours().map((other) => other.spec), spec]) ?? (Effect.void as Effect.Effect<void>)
      )
    const declaring = yield* Semaphore.make(1)
    const checkName = Effect.fnUntraced(function* (name: string) {
      const twin = [...handles.keys()].find((other) => other.toLowerCase() === name.toLowerCase())
      if (twin === undefined) return
      const reason = twin === name ? "is taken" : `differs from ${JSON.stringify(twin)} only in case`
      return yield* new MachineSpec.InvalidMachine({ machine: name, option: "name", reason })
    })
    const refreshNames = (others: Iterable<MachineTree.Handle>) =>
      Effect.forkIn(
        Effect.forEach(others, ({ refreshNames }) => refreshNames, { concurrency: "unbounded", discard: true }),
        scope
      )

    /** A machine that goes on from a saved one of a machine's shape; see `ForkOptions`. */
    const forkOne = Effect.fnUntraced(
      function* (
        { name: original, warmUp, ...source }: MachineSpec.MachineSpec,
        self: Addresses.AddressedNode,
        request: Snapshot.ForkRequest
      ) {
        const free = Array.from({ length: handles.size + 1 }, (_, index) => `${original}-fork${index + 1}`)
        const name = request.name ?? free.find((candidate) => !handles.has(candidate)) ?? original
        const spec = { ...(yield* MachineSpec.check(name, { ...source, autoStart: false, forwards: [] })), warmUp }
        yield* checkName(name)
        const others = [...handles.values()]
        const { identity, from } = request
        // One that keeps to itself has the addresses of its source.
        if (identity !== undefined) yield* checkAddresses(spec)
        const who = identity === undefined || identity.sshHostKeys === false ? "declared" : "new"
        const node = identity === undefined ? self : Addresses.number(spec, nextNumber())
        const handle = yield* Effect.orDie(add(spec, node, { from, identity: who }))
        if (identity !== undefined) yield* refreshNames(others)
        return handle.machine
      },
      (made) => Effect.tap(declaring.withPermits(1)(made), (machine) => machine.start())
    )

    const declare = Effect.fnUntraced(function* (name: string, declared: MachineSpec.MachineOptions) {
      const spec = yield* MachineSpec.check(name, declared)
      yield* checkName(name)
      const others = [...handles.values()]
      yield* checkAddresses(spec)
      if (spec.vlans.length > 0) yield* HostProcess.locate("vde_switch")
      const handle = yield* add(spec, Addresses.number(spec, nextNumber()))
      yield* refreshNames(others)
      // Whoever uses it first meets the failure of its start.
      if (spec.autoStart) {
        const start = Effect.ignore(conditions.unguarded(handle.machine.start()))
        yield* Effect.forkIn(start, scope, { startImmediately: true })
      }
      return handle.machine
    })

    const forks = yield* Forks.make({ backend, store: options.warm.store, handles: neighbours })
    let forked = 0
    const fork = <A, E, R>(
      body: (machines: Readonly<Record<string, Machine>>, driver: DriverService) => Effect.Effect<A, E, R>
    ): Effect.Effect<A, E | ForkError, Exclude<R, Driver | Scope.Scope>> =>
      Effect.gen(function* () {
        forked += 1
        const number = forked
        const saved = yield* conditions.guard(forks.saved)
        const within = (event: RunEvent): RunEvent =>
          event._tag === "MachineEvent"
            ? { ...event, event: { ...event.event, machine: `${event.event.machine} (fork ${number})` } }
            : event
        const running = yield* make({
          ...options,
          conditions,
          // A port of the host can lead to one machine only, and leads to the original.
          machines: neighbours().map(({ spec }) => ({ ...spec, forwards: [] })),
          prefix: `${options.prefix}f${number}`,
          declaredIn: {
            others: `fork ${number} of ${here}`,
            machines: new Map(neighbours().map(({ spec }) => [spec.name, declaredIn(spec)]))
          },
          saved: { machines: saved, nodes: neighbours().map(({ self }) => self) }
        }).pipe(
          Effect.provideService(Reporter, (event) => emit(within(event))),
          Effect.provideService(Backend, backend),
          Effect.provideService(FileSystem.FileSystem, fs),
          Effect.provideService(RunDirectory, folders),
          // Every image is there: the machines that are forked were started with them.
          Effect.orDie
        )
        const those = [...saved.keys()].flatMap((name) => running.machines[name] ?? [])
        const program = Effect.gen(function* () {
          yield* Effect.forEach(those, (machine) => machine.start(), { concurrency: "unbounded", discard: true })
          return yield* Effect.scoped(runBody("driver.fork's body", body(running.machines, running.service)))
        })
        return yield* running.script(Effect.provideService(program, Driver, running.service))
      }).pipe(Effect.scoped) as Effect.Effect<A, E | ForkError, Exclude<R, Driver | Scope.Scope>>

    const service: DriverService = {
      machines,
      fork,
      machine: (name, declared) => declaring.withPermits(1)(declare(name, declared)),
      // A fork that keeps to itself ran from its beginning; one that has ended is not missed by anybody.
      startAll: () => Effect.suspend(() => starting(neighbours())),
      joinAll: (wait) =>
        Effect.suspend(() =>
          Effect.forEach(handles.values(), ({ machine }) => machine.waitForShutdown(wait), {
            concurrency: "unbounded",
            discard: true
          })
        ),
      subtest: Subtests.make({ ...options, emit }),
      pollingCondition: (condition, check, settings) =>
        Effect.andThen(
          mustBeEffect("driver.pollingCondition: the check", check),
          conditions.add(condition, check, settings)
        ),
      waitAll: (those, wait) =>
        Effect.flatMap(machinesOf("driver.waitAll: the argument", those), (all) =>
          Effect.forEach(all, givingEffects("driver.waitAll", wait), { concurrency: "unbounded" })
        ),
      log: (line) => emit({ _tag: "Log", test: options.test, line })
    }

    const running: Running = {
      service,
      machines: { ...machines },
      begin: Effect.suspend(() => starting([...handles.values()].filter(({ spec }) => spec.autoStart))),
      script: tree.script,
      handles: () => [...handles.values()]
    }
    return running
  }
)
