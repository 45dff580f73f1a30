/** What the process of a machine is asked and told. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as ExitReason from "../../actors/ExitReason.ts"
import * as GenServer from "../../actors/GenServer.ts"
import * as GenStatem from "../../actors/GenStatem.ts"
import type * as Pid from "../../actors/Pid.ts"
import type { ControlService, Hypervisor, MachineExit } from "../../backends/Backend.ts"
import { BootFailed } from "../../guest/MachineError.ts"
import type { ShellService } from "../../transport/Shell.ts"
import type { Origin } from "../Origin.ts"
import type { Boot, Life, Loss, OriginEffect, Step, Why } from "./boot.ts"

/** What a process of a boot has made; `attempt` is that of the boot, `pid` the process. */
export interface Up {
  readonly attempt: number
  readonly pid: Pid.Any
  readonly part:
    | { readonly _tag: "hypervisor"; readonly hypervisor: Hypervisor; readonly origin: Origin }
    | { readonly _tag: "control"; readonly control: ControlService }
    | { readonly _tag: "shell"; readonly shell: ShellService }
}

export const protocol = GenStatem.protocol({
  /** Gives the boot that is on; starts one where none is. */
  launch: GenServer.Call<OriginEffect | undefined, Boot>(),
  /** Gives the boot once the machine is ready. */
  ready: GenServer.Call<number, Boot, Loss>(),
  /** Gives the hypervisor of a boot once it runs. */
  hypervisor: GenServer.Call<number, Hypervisor, Loss>(),
  /** Gives the control channel of a boot once it is there. */
  control: GenServer.Call<number, ControlService, Loss>(),
  /** The test reboots the guest; gives how often it was reset so far. */
  rebooting: GenServer.Call<undefined, number>(),
  /** A process of the boot has made its part. */
  up: GenServer.Call<Up, void>(),
  /** The start knows where it comes from. */
  origin: GenServer.Cast<{ readonly attempt: number; readonly origin: Origin }>(),
  /** The boot cannot come up. */
  failed: GenServer.Call<{ readonly attempt: number } & Why, void>(),
  /** The hypervisor is gone. */
  exited: GenServer.Call<{ readonly attempt: number; readonly exit: MachineExit }, void>(),
  /** The connection of the control channel is lost; its process ends in a moment. */
  disconnected: GenServer.Cast<{ readonly attempt: number }>(),
  /** The test gives up a boot that has no hypervisor yet; says whether it had none. */
  cancel: GenServer.Call<number, boolean>(),
  /** The guest was reset. */
  reset: GenServer.Cast<number>(),
  /** The guest is going down to reboot by itself, or has done so: if it was reset only so often, its reset is waited for. */
  goingDown: GenServer.Call<{ readonly number: number; readonly resets: number }, void>(),
  /** Gives the boot when the guest is ready and was reset so often. */
  rebooted: GenServer.Call<{ readonly number: number; readonly resets: number }, Boot, Loss>(),
  /** The guest was not rebooted after all, if it was reset only so often. */
  notRebooted: GenServer.Cast<number>(),
  /** Whether the test asked for the machine's end. */
  asked: GenServer.Cast<boolean>(),
  /** Whether the test has paused the guest. */
  paused: GenServer.Call<boolean, void>(),
  /** A command found the shell gone. */
  doubt: GenServer.Cast(),
  step: GenServer.Cast<{ readonly attempt: number; readonly step: Step }>(),
  /** A phase of the boot takes too long. */
  late: GenStatem.Timeout(),
  /** The process of the machine has just been started, perhaps in place of one that crashed. */
  recover: GenStatem.Timeout()
})

export type Protocol = typeof protocol

/** The process of a machine as others see it: where it is, and the state that it published last. */
export class MachineRef {
  readonly machine: string
  private pid: Pid.Any | undefined
  life: Life = { _tag: "Stopped", boot: undefined }
  /** The first boot, once there is one. */
  readonly began: Deferred.Deferred<Boot> = Deferred.makeUnsafe()

  constructor(machine: string) {
    this.machine = machine
  }

  /** Whether there is such a process now. */
  get isAlive(): boolean {
    return this.pid !== undefined
  }

  /** The machine's current process; after a restart, its successor. */
  readonly name = GenServer.name<Protocol, [], never>(protocol, {
    _tag: "Via",
    whereis: () => this.pid,
    register: (pid) => {
      this.pid = pid
      return () => {
        if (this.pid === pid) this.pid = undefined
      }
    }
  })
}

/** How a process that is just being restarted is looked for: every 20 ms, for 5 seconds. */
export const askSchedule = Schedule.spaced("20 millis").pipe(Schedule.upTo({ duration: "5 seconds" }))

type CallTag = { [K in keyof Protocol]: Protocol[K] extends { readonly _tag: "Call" } ? K : never }[keyof Protocol]

/** Asks the process of a machine, which answers when it can; one that is restarted meanwhile is asked again. */
export const ask = <const K extends CallTag>(
  ref: MachineRef,
  tag: K,
  payload: GenServer.PayloadOf<Protocol[K]>
): Effect.Effect<GenServer.ReplyOf<Protocol[K]>, GenServer.ErrorOf<Protocol[K]> | BootFailed> => {
  const call = GenStatem.call(ref.name, tag, ...([payload, { timeout: "Infinity" }] as never)) as Effect.Effect<
    GenServer.ReplyOf<Protocol[K]>,
    GenServer.ErrorOf<Protocol[K]> | GenServer.CallError
  >
  const gone = (reason: string) => Effect.fail(new BootFailed({ machine: ref.machine, reason, console: "" }))
  const found = Effect.suspend(() =>
    ref.isAlive ? Effect.void : new GenServer.NoProcess({ server: ref.machine, request: tag })
  ).pipe(
    Effect.retry(askSchedule),
    Effect.catchTag("NoProcess", () => gone("the test that it belongs to has ended"))
  )
  /** A request that crashed the process twice is not asked a third time. */
  const asked = (crashes: number): Effect.Effect<unknown, unknown> =>
    Effect.catchIf(call, isCallError, (error) => {
      const crashed = error instanceof GenServer.ServerExit && error.reason._tag === "Crashed"
      if (crashed && crashes > 0) return gone(`its process crashed: ${ExitReason.format(error.reason)}`)
      return Effect.andThen(found, asked(crashed ? crashes + 1 : crashes))
    })
  return asked(0) as never
}

const isCallError = (error: unknown): error is GenServer.NoProcess | GenServer.ServerExit =>
  error instanceof GenServer.NoProcess || error instanceof GenServer.ServerExit
