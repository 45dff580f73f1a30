/** What each event does to a machine: the next state, and what is started, ended and published on the way to it. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Tracer from "effect/Tracer"
import * as ExitReason from "../../actors/ExitReason.ts"
import type * as GenServer from "../../actors/GenServer.ts"
import * as GenStatem from "../../actors/GenStatem.ts"
import type * as Pid from "../../actors/Pid.ts"
import * as Process from "../../actors/Process.ts"
import type { SupervisorPid } from "../../actors/Supervisor.ts"
import * as Task from "../../actors/Task.ts"
import type { ControlService, MachineExit } from "../../backends/Backend.ts"
import type { DeadlineSettings } from "../../guest/Deadlines.ts"
import type { MachineState } from "../../guest/MachineEvent.ts"
import { isGoingDown } from "../../transport/ShellError.ts"
import type { Machine } from "../Machine.ts"
import type { Environment } from "../MachineTree.ts"
import type { Origin } from "../Origin.ts"
import type { Life, Running } from "./boot.ts"
import * as Boot from "./boot.ts"
import { silenceHint } from "./children.ts"
import type { MachineRef, Protocol, Up } from "./protocol.ts"
import * as Readiness from "./readiness.ts"
import { cancel, coming, endSpan, mayBoot, withBoot } from "./running.ts"

/** What the process of a machine works with. */
export interface Settings {
  readonly ref: MachineRef
  readonly environment: Environment
  readonly deadlines: DeadlineSettings
  /** Told of each state that a test can see. */
  readonly publish: (state: MachineState, detail: string) => Effect.Effect<void>
  /** Reports what a boot waits for. */
  readonly progress: (detail: string) => Effect.Effect<void>
  /** Starts the supervisor of a boot under that of the machine, in place of the one before. */
  readonly startBoot: (
    supervisor: SupervisorPid,
    boot: Boot.Boot
  ) => Effect.Effect<Pid.Any, { readonly message: string }>
  /** Ends the supervisor of a boot, and all that it started. */
  readonly stopBoot: (supervisor: SupervisorPid) => Effect.Effect<void>
  /** The machine as only what makes it ready may use it. */
  readonly inside: (boot: Boot.Boot) => Machine
  /** The span of a boot: `vmtest.boot`. */
  readonly beginSpan: (number: number) => Effect.Effect<Tracer.Span>
  /** Where each start comes from; `start` counts from 1. */
  readonly originOf: (start: number) => Boot.OriginEffect
}

type Actions = ReadonlyArray<GenStatem.Action<Protocol>>

/** A transition with its actions. */
export type Next = GenStatem.NextState<Life, GenStatem.Action<Protocol>>

/** The way to the next state. */
export type Step = Effect.Effect<Next, never, Process.Self>

/** The supervisor of the machine, which started the machine's process. */
const supervisorOfMachine = Effect.map(Process.self, (self) => Process.ancestors(self)[0] as SupervisorPid)

/** A guest that was resumed from a snapshot answers within a fraction of a second; a busy host takes its time. */
const answersWithin = Duration.seconds(20)
/** How long a shell that a command found gone may take to answer, before it is replaced. */
const doubtTimeout = Duration.seconds(30)

const notLate = GenStatem.cancelTimeout("late")

/** The transitions of one machine. */
export class Transitions {
  private readonly settings: Settings
  private readonly machine: string
  private attempts = 0
  private starts = 0
  private checking = false

  constructor(settings: Settings) {
    this.settings = settings
    this.machine = settings.environment.spec.name
  }

  /** Goes to a state, which whoever looks at the machine sees from then on. */
  private become(life: Life, ...actions: Actions): Effect.Effect<Next> {
    return Effect.sync(() => {
      this.settings.ref.life = life
      return GenStatem.nextState(life, ...actions)
    })
  }

  changed(life: Running, changes: Partial<Boot.Boot>): Effect.Effect<Next> {
    return this.become(withBoot(life, changes))
  }

  // --- The deadline of what a boot waits for -------------------------------------------------------------------------------------

  private scaled(time: Duration.Duration): Duration.Duration {
    return Duration.times(time, this.settings.environment.backend.timeScale)
  }

  private limitOf(life: Running): Duration.Duration {
    const { boot } = this.settings.deadlines
    return this.scaled(mayBoot(life) ? Duration.min(answersWithin, boot) : boot)
  }

  /** Goes to a state that has a deadline. */
  private watched(life: Running, ...actions: Actions): Effect.Effect<Next> {
    return this.become(life, GenStatem.startTimeout("late", this.limitOf(life)), ...actions)
  }

