/**
 * Synchronous starts: the starter waits until the new process says that its init is done.
 *
 * Every behaviour starts through here, so that a failed init looks the same everywhere: the starter is answered when the
 * new process is gone, its name is free again by then, and a trapping starter finds no exit message of it.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import * as ExitReason from "../../ExitReason.ts"
import type * as Pid from "../../Pid.ts"
import { AlreadyStarted, Ignored, InitFailed, type StartError, StartTimeout } from "../../StartError.ts"
import { currentSystem } from "./current.ts"
import { type Name, whereis } from "./names.ts"
import { currentFiber } from "./park.ts"
import { type Body, link, ProcessImpl, Self, sendExit, unlink } from "./process.ts"
import type { SystemImpl } from "./system.ts"
import { Watcher } from "./watcher.ts"

/** How a start ended. */
export type StartResult =
  | { readonly _tag: "Started"; readonly process: ProcessImpl; readonly info: unknown }
  | { readonly _tag: "Ignored" }
  | { readonly _tag: "Failed"; readonly reason: ExitReason.ExitReason }
  | { readonly _tag: "AlreadyStarted"; readonly pid: Pid.Any }
  | { readonly _tag: "Timeout" }

export interface StartOptions {
  readonly kind: string
  readonly label: string | undefined
  readonly name: Name | undefined
  /** Links the new process to the starter, which must be a process, and makes it its parent. */
  readonly linked: boolean
  /** Milliseconds for init; no limit by default. */
  readonly timeout: number | undefined
  /** The process's body; it must call {@link Init.done} or one of its siblings, or end. */
  readonly body: (process: ProcessImpl, init: Init) => ReturnType<Body>
}

/** The new process's side of its start. */
export class Init extends Watcher {
  readonly process: ProcessImpl
  private readonly answer: (result: StartResult) => void
  private result: StartResult | undefined = undefined
  private waiting = true

  constructor(process: ProcessImpl, answer: (result: StartResult) => void) {
    super()
    this.process = process
    this.answer = answer
  }

  /** Init succeeded: the starter goes on at its next turn. */
  done(info?: unknown): void {
    this.process.starter = undefined
    this.unwatch()
    this.settle({ _tag: "Started", process: this.process, info })
  }

  /** Init will end the process without a failure. */
  ignore(): void {
    this.result = { _tag: "Ignored" }
  }

  down(reason: ExitReason.ExitReason): void {
    this.settle(this.result ?? { _tag: "Failed", reason })
  }

  fire(): void {
    if (this.process.starter !== undefined) unlink(this.process.starter, this.process)
    this.result = { _tag: "Timeout" }
    sendExit(undefined, this.process, ExitReason.kill, false)
  }

  /** The starter does not wait any more. */
  leave(): void {
    this.waiting = false
    this.unwatch()
    this.cancel()
    this.process.starter = undefined
  }

  run(): void {
    if (this.waiting && this.result !== undefined) this.answer(this.result)
  }

  crash(): void {}

  private settle(result: StartResult): void {
    this.cancel()
    this.result = result
    if (this.waiting) this.process.system.enqueue(this)
  }
}

const selfOf = (context: Context.Context<never>): ProcessImpl | undefined => {
  const self = Context.getOrUndefined(context, Self)
  return self instanceof ProcessImpl ? self : undefined
}

/** Makes the process, which begins at its turn; `answer` is called when its init is done, or at once if the name is taken. */
const launch = (
  options: StartOptions,
  context: Context.Context<never>,
  system: SystemImpl,
  parent: ProcessImpl | undefined,
  answer: (result: StartResult) => void
): Init | undefined => {
  const { body, name } = options
  const taken = name === undefined ? undefined : whereis(system, name)
  if (taken !== undefined) {
    answer({ _tag: "AlreadyStarted", pid: taken })
    return undefined
  }
  const process = new ProcessImpl({
    system,
    context,
    parent,
    kind: options.kind,
    label: options.label ?? (typeof name === "string" ? name : undefined),
    body: (self) => body(self, init)
  })
  const init = new Init(process, answer)
  if (typeof name === "string") {
    process.name = name
    system.names.set(name, process)
  } else if (name !== undefined) {
    process.unregister = name.register(process)
    if (process.unregister === undefined) process.terminate(ExitReason.noProcess)
  }
  process.starter = parent
  if (parent !== undefined) link(parent, process)
  process.watch(init)
  process.awaken()
  return init
}

/** Starts a process and waits for its init: for a fiber an Effect, and for the loop of a supervisor, which needs no fiber, a call. */
export class Start<A> extends Effectable.Class<A, StartError> {
  private readonly options: StartOptions
  private readonly subject: string
  private readonly started: (process: ProcessImpl, info: unknown) => A

  /** `subject` names the process in errors; `started` makes the answer. */
  constructor(options: StartOptions, subject: string, started: (process: ProcessImpl, info: unknown) => A) {
    super()
    this.options = options
    this.subject = subject
    this.started = started
  }

  asEffect(): Effect.Effect<A, StartError> {
    const fiber = currentFiber()
    const { linked, timeout } = this.options
    const parent = linked ? selfOf(fiber.context) : undefined
    const system = parent?.system ?? currentSystem(fiber)
    let early: Exit.Exit<A, StartError> | undefined
    let parked = false
    const init = launch(this.options, fiber.context, system, parent, (result) => {
      if (parked) fiber.evaluate(this.exitOf(result))
      else early = this.exitOf(result)
    })
    if (init === undefined) return early ?? Effect.never
    parked = true
    if (timeout !== undefined) system.addTimer(fiber, init, timeout)
    return fiber.yieldWith(() => init.leave())
  }

  /** Starts the process as a child of `parent`; impossible for one whose init has a deadline, which needs a Clock. */
  startAs(
    parent: ProcessImpl,
    context: Context.Context<never>,
    answer: (exit: Exit.Exit<A, StartError>) => void
  ): boolean {
    if (!this.options.linked || this.options.timeout !== undefined) return false
    launch(this.options, context, parent.system, parent, (result) => answer(this.exitOf(result)))
    return true
  }

  private exitOf(result: StartResult): Exit.Exit<A, StartError> {
    return result._tag === "Started"
      ? Exit.succeed(this.started(result.process, result.info))
      : Exit.fail(startErrorOf(result, this.subject, this.options.timeout))
  }
}

/** Starts a process, whose pid is the answer. */
export const start = (options: StartOptions, subject: string): Effect.Effect<ProcessImpl, StartError> =>
  new Start(options, subject, identity)

const startErrorOf = (
  result: Exclude<StartResult, { readonly _tag: "Started" }>,
  server: string,
  timeout: number | undefined
): StartError => {
  switch (result._tag) {
    case "Ignored":
      return new Ignored({ server })
    case "Failed":
      return new InitFailed({ server, reason: result.reason })
    case "AlreadyStarted":
      return new AlreadyStarted({ server, pid: result.pid })
    case "Timeout":
      return new StartTimeout({ server, timeout: timeout ?? 0 })
  }
}

/** The process that runs the current fiber. */
export const self = (): ProcessImpl => {
  const found = selfOf(currentFiber().context)
  if (found === undefined) throw new Error("not inside a process")
  return found
}
