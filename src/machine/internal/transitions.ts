/** What each event does to a machine: the next state, and what is started, ended and published on the way to it. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
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
import type { Machine } from "../Machine.ts"
import type { Environment } from "../MachineTree.ts"
import type { Origin } from "../Origin.ts"
import type { Life, Running } from "./boot.ts"
import * as Boot from "./boot.ts"
import { silenceHint } from "./children.ts"
import type { MachineRef, Protocol, Up } from "./protocol.ts"
import * as Readiness from "./readiness.ts"

/** What the process of a machine works with. */
export interface Settings {
  readonly ref: MachineRef
  readonly environment: Environment
  readonly deadlines: DeadlineSettings
  /** Told of each state that a test can see. */
  readonly publish: (state: MachineState, detail: string) => Effect.Effect<void>
  /** Starts the supervisor of a boot under that of the machine, in place of the one before. */
  readonly startBoot: (
    supervisor: SupervisorPid,
    boot: Boot.Boot
  ) => Effect.Effect<Pid.Any, { readonly message: string }>
  /** Ends the supervisor of a boot, and all that it started. */
  readonly stopBoot: (supervisor: SupervisorPid) => Effect.Effect<void>
  /** The machine as only what makes it ready may use it. */
  readonly inside: (boot: Boot.Boot) => Machine
  /** Where each start comes from; `start` counts from 1. */
  readonly originOf: (start: number) => Boot.OriginEffect
}

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

