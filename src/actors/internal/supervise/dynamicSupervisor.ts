/**
 * The dynamic supervisor: Elixir's `DynamicSupervisor`, whose children have their own specs and no order.
 *
 * Children are kept by pid, so that starting, stopping and losing one costs the same whatever their number.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as ExitReason from "../../ExitReason.ts"
import { ChildNotFound, FailedToStartChild, InvalidSpec, MaxChildren, StartCrash } from "../../SupervisorError.ts"
import { Cast, PendingCall } from "../gen/call.ts"
import { UnknownMessage } from "../gen/server.ts"
import { CurrentSystem } from "../process/current.ts"
import { MessageLoop, type Work } from "../process/loop.ts"
import { ExitMessage, type Letter, Message } from "../process/mailbox.ts"
import { ProcessImpl, Self } from "../process/process.ts"
import { Start } from "../process/start.ts"
import { fail, supervisorBody } from "./body.ts"
import { type CheckedSpec, checkFlags, type Flags, type Shutdown, type Start as SpecStart } from "./childSpec.ts"
import { outcomeOf, type StartOutcome, startChild, stopChild, stopChildren } from "./childStart.ts"
import { Intensity } from "./intensity.ts"
import { reachedMaxRestartIntensity, reportChild, reportStop } from "./reports.ts"

/** What startChild sends: a checked spec, the arguments of its start, and the services of the caller. */
export interface StartRequest {
  readonly spec: CheckedSpec
  readonly args: ReadonlyArray<unknown>
  readonly context: Context.Context<never>
}

interface Child {
  readonly spec: CheckedSpec
  /** Not kept for a temporary child, which is never started again. */
  readonly start: Effect.Effect<unknown, unknown> | undefined
  pid: ProcessImpl
  /** A start failed during a restart and is being tried again; the child is still known by its last pid. */
  restarting: boolean
}

export interface DynamicFlags extends Flags {
  readonly maxChildren: number
  readonly extraArguments: ReadonlyArray<unknown>
}

const answer = (call: PendingCall, result: Exit.Exit<unknown, unknown>): undefined => {
  call.settle(result)
}

/** A start that ended itself says with what reason; another crash of it is one of its own kind. */
const reasonOf = (reason: ExitReason.ExitReason): ExitReason.ExitReason =>
  reason._tag === "Custom" && reason.term instanceof StartCrash ? ExitReason.fromCause(reason.term.cause) : reason

/** What a process has of its own, whoever starts it. */
const own = new Set([Self.key, Scope.Scope.key, CurrentSystem.key])

const hasAll = (mine: Context.Context<never>, theirs: Context.Context<never>): boolean => {
  for (const [key, service] of theirs.mapUnsafe) {
    if (!own.has(key) && mine.mapUnsafe.get(key) !== service) return false
  }
  return true
}

const bind = (start: SpecStart, args: ReadonlyArray<unknown>): Effect.Effect<unknown, unknown> =>
  typeof start === "function" ? Effect.suspend(() => start(...args)) : start

export class DynamicSupervisorLoop extends MessageLoop {
  readonly flags: DynamicFlags
  readonly children = new Map<ProcessImpl, Child>()
  readonly intensity: Intensity
  private lastCaller: Context.Context<never> | undefined = undefined
  private lastContext: Context.Context<never> | undefined = undefined

  constructor(process: ProcessImpl, flags: DynamicFlags) {
    super(process)
    this.flags = flags
    this.intensity = new Intensity(flags.intensity, flags.period)
  }

  get state(): unknown {
    return { children: [...this.children.values()], restarts: this.intensity.total }
  }

  // --------------------------------------------------------------- messages

  protected handle(letter: Letter): Work {
    if (letter instanceof PendingCall) return this.request(letter)
    if (letter instanceof Cast) return letter.tag === tryAgain ? this.tryAgain(letter.payload) : undefined
    if (letter instanceof Message && letter.value instanceof ExitMessage && letter.value.from instanceof ProcessImpl) {
      const child = this.children.get(letter.value.from)
      // Exits of strangers and plain messages are nobody's business; a restarting child has exited already.
      if (child !== undefined && !child.restarting) return this.childExited(child, letter.value.reason)
    }
    return undefined
  }