  late(life: Running): Step {
    const limit = Duration.format(this.limitOf(life))
    const what =
      life.boot.resets > 0 || ("phase" in life && life.phase === "reset")
        ? "come back after its reboot"
        : life.boot.shell === undefined
          ? undefined
          : "take its name and addresses"
    const reason =
      what === undefined ? `its shell did not answer within ${limit}` : `it did not ${what} within ${limit}`
    const { hint, silence } = silenceHint(this.settings.environment)
    return this.failed(life, { reason: what === undefined ? reason + hint : reason, silence })
  }

  // --- Boots ---------------------------------------------------------------------------------------------------------------------

  launch(origin: Boot.OriginEffect | undefined, from: GenServer.From<Boot.Boot>): Step {
    if (origin === undefined) this.starts += 1
    const comesFrom = origin ?? this.settings.originOf(this.starts)
    return Effect.flatMap(this.settings.beginSpan(this.starts), (span) => {
      const boot = Boot.begin(this.starts, ++this.attempts, comesFrom, span)
      return this.start(boot, GenStatem.reply(from, boot))
    })
  }

  /** The supervisor is asked by a process of its own: one that ends meanwhile would not answer, and this process has to hear of that. */
  private start(boot: Boot.Boot, ...actions: Actions): Step {
    const { startBoot } = this.settings
    const launched = Effect.flatMap(supervisorOfMachine, (supervisor) =>
      Task.async(startBoot(supervisor, boot), { label: "Start" })
    )
    return Effect.flatMap(
      Effect.tap(launched, () => Deferred.succeed(this.settings.ref.began, boot)),
      (starter) => this.become({ _tag: "Starting", boot: { ...boot, starter } }, notLate, ...actions)
    )
  }

  private started(life: Running, { result }: Task.TaskReply): Step {
    if (result._tag === "Failure")
      return this.failed(life, { reason: `could not start its processes: ${String(result.failure)}` })
    const supervisor = result.success as Pid.Any
    return Effect.andThen(Process.monitor(supervisor), this.changed(life, { supervisor, starter: undefined }))
  }

  origin(life: Running, origin: Origin): Step {
    const detail = origin.from === undefined ? "" : "forked"
    return Effect.andThen(this.settings.publish("booting", detail), this.changed(life, { origin }))
  }

  /** The boot cannot come up. One that was to be resumed from a snapshot boots instead, where that is possible. */
  failed(life: Running, why: Boot.Why, ...actions: Actions): Step {
    const { reason, silence = "" } = why
    const { boot } = life
    if (boot.origin.otherwise !== undefined && mayBoot(life)) {
      return this.start(
        Boot.again(boot, ++this.attempts, boot.origin.otherwise({ reason, damaged: false })),
        ...actions
      )
    }
    const tail = boot.hypervisor === undefined ? Effect.succeed("") : boot.hypervisor.console.tail(80)
    return Effect.flatMap(tail, (console) => {
      const silent = console.trim() === "" && boot.hypervisor !== undefined
      return this.finished(
        life,
        Boot.failed(this.machine, life, silent ? { ...why, reason: reason + silence } : why, console),
        ...actions
      )
    })
  }

  exited(life: Running, exit: MachineExit, ...actions: Actions): Step {
    const end = Boot.exited(this.machine, life, exit)
    // One whose saved state made its hypervisor end boots instead, where that is possible.
    return mayBoot(life) && !life.boot.asked
      ? this.failed(life, { reason: end.detail }, ...actions)
      : this.finished(withBoot(life, { exit }), end, ...actions)
  }

  /** The test gives up a boot that has no hypervisor yet. */
  cancelled(life: Running, from: GenServer.From<boolean>): Step {
    const asked = withBoot(life, { asked: true })
    return this.finished(asked, Boot.ended(this.machine, asked.boot), GenStatem.reply(from, true))
  }

  /** The boot is over; whoever waits for it hears why. */
  finish(life: Running, { detail, loss, tag }: Boot.End): Effect.Effect<Life> {
    const { publish, ref } = this.settings
    return Effect.gen(function* () {
      yield* cancel(life)
      yield* endSpan(life.boot, Exit.fail(loss))
      yield* publish(tag === "Stopped" ? "stopped" : "crashed", detail)
      const boot: Boot.Boot = { ...life.boot, loss, control: undefined, shell: undefined, waiting: [] }
      ref.life = { _tag: tag, boot }
      Deferred.doneUnsafe(boot.lost, Exit.fail(loss))
      Deferred.doneUnsafe(boot.over, Exit.void)
      return ref.life
    })
  }

