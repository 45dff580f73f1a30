/**
 * The supervisor: OTP's `supervisor` module, rule by rule.
 *
 * It is a message loop like any server's, deaf while it starts or stops a child, and everything it does to children happens
 * in the order that OTP does it in.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as ExitReason from "../ExitReason.ts"
import {
  AlreadyPresent,
  ChildNotFound,
  ChildRestarting,
  ChildRunning,
  FailedToStartChild,
  SimpleOneForOne
} from "../SupervisorError.ts"
import { Cast, PendingCall } from "./call.ts"
import { type CheckedSpec, checkFlags, checkSpec, checkSpecs, type Flags } from "./childSpec.ts"
import { type StartOutcome, startChild, stopChild, stopChildren } from "./childStart.ts"
import { Intensity } from "./intensity.ts"
import { MessageLoop, type Work } from "./loop.ts"
import { ExitMessage, type Letter, Message, ProcessImpl } from "./process.ts"
import { UnknownMessage } from "./server.ts"
import type { Init } from "./start.ts"

/** One child. Under simple_one_for_one every child has the template's spec and its own start. */
export interface Child {
  readonly spec: CheckedSpec
  readonly start: Effect.Effect<unknown, unknown>
  pid: ProcessImpl | undefined
  /** The last process of the child, running or not. */
  last: ProcessImpl | undefined
  /** A start failed during a restart and is being tried again. */
  restarting: boolean
  /** Services that a Layer child built; its later siblings' starts see them. */
  services: Context.Context<never> | undefined
}

/** Whether the supervisor goes on or has to shut down. */
type Verdict = "goOn" | "shutdown"

const startOf = (spec: CheckedSpec, args: ReadonlyArray<unknown>): Effect.Effect<unknown, unknown> => {
  const { start } = spec
  return typeof start === "function" ? Effect.suspend(() => start(...args)) : start
}

const newChild = (spec: CheckedSpec, start: Effect.Effect<unknown, unknown>): Child => ({
  spec,
  start,
  pid: undefined,
  last: undefined,
  restarting: false,
  services: undefined
})

const isAlive = (child: Child): boolean => child.pid?.alive === true

export class SupervisorLoop extends MessageLoop {
  readonly flags: Flags
  /** In start order. Empty under simple_one_for_one. */
  readonly children = new Map<unknown, Child>()
  /** The children of simple_one_for_one; a restarting one is kept under its last pid. */
  readonly dynamic = new Map<ProcessImpl, Child>()
  readonly byPid = new Map<ProcessImpl, Child>()
  template: CheckedSpec | undefined = undefined
  /**
   * Restarting dynamic children, as OTP counts them: one that is terminated while it is restarting stays in the count, so that
   * `countChildren` then says one too few are active.
   */
  private dynamicRestarts = 0
  readonly intensity: Intensity

  constructor(process: ProcessImpl, flags: Flags) {
    super(process)
    this.flags = flags
    this.intensity = new Intensity(flags.intensity, flags.period)
  }

  get state(): unknown {
    return { children: [...this.children.values(), ...this.dynamic.values()], restarts: this.intensity.total }
  }

  get simple(): boolean {
    return this.flags.strategy === "simpleOneForOne"
  }

  // --------------------------------------------------------------- messages

  protected handle(letter: Letter): Work {
    if (letter instanceof PendingCall) return this.request(letter)
    if (letter instanceof Cast) {
      if (letter.tag !== tryAgain) return Exit.die(new UnknownMessage(letter.tag))
      return this.tryAgain(letter.payload)
    }
    if (letter instanceof Message && letter.value instanceof ExitMessage && letter.value.from instanceof ProcessImpl) {
      const child = this.byPid.get(letter.value.from)
      // Exits of strangers and of former children, and plain messages, are nobody's business.
      if (child !== undefined) return this.obey(this.childExited(child, letter.value.reason))
    }
    return undefined
  }

  protected terminate(): Work {
    return this.simple ? this.terminateDynamic() : this.terminateAll([...this.children.values()])
  }

