/**
 * The fabric `"bridge"`: VLANs that are bridges of Linux, in a network namespace of the test's own.
 *
 * It is for hypervisors that want TAP devices, and for QEMU where a test asks for it. It needs root, or a kernel that gives this user a namespace in which
 * `/dev/net/tun` can be opened. Nothing of it has a name on the host: a run that is killed leaves no namespace, no bridge and no TAP.
 *
 * The namespace is held by a process of the test's tree. If that ends, all of its VLANs are lost.
 *
 * **Example** (A TAP for a hypervisor)
 *
 * ```ts
 * import { Effect } from "effect"
 *
 * Effect.gen(function* () {
 *   const bridges = yield* Bridge.make
 *   const vlan = yield* bridges.vlan({ vlan: 1, directory: "/run/test" })
 *   const { tap } = yield* vlan.port("web eth1")
 *   if (tap === undefined) return
 *   const firecracker = tap.inside({ command: "firecracker", args: ["--api-sock", "api.sock"] })
 *   const device = yield* tap.device // its host_dev_name
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as DynamicSupervisor from "../actors/DynamicSupervisor.ts"
import * as Supervisor from "../actors/Supervisor.ts"
import * as Capturing from "./internal/bridgeCapture.ts"
import { BridgeVlan } from "./internal/bridgeVlan.ts"
import * as Namespace from "./internal/namespace.ts"
import { FabricUnavailable, type Options, type Vlan, type VlanFailed } from "./Vlan.ts"

/** What needs more than a network does; each is undefined where it works. */
export interface Limits {
  /** Impairing links. */
  readonly impair: FabricUnavailable | undefined
  /** Separating machines. */
  readonly partition: FabricUnavailable | undefined
  /** Capturing packets. */
  readonly capture: FabricUnavailable | undefined
}

/** A namespace for the VLANs of one test. */
export interface Bridges {
  /** Starts a VLAN in it. */
  readonly vlan: (options: Options) => Effect.Effect<Vlan, VlanFailed, Scope.Scope>
  /** What cannot be done on it here, and why. */
  readonly limits: Limits
  /** Whether it is in a user namespace, made without root. */
  readonly unprivileged: boolean
}

const refusal = (doing: string, refused: Namespace.Refused) => new FabricUnavailable({ doing, ...refused })

const optional = (doing: string, refused: Namespace.Refused | undefined) =>
  refused === undefined ? undefined : refusal(doing, refused)

/** Makes a namespace, held by a child of a dynamic supervisor, which must not end before the scope closes. */
export const start: (
  network: DynamicSupervisor.DynamicSupervisorPid
) => Effect.Effect<Bridges, FabricUnavailable, Scope.Scope> = Effect.fnUntraced(function* (network) {
  const made = Deferred.makeUnsafe<Namespace.Namespace, Namespace.Refused>()
  const lost = Deferred.makeUnsafe<string>()
  const hold = Effect.gen(function* () {
    const namespace = yield* Effect.onExit(Namespace.make, (exit) => Deferred.done(made, exit))
    yield* Deferred.succeed(lost, yield* namespace.ended)
  }).pipe(Effect.scoped, Effect.ignore)
  yield* Effect.orDie(
    DynamicSupervisor.startChild(network, Supervisor.child("network namespace", hold, { restart: "temporary" }))
  )
  const namespace = yield* Effect.mapError(Deferred.await(made), (refused) => refusal("connect machines", refused))
  const limits = {
    impair: optional("impair links", namespace.lacks.netem),
    partition: optional("separate machines", namespace.lacks.nft),
    capture: yield* Effect.match(Capturing.tcpdump, { onFailure: (error) => error, onSuccess: () => undefined })
  }
  return {
    limits,
    unprivileged: namespace.unprivileged,
    vlan: Effect.fnUntraced(function* (options) {
      // Its own supervisor, as what is plugged in has an end of its own.
      const { pid } = yield* Effect.orDie(
        DynamicSupervisor.startChild(network, DynamicSupervisor.childSpec(`VLAN ${options.vlan}`))
      )
      const cables = pid as DynamicSupervisor.DynamicSupervisorPid
      const vlan = new BridgeVlan({ ...options, namespace, cables, limits, lost: Deferred.await(lost) })
      yield* vlan.begin
      return vlan.service
    })
  } satisfies Bridges
})

/** A namespace with a supervisor of its own, until the scope closes. */
export const make: Effect.Effect<Bridges, FabricUnavailable, Scope.Scope> = Effect.flatMap(
  Effect.orDie(DynamicSupervisor.scoped({}, { label: "Network" })),
  start
)

/** Whether the fabric works on this host, found out by making it. */
export const probe: Effect.Effect<Omit<Bridges, "vlan">, FabricUnavailable> = Effect.scoped(
  Effect.gen(function* () {
    const bridges = yield* make
    const vlan = yield* Effect.mapError(
      bridges.vlan({ vlan: 1, directory: "/" }),
      ({ message }) =>
        new FabricUnavailable({ doing: "connect machines", reason: message, advice: "run vmtest as root" })
    )
    yield* vlan.port("probe eth1")
    return bridges
  })
)
