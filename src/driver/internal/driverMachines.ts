/** The machines of one driver: those that its test declares, those made while it runs, and forks of single machines. */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Scope from "effect/Scope"
import type * as Semaphore from "effect/Semaphore"
import type { BackendService, MachineShape } from "../../backends/Backend.ts"
import type { BackendUnavailable } from "../../backends/Backends.ts"
import * as Device from "../../backends/Device.ts"
import { optionsOf } from "../../backends/HypervisorOptions.ts"
import { type MachineEvent, MachineEvents } from "../../guest/MachineEvent.ts"
import type * as PollingCondition from "../../guest/PollingCondition.ts"
import * as Disk from "../../host/Disk.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import type { RunDirectory } from "../../host/RunDirectory.ts"
import type { Machine } from "../../machine/Machine.ts"
import * as MachineChecks from "../../machine/MachineChecks.ts"
import * as MachineSpec from "../../machine/MachineSpec.ts"
import * as MachineTree from "../../machine/MachineTree.ts"
import type { Origins } from "../../machine/Origin.ts"
import * as Origin from "../../machine/Origin.ts"
import type * as Snapshot from "../../machine/Snapshot.ts"
import { type Changes, StartChanges } from "../../machine/StartChanges.ts"
import * as Addresses from "../../network/Addresses.ts"
import * as Card from "../../network/Card.ts"
import * as NetworkSpec from "../../network/NetworkSpec.ts"
import type { Port } from "../../network/Vlan.ts"
import type { DeclareError } from "../Driver.ts"
import type { ImageUnavailable } from "../ImageUnavailable.ts"
import type { RunEvent } from "../RunEvent.ts"
import { type Folders, StatePlaces, type StateUnusable } from "../StatePlaces.ts"
import { declaredIn, type Options } from "./driverOptions.ts"
import type { DriverTree } from "./driverTree.ts"
import * as Excluded from "./excluded.ts"
import type { HostServices } from "./hostServices.ts"
import * as Hypervisors from "./hypervisors.ts"
import * as Subtests from "./subtests.ts"
import * as Tracked from "./tracked.ts"

/** Whether an event comes from what the script does, and not from a process of a machine, which may have been started in a subtest. */
const isOfScript = ({ _tag }: MachineEvent) => _tag === "ActionStarted" || _tag === "ActionEnded" || _tag === "Picture"

export interface DriverMachines {
  readonly options: Options
  /** The hypervisor of machines that declare none. */
  readonly backend: BackendService
  /** The networks that the test declares, or those that are bridges, with their fabrics. */
  readonly fabrics: ReadonlyArray<NetworkSpec.NetworkSpec>
  readonly fs: FileSystem.FileSystem
  readonly folders: RunDirectory["Service"]
  readonly scope: Scope.Scope
  readonly emit: (event: RunEvent) => Effect.Effect<void>
  /** A new folder for machines that the test saves, there until the scope closes. */
  readonly temporary: Effect.Effect<string, { readonly message: string }, Scope.Scope>
  readonly conditions: PollingCondition.PollingConditions
  readonly tree: DriverTree
  /** Servers of the test on its networks. */
  readonly services: HostServices
  /** Makes one machine at a time: each takes a name and a number. */
  readonly declaring: Semaphore.Semaphore
  readonly handles: Map<string, MachineTree.Handle>
  /** What the next starts of machines with start scripts have different. */
  readonly starts: Map<string, Changes>
  readonly machines: Record<string, Machine>
  /** The VLANs that machines got cards on while they ran, by the machines' names. */
  readonly plugged: Map<string, Set<number>>
}

/** Machines that share the test's networks. */
export const neighbours = ({ handles }: Pick<DriverMachines, "handles">): ReadonlyArray<MachineTree.Handle> =>
  [...handles.values()].filter(({ spec, self }) => spec.name === self.name)

/** Machines with a card on a network, be it declared or plugged in. */
export const membersOf = (all: DriverMachines, vlan: number): ReadonlyArray<MachineTree.Handle> =>
  neighbours(all).filter(
    ({ self, spec }) =>
      self.interfaces.some((card) => card.vlan === vlan) || all.plugged.get(spec.name)?.has(vlan) === true
  )

