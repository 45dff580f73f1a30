/**
 * VLANs: a virtual Ethernet switch for each, which the cards of machines plug into.
 *
 * The switch is a supervised process of the test's own tree. QEMU's cards plug into it over unix sockets, without privileges and without a program
 * in between; programs that only know VDE, such as the start scripts of NixOS, get a `vde_switch` that leads to their port. It learns addresses as a
 * switch does, or is a hub, carries frames of any size and with any VLAN tags, loses and delays them as impairments demand, and shows them to
 * captures.
 *
 * If the switch crashes, its supervisor starts it again: cards stay plugged in, what they send meanwhile waits in their sockets, and impairments,
 * partitions and counts hold as before. Only the frames that an impairment delays at that moment are lost.
 *
 * **Example** (Starting a switch)
 *
 * ```ts
 * import { Effect } from "effect"
 *
 * Effect.gen(function* () {
 *   const vlan = yield* Vlan.make({ vlan: 1, directory: "/run/test" })
 *   const port = yield* vlan.port("web eth1")
 *   yield* port.plugIn("/run/test/web/net1") // where QEMU's -netdev stream,server=on listens
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import * as DynamicSupervisor from "../actors/DynamicSupervisor.ts"
import * as Process from "../actors/Process.ts"
import * as Supervisor from "../actors/Supervisor.ts"
import type { HostProcessError } from "../host/HostProcess.ts"
import type { Packet } from "./Capture.ts"
import * as Capture from "./Capture.ts"
import * as Impairment from "./Impairment.ts"
import * as SwitchPlugs from "./internal/switchPlugs.ts"
import * as switchProcess from "./internal/switchProcess.ts"
import { VlanState } from "./internal/vlanState.ts"
import type { PortCounts } from "./PortCounts.ts"
import { Seed } from "./Seed.ts"

export type {
  /** What passed a port since it was made. */
  PortCounts
} from "./PortCounts.ts"

/** The network did not start, or it ended while the test ran. `output` is the last of what its programs printed. */
export class VlanFailed extends Schema.TaggedError<VlanFailed>()("VlanFailed", {
  vlan: Schema.Int,
  reason: Schema.String,
  output: Schema.String
}) {
  override get message() {
    return `VLAN ${this.vlan}: ${this.reason}${this.output === "" ? "" : `: ${this.output}`}`
  }
}

/** The fabric `"bridge"` does not work on this host, or not for what a test asked of it. */
export class FabricUnavailable extends Schema.TaggedError<FabricUnavailable>()("FabricUnavailable", {
  /** What cannot be done: `connect machines`, `impair links`, `separate machines`, `capture packets`. */
  doing: Schema.String,
  reason: Schema.String,
  /** What to do: `run vmtest as root`. */
  advice: Schema.String,
  /** The command that root runs to do it, where one does: `apt-get install tcpdump`. */
  command: Schema.optional(Schema.String)
}) {
  override get message() {
    return `the fabric "bridge" cannot ${this.doing} on this host: ${this.reason}; ${this.advice}, or use fabric: "switch" (QEMU only)`
  }
}

/** The TAP device of a port, on the fabric `"bridge"`. */
export interface Tap {
  /**
   * What follows `tap,id=…,` in a `-netdev` option of QEMU, which can run outside of the namespace. Its TAP is there while it runs.
   */
  readonly netdev: string
  /** The name of a TAP for a hypervisor that runs in the namespace and opens it by its name. It is made by the first use and outlives the hypervisor. */
  readonly device: Effect.Effect<string, VlanFailed>
  /**
   * The same command, run in the namespace by `nsenter`, which becomes it. Where the namespace is unprivileged, the program keeps no death signal from
   * before; start it with `wholeGroup`.
   */
  readonly inside: (command: { readonly command: string; readonly args: ReadonlyArray<string> }) => {
    readonly command: string
    readonly args: ReadonlyArray<string>
  }
  /** Pulls (`false`) or plugs the cable, for hypervisors that cannot; the guest's carrier stays. */
  readonly setLink: (up: boolean) => Effect.Effect<void, VlanFailed>
}

/** A card's place on a VLAN. It is there before its machine starts and after it has ended, and keeps its impairments. */
export interface Port {
  readonly vlan: number
  /** The card: machine and interface, such as `web eth1`. */
  readonly name: string
  /** Connects a card that listens at a unix socket (`-netdev stream,server=on`), or will within 10 seconds. It is unplugged when QEMU ends. */
  readonly plugIn: (path: string) => Effect.Effect<void, VlanFailed>
  /** The folder that `-netdev vde,sock=` takes; `vde_switch` and `vde_plug` are started by the first use. */
  readonly vde: Effect.Effect<string, HostProcessError | VlanFailed>
  /** Impairs the link until the scope closes. The last impairment of a direction holds. */
  readonly impair: (
    options: typeof Impairment.ImpairmentOptions.Type
  ) => Effect.Effect<void, FabricUnavailable, Scope.Scope>
  /** Takes all impairments back. */
  readonly heal: Effect.Effect<void>
  /** What passed it since it was made. */
  readonly counts: Effect.Effect<PortCounts>
  /** Its TAP; undefined on the fabric `"switch"`. */
  readonly tap?: Tap | undefined
}

/** The port that programs of the host plug into through VDE: no machine and no service can have its name. */
export const otherPrograms = ".other-programs"

