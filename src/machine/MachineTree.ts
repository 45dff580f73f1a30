/**
 * Machines under a supervisor.
 *
 * Every boot of a machine is a subtree of its own, rest-for-one:
 *
 * Hypervisor → Control → Shells → Machine
 *
 * The hypervisor is significant: its end is the end of the subtree. Any other that crashes is started again with those after it and finds the
 * guest as it was.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Scope from "effect/Scope"
import * as DynamicSupervisor from "../actors/DynamicSupervisor.ts"
import * as Process from "../actors/Process.ts"
import * as Supervisor from "../actors/Supervisor.ts"
import type { BackendService, Hypervisor, MachineShape } from "../backends/Backend.ts"
import type { PollingConditions } from "../guest/PollingCondition.ts"
import type { AddressedNode } from "../network/Addresses.ts"
import type { ShellService } from "../transport/Shell.ts"
import type { Boot } from "./internal/boot.ts"
import * as life from "./internal/life.ts"
import * as processes from "./internal/processes.ts"
import type { Machine } from "./Machine.ts"
import type { MachineSpec } from "./MachineSpec.ts"
import type { Origins } from "./Origin.ts"
import type { ForkRequest, Hooks } from "./Snapshot.ts"

/** What a machine is made of. */
export interface Environment {
  readonly spec: MachineSpec
  readonly self: AddressedNode
  /** All machines of the test as they are known when it is asked, this one included. */
  readonly all: Effect.Effect<ReadonlyArray<AddressedNode>>
  readonly shape: MachineShape
  readonly backend: BackendService
  readonly conditions: PollingConditions
  readonly fs: FileSystem.FileSystem
  /** The folder for pictures and copied files. */
  readonly output: string
  /** As long as the test. */
  readonly scope: Scope.Scope
  /** Where each start comes from. Default: every start is a boot. */
  readonly origins?: Origins | undefined
  /** A new folder for snapshots, there until the scope closes. */
  readonly snapshots: Effect.Effect<string, { readonly message: string }, Scope.Scope>
  /** Makes a machine of the same test that goes on from a saved one of this machine's shape. */
  readonly fork: (request: ForkRequest) => ReturnType<Hooks["fork"]>
  /** The supervisor that boots are children of. */
  readonly supervisor: DynamicSupervisor.DynamicSupervisorPid
}

/** A machine, and what its driver does with it. */
export interface Handle {
  readonly machine: Machine
  readonly spec: MachineSpec
  readonly self: AddressedNode
  readonly shape: MachineShape
  /** What it runs on now, and its shell; undefined while it does not run, or is not ready. */
  readonly running: Effect.Effect<{ readonly hypervisor: Hypervisor; readonly shell: ShellService } | undefined>
  /** Tells a running guest the names of machines that came later. */
  readonly refreshNames: Effect.Effect<void>
  /** The test is over: whatever ends from now on was meant to. */
  readonly retire: Effect.Effect<void>
}

/** How often the processes of one boot may be restarted before it is given up. */
const tolerance = { intensity: 10, period: "1 minute" } as const

const subtree = (id: string, boot: Boot, environment: Environment, outside: Context.Context<never>) => {
  const child = <E, R>(name: string, body: Effect.Effect<unknown, E, R>, options: Supervisor.ChildOptions) =>
    Supervisor.child(name, Effect.provideContext(body, outside), options)
  return Supervisor.supervisor(
    id,
    {
      ...tolerance,
      strategy: "restForOne",
      autoShutdown: "anySignificant",
      children: [
        child("Hypervisor", processes.hypervisor(boot, environment), {
          restart: "temporary",
          significant: true,
          shutdown: "10 seconds"
        }),
        child("Control", processes.control(boot), { restart: "transient" }),
        child("Shells", processes.shells(boot, environment), { restart: "transient" }),
        child("Machine", processes.machine(boot, environment), { restart: "transient" })
      ]
    },
    { restart: "temporary" }
  )
}

/** A machine that was not started yet. It uses the deadlines and the event sink of the fiber that makes it. */
export const make = (environment: Environment): Effect.Effect<Handle> =>
  Effect.contextWith((context: Context.Context<never>) => {
    // The processes have a scope and a self of their own.
    const outside = Context.omit(Process.Self, Scope.Scope)(context) as Context.Context<never>
    let boots = 0
    const launch = (boot: Boot) => {
      boots += 1
      const spec = subtree(`${environment.spec.name} (boot ${boots})`, boot, environment, outside)
      return Effect.catch(DynamicSupervisor.startChild(environment.supervisor, spec), (error) =>
        boot.fail(error.message, "")
      )
    }
    return life.make(environment, launch)
  })