const nextNumber = (all: DriverMachines) => Math.max(0, ...neighbours(all).map(({ self }) => self.number)) + 1

/** Starts machines together, and waits until all are ready. */
export const startAll = (handles: Iterable<MachineTree.Handle>) =>
  Effect.forEach(handles, ({ machine }) => machine.start(), { concurrency: "unbounded", discard: true })

/** A disk to which nothing was written. */
const emptyDisk = (path: string, size: number) =>
  Effect.sync(() => {
    Disk.emptyFile(path, size)
    return { path }
  })

/** Where machines with start scripts keep their state; undefined for the folder of the run. Those of a fork are beside their originals, which still run. */
export const placesOf = ({ saved }: Options): Effect.Effect<Folders | undefined> =>
  saved === undefined ? Effect.map(StatePlaces, (folders) => folders) : Effect.succeed(undefined)

/** A card's place. A fork with a name of its own has no network: another machine has its addresses. */
const portOf = (
  { vlan }: DriverTree,
  spec: MachineSpec.MachineSpec,
  self: Addresses.AddressedNode,
  number: number,
  device: string
): Effect.Effect<Port | undefined> =>
  spec.name === self.name
    ? Effect.flatMap(vlan(number), ({ port }) => port(`${spec.name} ${device}`))
    : Effect.succeed(undefined)

/** The TAP of a card that has no network, on a bridge. Its cable is pulled, and nobody can plug it in. */
const loneOf = ({ tree }: DriverMachines, spec: MachineSpec.MachineSpec, number: number, device: string) =>
  Effect.gen(function* () {
    const { port } = yield* tree.vlan(number)
    const { tap } = yield* port(`${spec.name} ${device}`)
    if (tap !== undefined) yield* Effect.orDie(tap.setLink(false))
    return tap
  })

const shapeOf = Effect.fnUntraced(function* (
  all: DriverMachines,
  { taps = false }: BackendService,
  spec: MachineSpec.MachineSpec,
  self: Addresses.AddressedNode
) {
  const { folders, options, tree } = all
  const image = yield* options.resolve(spec.image)
  const directory = yield* Effect.orDie(folders.folder(`${options.prefix}-${spec.name}`))
  const networks = yield* Effect.forEach(self.interfaces, ({ device, mac, vlan }) =>
    Effect.gen(function* () {
      const port = yield* portOf(tree, spec, self, vlan, device)
      // Where all cards are TAPs, the backend makes them itself.
      const isLone = port === undefined && !taps && NetworkSpec.of(all.fabrics, vlan).fabric === "bridge"
      const lone = isLone ? yield* loneOf(all, spec, vlan, device) : undefined
      return { device, vlan, port, lone, mac, mtu: NetworkSpec.of(options.networks, vlan).mtu }
    })
  )
  const disks = yield* Effect.forEach(spec.disks, (size, index) => emptyDisk(`${directory}/disk${index + 1}`, size))
  const isScript = image.guest === "script"
  const places = yield* placesOf(options)
  if (isScript && places !== undefined) yield* places.fresh(spec.name)
  const shared = isScript
    ? (places?.shared ?? `${yield* Effect.orDie(folders.folder(`${options.prefix}-shared`))}/shared-xchg`)
    : undefined
  const devices = yield* Effect.forEach(Device.nameAll(spec.devices), (device) => {
    const size = Device.storageOf(device.kind)
    if (size === 0) return Effect.succeed(device)
    return Effect.map(emptyDisk(`${directory}/device-${device.name}`, size), ({ path }) => ({
      ...device,
      path
    }))
  })
  const { allowReboot, cpus, forwards, hotplug, internet, memory, name, qemuArguments } = spec
  return {
    ...{
      name,
      image,
      memory: image.hardware?.memory ?? memory,
      cpus: image.hardware?.cpus ?? cpus,
      disks,
      devices,
      hotplug,
      hypervisor: optionsOf(spec.backend),
      qemuArguments,
      networks,
      internet,
      forwards,
      allowReboot,
      directory,
      shared,
      state: isScript ? places?.machine(spec.name) : undefined
    }
  } satisfies MachineShape
})