  private finished(life: Running, end: Boot.End, ...actions: Actions): Step {
    // In a process of its own: an end that takes its time does not keep the machine from answering.
    const stopping = Effect.flatMap(supervisorOfMachine, (supervisor) =>
      Task.startLink(this.settings.stopBoot(supervisor), { label: "Stop" })
    )
    return Effect.flatMap(Effect.tap(this.finish(life, end), stopping), (ended) =>
      this.become(ended, notLate, ...life.boot.waiting.map((from) => GenStatem.failReply(from, end.loss)), ...actions)
    )
  }

  // --- What makes it ready -------------------------------------------------------------------------------------------------------

  /** Starts what makes a guest with a shell ready, in place of what was under way. */
  private prepare(
    life: Running,
    boot: Boot.Boot,
    phase: "identity" | "return"
  ): Effect.Effect<Running, never, Process.Self> {
    const { shell } = boot
    if (shell === undefined) return Effect.as(cancel(life), coming(life, "shell", boot))
    const { environment, inside, progress, ref } = this.settings
    const body =
      phase === "return"
        ? Readiness.returned(shell)
        : Readiness.make({ ref, boot, shell, environment, inside: inside(boot), progress })
    return Effect.map(Effect.andThen(cancel(life), Task.async(body, { label: "Readiness" })), (task) =>
      coming(life, phase, boot, { task, pid: task.pid as Pid.Any })
    )
  }

  private preparing(life: Running, boot: Boot.Boot, phase: "identity" | "return", ...actions: Actions): Step {
    return Effect.flatMap(this.prepare(life, boot, phase), (next) => this.watched(next, ...actions))
  }

  private ready(life: Running, ...actions: Actions): Step {
    const { boot } = life
    if (Boot.isPaused(life)) return this.become({ _tag: "Paused", boot }, notLate)
    const detail = boot.origin.from === undefined || boot.resets > 0 ? "" : "forked"
    // Published first: a test may be over before whoever waits for it has had a turn.
    return endSpan(boot, Exit.void).pipe(
      Effect.andThen(this.settings.publish("ready", detail)),
      Effect.andThen(this.become({ _tag: "Ready", boot }, notLate, ...actions))
    )
  }

  taskReply(life: Running, reply: Task.TaskReply): Step {
    if (reply.task === life.boot.starter) return this.started(life, reply)
    if (!("task" in life) || life.task?.task !== reply.task) return this.become(life)
    if (reply.result._tag === "Failure") return this.failed(life, { reason: String(reply.result.failure) })
    return life.phase === "return" ? this.preparing(life, life.boot, "identity") : this.ready(life)
  }

  step(life: Running, step: Boot.Step): Step {
    const done = new Set([...life.boot.done, step])
    return this.become(withBoot(life, { done }), ...(step === "identified" ? [notLate] : []))
  }

  // --- Its processes come up and go down -----------------------------------------------------------------------------------------

  up(life: Running, { part, pid }: Up, from: GenServer.From<void>): Step {
    const { boot } = life
    const pids = { ...boot.pids, [part._tag]: pid }
    const reply = GenStatem.reply(from)
    const next = (): Step => {
      switch (part._tag) {
        case "hypervisor": {
          const { hypervisor, origin } = part
          return this.watched(coming(life, "shell", { ...boot, pids, hypervisor, origin }), reply)
        }
        case "control":
          return this.connected(withBoot(life, { pids }), part.control, reply)
        case "shell":
          return this.preparing(life, { ...boot, pids, shell: part.shell }, "identity", reply)
      }
    }
    return Effect.andThen(Process.monitor(pid), Effect.suspend(next))
  }

  private connected(life: Running, control: ControlService, ...actions: Actions): Step {
    const replies = life.boot.waiting.map((from) => GenStatem.reply(from, control))
    return this.become(withBoot(life, { control, waiting: [] }), ...actions, ...replies)
  }

  waitForControl(life: Running, from: GenServer.From<ControlService, Boot.Loss>): Step {
    return this.changed(life, { waiting: [...life.boot.waiting, from] })
  }

