/**
 * Machines under a supervisor.
 *
 * ```
 * "web"            Supervisor, one_for_one
 * ├─ Machine       GenStatem: stopped → booting → ready ⇄ paused → stopped | crashed
 * └─ Boot          Supervisor, one_for_one, ends with its significant child
 *    ├─ Hypervisor childLayer, significant: the operating-system process and its console
 *    ├─ Control    childLayer: provides the control channel
 *    └─ Shells     childLayer: provides the guest's shell
 * ```
 *
 * The machine's process outlives its boots. Each process of a boot tells it what it has made and is monitored by it; Control and Shells are
 * restarted by their supervisor, and the guest notices nothing.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as DynamicSupervisor from "../actors/DynamicSupervisor.ts"
import * as Process from "../actors/Process.ts"
import * as Supervisor from "../actors/Supervisor.ts"
import type { BackendService, ControlService, MachineExit, MachineShape } from "../backends/Backend.ts"
import { Deadlines } from "../guest/Deadlines.ts"
import type { Unavailable } from "../guest/Guest.ts"
import type { MachineState } from "../guest/MachineEvent.ts"
import type { PollingConditions } from "../guest/PollingCondition.ts"
import type { AddressedNode } from "../network/Addresses.ts"
import type { ShellService } from "../transport/Shell.ts"
import type { Surroundings } from "./Hotplug.ts"
import { failed, isRunning, type Loss } from "./internal/boot.ts"
import * as children from "./internal/children.ts"
import * as machineProcess from "./internal/machineProcess.ts"
import * as made from "./internal/made.ts"
import { MachineRef } from "./internal/protocol.ts"
import { type Settings, Transitions } from "./internal/transitions.ts"
import type { Machine } from "./Machine.ts"
import type { MachineSpec } from "./MachineSpec.ts"
import * as Origin from "./Origin.ts"
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
  readonly origins?: Origin.Origins | undefined
  /** A new folder for snapshots, there until the scope closes. */
  readonly snapshots: Effect.Effect<string, { readonly message: string }, Scope.Scope>
  /** Makes a machine of the same test that goes on from a saved one of this machine's shape. */
  readonly fork: (request: ForkRequest) => ReturnType<Hooks["fork"]>
  /** The place of a card on a VLAN; undefined for a machine without other machines. */
  readonly port: Surroundings["port"]
  /** The networks that the test declares; undefined if it declares none. */
  readonly networks?: Surroundings["networks"]
  /** The supervisor that boots are children of. */
  readonly supervisor: DynamicSupervisor.DynamicSupervisorPid
}

/** A machine at one moment. */
export interface MachineSummary {
  readonly name: string
  readonly state: MachineState
  /** How its last boot began: `booted`, or `forked from snapshot 3f2a91c0 of …`; undefined where it was never started, or did not boot. */
  readonly came: string | undefined
  /** Why it never was ready, of one that crashed: its hypervisor did not run, or its guest did not come up. */
  readonly failed?: "could not start" | "did not boot" | undefined
}

/** How the last boot of a machine ended. */
export interface MachineEnd {
  readonly loss: Loss
  /** Undefined where the hypervisor did not start, or vmtest ended it because the guest did not come up. */
  readonly exit: MachineExit | undefined
}

/** A machine, and what its driver does with it. */
export interface Handle {
  readonly machine: Machine
  readonly spec: MachineSpec
  readonly self: AddressedNode
  readonly shape: MachineShape
  readonly backend: BackendService
  /** Its control channel now, and its shell; undefined while it does not run. One that boots is waited for. */
  readonly running: Effect.Effect<{ readonly control: ControlService; readonly shell: ShellService } | undefined>
  /** Prepares its guest for a save during which it stands still. Gives what sets its clock afterwards; nothing for one that is paused or does not run. */
  readonly keepTime: Effect.Effect<Effect.Effect<void>>
  /** The process of its hypervisor; undefined while it does not run, and where the host has none. */
  readonly pid: Effect.Effect<number | undefined>
  /** Waits until the hypervisor of the last start runs, or did run; fails with why it did not start. Nothing to wait for before the first start. */
  readonly launched: Effect.Effect<void, Unavailable>
  /** How the last boot ended; undefined while one is on, and before the first. */
  readonly end: () => MachineEnd | undefined
  /** What it is now, and how it came up. */
  readonly summary: () => MachineSummary
  /** Tells a running guest the names of machines that came later. */
  readonly refreshNames: Effect.Effect<void>
  /** The test is over: whatever ends from now on was meant to. */
  readonly retire: Effect.Effect<void>
}

