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
import * as ExitReason from "../../ExitReason.ts"
import type { ErrorContext } from "../../Report.ts"
import {
  AlreadyPresent,
  ChildNotFound,
  ChildRunning,
  FailedToStartChild,
  InvalidSpec,
  SimpleOneForOne
} from "../../SupervisorError.ts"
import { Cast, PendingCall } from "../gen/call.ts"
import { UnknownMessage } from "../gen/server.ts"
import { MessageLoop, type Work } from "../process/loop.ts"
import { ExitMessage, type Letter, Message } from "../process/mailbox.ts"
import { ProcessImpl } from "../process/process.ts"
import { Start } from "../process/start.ts"
import { answerOf, type Child, Children, newChild, Provided } from "./children.ts"
import { type CheckedSpec, checkSpec, type Flags } from "./childSpec.ts"
import { outcomeOf, type StartOutcome, startChild, stopChild, stopChildren } from "./childStart.ts"
import { Intensity } from "./intensity.ts"
import { reachedMaxRestartIntensity, reportChild, reportStop, reportStops, type Whom } from "./reports.ts"

/** Answers the one who asked; nothing is left to be done then. */
type Answer = (result: Result.Result<unknown, unknown>) => undefined

export class SupervisorLoop extends MessageLoop {
  readonly flags: Flags
  readonly children: Children
  readonly intensity: Intensity

  constructor(process: ProcessImpl, flags: Flags) {
    super(process)
    this.flags = flags
    this.children = new Children(process, flags.strategy === "simpleOneForOne")
    this.intensity = new Intensity(flags.intensity, flags.period)
  }

  get state(): unknown {
    return { children: this.children.all, restarts: this.intensity.total }
  }

  // --------------------------------------------------------------- messages

  protected handle(letter: Letter): Work {
    if (letter instanceof PendingCall) return this.request(letter)
    if (letter instanceof Cast) {
      if (letter.tag !== tryAgain) return Exit.die(new UnknownMessage(letter.tag))
      return this.tryAgain(letter.payload)
    }
    if (letter instanceof Message && letter.value instanceof ExitMessage && letter.value.from instanceof ProcessImpl) {
      const child = this.children.byPid.get(letter.value.from)
      // Exits of strangers and of former children, and plain messages, are nobody's business.
      if (child !== undefined) return this.childExited(child, letter.value.reason)
    }
    return undefined
  }

  protected terminate(): Work {
    return this.children.simple ? this.terminateDynamic() : this.terminateAll(this.children.all)
  }

  private request(call: PendingCall): Work {
    const { payload } = call
    const answer = (result: Result.Result<unknown, unknown>): undefined => {
      call.settle(Result.isSuccess(result) ? Exit.succeed(result.success) : Exit.fail(result.failure))
    }
    switch (call.tag) {
      case "startChild":
        return this.children.simple ? this.startDynamic(payload, answer) : this.startNew(payload, answer)
      case "terminateChild":
        return Effect.map(this.terminateChild(payload), answer)
      case "restartChild":
        return this.restartChild(payload, answer)
      case "deleteChild":
        return answer(this.deleteChild(payload))
      case "getChildSpec": {
        const child = this.children.find(payload)
        return answer(
          child === undefined ? Result.fail(new ChildNotFound({ id: payload })) : Result.succeed(child.spec)
        )
      }
      case "whichChildren":
        return answer(Result.succeed(this.children.which()))
      case "countChildren":
        return answer(Result.succeed(this.children.count()))
      default:
        return Exit.die(new UnknownMessage(call.tag))
    }
  }

  // --------------------------------------------------------------- starting

  /** What the elder siblings of a child have built, for its start. */
  private servicesFor(child: Child): Context.Context<never> | undefined {
    let services: Context.Context<never> | undefined
    for (const sibling of this.children.named.values()) {
      if (sibling === child) break
      if (sibling.provided?.services === undefined || !sibling.provided.promised || sibling.pid === undefined) continue
      const built = sibling.provided.services
      services = services === undefined ? built : Context.merge(services, built)
    }
    return services
  }

  private note(child: Child, outcome: StartOutcome): StartOutcome {
    child.restarting = false
    if (outcome._tag === "Running") {
      this.children.setPid(child, outcome.pid)
      child.provided = outcome.info instanceof Provided ? outcome.info : undefined
    } else this.children.setPid(child, undefined)
    return outcome
  }

  private start(child: Child): Effect.Effect<StartOutcome> {
    const services = this.servicesFor(child)
    const start = services === undefined ? child.start : Effect.provideContext(child.start, services)
    return Effect.map(startChild(start), (outcome) => this.note(child, outcome))
  }