/** Where the machine's starts resume from: the first one from its saved machine, if there is one; else where the warm start says. */
const originsOf = (
  { emit, options }: DriverMachines,
  spec: MachineSpec.MachineSpec,
  shape: MachineShape,
  self: Addresses.AddressedNode,
  backend: BackendService,
  untimed: NonNullable<Options["untimed"]>
): Origins => {
  const warm = options.warm.originsOf({
    ...{ spec, shape, self, backend, script: options.script, declaredIn: declaredIn(options, spec), untimed },
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

/** Adds a machine without starting it; `first` is where its first start resumes from. */
export const add: (
  all: DriverMachines,
  spec: MachineSpec.MachineSpec,
  self: Addresses.AddressedNode,
  first?: Origin.Origin
) => Effect.Effect<MachineTree.Handle, BackendUnavailable | ImageUnavailable | StateUnusable> = Effect.fnUntraced(
  function* (all, spec, self, first) {
    const { conditions, emit, fs, options, scope, tree } = all
    const backend = yield* Hypervisors.of(all.backend, spec)
    const shape = yield* shapeOf(all, backend, spec, self)
    const given = yield* StartChanges
    const changes = (name: string) => Effect.map(given(name), (outer) => ({ ...outer, ...all.starts.get(name) }))
    const { noted, untimed } = Excluded.make(options.untimed)
    const made = yield* MachineTree.make({
      ...{ spec, self, shape, backend, conditions, fs, scope, output: options.output },
      all: Effect.sync(() => [...neighbours(all).map(({ self }) => self), ...all.services.nodes()]),
      origins: Origin.first(first, originsOf(all, spec, shape, self, backend, untimed)),
      snapshots: all.temporary,
      fork: (request) => forkOne(all, spec, self, request),
      port: (vlan, device) =>
        Effect.tap(portOf(tree, spec, self, vlan, device), () =>
          Effect.sync(() => all.plugged.set(spec.name, new Set(all.plugged.get(spec.name)).add(vlan)))
        ),
      networks: options.networks,
      supervisor: tree.machines
    }).pipe(
      Effect.provideService(StartChanges, changes),
      Effect.provideService(MachineEvents, (event) =>
        Effect.flatMap(Subtests.path, (within) =>
          emit({
            ...{ _tag: "MachineEvent", test: options.test, event: noted(event) },
            ...(within.length > 0 && isOfScript(event) ? { within } : {})
          })
        )
      )
    )
    const handle = { ...made, machine: Tracked.methods(spec.name, made.machine) }
    all.handles.set(spec.name, handle)
    all.machines[spec.name] = handle.machine
    return handle
  }
)

/** Each machine that the test declares with its node: as it was saved, or numbered in the order of names. */
const nodesOf = ({ machines, saved }: Options) =>
  saved === undefined
    ? Addresses.assign(machines).map((node) => [machines.find(({ name }) => name === node.name)!, node] as const)
    : // A fork has another name than its guest, so names do not tell whose node it is.
      machines.map((spec, index) => [spec, saved.nodes[index]] as const)

/** Adds the machines that the test declares, or those that were saved. */
export const addDeclared = Effect.fnUntraced(function* (all: DriverMachines) {
  for (const [spec, node] of nodesOf(all.options)) if (node !== undefined) yield* add(all, spec, node)
})

const checkName = Effect.fnUntraced(function* ({ handles, services }: DriverMachines, name: string) {
  const names = [...handles.keys(), ...services.nodes().map((node) => node.name)]
  const twin = names.find((other) => other.toLowerCase() === name.toLowerCase())
  if (twin === undefined) return
  const reason =
    twin === name
      ? "is the name of another machine or host service of this test"
      : `differs from ${JSON.stringify(twin)} only in case`
  return yield* new MachineSpec.InvalidMachine({ machine: name, option: "name", reason })
})

/** Whether there is an address for one more machine of the test's networks. */
const checkAddresses = (all: DriverMachines, spec: MachineSpec.MachineSpec) =>
  Effect.suspend(
    () => Addresses.check([...neighbours(all).map((other) => other.spec), spec]) ?? (Effect.void as Effect.Effect<void>)
  )

/** Whether a new machine has names and addresses of its own. */
const checkConflicts = (all: DriverMachines, spec: MachineSpec.MachineSpec, self: Addresses.AddressedNode) =>
  MachineChecks.checkAddresses([...neighbours(all), { spec, self }], all.services.nodes())

/** Tells running machines the names that there are now. */
export const refreshAll = (handles: Iterable<MachineTree.Handle>) =>
  Effect.forEach(handles, ({ refreshNames }) => refreshNames, { concurrency: "unbounded", discard: true })

/** Tells running machines the name of a new one, which does not wait for that. */
const refreshNames = ({ scope }: DriverMachines, others: Iterable<MachineTree.Handle>) =>
  Effect.forkIn(refreshAll(others), scope)

/** A card without what only one machine can have. */
const anonymous = ({ ipv4, ipv6, mac: _, ...card }: Addresses.Card): Addresses.Card => ({
  ...card,
  ...(ipv4 === "none" ? { ipv4 } : {}),
  ...(ipv6 === "none" ? { ipv6 } : {})
})

/** Makes and starts a machine that resumes from a saved one of a machine's shape; see `ForkOptions`. */
const forkOne = Effect.fnUntraced(
  function* (
    all: DriverMachines,
    { name: original, warmUp, ...source }: MachineSpec.MachineSpec,
    self: Addresses.AddressedNode,
    request: Snapshot.ForkRequest
  ) {
    const { handles, options } = all
    const free = Array.from({ length: handles.size + 1 }, (_, index) => `${original}-fork${index + 1}`)
    const name = request.name ?? free.find((candidate) => !handles.has(candidate)) ?? original
    const vlans = request.identity === undefined ? source.vlans : source.vlans.map(anonymous)
    const declared = { ...source, vlans: vlans.map(Card.declarationOf), autoStart: false, forwards: [] }
    const spec = { ...(yield* MachineSpec.check(name, declared, options.networks)), warmUp }
    yield* checkName(all, name)
    const others = [...handles.values()]
    const { identity, from } = request
    if (identity !== undefined && handles.get(original)?.shape.image.guest === "script") {
      const reason =
        "identity must be false: a machine of a start script has its name and addresses from its own system"
      return yield* new MachineSpec.InvalidMachine({ machine: name, option: "identity", reason })
    }
    // Without a new identity it has the addresses of its source.
    if (identity !== undefined) yield* checkAddresses(all, spec)
    const who = identity === undefined || identity.sshHostKeys === false ? "declared" : "new"
    const node = identity === undefined ? self : Addresses.number(spec, nextNumber(all))
    if (identity !== undefined) yield* checkConflicts(all, spec, node)
    const handle = yield* Effect.orDie(add(all, spec, node, { from, identity: who }))
    if (identity !== undefined) yield* refreshNames(all, others)
    return handle.machine
  },
  (made, { declaring }) => Effect.tap(declaring.withPermits(1)(made), (machine) => machine.start())
)

/** Makes a machine while the test runs; see `DriverService.machine`. */
export const declare: (
  all: DriverMachines,
  name: string,
  declared: MachineSpec.MachineOptions
) => Effect.Effect<Machine, DeclareError> = Effect.fnUntraced(
  function* (all, name, declared) {
    const { conditions, handles, options, scope } = all
    const spec = yield* MachineSpec.check(name, declared, options.networks)
    yield* checkName(all, name)
    const others = [...handles.values()]
    yield* Hypervisors.check(yield* Hypervisors.of(all.backend, spec), spec, all.fabrics)
    yield* checkAddresses(all, spec)
    yield* MachineChecks.checkForwards([...others.map((other) => other.spec), spec])
    yield* Effect.forEach(MachineSpec.toolsOf([spec]), (tool) => HostProcess.locate(tool))
    const self = Addresses.number(spec, nextNumber(all))
    yield* checkConflicts(all, spec, self)
    const handle = yield* add(all, spec, self)
    yield* refreshNames(all, others)
    // The first use of the machine fails with what its start failed with.
    if (spec.autoStart) {
      const start = Effect.ignore(conditions.unguarded(handle.machine.start()))
      yield* Effect.forkIn(start, scope, { startImmediately: true })
    }
    return handle.machine
  },
  (made, { declaring }) => declaring.withPermits(1)(made)
)