/** A running VLAN. */
export interface Vlan {
  readonly number: number
  /** The port of a card, which is made by the first use. */
  readonly port: (name: string) => Effect.Effect<Port>
  /**
   * Separates ports from each other until the scope closes: those of one group reach each other and the ports that are in no group. One group alone is
   * separated from everything else. A group has the names of ports, such as `web eth1`, or of machines, such as `web`, which stand for all their ports,
   * later ones included. Several partitions add up.
   */
  readonly partition: (
    groups: ReadonlyArray<ReadonlyArray<string>>
  ) => Effect.Effect<void, FabricUnavailable, Scope.Scope>
  /** Takes all partitions back, and all impairments of its ports. */
  readonly heal: Effect.Effect<void>
  /** Every frame from now on, when its sender has sent it. A reader that is slower than the network keeps what it has not read in memory. */
  readonly capture: Stream.Stream<Packet, Capture.CaptureFailed | FabricUnavailable>
  /** Hands over every frame until the scope closes, as `capture` gives them. When it has closed, all that was sent before was handed over. */
  readonly watch: (watcher: Capture.Watcher) => Effect.Effect<void, FabricUnavailable, Scope.Scope>
  /** Succeeds with the error when the VLAN has ended while nobody stopped it. */
  readonly lost: Effect.Effect<VlanFailed>
}

/** What a VLAN is made of. */
export interface Options {
  /** 1 to 254. */
  readonly vlan: number
  /** A folder of the run for sockets and logs. */
  readonly directory: string
  /** Whether every frame reaches every port. Default false. */
  readonly hub?: boolean | undefined
}

/** Starts a VLAN as a child of a dynamic supervisor, which must not end before the scope closes. */
export const start: (
  network: DynamicSupervisor.DynamicSupervisorPid,
  options: Options
) => Effect.Effect<Vlan, never, Scope.Scope> = Effect.fnUntraced(function* (network, { directory, hub = false, vlan }) {
  const state = new VlanState()
  const lost = Deferred.makeUnsafe<VlanFailed>()
  const clock = yield* Clock.Clock
  const failed = (reason: string, output = "") => new VlanFailed({ vlan, reason, output })
  // Its own supervisor, so that the switch of one VLAN that keeps crashing ends no other.
  const { pid } = yield* Effect.orDie(
    DynamicSupervisor.startChild(
      network,
      Supervisor.supervisor(
        `VLAN ${vlan}`,
        {
          intensity: 3,
          autoShutdown: "anySignificant",
          children: [
            Supervisor.child("switch", switchProcess.run(state, hub), { restart: "permanent" }),
            // New ones would have no cards.
            DynamicSupervisor.childSpec("cables", {}, { restart: "temporary", significant: true })
          ]
        },
        { restart: "temporary" }
      )
    )
  )
  const supervisor = pid as Supervisor.SupervisorPid
  const cables = (yield* Effect.orDie(Supervisor.whichChildren(supervisor))).find(({ id }) => id === "cables")
    ?.child as DynamicSupervisor.DynamicSupervisorPid
  // The cables end with the switch. An orderly end comes after that of the scope.
  yield* Process.awaitExit(cables).pipe(
    Effect.andThen(Effect.suspend(() => Deferred.succeed(lost, failed(endOf(state))))),
    Effect.forkScoped({ startImmediately: true })
  )
  const plugs = SwitchPlugs.make({ state, cables, directory, failed, lose: (error) => Deferred.succeed(lost, error) })
  const ports = new Map<string, Port>()
  const portOf = (name: string): Port => {
    const known = ports.get(name)
    if (known !== undefined) return known
    state.addPort(name)
    const port: Port = {
      vlan,
      name,
      plugIn: (path) => plugs.plugIn(name, path),
      vde: plugs.vde(name, `vde${vlan}-${ports.size + 1}`),
      impair: ({ direction = "out", ...options }) =>
        Effect.flatMap(Seed, (seed) =>
          undone(() =>
            state.impair(name, { direction, impairment: Impairment.make({ ...options, seed: options.seed ?? seed }) })
          )
        ),
      heal: Effect.sync(() => state.heal(name)),
      counts: Effect.sync(() => state.counts(name))
    }
    ports.set(name, port)
    return port
  }
  const watch = ({ see }: Capture.Watcher) =>
    undone(() =>
      state.listen((frame, from, fate) =>
        see({ time: clock.currentTimeNanosUnsafe(), from, fate, frame: Buffer.from(frame) })
      )
    )
  return {
    number: vlan,
    port: (name) => Effect.sync(() => portOf(name)),
    partition: (groups) => undone(() => state.partition(groups.map((group) => new Set(group)))),
    heal: Effect.sync(() => {
      state.healPartitions()
      for (const name of state.names) state.heal(name)
    }),
    capture: Capture.stream(watch),
    watch,
    lost: Deferred.await(lost)
  }
})

/** Why a VLAN has ended: the cables end first if they kept crashing, and last if the switch did. */
const endOf = ({ defect, isRunning }: VlanState): string =>
  isRunning ? "its cables kept crashing" : `its switch kept crashing${defect === "" ? "" : `: ${defect}`}`

/** A VLAN with a supervisor of its own, until the scope closes. */
export const make = (options: Options): Effect.Effect<Vlan, never, Scope.Scope> =>
  Effect.flatMap(Effect.orDie(DynamicSupervisor.scoped({}, { label: "Network" })), (network) => start(network, options))

/** Does something that is undone when the scope closes. */
const undone = (act: () => () => void): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(Effect.acquireRelease(Effect.sync(act), (undo) => Effect.sync(undo)))