  down(life: Running, { pid, reason }: Process.Down): Step {
    const { boot } = life
    if ("task" in life && pid === life.task?.pid) {
      // One that has its result has sent that first.
      return reason._tag === "Normal"
        ? this.become(life)
        : this.failed(life, { reason: `what makes it ready crashed: ${ExitReason.format(reason)}` })
    }
    if (pid === boot.starter?.pid && reason._tag !== "Normal") {
      return this.failed(life, { reason: `could not start its processes: ${ExitReason.format(reason)}` })
    }
    if (pid === boot.pids.hypervisor || pid === boot.supervisor) {
      // Its supervisor ended it, and nobody had asked for that.
      return reason._tag === "Shutdown" && !boot.asked
        ? this.failed(life, { reason: "its control channel or its shells crashed too often" })
        : this.finished(life, Boot.ended(this.machine, boot))
    }
    if (pid === boot.pids.control) return this.changed(life, { control: undefined })
    if (pid !== boot.pids.shell || boot.shell === undefined) return this.become(life)
    // Not published: the guest lives, and gets another shell.
    return this.preparing(life, { ...boot, shell: undefined }, "identity")
  }

  /** Asks a shell that a command found gone; one that does not answer is replaced with its process. */
  doubt(life: Running): Step {
    return Effect.suspend(() => {
      const { pids, shell } = life.boot
      if (this.checking || shell === undefined || pids.shell === undefined) return this.become(life)
      const owner = pids.shell
      this.checking = true
      const check = shell.execute(":", { timeout: this.scaled(doubtTimeout) }).pipe(
        // Commands that take their time on all lanes are no reason to lose them; a guest that goes down answers by that.
        Effect.catchIf(
          (error) => error._tag === "CommandRejected" && (error.reason === "Busy" || isGoingDown(error)),
          () => Effect.void
        ),
        Effect.catch(({ message }) => Process.exit(owner, ExitReason.custom(message))),
        Effect.ensuring(
          Effect.sync(() => {
            this.checking = false
          })
        )
      )
      return Effect.andThen(Task.startLink(check, { label: "Check" }), this.become(life))
    })
  }

  /** The process itself was restarted: it monitors what there is, and makes ready what was being made ready. */
  recover(life: Running): Step {
    const { boot } = life
    if (life._tag === "Starting" && boot.supervisor === undefined) {
      return this.start(Boot.again(boot, ++this.attempts, boot.from))
    }
    const { control, hypervisor, shell } = boot.pids
    const monitoring = Effect.forEach([boot.supervisor, hypervisor, control, shell], (pid) =>
      pid === undefined ? Effect.void : Process.monitor(pid)
    )
    const next =
      !("phase" in life) || life.phase === "reset"
        ? this.become(life)
        : this.preparing(life, boot, life.phase === "return" ? "return" : "identity")
    return Effect.andThen(monitoring, next)
  }

  // --- Resets and pauses ---------------------------------------------------------------------------------------------------------

  reset(life: Running): Step {
    // A kernel tries several ways to reset its machine; those that come before its shell is back are one reboot.
    if ("phase" in life && life.phase === "return") return this.become(life)
    const boot = { ...life.boot, resets: life.boot.resets + 1 }
    const published = Boot.isPaused(life) ? Effect.void : this.settings.publish("booting", "")
    return Effect.andThen(published, this.preparing(life, boot, "return"))
  }

  /** The test has the guest reboot. */
  rebooting(life: Running, from: GenServer.From<number>): Step {
    const next = this.become(coming(life, "reset", life.boot), GenStatem.reply(from, life.boot.resets))
    return Effect.andThen(this.settings.publish("booting", ""), next)
  }

  /** The guest reboots by itself; its reset has the time of a boot to come. */
  goingDown(life: Running, from: GenServer.From<void>): Step {
    const next = this.watched(coming(life, "reset", life.boot), GenStatem.reply(from, undefined))
    return Effect.andThen(this.settings.publish("booting", ""), next)
  }

  /** A guest that did not go down is as ready as it was. */
  notRebooted(life: Running, resets: number): Step {
    const isUp = "phase" in life && life.phase === "reset" && life.boot.resets === resets
    return isUp ? this.ready(life) : this.become(life)
  }

  paused(life: Running, from: GenServer.From<void>): Step {
    const paused: Life = "phase" in life ? { ...life, _tag: "PausedInBoot" } : { _tag: "Paused", boot: life.boot }
    return Effect.andThen(this.settings.publish("paused", ""), this.become(paused, GenStatem.reply(from)))
  }

  resumed(life: Running, from: GenServer.From<void>): Step {
    if (!("phase" in life)) return this.ready({ _tag: "Ready", boot: life.boot }, GenStatem.reply(from))
    const booting = this.become({ ...life, _tag: "Booting" }, GenStatem.reply(from))
    return Effect.andThen(this.settings.publish("booting", ""), booting)
  }
}
