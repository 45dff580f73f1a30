/** One test's driver: the machines of a tree, and the service over them. */
import * as NodePath from "node:path"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { Backend } from "../../backends/Backend.ts"
import type { BackendUnavailable } from "../../backends/Backends.ts"
import * as Arguments from "../../guest/Arguments.ts"
import { InvalidArgument } from "../../guest/MachineError.ts"
import * as PollingCondition from "../../guest/PollingCondition.ts"
import * as Disk from "../../host/Disk.ts"
import { RunDirectory } from "../../host/RunDirectory.ts"
import type { Machine } from "../../machine/Machine.ts"
import type * as MachineTree from "../../machine/MachineTree.ts"
import * as NetworkSpec from "../../network/NetworkSpec.ts"
import { type FabricUnavailable, otherPrograms } from "../../network/Vlan.ts"
import { Driver, type DriverService, type ForkError, parameters } from "../Driver.ts"
import { ForkFailed } from "../ForkFailed.ts"
import type { ImageUnavailable } from "../ImageUnavailable.ts"
import * as Network from "../Network.ts"
import * as Overview from "../Overview.ts"
import * as Places from "../Places.ts"
import { Detailed, Reporter, type RunEvent } from "../RunEvent.ts"
import type { Folders, StateUnusable } from "../StatePlaces.ts"
import * as Suites from "../SuiteDriver.ts"
import * as Captures from "./captures.ts"
import type { DriverMachines } from "./driverMachines.ts"
import * as Machines from "./driverMachines.ts"
import { declaredHere, declaredIn, type Options } from "./driverOptions.ts"
import * as DriverTree from "./driverTree.ts"
import * as Forks from "./forks.ts"
import * as HostServices from "./hostServices.ts"
import * as Hypervisors from "./hypervisors.ts"
import * as MachineNames from "./machineNames.ts"
import { givingEffects, machinesOf, mustBeEffect, runBody } from "./refuse.ts"
import type { Saved } from "./saveAll.ts"
import * as Spans from "./spans.ts"
import * as Subtests from "./subtests.ts"
import * as Tracked from "./tracked.ts"
import * as Traffic from "./traffic.ts"

export interface Running {
  readonly service: DriverService
  /** The machines as they were declared, keyed by name. */
  readonly machines: Readonly<Record<string, Machine>>
  /** Starts the machines that start by themselves. */
  readonly begin: Effect.Effect<void, Effect.Error<ReturnType<DriverService["startAll"]>>>
  /** Runs the test's program as a process of the tree. */
  readonly script: DriverTree.DriverTree["script"]
  /** The servers of the test on its networks. */
  readonly services: HostServices.HostServices
  /** The machines as they are declared and numbered now, those of `DriverService.machine` included. */
  readonly handles: () => ReadonlyArray<MachineTree.Handle>
}

type Services = Backend | FileSystem.FileSystem | RunDirectory | Scope.Scope

/** In the snapshot store, or where that may only be read, in the folder of the run. */
const temporaryOf = ({ prefix, warm }: Options, folders: RunDirectory["Service"]): DriverMachines["temporary"] => {
  let made = 0
  const inRun = Effect.acquireRelease(
    Effect.suspend(() => folders.folder(`${prefix}-saved${++made}`)),
    Disk.removeTree
  )
  return Effect.catchTag(warm.store.temporary, "CacheUnwritable", () => inRun)
}

/** A tree without machines. */
const setUp = Effect.fnUntraced(function* (options: Options) {
  const folders = yield* RunDirectory
  const own = yield* PollingCondition.make
  const conditions = options.conditions === undefined ? own : PollingCondition.under(options.conditions, own)
  const emit = yield* Reporter
  const directory = yield* Effect.orDie(folders.folder(`${options.prefix}-net`))
  const backend = yield* Backend
  const declared = yield* Effect.forEach(options.machines, (spec) =>
    Effect.map(Hypervisors.of(backend, spec), (backend) => ({ spec, backend }))
  )
  const fabrics = Hypervisors.fabrics(options.networks, backend, declared)
  const tree = yield* DriverTree.make(directory, {
    onLost: (error) => conditions.abort(`VLAN ${error.vlan} is up`, error.message),
    networks: fabrics,
    watch: (vlan) => Effect.andThen(Captures.toFiles(options, emit)(vlan), Traffic.count(options, emit)(vlan)),
    onProcess: (yield* Detailed) ? (change) => emit({ _tag: "ProcessChange", test: options.test, change }) : undefined
  })
  const declaring = yield* Semaphore.make(1)
  const handles: DriverMachines["handles"] = new Map()
  const services = yield* HostServices.make({
    ...{ networks: options.networks, former: options.hosts ?? [], vlan: tree.vlan },
    ...{ supervisor: tree.network, directory },
    machines: () => Machines.neighbours({ handles }).map(({ self }) => self),
    refreshNames: Effect.suspend(() => Machines.refreshAll(handles.values())),
    log: (line) => emit({ _tag: "Log", test: options.test, line }),
    onLost: (error) => conditions.abort(`host service ${error.service}:${error.port} is up`, error.message),
    alone: declaring.withPermits(1)
  })
  const all: DriverMachines = {
    ...{ options, conditions, folders, tree, services, emit, declaring, handles, backend, fabrics },
    fs: yield* FileSystem.FileSystem,
    scope: yield* Effect.scope,
    temporary: temporaryOf(options, folders),
    starts: new Map(),
    plugged: new Map(),
    machines: {}
  }
  yield* Effect.addFinalizer(() => Effect.forEach(all.handles.values(), ({ retire }) => retire, { discard: true }))
  return all
})