  /** All at once; one timer for all that have the same time to go. */
  protected terminate(): Work {
    const groups = new Map<Shutdown, Array<ProcessImpl>>()
    const children = [...this.children.values()]
    for (const { pid, restarting, spec } of children) {
      if (restarting) continue
      const group = groups.get(spec.shutdown)
      if (group === undefined) groups.set(spec.shutdown, [pid])
      else group.push(pid)
    }
    this.children.clear()
    const stopped = Effect.forEach(groups, ([shutdown, pids]) => stopChildren(this.process, pids, shutdown), {
      concurrency: "unbounded",
      discard: true
    })
    return Effect.map(stopped, () => {
      for (const { pid, restarting, spec } of children) {
        if (!restarting && pid.reason !== undefined) reportStop(this.process, spec, pid, pid.reason)
      }
    })
  }

  private request(call: PendingCall): Work {
    const { payload } = call
    switch (call.tag) {
      case "startChild":
        return this.startChild(payload as StartRequest, call)
      case "terminateChild": {
        const child = payload instanceof ProcessImpl ? this.children.get(payload) : undefined
        return child === undefined
          ? answer(call, Exit.fail(new ChildNotFound({ id: payload })))
          : this.terminateChild(child, call)
      }
      case "whichChildren":
        return answer(call, Exit.succeed(this.which()))
      case "countChildren":
        return answer(call, Exit.succeed(this.count()))
      default:
        return Exit.die(new UnknownMessage(call.tag))
    }
  }

  // --------------------------------------------------------------- starting

  private startChild({ spec, args, context }: StartRequest, call: PendingCall): Work {
    const { extraArguments, maxChildren } = this.flags
    if (this.children.size >= maxChildren) return answer(call, Exit.fail(new MaxChildren({ maxChildren })))
    const services = this.contextFor(context)
    const bound = bind(spec.start, extraArguments.length === 0 ? args : [...extraArguments, ...args])
    const start = services === undefined ? bound : Effect.updateContext(bound, (_: Context.Context<never>) => services)
    if (bound instanceof Start) {
      // What most children are needs no fiber of the supervisor, which is as deaf meanwhile as it would be with one.
      this.ignoreLetters()
      const begun = bound.startAs(this.process, services ?? this.process.context, (exit) => {
        this.started(spec, start, outcomeOf(exit), call)
        this.listen()
      })
      if (begun) return undefined
      this.listen()
    }
    return Effect.map(startChild(start), (outcome) => this.started(spec, start, outcome, call))
  }

  private started(
    spec: CheckedSpec,
    start: Effect.Effect<unknown, unknown>,
    outcome: StartOutcome,
    call: PendingCall
  ): undefined {
    switch (outcome._tag) {
      case "Running": {
        const { pid } = outcome
        const kept = spec.restart === "temporary" ? undefined : start
        this.children.set(pid, { spec, start: kept, pid, restarting: false })
        return answer(call, Exit.succeed({ pid, info: outcome.info }))
      }
      case "Ignored":
        return answer(call, Exit.succeed({ pid: undefined, info: undefined }))
      case "Failed":
        return answer(call, Exit.fail(new FailedToStartChild({ id: spec.id, reason: reasonOf(outcome.reason) })))
    }
  }

  /**
   * The caller's services before the supervisor's, in the supervisor's process; `undefined` when that changes nothing. Kept
   * for the next call of the same caller.
   */
  private contextFor(caller: Context.Context<never>): Context.Context<never> | undefined {
    if (caller !== this.lastCaller) {
      this.lastCaller = caller
      const { process } = this
      this.lastContext = hasAll(process.context, caller)
        ? undefined
        : Context.merge(process.context, caller).pipe(
            Context.add(Self, process),
            Context.add(Scope.Scope, process.scope),
            Context.add(CurrentSystem, process.system)
          )
    }
    return this.lastContext
  }

  // --------------------------------------------------------------- exits and restarts

  private childExited(child: Child, reason: ExitReason.ExitReason): Work {
    const { restart } = child.spec
    if (restart === "permanent" || !ExitReason.isNormal(reason)) {
      reportChild(this.process, "childTerminated", reason, child.spec, child.pid)
      if (restart !== "temporary") return this.restart(child)
    }
    this.children.delete(child.pid)
    return undefined
  }

