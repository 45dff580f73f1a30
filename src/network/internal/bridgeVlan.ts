/** A VLAN of the fabric "bridge": what it should be, and the commands that make it so. */
import * as Path from "node:path"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as DynamicSupervisor from "../../actors/DynamicSupervisor.ts"
import * as Supervisor from "../../actors/Supervisor.ts"
import * as HostProcess from "../../host/HostProcess.ts"
import type { Packet } from "../Capture.ts"
import * as Capture from "../Capture.ts"
import * as Impairment from "../Impairment.ts"
import { FabricUnavailable, type Options, type Port, type PortCounts, type Vlan, VlanFailed } from "../Vlan.ts"
import * as Capturing from "./bridgeCapture.ts"
import * as Commands from "./bridgeCommands.ts"
import * as Plugs from "./bridgePlugs.ts"
import type { CommandFailed, Namespace } from "./namespace.ts"
import type { Groups } from "./vlanState.ts"

/** What a VLAN is made of. */
export interface Parts extends Options {
  readonly namespace: Namespace
  /** The supervisor of what is plugged in. */
  readonly cables: DynamicSupervisor.DynamicSupervisorPid
  readonly limits: {
    readonly impair: FabricUnavailable | undefined
    readonly partition: FabricUnavailable | undefined
  }
  /** Resolves with the reason when the namespace has ended. */
  readonly lost: Effect.Effect<string>
}

interface Impaired {
  readonly direction: "out" | "in" | "both"
  readonly impairment: Impairment.Impairment
}

interface Place {
  readonly devices: Commands.Devices
  readonly port: Port
  /** In the order in which they were set: the last one of a direction holds. */
  readonly impairments: Map<number, Impaired>
  /** Whether a direction has a queue that an impairment has made. */
  readonly queued: { out: boolean; in: boolean }
  counts: PortCounts
}

/** How long a card may take to listen. */
const plugWithin = Duration.seconds(10)

const noCounts: PortCounts = { sent: 0, received: 0, lost: 0, duplicated: 0, corrupted: 0, reordered: 0 }

export class BridgeVlan {
  private readonly places = new Map<string, Place>()
  private readonly partitions = new Map<number, Groups>()
  private readonly watchers = new Set<(name: string, devices: Commands.Devices) => Effect.Effect<unknown>>()
  private readonly one = Semaphore.makeUnsafe(1)
  private readonly unplugged = Deferred.makeUnsafe<VlanFailed>()
  private last = 0
  private readonly parts: Parts

  constructor(parts: Parts) {
    this.parts = parts
  }

  /** Makes its bridge. */
  get begin(): Effect.Effect<void, VlanFailed> {
    const { hub = false, vlan } = this.parts
    return Effect.asVoid(this.run(Commands.makeVlan(vlan, hub)))
  }

  get service(): Vlan {
    return {
      number: this.parts.vlan,
      // A namespace that has ended is told of by `lost`.
      port: (name) => Effect.orDie(this.port(name)),
      partition: (groups) => this.partition(groups.map((group) => new Set(group))),
      heal: Effect.suspend(() => {
        this.partitions.clear()
        const impaired = [...this.places.values()].filter(({ impairments }) => impairments.size > 0)
        return Effect.andThen(
          Effect.ignore(this.separate()),
          Effect.forEach(impaired, ({ port }) => port.heal, { discard: true })
        )
      }),
      capture: Capture.stream((see) => this.watch(see)),
      watch: (see) => this.watch(see),
      lost: Effect.raceFirst(
        Effect.map(this.parts.lost, (reason) => this.failed(`${reason} while the test ran`)),
        Deferred.await(this.unplugged)
      )
    }
  }

  /** A card has lost its way to the VLAN. What is stopped on purpose is interrupted, and does not come here. */
  private lose(reason: string, output = "") {
    return Deferred.succeed(this.unplugged, this.failed(`${reason} while the test ran`, output))
  }

  private failed(reason: string, output = ""): VlanFailed {
    return new VlanFailed({ vlan: this.parts.vlan, reason, output })
  }

  private run(script: string): Effect.Effect<string, VlanFailed> {
    return Effect.mapError(this.parts.namespace.run(script), ({ output }) =>
      this.failed("a command in its network namespace failed", output)
    )
  }