  /**
   * Starts one child and then does `next`. What most children are needs no fiber of the supervisor, which is as deaf meanwhile
   * as it would be with one.
   */
  private startThen(child: Child, next: (outcome: StartOutcome) => void): Work {
    const { start } = child
    if (start instanceof Start && this.servicesFor(child) === undefined) {
      this.ignoreLetters()
      const begun = start.startAs(this.process, this.process.context, (exit) => {
        next(this.note(child, outcomeOf(exit)))
        this.listen()
      })
      if (begun) return undefined
      this.listen()
    }
    return Effect.map(this.start(child), next)
  }

  /** Init: starts all children; when one fails, stops the others and says why. */
  startAll(specs: ReadonlyArray<CheckedSpec>): Effect.Effect<ExitReason.ExitReason | undefined> {
    for (const spec of specs) this.children.named.set(spec.id, newChild(spec))
    return Effect.flatMap(this.startThese(this.children.all), (failed) => {
      if (failed === undefined) return Effect.succeed(undefined)
      const reason = ExitReason.shutdownWith(
        new FailedToStartChild({ id: failed.child.spec.id, reason: failed.reason })
      )
      return Effect.as(this.terminateAll(this.children.all), reason)
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
        if (outcome._tag === "Failed") {
          loop.report("startError", outcome.reason, child, undefined)
          return { child, reason: outcome.reason }
        }
        if (outcome._tag === "Ignored" && child.spec.restart === "temporary") loop.children.named.delete(child.spec.id)
      }
      return undefined
    })
  }

  private startNew(raw: unknown, answer: Answer): Work {
    const checked = checkSpec(raw, this.flags.autoShutdown)
    if (Result.isFailure(checked)) return answer(checked)
    const spec = checked.success
    const old = this.children.named.get(spec.id)
    if (old !== undefined) {
      const running = old.pid !== undefined && !old.restarting ? old.pid : undefined
      return answer(
        Result.fail(
          running === undefined ? new AlreadyPresent({ id: spec.id }) : new ChildRunning({ id: spec.id, pid: running })
        )
      )
    }
    const child = newChild(spec)
    this.children.named.set(spec.id, child)
    return this.startThen(child, (outcome) => {
      if (outcome._tag === "Failed" || (outcome._tag === "Ignored" && spec.restart === "temporary")) {
        this.children.named.delete(spec.id)
      }
      answer(answerOf(outcome, (reason) => new FailedToStartChild({ id: spec.id, reason })))
    })
  }

  private startDynamic(args: unknown, answer: Answer): Work {
    const spec = this.children.template
    if (spec === undefined) return answer(Result.fail(new ChildNotFound({ id: undefined })))
    // The children are all the template's: a spec is no list of arguments.
    if (!Array.isArray(args)) {
      return answer(Result.fail(new InvalidSpec({ of: "child", problem: "invalidChildSpec", value: args })))
    }
    const child = newChild(spec, args)
    return Effect.map(startChild(child.start), (outcome) => {
      if (outcome._tag === "Running") this.children.storeDynamic(child, outcome.pid)
      answer(answerOf(outcome, (reason) => new FailedToStartChild({ id: undefined, reason })))
    })
  }

  // --------------------------------------------------------------- exits and restarts

  private childExited(child: Child, reason: ExitReason.ExitReason): Work {
    const { restart } = child.spec
    if (restart !== "permanent" && ExitReason.isNormal(reason)) return this.childLeft(child)
    this.report("childTerminated", reason, child, child.pid)
    return restart === "temporary" ? this.childLeft(child) : this.restart(child)
  }

  /** The child has ended for good. */
  private childLeft(child: Child): Work {
    this.children.forget(child)
    if (this.mustShutDown(child)) this.stop(ExitReason.shutdown)
    return undefined
  }

  /** Whether the end of this child, by itself and for good, is the supervisor's as well. */
  private mustShutDown(child: Child): boolean {
    if (!child.spec.significant) return false
    switch (this.flags.autoShutdown) {
      case "never":
        return false
      case "anySignificant":
        return true
      case "allSignificant":
        return !this.children.hasSignificant
    }
  }

  private restart(child: Child): Work {
    child.ended = child.pid ?? child.ended
    const nanos = Context.get(this.process.context, Clock.Clock).monotonicTimeNanosUnsafe()
    if (!this.intensity.attempt(Number(nanos / 1_000_000_000n))) {
      this.report("shutdown", reachedMaxRestartIntensity, child, child.ended)
      this.children.forget(child)
      this.stop(ExitReason.shutdown)
      return undefined
    }
    switch (this.flags.strategy) {
      case "simpleOneForOne":
        return this.restartDynamic(child)
      case "oneForOne":
        return this.startThen(child, (outcome) => {
          if (outcome._tag !== "Failed") return
          this.report("startError", outcome.reason, child, child.ended)
          this.tryLater(child)
        })
      case "restForOne": {
        const all = this.children.all
        return this.restartMany(child, all.slice(all.indexOf(child)))
      }
      case "oneForAll":
        return this.restartMany(child, this.children.all)
    }
  }

  /** Back to the mailbox before the next try, so that other requests, a stop above all, are served in between. */
  private tryLater(child: Child): void {
    child.restarting = true
    this.process.deliver(new Cast(tryAgain, this.children.simple ? child.pid : child.spec.id))
  }

  private tryAgain(key: unknown): Work {
    const child = key instanceof ProcessImpl ? this.children.dynamic.get(key) : this.children.named.get(key)
    return child?.restarting === true ? this.restart(child) : undefined
  }

  private restartMany(child: Child, range: ReadonlyArray<Child>): Work {
    this.children.setPid(child, undefined)
    child.restarting = false
    const started = Effect.flatMap(this.terminateAll(range), () =>
      this.startThese(range.filter((each) => each.spec.restart !== "temporary"))
    )
    return Effect.map(started, (failed) => {
      if (failed === undefined) return
      if (failed.child !== child) failed.child.ended = undefined
      this.tryLater(failed.child)
    })
  }

  private restartDynamic(child: Child): Work {
    const old = child.pid
    if (old !== undefined) this.children.byPid.delete(old)
    if (child.restarting) this.children.dynamicRestarts--
    return Effect.map(startChild(child.start), (outcome) => {
      switch (outcome._tag) {
        case "Running":
          if (old !== undefined) this.children.dynamic.delete(old)
          child.restarting = false
          this.children.storeDynamic(child, outcome.pid)
          break
        case "Ignored":
          // OTP 25 keeps a child without a pid here and crashes of it at its end; later versions drop it, and so does this.
          if (old !== undefined) this.children.dynamic.delete(old)
          break
        case "Failed":
          this.report("startError", outcome.reason, child, old)
          this.children.dynamicRestarts++
          this.tryLater(child)
      }
    })
  }

  // --------------------------------------------------------------- stopping

  /** Stops children one after another, the last one first. */
  private terminateAll(children: ReadonlyArray<Child>): Effect.Effect<void> {
    const loop = this
    return Effect.gen(function* () {
      for (const child of children.toReversed()) {
        if (child.pid !== undefined && !child.restarting) {
          yield* loop.stopOne(child.spec, child.pid)
        }
        loop.children.forget(child)
      }
    })
  }

  private terminateDynamic(): Effect.Effect<void> {
    const { template } = this.children
    const pids = this.children.takeDynamic()
    if (template === undefined) return Exit.void
    return Effect.map(stopChildren(this.process, pids, template.shutdown), () =>
      reportStops(this.process, template, pids)
    )
  }

  private stopOne(spec: CheckedSpec, child: ProcessImpl): Effect.Effect<void> {
    return Effect.map(stopChild(this.process, child, spec.shutdown), (reason) =>
      reportStop(this.process, spec, child, reason)
    )
  }

  private report(context: ErrorContext, reason: ExitReason.ExitReason, { spec }: Child, whom: Whom): void {
    reportChild(this.process, context, reason, spec, whom)
  }

  // --------------------------------------------------------------- requests

  private terminateChild(id: unknown): Effect.Effect<Result.Result<void, unknown>> {
    if (this.children.simple && !(id instanceof ProcessImpl)) {
      return Effect.succeed(Result.fail(new SimpleOneForOne({ request: "terminateChild" })))
    }
    const child = this.children.find(id)
    if (child === undefined) return Effect.succeed(Result.fail(new ChildNotFound({ id })))
    const stopped = child.pid === undefined || child.restarting ? Exit.void : this.stopOne(child.spec, child.pid)
    return Effect.map(stopped, () => {
      this.children.forget(child)
      return Result.succeed(undefined)
    })
  }

  private restartChild(id: unknown, answer: Answer): Work {
    const stopped = this.children.stopped("restartChild", id)
    if (Result.isFailure(stopped)) return answer(Result.fail(stopped.failure))
    return this.startThen(stopped.success, (outcome) =>
      answer(answerOf(outcome, (reason) => new FailedToStartChild({ id, reason })))
    )
  }

  private deleteChild(id: unknown): Result.Result<void, unknown> {
    return Result.map(this.children.stopped("deleteChild", id), () => {
      this.children.named.delete(id)
    })
  }
}

const tryAgain = "tryAgain"