  private obey(verdict: Effect.Effect<Verdict>): Work {
    return Effect.map(verdict, (decided) => {
      if (decided === "shutdown") this.stop(ExitReason.shutdown)
    })
  }

  private request(call: PendingCall): Work {
    const { payload } = call
    const answer = (result: Result.Result<unknown, unknown>): undefined => {
      call.settle(Result.isSuccess(result) ? Exit.succeed(result.success) : Exit.fail(result.failure))
    }
    switch (call.tag) {
      case "startChild":
        return Effect.map(
          this.simple && Array.isArray(payload) ? this.startDynamic(payload) : this.startNew(payload),
          answer
        )
      case "terminateChild":
        return Effect.map(this.terminateChild(payload), answer)
      case "restartChild":
        return Effect.map(this.restartChild(payload), answer)
      case "deleteChild":
        return answer(this.deleteChild(payload))
      case "getChildSpec": {
        const child = this.find(payload)
        return answer(
          child === undefined ? Result.fail(new ChildNotFound({ id: payload })) : Result.succeed(child.spec)
        )
      }
      case "whichChildren":
        return answer(Result.succeed(this.which()))
      case "countChildren":
        return answer(Result.succeed(this.count()))
      default:
        return Exit.die(new UnknownMessage(call.tag))
    }
  }

  // --------------------------------------------------------------- starting

  /** The start of one child, which sees the services of its elder siblings. */
  private start(child: Child): Effect.Effect<StartOutcome> {
    let services: Context.Context<never> | undefined
    for (const sibling of this.children.values()) {
      if (sibling === child) break
      if (sibling.services === undefined || sibling.pid === undefined) continue
      services = services === undefined ? sibling.services : Context.merge(services, sibling.services)
    }
    return Effect.map(
      startChild(services === undefined ? child.start : Effect.provideContext(child.start, services)),
      (outcome) => {
        child.restarting = false
        if (outcome._tag === "Running") {
          this.setPid(child, outcome.pid)
          child.services = outcome.info instanceof Provided ? outcome.info.services : undefined
        } else this.setPid(child, undefined)
        return outcome
      }
    )
  }

  /** Init: starts all children; when one fails, stops the others and says why. */
  startAll(specs: ReadonlyArray<CheckedSpec>): Effect.Effect<ExitReason.ExitReason | undefined> {
    for (const spec of specs) this.children.set(spec.id, newChild(spec, startOf(spec, [])))
    return Effect.flatMap(this.startThese([...this.children.values()]), (failed) => {
      if (failed === undefined) return Effect.succeed(undefined)
      const reason = ExitReason.shutdownWith(
        new FailedToStartChild({ id: failed.child.spec.id, reason: failed.reason })
      )
      return Effect.as(this.terminateAll([...this.children.values()]), reason)
    })
  }

  /** Starts children in order until one fails. */
  private startThese(
    children: ReadonlyArray<Child>
  ): Effect.Effect<{ readonly child: Child; readonly reason: ExitReason.ExitReason } | undefined> {
    const loop = this
    return Effect.gen(function* () {
      for (const child of children) {
        const outcome = yield* loop.start(child)
        if (outcome._tag === "Failed") return { child, reason: outcome.reason }
        if (outcome._tag === "Ignored" && child.spec.restart === "temporary") loop.children.delete(child.spec.id)
      }
      return undefined
    })
  }

  private startNew(raw: unknown): Effect.Effect<Result.Result<unknown, unknown>> {
    const checked = checkSpec(raw, this.flags.autoShutdown)
    if (Result.isFailure(checked)) return Effect.succeed(checked)
    const spec = checked.success
    const old = this.children.get(spec.id)
    if (old !== undefined) {
      return Effect.succeed(
        Result.fail(
          old.pid !== undefined && !old.restarting
            ? new ChildRunning({ id: spec.id, pid: old.pid })
            : new AlreadyPresent({ id: spec.id })
        )
      )
    }
    const child = newChild(spec, startOf(spec, []))
    this.children.set(spec.id, child)
    return Effect.map(this.start(child), (outcome) => {
      if (outcome._tag === "Failed" || (outcome._tag === "Ignored" && spec.restart === "temporary")) {
        this.children.delete(spec.id)
      }
      return answerOf(outcome, (reason) => new FailedToStartChild({ id: spec.id, reason }))
    })
  }