  private port(name: string): Effect.Effect<Port, VlanFailed> {
    return Effect.suspend(() => {
      const known = this.places.get(name)
      if (known !== undefined) return Effect.succeed(known.port)
      const devices = Commands.devicesOf(this.parts.vlan, this.places.size + 1)
      return Effect.gen({ self: this }, function* () {
        const place = this.placeOf(name, devices)
        // What the kernel has must be known: the next port takes the next number.
        yield* Effect.uninterruptible(
          Effect.andThen(
            this.run(Commands.makePort(this.parts.vlan, devices)),
            Effect.sync(() => this.places.set(name, place))
          )
        )
        // Partitions are of names, which may be those of ports to come.
        if (this.partitions.size > 0) yield* Effect.ignore(this.separate())
        for (const watch of this.watchers) yield* watch(name, devices)
        return place.port
      })
    }).pipe(this.one.withPermits(1))
  }

  private placeOf(name: string, devices: Commands.Devices): Place {
    const { directory, namespace, vlan } = this.parts
    const folder = Path.join(directory, `vde${vlan}-${devices.bridge}.ctl`)
    let adapter: Effect.Effect<string, HostProcess.HostProcessError | VlanFailed> | undefined
    let device: Effect.Effect<string, VlanFailed> | undefined
    const port: Port = {
      vlan,
      name,
      plugIn: (path) => this.plugIn(name, devices, path),
      vde: Effect.suspend(() => (adapter ??= shared(this.vde(name, devices, folder)))),
      impair: ({ direction = "out", ...options }) =>
        this.impair(name, { direction, impairment: Impairment.make(options) }),
      heal: Effect.suspend(() => {
        this.places.get(name)?.impairments.clear()
        return Effect.ignore(this.apply(name))
      }),
      counts: Effect.suspend(() => this.counts(name)),
      tap: {
        netdev: `helper=${namespace.helper(devices.bridge).replaceAll(",", ",,")}`,
        device: Effect.suspend(
          () => (device ??= shared(Effect.as(this.run(Commands.makeTap(devices, devices.tap)), devices.tap)))
        ),
        inside: namespace.inside,
        setLink: (up) => Effect.asVoid(this.run(Commands.setLink(devices, up)))
      }
    }
    return { devices, port, impairments: new Map(), queued: { out: false, in: false }, counts: noCounts }
  }

  /** Carries a card's frames in a process of its own, which ends with its QEMU. */
  private plugIn(name: string, { bridge }: Commands.Devices, path: string): Effect.Effect<void, VlanFailed> {
    const { cables, directory, namespace } = this.parts
    const connected = Deferred.makeUnsafe<void, VlanFailed>()
    const body = Plugs.carry(namespace, { name, bridge, directory }, path, Deferred.succeed(connected, undefined)).pipe(
      Effect.scoped,
      Effect.catch((error) => {
        const failure = "output" in error ? this.failed(error.reason, error.output) : this.failed(error.message)
        return Effect.flatMap(Deferred.fail(connected, failure), (isFirst) =>
          isFirst ? Effect.void : this.lose(failure.reason, failure.output)
        )
      })
    )
    return Effect.gen({ self: this }, function* () {
      const { pid } = yield* Effect.orDie(
        DynamicSupervisor.startChild(cables, Supervisor.child(name, body, { restart: "temporary" }))
      )
      const end = pid === undefined ? Effect.void : Effect.ignore(DynamicSupervisor.terminateChild(cables, pid))
      const late = this.failed(`could not connect to ${name} at ${path} within ${Duration.format(plugWithin)}`)
      yield* Effect.timeoutOrElse(Deferred.await(connected), {
        duration: plugWithin,
        orElse: () => Effect.andThen(end, Effect.fail(late))
      }).pipe(Effect.onInterrupt(() => end))
    })
  }

  private vde(name: string, devices: Commands.Devices, folder: string) {
    const started = Deferred.makeUnsafe<string, HostProcess.HostProcessError | VlanFailed>()
    const body = Effect.gen({ self: this }, function* () {
      const { exited } = yield* Plugs.vde(this.parts.namespace, devices, folder).pipe(
        Effect.mapError((error) => ("output" in error ? this.failed(error.reason, error.output) : error)),
        Effect.onExit((exit) =>
          Deferred.done(
            started,
            Exit.map(exit, () => folder)
          )
        )
      )
      const status = yield* exited
      yield* this.lose(`${name}'s vde_switch ended with ${HostProcess.describeStatus(status)}`)
    }).pipe(Effect.scoped, Effect.ignore)
    const child = Supervisor.child(`${name} (VDE)`, body, { restart: "temporary" })
    return Effect.andThen(Effect.orDie(DynamicSupervisor.startChild(this.parts.cables, child)), Deferred.await(started))
  }

