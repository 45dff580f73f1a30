/**
 * The supervision tree of one test:
 *
 * Driver → Network (a switch for each VLAN), Machines (a subtree for each boot), Script
 *
 * The script comes last and so ends first; the switches are there as long as anything is plugged in.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Process from "../../actors/Process.ts"
import * as Supervisor from "../../actors/Supervisor.ts"
import type { HostProcessError } from "../../host/HostProcess.ts"
import * as Vlan from "../../network/Vlan.ts"

export interface DriverTree {
  /** The supervisor of the machines' boots. */
  readonly machines: Supervisor.SupervisorPid
  /** The socket of a VLAN's switch, which is started when it is first asked for. */
  readonly vlan: (vlan: number) => Effect.Effect<string, HostProcessError | Vlan.VlanFailed>
  /** Runs a program as the tree's script process, and gives its result; interruption ends the process. */
  readonly script: <A, E, R>(program: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/** A tree that is shut down, script first, when the scope closes. `directory` is for the switches. */
export const make = Effect.fnUntraced(function* (directory: string) {
  const empty = { strategy: "oneForOne", children: [] } as const
  const driver = yield* Effect.orDie(
    Supervisor.scoped(
      {
        strategy: "oneForOne",
        children: [Supervisor.supervisor("Network", empty), Supervisor.supervisor("Machines", empty)]
      },
      { label: "Driver" }
    )
  )
  const children = yield* Effect.orDie(Supervisor.whichChildren(driver))
  const childOf = (id: string) => children.find((child) => child.id === id)?.child as Supervisor.SupervisorPid
  const network = childOf("Network")
  const sockets = new Map<number, Deferred.Deferred<string, HostProcessError | Vlan.VlanFailed>>()

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
        return yield* Effect.flatMap(started.exited, () => Effect.die(new Error(`the switch of VLAN ${number} ended`)))
      })
      yield* Effect.orDie(
        Supervisor.startChild(network, Supervisor.child(`VLAN ${number}`, body, { restart: "temporary" }))
      )
      return yield* Deferred.await(socket)
    })

  const script = <A, E, R>(program: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.contextWith((context: Context.Context<R>) => {
      const outside = Context.omit(Process.Self, Scope.Scope)(context) as Context.Context<R>
      const outcome = Deferred.makeUnsafe<A, E>()
      const body = Effect.provideContext(program, outside).pipe(
        Effect.onExit((exit) => Deferred.done(outcome, exit)),
        // What came of the test is the test's result; the process itself did its work.
        Effect.exit
      )
      return Effect.orDie(
        Supervisor.startChild(driver, Supervisor.child("Script", body, { restart: "temporary" }))
      ).pipe(
        Effect.andThen(Deferred.await(outcome)),
        Effect.onInterrupt(() => Effect.ignore(Supervisor.terminateChild(driver, "Script")))
      )
    })

  const tree: DriverTree = { machines: childOf("Machines"), vlan, script }
  return tree
})