/** How often the processes of one boot, or the machine's own, may be restarted before the machine is given up. */
const tolerance = { intensity: 10, period: "1 minute" } as const

/** The supervisor of one boot. It ends with its hypervisor; the other two are restarted by themselves. */
const bootSpec = (context: children.BootContext, outside: Context.Context<never>) => {
  const inContext = <Out, E, R>(layer: Layer.Layer<Out, E, R>) =>
    Layer.provide(layer, Layer.succeedContext(outside)) as Layer.Layer<Out, E, R>
  return Supervisor.supervisor(
    "Boot",
    {
      ...tolerance,
      strategy: "oneForOne",
      autoShutdown: "anySignificant",
      children: [
        Supervisor.childLayer("Hypervisor", inContext(children.hypervisor(context)), {
          build: "continue",
          restart: "temporary",
          significant: true,
          shutdown: "10 seconds"
        }),
        Supervisor.childLayer("Control", inContext(children.control(context)), {
          build: "continue",
          restart: "transient"
        }),
        Supervisor.childLayer("Shells", inContext(children.shells(context)), {
          build: "continue",
          restart: "transient"
        })
      ]
    },
    { restart: "temporary" }
  )
}

/** A machine that was not started yet. It uses the deadlines and the event sink of the fiber that makes it. */
export const make = (environment: Environment): Effect.Effect<Handle> =>
  Effect.gen(function* () {
    const context = yield* Effect.context<never>()
    // The processes have a scope and a self of their own.
    const outside = Context.omit(Process.Self, Scope.Scope)(context) as Context.Context<never>
    const { spec } = environment
    const ref = new MachineRef(spec.name)
    const machine = yield* made.make(environment, ref)
    const stopBoot = (supervisor: Supervisor.SupervisorPid) =>
      Effect.ignore(Supervisor.terminateChild(supervisor, "Boot"))
    const settings: Settings = {
      ref,
      environment,
      deadlines: yield* Deadlines,
      publish: machine.publish,
      progress: machine.progress,
      stopBoot,
      startBoot: (supervisor, boot) =>
        Effect.gen(function* () {
          yield* stopBoot(supervisor)
          const spec = bootSpec({ ref, boot, environment }, outside)
          const started = yield* Supervisor.startChild(supervisor, spec)
          return started.pid ?? (yield* Effect.die("a supervisor that starts has a pid"))
        }),
      beginSpan: (number) =>
        Effect.provideContext(
          Effect.makeSpan("vmtest.boot", {
            attributes: { "vmtest.machine": spec.name, "vmtest.boot.number": number }
          }),
          outside
        ),
      inside: machine.inside,
      originOf: environment.origins ?? Origin.boots
    }
    const transitions = new Transitions(settings)
    const definition = machineProcess.make(settings, transitions)
    const { pid } = yield* Effect.orDie(
      DynamicSupervisor.startChild(
        environment.supervisor,
        Supervisor.supervisor(
          spec.name,
          {
            ...tolerance,
            strategy: "oneForOne",
            children: [Supervisor.server("Machine", definition, [], { name: ref.name, label: "Machine" })]
          },
          { restart: "temporary" }
        )
      )
    )
    // A supervisor that gave up takes the machine with it: nobody is left to say that.
    const over = Effect.suspend(() =>
      isRunning(ref.life)
        ? transitions.finish(ref.life, failed(spec.name, ref.life, { reason: "its processes crashed too often" }, ""))
        : Effect.void
    )
    if (pid !== undefined) yield* Effect.forkIn(Effect.andThen(Process.awaitExit(pid), over), environment.scope)
    return machine.handle
  })