  private startDynamic(args: ReadonlyArray<unknown>): Effect.Effect<Result.Result<unknown, unknown>> {
    const spec = this.template
    if (spec === undefined) return Effect.succeed(Result.fail(new ChildNotFound({ id: undefined })))
    const child = newChild(spec, startOf(spec, args))
    return Effect.map(startChild(child.start), (outcome) => {
      if (outcome._tag === "Running") this.storeDynamic(child, outcome.pid)
      return answerOf(outcome, (reason) => new FailedToStartChild({ id: undefined, reason }))
    })
  }

  private storeDynamic(child: Child, pid: ProcessImpl): void {
    child.pid = pid
    this.note(child, pid)
    this.dynamic.set(pid, child)
    this.byPid.set(pid, child)
  }

  private eraseDynamic(child: Child): void {
    if (child.pid === undefined) return
    this.dynamic.delete(child.pid)
    this.byPid.delete(child.pid)
  }

  private setPid(child: Child, pid: ProcessImpl | undefined): void {
    if (child.pid !== undefined) this.byPid.delete(child.pid)
    child.pid = pid
    if (pid === undefined) return
    this.byPid.set(pid, child)
    this.note(child, pid)
  }

  /** Tells observers when it is not the child's first process. */
  private note(child: Child, pid: ProcessImpl): void {
    if (child.last !== undefined) this.process.system.restarted(this.process, child.last, pid)
    child.last = pid
  }

  // --------------------------------------------------------------- exits and restarts

  private childExited(child: Child, reason: ExitReason.ExitReason): Effect.Effect<Verdict> {
    const { restart } = child.spec
    if (restart === "permanent" || (restart === "transient" && !ExitReason.isNormal(reason))) return this.restart(child)
    this.forget(child)
    return Effect.succeed(this.autoShutdown(child))
  }

  /** The child does not run any more: a temporary one is forgotten, others keep their spec. */
  private forget(child: Child): void {
    if (this.simple) this.eraseDynamic(child)
    else {
      this.setPid(child, undefined)
      child.restarting = false
      if (child.spec.restart === "temporary") this.children.delete(child.spec.id)
    }
  }

  private autoShutdown(child: Child): Verdict {
    if (!child.spec.significant) return "goOn"
    switch (this.flags.autoShutdown) {
      case "never":
        return "goOn"
      case "anySignificant":
        return "shutdown"
      case "allSignificant": {
        if (this.simple) return this.dynamic.size === 0 ? "shutdown" : "goOn"
        for (const other of this.children.values()) {
          if (other.spec.significant && (other.pid !== undefined || other.restarting)) return "goOn"
        }
        return "shutdown"
      }
    }
  }

  private restart(child: Child): Effect.Effect<Verdict> {
    return Effect.flatMap(Clock.monotonicTimeNanos, (nanos) => {
      if (!this.intensity.attempt(Number(nanos / 1_000_000_000n))) {
        this.forget(child)
        return Effect.succeed<Verdict>("shutdown")
      }
      switch (this.flags.strategy) {
        case "simpleOneForOne":
          return this.restartDynamic(child)
        case "oneForOne":
          return Effect.map(this.start(child), (outcome) => this.restarted(child, outcome))
        case "restForOne": {
          const all = [...this.children.values()]
          return this.restartMany(child, all.slice(all.indexOf(child)))
        }
        case "oneForAll":
          return this.restartMany(child, [...this.children.values()])
      }
    })
  }

  private restarted(child: Child, outcome: StartOutcome): Verdict {
    if (outcome._tag === "Failed") this.tryLater(child)
    return "goOn"
  }