  private restart(child: Child): Work {
    const { start } = child
    if (start === undefined) return undefined
    return Effect.flatMap(Clock.monotonicTimeNanos, (nanos) => {
      if (!this.intensity.attempt(Number(nanos / 1_000_000_000n))) {
        reportChild(this.process, "shutdown", reachedMaxRestartIntensity, child.spec, child.pid)
        this.children.delete(child.pid)
        this.stop(ExitReason.shutdown)
        return Exit.void
      }
      return Effect.map(startChild(start), (outcome) => {
        const previous = child.pid
        switch (outcome._tag) {
          case "Running":
            this.children.delete(previous)
            child.restarting = false
            child.pid = outcome.pid
            this.children.set(outcome.pid, child)
            this.process.system.restarted(this.process, previous, outcome.pid)
            break
          case "Ignored":
            this.children.delete(previous)
            break
          case "Failed":
            // Back to the mailbox before the next try, so that other requests, a stop above all, are served in between.
            child.restarting = true
            reportChild(this.process, "startError", outcome.reason, child.spec, previous)
            this.process.deliver(new Cast(tryAgain, previous))
        }
      })
    })
  }

  private tryAgain(pid: unknown): Work {
    const child = pid instanceof ProcessImpl ? this.children.get(pid) : undefined
    return child?.restarting === true ? this.restart(child) : undefined
  }

  // --------------------------------------------------------------- requests

  private terminateChild(child: Child, call: PendingCall): Work {
    this.children.delete(child.pid)
    if (child.restarting) return answer(call, Exit.void)
    return Effect.map(stopChild(this.process, child.pid, child.spec.shutdown), (reason) => {
      reportStop(this.process, child.spec, child.pid, reason)
      return answer(call, Exit.void)
    })
  }

  private which(): ReadonlyArray<unknown> {
    return Array.from(this.children.values(), ({ pid, restarting, spec }) => ({
      id: undefined,
      child: restarting ? "restarting" : pid,
      type: spec.type,
      modules: spec.modules
    }))
  }

  private count(): unknown {
    let active = 0
    let supervisors = 0
    for (const child of this.children.values()) {
      if (!child.restarting) active++
      if (child.spec.type === "supervisor") supervisors++
    }
    const specs = this.children.size
    return { specs, active, supervisors, workers: specs - supervisors }
  }
}

const tryAgain = "tryAgain"

/** Options as they come, unchecked. */
export type RawDynamicOptions = Readonly<Record<string, unknown>>

/** Elixir's defaults: three restarts in 5 seconds, any number of children. */
const checkDynamicFlags = (raw: RawDynamicOptions): Result.Result<DynamicFlags, InvalidSpec> => {
  const { maxChildren = Number.POSITIVE_INFINITY, extraArguments = [], ...rest } = raw
  const refuse = (problem: InvalidSpec["problem"], value: unknown) =>
    Result.fail(new InvalidSpec({ of: "supervisor", problem, value }))
  return Result.flatMap(checkFlags({ ...rest, intensity: rest.intensity ?? 3 }), (flags) => {
    if (flags.strategy !== "oneForOne") return refuse("invalidStrategy", flags.strategy)
    const isLimit = maxChildren === Number.POSITIVE_INFINITY || Number.isInteger(maxChildren)
    if (typeof maxChildren !== "number" || !isLimit || maxChildren < 0) {
      return refuse("invalidMaxChildren", maxChildren)
    }
    if (!Array.isArray(extraArguments)) return refuse("invalidExtraArguments", extraArguments)
    if (flags.autoShutdown !== "never") return refuse("invalidAutoShutdown", flags.autoShutdown)
    return Result.succeed({ ...flags, maxChildren, extraArguments })
  })
}

/** A dynamic supervisor's body. `options` gives `undefined` when there is nothing to supervise. */
export const superviseDynamically = supervisorBody((process, init, raw: RawDynamicOptions) => {
  const flags = checkDynamicFlags(raw)
  if (Result.isFailure(flags)) return fail(ExitReason.custom(flags.failure))
  const loop = new DynamicSupervisorLoop(process, flags.success)
  process.details = () => ({ strategy: "oneForOne", restarts: loop.intensity.total, children: loop.children.size })
  init.done()
  return loop.guarded()
})
