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
import { qemuValue } from "../../host/Quote.ts"
import * as Capture from "../Capture.ts"
import * as Impairment from "../Impairment.ts"
import * as PortCounts from "../PortCounts.ts"
import { Seed } from "../Seed.ts"
import { type FabricUnavailable, type Options, type Port, type Vlan, VlanFailed } from "../Vlan.ts"
import * as Capturing from "./bridgeCapture.ts"
import * as Commands from "./bridgeCommands.ts"
import { BridgeFaults, type Limits } from "./bridgeFaults.ts"
import * as Plugs from "./bridgePlugs.ts"
import type { Namespace } from "./namespace.ts"
import { plugWithin } from "./switchPlugs.ts"

/** What a VLAN is made of. */
export interface Parts extends Options {
  readonly namespace: Namespace
  /** The supervisor of what is plugged in. */
  readonly cables: DynamicSupervisor.DynamicSupervisorPid
  readonly limits: Limits
  /** Resolves with the reason when the namespace has ended. */
  readonly lost: Effect.Effect<string>
}

interface Place {
  readonly devices: Commands.Devices
  readonly port: Port
  /** As they were last read. */
  counts: PortCounts.PortCounts
}

export class BridgeVlan {
  private readonly places = new Map<string, Place>()
  private readonly watchers = new Set<(name: string, devices: Commands.Devices) => Effect.Effect<void>>()
  /** Makes one port at a time, as each takes the next number. */
  private readonly making = Semaphore.makeUnsafe(1)
  private readonly unplugged = Deferred.makeUnsafe<VlanFailed>()
  private readonly parts: Parts
  private readonly faults: BridgeFaults

  constructor(parts: Parts) {
    this.parts = parts
    this.faults = new BridgeFaults(parts.vlan, parts.namespace, parts.limits)
  }

  /** Makes its bridge. */
  get begin(): Effect.Effect<void, VlanFailed> {
    const { hub = false, vlan } = this.parts
    return Effect.asVoid(this.run(Commands.makeVlan(vlan, hub)))
  }

  get service(): Vlan {
    return {
      number: this.parts.vlan,
      // `lost` tells when the namespace has ended.
      port: (name) => Effect.orDie(this.port(name)),
      partition: (groups) => this.faults.partition(groups.map((group) => new Set(group))),
      heal: this.faults.healAll,
      capture: Capture.stream((watcher) => this.watch(watcher)),
      watch: (watcher) => this.watch(watcher),
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
        yield* this.faults.add(name, devices)
        for (const watch of this.watchers) yield* watch(name, devices)
        return place.port
      })
    }).pipe(this.making.withPermits(1))
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
        Effect.flatMap(Seed, (seed) => {
          const impairment = Impairment.make({ ...options, seed: options.seed ?? seed })
          return this.faults.impair(name, { direction, impairment })
        }),
      heal: this.faults.heal(name),
      counts: Effect.suspend(() => this.counts(name)),
      tap: {
        netdev: `helper=${qemuValue(namespace.helper(devices.bridge))}`,
        device: Effect.suspend(
          () => (device ??= shared(Effect.as(this.run(Commands.makeTap(devices, devices.tap)), devices.tap)))
        ),
        inside: namespace.inside,
        setLink: (up) => Effect.asVoid(this.run(Commands.setLink(devices, up)))
      }
    }
    return { devices, port, counts: PortCounts.none }
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

  private counts(name: string): Effect.Effect<PortCounts.PortCounts> {
    const place = this.places.get(name)
    if (place === undefined) return Effect.succeed(PortCounts.none)
    return this.parts.namespace.run(Commands.count(place.devices)).pipe(
      Effect.map((printed) => {
        place.counts = { ...PortCounts.none, ...Commands.countsIn(printed, place.devices) }
        return place.counts
      }),
      // Those of a namespace that has ended are its last ones.
      Effect.orElseSucceed(() => place.counts)
    )
  }

  /** Listens at each port, also at those to come. */
  private watch(watcher: Capture.Watcher): Effect.Effect<void, FabricUnavailable, Scope.Scope> {
    return Effect.gen({ self: this }, function* () {
      const command = yield* Capturing.tcpdump
      // They end together, as each waits for what is still on its way.
      const scope = yield* Effect.acquireRelease(Scope.make("parallel"), Scope.close)
      const { namespace } = this.parts
      const listen = (from: string, devices: Commands.Devices) =>
        Effect.flatMap(Scope.fork(scope, "sequential"), (own) =>
          Scope.provide(Capturing.start({ command, namespace, devices, from, watcher }), own)
        )
      const later = (from: string, devices: Commands.Devices) =>
        Effect.catch(listen(from, devices), ({ message: reason }) =>
          watcher.onEnd(new Capture.CaptureFailed({ card: from, reason, output: "" }))
        )
      yield* Effect.addFinalizer(() => Effect.sync(() => this.watchers.delete(later)))
      // Not while a port is made, which tells its watchers itself.
      yield* this.making.withPermits(1)(
        Effect.suspend(() => {
          this.watchers.add(later)
          return Effect.forEach(this.places, ([name, { devices }]) => listen(name, devices), {
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