  /** Back to the mailbox before the next try, so that other requests, a stop above all, are served in between. */
  private tryLater(child: Child): void {
    child.restarting = true
    this.process.deliver(new Cast(tryAgain, this.simple ? child.pid : child.spec.id))
  }

  private tryAgain(key: unknown): Work {
    const child = key instanceof ProcessImpl ? this.dynamic.get(key) : this.children.get(key)
    return child?.restarting === true ? this.obey(this.restart(child)) : undefined
  }

  private restartMany(child: Child, range: ReadonlyArray<Child>): Effect.Effect<Verdict> {
    this.setPid(child, undefined)
    child.restarting = false
    const started = Effect.flatMap(this.terminateAll(range), () =>
      this.startThese(range.filter((each) => each.spec.restart !== "temporary"))
    )
    return Effect.map(started, (failed) => {
      if (failed !== undefined) this.tryLater(failed.child)
      return "goOn"
    })
  }

  private restartDynamic(child: Child): Effect.Effect<Verdict> {
    const old = child.pid
    if (old !== undefined) this.byPid.delete(old)
    if (child.restarting) this.dynamicRestarts--
    return Effect.map(startChild(child.start), (outcome): Verdict => {
      switch (outcome._tag) {
        case "Running":
          if (old !== undefined) this.dynamic.delete(old)
          child.restarting = false
          this.storeDynamic(child, outcome.pid)
          break
        case "Ignored":
          // OTP 25 keeps a child without a pid here and crashes of it at its end; later versions drop it, and so does this.
          if (old !== undefined) this.dynamic.delete(old)
          break
        case "Failed":
          this.dynamicRestarts++
          this.tryLater(child)
      }
      return "goOn"
    })
  }

  // --------------------------------------------------------------- stopping

  /** Stops children one after another, the last one first. */
  private terminateAll(children: ReadonlyArray<Child>): Effect.Effect<void> {
    const loop = this
    return Effect.gen(function* () {
      for (const child of children.toReversed()) {
        if (child.pid !== undefined && !child.restarting) {
          yield* stopChild(loop.process, child.pid, child.spec.shutdown)
        }
        loop.forget(child)
      }
    })
  }

  private terminateDynamic(): Effect.Effect<void> {
    const pids: Array<ProcessImpl> = []
    for (const child of this.dynamic.values()) if (child.pid !== undefined && !child.restarting) pids.push(child.pid)
    this.dynamic.clear()
    this.byPid.clear()
    return stopChildren(this.process, pids, this.template?.shutdown ?? "infinity")
  }

  // --------------------------------------------------------------- requests

  /** By id; by pid under simple_one_for_one, where the template's id is known as well. */
  private find(id: unknown): Child | undefined {
    if (!this.simple) return this.children.get(id)
    const template = this.template
    if (template === undefined) return undefined
    if (!(id instanceof ProcessImpl)) return id === template.id ? newChild(template, startOf(template, [])) : undefined
    const child = this.dynamic.get(id)
    if (child !== undefined) return child
    // A dead pid counts as a child that has stopped.
    return id.alive ? undefined : newChild(template, startOf(template, []))
  }

  private terminateChild(id: unknown): Effect.Effect<Result.Result<void, unknown>> {
    if (this.simple && !(id instanceof ProcessImpl)) {
      return Effect.succeed(Result.fail(new SimpleOneForOne({ request: "terminateChild" })))
    }
    const child = this.find(id)
    if (child === undefined) return Effect.succeed(Result.fail(new ChildNotFound({ id })))
    const stopped =
      child.pid === undefined || child.restarting ? Exit.void : stopChild(this.process, child.pid, child.spec.shutdown)
    return Effect.map(stopped, () => {
      this.forget(child)
      return Result.succeed(undefined)
    })
  }

  private restartChild(id: unknown): Effect.Effect<Result.Result<unknown, unknown>> {
    const stopped = this.stopped("restartChild", id)
    if (Result.isFailure(stopped)) return Effect.succeed(Result.fail(stopped.failure))
    return Effect.map(this.start(stopped.success), (outcome) =>
      answerOf(outcome, (reason) => new FailedToStartChild({ id, reason }))
    )
  }

