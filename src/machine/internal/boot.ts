/** One boot of a machine: all that its processes have made so far, as one record that only the machine's own process replaces. */
import * as Deferred from "effect/Deferred"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Tracer from "effect/Tracer"
import type * as GenServer from "../../actors/GenServer.ts"
import type * as Pid from "../../actors/Pid.ts"
import type * as Task from "../../actors/Task.ts"
import type { ControlService, EndCause, Hypervisor, MachineExit } from "../../backends/Backend.ts"
import { BootFailed, MachineDied, panicked } from "../../guest/MachineError.ts"
import type { MachineState } from "../../guest/MachineEvent.ts"
import { pausedMessage } from "../../guest/Paused.ts"
import { panicIn } from "../../host/Evidence.ts"
import type { ShellService } from "../../transport/Shell.ts"
import * as Origin from "../Origin.ts"

/** Why a boot is over. */
export type Loss = MachineDied | BootFailed

/** Where a boot is to come from; what it acquires is held until the boot ends. */
export type OriginEffect = Effect.Effect<Origin.Origin, never, Scope.Scope>

export interface Boot {
  /** From 1 on. */
  readonly number: number
  /** Tells the messages of this attempt's processes from those of one that could not be resumed from its snapshot. */
  readonly attempt: number
  /** Where it is to come from. */
  readonly from: OriginEffect
  /** From its start until the machine is ready for the first time, or the boot is over. */
  readonly span: Tracer.Span
  readonly supervisor: Pid.Any | undefined
  /** What starts the supervisor, until it has. */
  readonly starter: Task.Task<Pid.Any, { readonly message: string }> | undefined
  /** Where it really came from; known when the hypervisor is. */
  readonly origin: Origin.Origin
  readonly hypervisor: Hypervisor | undefined
  readonly control: ControlService | undefined
  readonly shell: ShellService | undefined
  /** The processes that made them. */
  readonly pids: { readonly hypervisor?: Pid.Any; readonly control?: Pid.Any; readonly shell?: Pid.Any }
  /** Callers that wait for the control channel to come back. */
  readonly waiting: ReadonlyArray<GenServer.From<ControlService, Loss>>
  /** The test asked for the end: shutdown, crash, the end of the test. */
  readonly asked: boolean
  /** How often the guest was reset. */
  readonly resets: number
  /** Steps that are taken once in a boot, however often the guest reboots or a process is restarted. */
  readonly done: ReadonlySet<Step>
  /** How its hypervisor ended; undefined while it runs, and for one that did not start or that vmtest itself has ended. */
  readonly exit: MachineExit | undefined
  /** Why it is over, once it is. */
  readonly loss: Loss | undefined
  /** Fails when the boot is over. */
  readonly lost: Deferred.Deferred<never, Loss>
  /** Resolves when the boot is over. */
  readonly over: Deferred.Deferred<void>
}

/** `identified`: the guest has its own time, entropy and identity. `settled`: it was saved for later forks. `warm`: its warm-up is done. */
export type Step = "identified" | "settled" | "warm"

/** What a booting machine waits for. */
export type Phase =
  /** its shell */
  | "shell"
  /** its name and addresses, its warm-up */
  | "identity"
  /** the reset that the test asked for */
  | "reset"
  /** its shell, after a reset */
  | "return"

export interface Coming {
  readonly boot: Boot
  readonly phase: Phase
  /** What makes it ready, while that runs. */
  readonly task: { readonly task: Task.Task<void, string>; readonly pid: Pid.Any } | undefined
}

/** The states of a machine. Public names leave out `Starting` and `PausedInBoot`, which are `booting` and `paused`. */
export type Life =
  | { readonly _tag: "Stopped"; readonly boot: Boot | undefined }
  /** Its hypervisor is being started. */
  | { readonly _tag: "Starting"; readonly boot: Boot }
  | ({ readonly _tag: "Booting" } & Coming)
  | { readonly _tag: "Ready"; readonly boot: Boot }
  | { readonly _tag: "Paused"; readonly boot: Boot }
  | ({ readonly _tag: "PausedInBoot" } & Coming)
  | { readonly _tag: "Crashed"; readonly boot: Boot }

/** A boot that is on. */
export type Running = Exclude<Life, { readonly _tag: "Stopped" | "Crashed" }>

/** Whether a boot is on. */
export const isRunning = (life: Life): life is Running => life._tag !== "Stopped" && life._tag !== "Crashed"

