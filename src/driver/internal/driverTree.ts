/**
 * The supervision tree of one test:
 *
 * ```text
 * Driver
 * ├─ Network   (DynamicSupervisor)  for each VLAN a switch, and the cables of the cards that are plugged in; the namespace of its bridges
 * ├─ Machines  (DynamicSupervisor)  a subtree for each boot
 * └─ Script    (Task)               the test's program
 * ```
 *
 * The script is last, so it ends first; the switches outlive everything that is plugged into them.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as DynamicSupervisor from "../../actors/DynamicSupervisor.ts"
import * as Process from "../../actors/Process.ts"
import * as Report from "../../actors/Report.ts"
import * as Supervisor from "../../actors/Supervisor.ts"
import * as Task from "../../actors/Task.ts"
import * as Bridge from "../../network/Bridge.ts"
import type { NetworkSpec } from "../../network/NetworkSpec.ts"
import * as Vlan from "../../network/Vlan.ts"
import { ScriptProcess } from "./testContext.ts"
import * as WatchTree from "./watchTree.ts"

export interface DriverTree {
  /** The supervisor of the VLANs, and of what serves ports of the host on them. */
  readonly network: DynamicSupervisor.DynamicSupervisorPid
  /** The supervisor of the machines' boots. */
  readonly machines: DynamicSupervisor.DynamicSupervisorPid
  /** A VLAN, whose switch is started by the first call. */
  readonly vlan: (vlan: number) => Effect.Effect<Vlan.Vlan>
  /**
   * Runs a program as the tree's script process, and gives its result; interruption ends the process.
   *
   * Fails with `VlanFailed` if a VLAN ends, because its machines still run, but reach each other no more.
   */
  readonly script: <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Vlan.VlanFailed, R>
}

/** The events of the machines and the test's result say what happens to the tree, so its crashes are logged only on request. */
const quietByDefault = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.updateContext(effect, (context: Context.Context<R>) =>
    context.mapUnsafe.has(Report.Reports.key) ? context : Context.add(context, Report.Reports, "quiet")
  )

/** What concerns the VLANs of a tree. */
export interface VlanOptions {
  /** Is told of one that ends, as there may be no script that could fail. Default: nothing. */
  readonly onLost?: (error: Vlan.VlanFailed) => Effect.Effect<void>
  /** Those that the test declares. Default: every VLAN is there. */
  readonly networks?: ReadonlyArray<NetworkSpec>
  /** Whether packets are to be captured: then it fails where that cannot be done. Default false. */
  readonly captures?: boolean
  /** Sees each VLAN before anything is plugged into it, until everything has ended. Default: nothing. */
  readonly watch?: (vlan: Vlan.Vlan) => Effect.Effect<void, never, Scope.Scope>
  /** Hears of the processes of the tree. Default: nothing does. */
  readonly onProcess?: ((change: WatchTree.Change) => Effect.Effect<void>) | undefined
}

/**
 * A tree that is shut down, script first, when the scope closes. `directory` is for what plugs into its VLANs. It fails if one of the networks cannot be
 * had on this host.
 */
export const make = Effect.fnUntraced(function* (
  directory: string,
  {
    captures = false,
    networks = [],
    onLost = () => Effect.void,
    onProcess,
    watch = () => Effect.void
  }: VlanOptions = {}
) {
  const scope = yield* Effect.scope
  // What watches sees the end of the tree, too.
  const watching = yield* Scope.fork(scope)
  const driver = yield* Effect.orDie(
    Supervisor.scoped(
      { children: [DynamicSupervisor.childSpec("Network"), DynamicSupervisor.childSpec("Machines")] },
      { label: "Driver" }
    ).pipe(quietByDefault)
  )
  if (onProcess !== undefined) yield* Scope.provide(WatchTree.watch(driver, onProcess), watching)
  const children = yield* Effect.orDie(Supervisor.whichChildren(driver))
  const childOf = (id: string) =>
    children.find((child) => child.id === id)?.child as DynamicSupervisor.DynamicSupervisorPid
  const network = childOf("Network")
  const isBridge = ({ fabric }: Pick<NetworkSpec, "fabric">) => fabric === "bridge"
  const bridges = networks.some(isBridge) ? yield* Bridge.start(network) : undefined
  if (captures && bridges?.limits.capture !== undefined) return yield* bridges.limits.capture
  const lost = Deferred.makeUnsafe<never, Vlan.VlanFailed>()
  const vlans = new Map<number, Deferred.Deferred<Vlan.Vlan>>()

  const vlan = (number: number) =>
    Effect.gen(function* () {
      const known = vlans.get(number)
      if (known !== undefined) return yield* Deferred.await(known)
      const started = Deferred.makeUnsafe<Vlan.Vlan>()
      vlans.set(number, started)
      const spec = networks.find(({ vlan }) => vlan === number)
      const options = { vlan: number, directory, hub: spec?.hub ?? false }
      const starting =
        bridges !== undefined && spec !== undefined && isBridge(spec)
          ? // The end of its namespace, which all of them have in common, is told of by those that have begun.
            Effect.orDie(bridges.vlan(options))
          : Vlan.start(network, options)
      const made = yield* starting.pipe(
        Scope.provide(scope),
        Effect.tap((started) => Scope.provide(watch(started), watching)),
        Effect.onExit((exit) => Deferred.done(started, exit)),
        // Others wait for it, too.
        Effect.uninterruptible
      )
      const lose = (error: Vlan.VlanFailed) => Effect.andThen(Deferred.fail(lost, error), onLost(error))
      yield* Effect.forkIn(Effect.flatMap(made.lost, lose), scope)
      return made
    })

  const script = <A, E, R>(program: Effect.Effect<A, E, R>): Effect.Effect<A, E | Vlan.VlanFailed, R> =>
    Effect.contextWith((context: Context.Context<R>) => {
      const outside = Context.omit(Process.Self, Scope.Scope)(context) as Context.Context<R>
      const outcome = Deferred.makeUnsafe<A, E | Vlan.VlanFailed>()
      const inProcess = Effect.provideServiceEffect(
        Effect.provideContext(program, outside),
        ScriptProcess,
        Process.Self
      )
      const body = Effect.raceFirst(inProcess, Deferred.await(lost)).pipe(
        Effect.onExit((exit) => Deferred.done(outcome, exit)),
        // A failure is the test's result; the process itself succeeded.
        Effect.exit
      )
      return Effect.orDie(Supervisor.startChild(driver, Task.childSpec("Script", body))).pipe(
        Effect.andThen(Deferred.await(outcome)),
        // Also when it has ended: the next script of the tree must not meet what is left of this one.
        Effect.ensuring(Effect.ignore(Supervisor.terminateChild(driver, "Script")))
      )
    })

  const tree: DriverTree = { network, machines: childOf("Machines"), vlan, script }
  return tree
})