  private deleteChild(id: unknown): Result.Result<void, unknown> {
    return Result.map(this.stopped("deleteChild", id), () => {
      this.children.delete(id)
    })
  }

  /** The child of that id, if it does not run. */
  private stopped(request: string, id: unknown): Result.Result<Child, unknown> {
    if (this.simple) return Result.fail(new SimpleOneForOne({ request }))
    const child = this.children.get(id)
    if (child === undefined) return Result.fail(new ChildNotFound({ id }))
    if (child.restarting) return Result.fail(new ChildRestarting({ id }))
    if (child.pid !== undefined) return Result.fail(new ChildRunning({ id, pid: child.pid }))
    return Result.succeed(child)
  }

  private which(): ReadonlyArray<unknown> {
    const show = (id: unknown, child: Child) => ({
      id,
      child: child.restarting ? "restarting" : child.pid,
      type: child.spec.type,
      modules: child.spec.modules
    })
    return this.simple
      ? [...this.dynamic.values()].map((child) => show(undefined, child))
      : [...this.children.values()].toReversed().map((child) => show(child.spec.id, child))
  }

  private count(): unknown {
    if (this.simple) {
      const size = this.dynamic.size
      const supervisors = this.template?.type === "supervisor" ? size : 0
      return { specs: 1, active: size - this.dynamicRestarts, supervisors, workers: size - supervisors }
    }
    let active = 0
    let supervisors = 0
    for (const child of this.children.values()) {
      if (isAlive(child) && !child.restarting) active++
      if (child.spec.type === "supervisor") supervisors++
    }
    const specs = this.children.size
    return { specs, active, supervisors, workers: specs - supervisors }
  }
}

const tryAgain = "tryAgain"

/** What a Layer child tells its supervisor: the services that it built. */
export class Provided {
  readonly services: Context.Context<never>
  constructor(services: Context.Context<never>) {
    this.services = services
  }
}

const answerOf = (
  outcome: StartOutcome,
  failed: (reason: ExitReason.ExitReason) => unknown
): Result.Result<unknown, unknown> => {
  switch (outcome._tag) {
    case "Running":
      return Result.succeed({ pid: outcome.pid, info: outcome.info })
    case "Ignored":
      return Result.succeed({ pid: undefined, info: undefined })
    case "Failed":
      return Result.fail(failed(outcome.reason))
  }
}

/** Options as they come, unchecked. */
export type RawOptions = Readonly<Record<string, unknown>> & { readonly children: ReadonlyArray<unknown> }

/** A supervisor's body. `options` gives `undefined` when there is nothing to supervise. */
export const supervise =
  (options: Effect.Effect<RawOptions | undefined, unknown>) =>
  (process: ProcessImpl, init: Init): Effect.Effect<unknown, unknown> => {
    process.trapExit = true
    return Effect.flatMap(options, (raw): Effect.Effect<unknown, unknown> => {
      if (raw === undefined) {
        init.ignore()
        return Exit.void
      }
      const flags = checkFlags(raw)
      if (Result.isFailure(flags)) return fail(ExitReason.custom(flags.failure))
      const loop = new SupervisorLoop(process, flags.success)
      const specs = checkSpecs(raw.children, flags.success)
      if (Result.isFailure(specs)) return fail(ExitReason.custom(specs.failure))
      process.details = () => ({ strategy: loop.flags.strategy, restarts: loop.intensity.total })
      if (loop.simple) {
        loop.template = specs.success[0]
        init.done()
        return loop.guarded()
      }
      return Effect.flatMap(loop.startAll(specs.success), (failed) => {
        if (failed !== undefined) return fail(failed)
        init.done()
        return loop.guarded()
      })
    })
  }

const fail = (reason: ExitReason.ExitReason) => Exit.die(new ExitReason.ExitDefect(reason))