/** Whether the test has paused it. */
export const isPaused = (life: Life): boolean => life._tag === "Paused" || life._tag === "PausedInBoot"

/** The state as a test sees it. */
export const publicState = (life: Life): MachineState => {
  switch (life._tag) {
    case "Stopped":
      return "stopped"
    case "Starting":
    case "Booting":
      return "booting"
    case "Ready":
      return "ready"
    case "Paused":
    case "PausedInBoot":
      return "paused"
    case "Crashed":
      return "crashed"
  }
}

/** A boot that has just been asked for. */
export const begin = (number: number, attempt: number, from: OriginEffect, span: Tracer.Span): Boot => ({
  number,
  attempt,
  from,
  span,
  supervisor: undefined,
  starter: undefined,
  origin: Origin.boot,
  hypervisor: undefined,
  control: undefined,
  shell: undefined,
  pids: {},
  waiting: [],
  asked: false,
  resets: 0,
  done: new Set(),
  exit: undefined,
  loss: undefined,
  lost: Deferred.makeUnsafe(),
  over: Deferred.makeUnsafe()
})

/** The same boot from its beginning, after it could not be resumed from its snapshot. */
export const again = (boot: Boot, attempt: number, from: OriginEffect): Boot => ({
  ...begin(boot.number, attempt, from, boot.span),
  asked: boot.asked,
  waiting: boot.waiting,
  lost: boot.lost,
  over: boot.over
})

/** How a boot ends: why, and what the machine is then, with what there is to say of it. */
export interface End {
  readonly loss: Loss
  readonly tag: "Stopped" | "Crashed"
  readonly detail: string
}

/** The last words of a kernel that powers its machine off. */
const poweredDown = /reboot: (Power down|System halted)/

/** What becomes of a machine whose hypervisor is gone. */
export const died = (machine: string, { asked }: Boot, exit: MachineExit): End => {
  const loss = new MachineDied({
    machine,
    exitCode: exit.exitCode ?? -1,
    signal: exit.signal ?? "",
    doing: "",
    ended: asked && exit.signal === "SIGKILL" ? "test" : (exit.cause ?? ""),
    hypervisor: exit.stderr,
    console: exit.consoleTail,
    ...(exit.because !== undefined && { because: exit.because })
  })
  // The control channel may have been lost at that moment: then only the console can tell.
  const powerOff = exit.cause === "power-off" || (exit.cause === undefined && poweredDown.test(exit.consoleTail))
  const poweredOff = exit.exitCode === 0 && (powerOff || exit.cause === "host")
  const stopped = (asked && exit.cause !== "panic") || poweredOff
  return { loss, tag: stopped ? "Stopped" : "Crashed", detail: asked && stopped ? "" : loss.summary }
}

/** What the guest itself can end with before its shell has answered; then it did not boot. */
const brokenOff = new Set<EndCause | undefined>(["power-off", "reset", "panic"])

/** What becomes of a machine that ended, in whatever state: one that had no shell yet did not boot, unless the host ended it. */
export const exited = (machine: string, life: Running, exit: MachineExit): End => {
  const end = died(machine, life.boot, exit)
  const { done, shell } = life.boot
  const began = shell !== undefined || done.size > 0
  if (began || life.boot.asked || !brokenOff.has(exit.cause)) return end
  return failed(machine, life, { reason: end.detail }, exit.consoleTail)
}

/** What becomes of a machine whose hypervisor was ended with its process. */
export const ended = (machine: string, boot: Boot): End =>
  died(machine, boot, { exitCode: undefined, signal: "SIGKILL", consoleTail: "", stderr: "" })

/** Why a boot cannot come up. */
export interface Why {
  readonly reason: string
  /** Added to the reason where the console said nothing. */
  readonly silence?: string | undefined
  /** The request to the hypervisor that failed. */
  readonly stage?: string | undefined
}

/** What becomes of a machine that did not come up. */
export const failed = (machine: string, life: Running, { reason, stage }: Why, console: string): End => {
  const panic = panicIn(console)
  const because = panic === undefined ? reason : panicked(panic)
  const why = isPaused(life) ? `${because} (${pausedMessage})` : because
  const loss = new BootFailed({ machine, reason: why, console, ...(stage === undefined ? {} : { stage }) })
  const { asked } = life.boot
  return { loss, tag: asked ? "Stopped" : "Crashed", detail: asked ? "" : because }
}

/** Asked of a machine that was never started. */
export const neverStarted = (machine: string): Loss =>
  new BootFailed({ machine, reason: "it was not started", console: "" })
