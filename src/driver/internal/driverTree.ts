/**
 * The supervision tree of one test:
 *
 * ```text
 * Driver
 * ├─ Network   (DynamicSupervisor)  a switch for each VLAN
 * ├─ Machines  (DynamicSupervisor)  a subtree for each boot
 * └─ Script    (Task)               the test's program
 * ```
 *
 * The script is last, so it ends first; the switches outlive everything that is plugged into them.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as DynamicSupervisor from "../../actors/DynamicSupervisor.ts"
import * as ExitReason from "../../actors/ExitReason.ts"
import type * as Pid from "../../actors/Pid.ts"
import * as Process from "../../actors/Process.ts"
import * as Report from "../../actors/Report.ts"
import * as Supervisor from "../../actors/Supervisor.ts"
import * as Task from "../../actors/Task.ts"
import type { HostProcessError } from "../../host/HostProcess.ts"
import { describeStatus } from "../../host/HostProcess.ts"
import * as Vlan from "../../network/Vlan.ts"
import { ScriptProcess } from "./testContext.ts"

export interface DriverTree {
  /** The supervisor of the machines' boots. */
  readonly machines: DynamicSupervisor.DynamicSupervisorPid
  /** The socket of a VLAN's switch, which is started at the first call. */
  readonly vlan: (vlan: number) => Effect.Effect<string, HostProcessError | Vlan.VlanFailed>
  /**
   * Runs a program as the tree's script process, and gives its result; interruption ends the process.
   *
   * Fails with `VlanFailed` if a switch ends, because its machines still run, but reach each other no more.
   */
  readonly script: <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Vlan.VlanFailed, R>
}

/** The end of a switch's output. */
const outputOf = (directory: string, vlan: number): string => {
  const log = Result.try(() => Fs.readFileSync(Path.join(directory, `vde${vlan}.log`), "utf8"))
  return Result.isSuccess(log) ? log.success.slice(-1000).trim() : ""
}

/** What becomes of the tree is told by the events of its machines and by the test's result, so its crashes are logged only for those who ask for it. */
const quietByDefault = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.updateContext(effect, (context: Context.Context<R>) =>
    context.mapUnsafe.has(Report.Reports.key) ? context : Context.add(context, Report.Reports, "quiet")
  )

/**
 * A tree that is shut down, script first, when the scope closes. `directory` is for the switches, `onLost` is told of one that ends: there
 * may be no script that could fail.
 */
export const make = Effect.fnUntraced(function* (
  directory: string,
  onLost: (error: Vlan.VlanFailed) => Effect.Effect<void> = () => Effect.void
) {
  const scope = yield* Effect.scope
  const driver = yield* Effect.orDie(
    Supervisor.scoped(
      { children: [DynamicSupervisor.childSpec("Network"), DynamicSupervisor.childSpec("Machines")] },
      { label: "Driver" }
    ).pipe(quietByDefault)
  )
  const children = yield* Effect.orDie(Supervisor.whichChildren(driver))
  const childOf = (id: string) =>
    children.find((child) => child.id === id)?.child as DynamicSupervisor.DynamicSupervisorPid
  const network = childOf("Network")
  const lost = Deferred.makeUnsafe<never, Vlan.VlanFailed>()
  const sockets = new Map<number, Deferred.Deferred<string, HostProcessError | Vlan.VlanFailed>>()

  const lose = (number: number, reason: string) => {
    const error = new Vlan.VlanFailed({ vlan: number, reason, output: outputOf(directory, number) })
    return Effect.andThen(Deferred.fail(lost, error), onLost(error))
  }
  /** The process of a switch that crashes takes the switch with it. */
  const watch = (number: number, pid: Pid.Any) =>
    Effect.flatMap(Process.awaitExit(pid), (reason) =>
      ExitReason.isNormal(reason) ? Effect.void : lose(number, `its process ended: ${ExitReason.format(reason)}`)
    )

  const vlan = (number: number) =>
    Effect.gen(function* () {
      const known = sockets.get(number)
      if (known !== undefined) return yield* Deferred.await(known)
      const socket = Deferred.makeUnsafe<string, HostProcessError | Vlan.VlanFailed>()
      sockets.set(number, socket)
      const body = Effect.gen(function* () {
        const started = yield* Vlan.make({ vlan: number, directory }).pipe(
          Effect.onExit((exit) =>
            Deferred.done(
              socket,
              Exit.map(exit, (made) => made.socket)
            )
          )
        )
        // A switch that is stopped on purpose interrupts this fiber.
        yield* lose(number, `the switch ended with ${describeStatus(yield* started.exited)} while the test ran`)
      })
      const { pid } = yield* Effect.orDie(
        DynamicSupervisor.startChild(network, Supervisor.child(`VLAN ${number}`, body, { restart: "temporary" }))
      )
      if (pid !== undefined) yield* Effect.forkIn(watch(number, pid), scope)
      return yield* Deferred.await(socket)
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
        Effect.onInterrupt(() => Effect.ignore(Supervisor.terminateChild(driver, "Script")))
      )
    })

  const tree: DriverTree = { machines: childOf("Machines"), vlan, script }
  return tree
})