/** What the driver of the fork number `number` is made of. */
const optionsOfFork = (all: DriverMachines, number: number, saved: Saved): Options => {
  const { conditions, options } = all
  const neighbours = Machines.neighbours(all)
  return {
    ...options,
    conditions,
    // A port of the host leads to one machine only: the original.
    machines: neighbours.map(({ spec }) => ({ ...spec, forwards: [] })),
    prefix: `${options.prefix}f${number}`,
    fork: `${options.fork ?? ""}-fork${number}`,
    declaredIn: {
      others: `fork ${number} of ${declaredHere(options)}`,
      machines: new Map(neighbours.map(({ spec }) => [spec.name, declaredIn(options, spec)]))
    },
    saved: { machines: saved, nodes: neighbours.map(({ self }) => self) }
  }
}

/** `DriverService.fork`, and what makes several forks of one saving. */
const makeFork = Effect.fnUntraced(function* (all: DriverMachines) {
  const { backend, conditions, emit, folders, fs } = all
  const forks = yield* Forks.make({ temporary: all.temporary, handles: () => Machines.neighbours(all) })
  let forked = 0

  const save = conditions.guard(forks.saved)

  const makeOne = Effect.fnUntraced(function* (saved: Saved) {
    forked += 1
    const number = forked
    const named = (event: RunEvent): RunEvent =>
      event._tag === "MachineEvent"
        ? { ...event, event: { ...event.event, machine: `${event.event.machine} (fork ${number})` } }
        : event
    const running = yield* make(optionsOfFork(all, number, saved)).pipe(
      Effect.provideService(Reporter, (event) => emit(named(event))),
      Effect.provideService(Backend, backend),
      Effect.provideService(FileSystem.FileSystem, fs),
      Effect.provideService(RunDirectory, folders),
      // Every image is there: the machines that are forked were started with them.
      Effect.orDie
    )
    yield* HostServices.adopt(all.services, running.services).pipe(
      Effect.mapError(({ message }) => new ForkFailed({ machine: "", reason: message }))
    )
    return { running, started: running.handles().filter(({ spec }) => saved.has(spec.name)) }
  })

  const forkOf = <A, E, R>(
    saving: typeof save,
    body: (machines: Readonly<Record<string, Machine>>, driver: DriverService) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | ForkError, Exclude<R, Driver | Scope.Scope>> =>
    Effect.gen(function* () {
      const { running, started } = yield* makeOne(yield* saving)
      const program = Effect.gen(function* () {
        yield* Machines.startAll(started)
        return yield* Effect.scoped(runBody("driver.fork's body", body(running.machines, running.service)))
      })
      return yield* running.script(Effect.provideService(program, Driver, running.service))
    }).pipe(
      Effect.scoped,
      Effect.withSpan(...Spans.fork(Machines.neighbours(all).map(({ spec }) => spec.name)))
    ) as Effect.Effect<A, E | ForkError, Exclude<R, Driver | Scope.Scope>>

  const fork: Suites.Fork = (body) => forkOf(save, body)
  const base: Suites.Parts["base"] = Effect.map(
    save,
    (saved): Suites.Fork =>
      (body) =>
        forkOf(Effect.succeed(saved), body)
  )
  return { fork, base }
})

/** A network, if a machine of the test is on it. */
const networkOf = (all: DriverMachines, which: number | string) => {
  const { options, tree } = all
  const refuse = (reason: string) =>
    new InvalidArgument({ machine: "", method: "driver.network", argument: "network", value: which, reason })
  const found = NetworkSpec.find(options.networks, which)
  const number = Result.isSuccess(found) ? found.success.vlan : 0
  const members = () => Machines.membersOf(all, number)
  return Network.make({
    network: which,
    isMember: (name) =>
      members().some(({ spec }) => spec.name === name) ||
      all.services.nodes().some((node) => node.name === name && node.interfaces.some(({ vlan }) => vlan === number)),
    vlan: Effect.suspend(() => {
      if (Result.isFailure(found)) return Effect.fail(refuse(found.failure))
      return members().length > 0
        ? tree.vlan(number)
        : Effect.fail(refuse(`the test has no machine on network ${JSON.stringify(which)}`))
    })
  })
}

const makeService = (all: DriverMachines, fork: DriverService["fork"]): DriverService => {
  const { conditions, emit, handles, machines, options } = all
  return Arguments.checked<DriverService>(
    "",
    parameters,
    {
      machines: named(machines),
      fork,
      machine: (name, declared) => Machines.declare(all, name, declared),
      // Forks on networks of their own run from their beginning, and can have ended on purpose.
      startAll: () => Effect.suspend(() => Machines.startAll(Machines.neighbours(all))),
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
        Effect.flatMap(machinesOf("driver.waitAll: the argument", those), (machines) =>
          Effect.forEach(machines, givingEffects("driver.waitAll", wait), { concurrency: "unbounded" })
        ),
      network: (which) => networkOf(all, which),
      hostService: (given) =>
        Effect.map(all.services.serve(given), (service) => Tracked.methods(service.name, service)),
      log: (line) => emit({ _tag: "Log", test: options.test, line })
    },
    "driver."
  )
}

const placesOf = (
  { folders, handles, options, starts, tree }: DriverMachines,
  state: Folders | undefined
): Places.Places => {
  const machineFolder = (name: string) => Effect.orDie(folders.folder(`${options.prefix}-${name}`))
  const shared = Effect.orDie(folders.folder(`${options.prefix}-shared`))
  return {
    test: options.test,
    output: NodePath.resolve(options.output),
    run: folders.path,
    shared,
    machineFolder,
    stateFolder: (name) =>
      state === undefined
        ? Effect.map(machineFolder(name), (folder) => NodePath.join(folder, "state"))
        : Effect.succeed(state.machine(name)),
    sharedFolder:
      state === undefined
        ? Effect.map(shared, (folder) => NodePath.join(folder, "shared-xchg"))
        : Effect.succeed(state.shared),
    temporary: state?.temporary ?? folders.path,
    vlan: (number) =>
      Effect.flatMap(tree.vlan(number), (vlan) => Effect.flatMap(vlan.port(otherPrograms), ({ vde }) => vde)),
    vlans: () =>
      [...new Set([...handles.values()].flatMap(({ spec }) => spec.vlans.map(({ vlan }) => vlan)))].toSorted(
        (a, b) => a - b
      ),
    startCommand: (name) => starts.get(name)?.command ?? handles.get(name)?.shape.image.startScript?.command,
    changeStarts: (name, changes) => {
      starts.set(name, { ...starts.get(name), ...changes })
    },
    pid: (name) => handles.get(name)?.pid ?? Effect.succeed(undefined),
    launched: (name) => handles.get(name)?.launched ?? Effect.void,
    end: (name) => handles.get(name)?.end(),
    state: (name) => handles.get(name)?.summary().state
  }
}

/** The machines by name. A name that none of them has throws, with the names that there are, instead of being undefined. */
const named = (machines: Readonly<Record<string, Machine>>): Readonly<Record<string, Machine>> => {
  const get = (target: Readonly<Record<string, Machine>>, key: string | symbol): unknown => {
    // Code that shows or awaits a value asks for these.
    if (typeof key === "symbol" || key in target || key === "then" || key === "toJSON") return Reflect.get(target, key)
    const error = new TypeError(`the test has no machine ${MachineNames.missing(key, Object.keys(target))}`)
    // The line that asked comes first, as reporters of other tools show the first one.
    Error.captureStackTrace(error, get)
    throw error
  }
  return new Proxy(machines, { get })
}

/** A driver with the declared machines, which do not run yet; closing the scope ends everything that it started. */
export const make: (
  options: Options
) => Effect.Effect<Running, BackendUnavailable | FabricUnavailable | ImageUnavailable | StateUnusable, Services> =
  Effect.fnUntraced(function* (options) {
    const all = yield* setUp(options)
    yield* Machines.addDeclared(all)
    const { base, fork } = yield* makeFork(all)
    const running: Running = {
      service: Places.note(
        Tracked.methods("driver", makeService(all, fork)),
        placesOf(all, yield* Machines.placesOf(options))
      ),
      machines: named({ ...all.machines }),
      begin: Effect.suspend(() => {
        const starting = [...all.handles.values()].filter(({ spec }) => spec.autoStart)
        return Machines.startAll(starting).pipe(Effect.withSpan(...Spans.start(starting.map(({ spec }) => spec.name))))
      }),
      script: all.tree.script,
      services: all.services,
      handles: () => [...all.handles.values()]
    }
    Suites.note(running.service, { base, handles: running.handles, output: NodePath.resolve(options.output) })
    yield* Overview.register(running.service, { ...running, test: options.test, fork: options.fork })
    return running
  })