export const make = (settings: Settings) => {
  const { deadlines, environment, publish, ref, startBoot, stopBoot } = settings
  const { name: machine } = environment.spec
  const scaled = (time: Duration.Duration) => Duration.times(time, environment.backend.timeScale)
  let attempts = 0
  let starts = 0
  let checking = false

  /** Goes to a state, which whoever looks at the machine sees from then on. */
  const become = (life: Life, ...actions: ReadonlyArray<GenStatem.Action<Protocol>>): Effect.Effect<Next> =>
    Effect.sync(() => {
      ref.life = life
      return GenStatem.nextState(life, ...actions)
    })
  const withBoot = <L extends Running>(life: L, changes: Partial<Boot.Boot>): L => ({
    ...life,
    boot: { ...life.boot, ...changes }
  })
  const changed = (life: Running, changes: Partial<Boot.Boot>) => become(withBoot(life, changes))

  // --- The deadline of what a boot waits for -------------------------------------------------------------------------------------

  /** Whether it is not known yet that the guest really goes on from its snapshot, and it can boot instead. */
  const mayBoot = ({ boot }: Running): boolean =>
    boot.origin.from !== undefined &&
    boot.origin.otherwise !== undefined &&
    boot.shell === undefined &&
    boot.done.size === 0
  const limitOf = (life: Running) =>
    scaled(mayBoot(life) ? Duration.min(answersWithin, deadlines.boot) : deadlines.boot)
  const watched = (life: Running, ...actions: ReadonlyArray<GenStatem.Action<Protocol>>) =>
    become(life, GenStatem.startTimeout("late", limitOf(life)), ...actions)
  const lateReason = (life: Running): string => {
    const limit = Duration.format(limitOf(life))
    if (life.boot.resets > 0) return `it did not come back after its reboot within ${limit}`
    if (life.boot.shell === undefined) return `its shell did not answer within ${limit}`
    return `it did not take its name and addresses within ${limit}`
  }

  // --- Boots ---------------------------------------------------------------------------------------------------------------------

  const finish = (life: Running, { detail, loss, tag }: Boot.End): Effect.Effect<Life> =>
    Effect.gen(function* () {
      yield* cancel(life)
      yield* publish(tag === "Stopped" ? "stopped" : "crashed", detail)
      const boot: Boot.Boot = { ...life.boot, loss, control: undefined, shell: undefined, waiting: [] }
      ref.life = { _tag: tag, boot }
      Deferred.doneUnsafe(boot.lost, Exit.fail(loss))
      Deferred.doneUnsafe(boot.over, Exit.void)
      return ref.life
    })
  /** In a process of its own: an end that takes its time does not keep the machine from answering. */
  const stopping = Effect.flatMap(supervisorOfMachine, (supervisor) =>
    Task.startLink(stopBoot(supervisor), { label: "Stop" })
  )
  const finished = (life: Running, end: Boot.End): Step =>
    Effect.flatMap(Effect.tap(finish(life, end), stopping), (ended) =>
      become(ended, notLate, ...life.boot.waiting.map((from) => GenStatem.failReply(from, end.loss)))
    )

  /** The supervisor is asked by a process of its own: one that ends meanwhile would not answer, and this process has to hear of that. */
  const start = (boot: Boot.Boot, ...actions: ReadonlyArray<GenStatem.Action<Protocol>>): Step =>
    Effect.gen(function* () {
      const supervisor = yield* supervisorOfMachine
      const starter = yield* Task.async(startBoot(supervisor, boot), { label: "Start" })
      return yield* become({ _tag: "Starting", boot: { ...boot, starter } }, notLate, ...actions)
    })

  const fail = (life: Running, reason: string, silence = ""): Step =>
    Effect.gen(function* () {
      const { boot } = life
      if (boot.origin.otherwise !== undefined && mayBoot(life)) {
        return yield* start(Boot.again(boot, ++attempts, boot.origin.otherwise(reason)))
      }
      const tail = boot.hypervisor === undefined ? "" : yield* boot.hypervisor.console.tail(80)
      const why = tail.trim() === "" && boot.hypervisor !== undefined ? reason + silence : reason
      return yield* finished(life, Boot.failed(machine, life, why, tail))
    })

  // --- What makes it ready -------------------------------------------------------------------------------------------------------

  const cancel = (life: Running): Effect.Effect<void> =>
    "task" in life && life.task !== undefined ? Process.exit(life.task.pid, ExitReason.kill) : Effect.void

  const coming = (life: Running, phase: Boot.Phase, boot: Boot.Boot, task?: Boot.Coming["task"]): Running => ({
    _tag: Boot.isPaused(life) ? "PausedInBoot" : "Booting",
    boot,
    phase,
    task
  })

  /** Starts what makes a guest with a shell ready, in place of what was under way. */
  const prepare = (
    life: Running,
    boot: Boot.Boot,
    phase: "identity" | "return"
  ): Effect.Effect<Running, never, Process.Self> =>
    Effect.gen(function* () {
      yield* cancel(life)
      const { shell } = boot
      if (shell === undefined) return coming(life, "shell", boot)
      const body =
        phase === "return"
          ? Readiness.returned(shell)
          : Readiness.make({ ref, boot, shell, environment, inside: settings.inside(boot) })
      const task = yield* Task.async(body, { label: "Readiness" })
      return coming(life, phase, boot, { task, pid: task.pid as Pid.Any })
    })

  const ready = (life: Running, ...actions: ReadonlyArray<GenStatem.Action<Protocol>>): Step => {
    const { boot } = life
    if (Boot.isPaused(life)) return become({ _tag: "Paused", boot }, notLate)
    // Published first: a test may be over before whoever waits for it has had a turn.
    return Effect.andThen(
      publish("ready", boot.origin.from === undefined || boot.resets > 0 ? "" : "forked"),
      become({ _tag: "Ready", boot }, notLate, ...actions)
    )
  }

  const down = (life: Running, { pid, reason }: Process.Down): Step => {
    const { boot } = life
    if ("task" in life && life.task !== undefined && pid === life.task.pid) {
      // One that has its result has sent that first.
      return reason._tag === "Normal"
        ? become(life)
        : fail(life, `what makes it ready crashed: ${ExitReason.format(reason)}`)
    }
    if (pid === boot.pids.hypervisor || pid === boot.supervisor) {
      // Its supervisor ended it, and nobody had asked for that.
      if (reason._tag === "Shutdown" && !boot.asked)
        return fail(life, "its control channel or its shells crashed too often")
      return finished(life, Boot.ended(machine, boot))
    }
    if (pid === boot.pids.control) return changed(life, { control: undefined })
    if (pid !== boot.pids.shell || boot.shell === undefined) return become(life)
    // Nobody is told: the guest lives, and gets another shell.
    return Effect.flatMap(prepare(life, { ...boot, shell: undefined }, "identity"), (next) => watched(next))
  }

  const on = {
    launch: (_: Life, origin: Boot.OriginEffect | undefined, from: GenServer.From<Boot.Boot>): Step =>
      Effect.suspend(() => {
        if (origin === undefined) starts += 1
        const boot = Boot.begin(starts, ++attempts, origin ?? settings.originOf(starts))
        return start(boot, GenStatem.reply(from, boot))
      }),
    waitForControl: (life: Running, from: GenServer.From<ControlService, Boot.Loss>) =>
      changed(life, { waiting: [...life.boot.waiting, from] }),
    up: (life: Running, { part, pid }: Up, from: GenServer.From<void>): Step =>
      Effect.gen(function* () {
        yield* Process.monitor(pid)
        const { boot } = life
        const pids = { ...boot.pids, [part._tag]: pid }
        if (part._tag === "control") {
          // A save that lost its connection may have left the guest paused.
          if (boot.pids.control !== undefined && !Boot.isPaused(life)) {
            yield* Effect.ignore(Effect.timeout(part.control.resume, "5 seconds"))
          }
          const replies = boot.waiting.map((waiting) => GenStatem.reply(waiting, part.control))
          return yield* become(
            withBoot(life, { pids, control: part.control, waiting: [] }),
            GenStatem.reply(from),
            ...replies
          )
        }
        const next =
          part._tag === "hypervisor"
            ? coming(life, "shell", { ...boot, pids, hypervisor: part.hypervisor, origin: part.origin })
            : yield* prepare(life, { ...boot, pids, shell: part.shell }, "identity")
        return yield* watched(next, GenStatem.reply(from))
      }),
    origin: (life: Running, origin: Origin): Step =>
      Effect.andThen(publish("booting", origin.from === undefined ? "" : "forked"), changed(life, { origin })),
    failed: fail,
    exited: (life: Running, exit: MachineExit) => finished(life, Boot.died(machine, life.boot, exit)),
    step: (life: Running, step: Boot.Step) =>
      become(withBoot(life, { done: new Set([...life.boot.done, step]) }), ...(step === "identified" ? [notLate] : [])),
    changed,
    late: (life: Running) => fail(life, lateReason(life), silenceHint),
    down,
    taskReply: (life: Running, { result, task }: Task.TaskReply): Step => {
      if (task === life.boot.starter) {
        return result._tag === "Failure"
          ? fail(life, `could not start its processes: ${String(result.failure)}`)
          : Effect.andThen(
              Process.monitor(result.success as Pid.Any),
              changed(life, { supervisor: result.success as Pid.Any, starter: undefined })
            )
      }
      if (!("task" in life) || life.task?.task !== task) return become(life)
      if (result._tag === "Failure") return fail(life, String(result.failure))
      return life.phase === "return"
        ? Effect.flatMap(prepare(life, life.boot, "identity"), (next) => watched(next))
        : ready(life)
    },
    reset: (life: Running): Step =>
      Effect.gen(function* () {
        // A kernel tries several ways to reset its machine; those that come before its shell is back are one reboot.
        if ("phase" in life && life.phase === "return") return yield* become(life)
        const boot = { ...life.boot, resets: life.boot.resets + 1 }
        if (!Boot.isPaused(life)) yield* publish("booting", "")
        return yield* watched(yield* prepare(life, boot, "return"))
      }),
    rebooting: (life: Running, from: GenServer.From<number>): Step =>
      Effect.andThen(
        publish("booting", ""),
        become(coming(life, "reset", life.boot), GenStatem.reply(from, life.boot.resets))
      ),
    /** A guest that did not go down is as ready as it was. */
    notRebooted: (life: Running, resets: number): Step =>
      "phase" in life && life.phase === "reset" && life.boot.resets === resets ? ready(life) : become(life),
    paused: (life: Running, from: GenServer.From<void>): Step =>
      Effect.andThen(
        publish("paused", ""),
        become(
          "phase" in life ? { ...life, _tag: "PausedInBoot" } : { _tag: "Paused", boot: life.boot },
          GenStatem.reply(from)
        )
      ),
    resumed: (life: Running, from: GenServer.From<void>): Step =>
      "phase" in life
        ? Effect.andThen(publish("booting", ""), become({ ...life, _tag: "Booting" }, GenStatem.reply(from)))
        : ready({ _tag: "Ready", boot: life.boot }, GenStatem.reply(from)),
    /** Asks a shell that a command found gone; one that does not answer is replaced with its process. */
    doubt: (life: Running): Step =>
      Effect.suspend(() => {
        const { pids, shell } = life.boot
        if (checking || shell === undefined || pids.shell === undefined) return become(life)
        const owner = pids.shell
        checking = true
        const check = shell.execute(":", { timeout: scaled(doubtTimeout) }).pipe(
          // Commands that take their time on all lanes are no reason to lose them.
          Effect.catchIf(
            (error) => error._tag === "CommandRejected" && error.reason === "Busy",
            () => Effect.void
          ),
          Effect.catch(({ message }) => Process.exit(owner, ExitReason.custom(message))),
          Effect.ensuring(Effect.sync(() => (checking = false)))
        )
        return Effect.andThen(Task.startLink(check, { label: "Check" }), become(life))
      }),
    /** The process itself was restarted: it monitors what there is, and makes ready what was being made ready. */
    recover: (life: Running): Step =>
      Effect.gen(function* () {
        const { boot } = life
        if (life._tag === "Starting" && boot.supervisor === undefined) {
          return yield* start(Boot.again(boot, ++attempts, boot.from))
        }
        const { control, hypervisor, shell } = boot.pids
        yield* Effect.forEach([boot.supervisor, hypervisor, control, shell], (pid) =>
          pid === undefined ? Effect.void : Process.monitor(pid)
        )
        if (!("phase" in life) || life.phase === "reset") return yield* become(life)
        return yield* watched(yield* prepare(life, boot, life.phase === "return" ? "return" : "identity"))
      })
  }
  return { finish, on }
}