  /** Does what the commands of `refusing` do; their failure is why it cannot be done here. */
  private refusing(doing: string, script: string): Effect.Effect<void, FabricUnavailable> {
    const refused = ({ output }: CommandFailed) =>
      new FabricUnavailable({ doing, reason: output, advice: "see whether vmtest doctor can tell more" })
    return Effect.asVoid(Effect.mapError(this.parts.namespace.run(script), refused))
  }

  private impair(name: string, set: Impaired): Effect.Effect<void, FabricUnavailable, Scope.Scope> {
    const { limits } = this.parts
    if (limits.impair !== undefined) return Effect.fail(limits.impair)
    const key = ++this.last
    const undo = Effect.suspend(() =>
      this.places.get(name)?.impairments.delete(key) === true ? Effect.ignore(this.apply(name)) : Effect.void
    )
    const act = Effect.suspend(() => {
      this.places.get(name)?.impairments.set(key, set)
      return Effect.tapError(this.apply(name), () => undo)
    })
    return Effect.acquireRelease(act, () => undo)
  }

  private apply(name: string): Effect.Effect<void, FabricUnavailable> {
    const place = this.places.get(name)
    if (place === undefined) return Effect.void
    const { devices, impairments, queued } = place
    const holds = (direction: "out" | "in"): Impairment.Impairment | undefined => {
      const last = [...impairments.values()]
        .filter((set) => set.direction === direction || set.direction === "both")
        .at(-1)
      if (last === undefined) return queued[direction] ? Commands.unimpaired : undefined
      queued[direction] = true
      return last.impairment
    }
    const both = { out: holds("out"), in: holds("in") }
    if (both.out === undefined && both.in === undefined) return Effect.void
    return this.refusing("impair links", Commands.impair(devices, both))
  }

  private counts(name: string): Effect.Effect<PortCounts> {
    const place = this.places.get(name)
    if (place === undefined) return Effect.succeed(noCounts)
    return this.parts.namespace.run(Commands.count(place.devices)).pipe(
      Effect.map((printed) => {
        place.counts = { ...noCounts, ...Commands.countsIn(printed, place.devices) }
        return place.counts
      }),
      // Those of a namespace that has ended are its last ones.
      Effect.orElseSucceed(() => place.counts)
    )
  }

  private partition(groups: Groups): Effect.Effect<void, FabricUnavailable, Scope.Scope> {
    const { limits } = this.parts
    if (limits.partition !== undefined) return Effect.fail(limits.partition)
    const key = ++this.last
    const undo = Effect.suspend(() => (this.partitions.delete(key) ? Effect.ignore(this.separate()) : Effect.void))
    const act = Effect.suspend(() => {
      this.partitions.set(key, groups)
      return Effect.tapError(this.separate(), () => undo)
    })
    return Effect.acquireRelease(act, () => undo)
  }

  private separate(): Effect.Effect<void, FabricUnavailable> {
    if (this.parts.limits.partition !== undefined) return Effect.void
    const devices = new Map([...this.places].map(([name, place]) => [name, place.devices]))
    const pairs = Commands.separated(devices, [...this.partitions.values()])
    return this.refusing("separate machines", Commands.partition(this.parts.vlan, pairs))
  }

  /** Listens at each port, also at those to come. */
  private watch(see: (packet: Packet) => void): Effect.Effect<void, FabricUnavailable, Scope.Scope> {
    return Effect.gen({ self: this }, function* () {
      const command = yield* Capturing.tcpdump
      const scope = yield* Effect.scope
      const { namespace } = this.parts
      const watch = (from: string, devices: Commands.Devices) =>
        Effect.ignore(Scope.provide(Capturing.start({ command, namespace, devices, from, see }), scope))
      yield* Effect.addFinalizer(() => Effect.sync(() => this.watchers.delete(watch)))
      // Not while a port is made, which tells its watchers itself.
      yield* this.one.withPermits(1)(
        Effect.suspend(() => {
          this.watchers.add(watch)
          return Effect.forEach(this.places, ([name, { devices }]) => watch(name, devices), {
            concurrency: "unbounded",
            discard: true
          })
        })
      )
    })
  }
}

/** An effect that runs once, for all who ask for it, and to its end whoever asked. One that failed runs again for the next. */
const shared = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> => {
  let running: Deferred.Deferred<A, E> | undefined
  return Effect.suspend(() => {
    if (running !== undefined) return Deferred.await(running)
    const result = Deferred.makeUnsafe<A, E>()
    running = result
    return Effect.uninterruptible(
      Effect.onExit(effect, (exit) => {
        if (Exit.isFailure(exit)) running = undefined
        return Deferred.done(result, exit)
      })
    )
  })
}
