/**
 * Synchronous starts: the starter waits until the new process says that its init is done.
 *
 * Every behaviour starts through here, so that a failed init looks the same everywhere: the starter is answered when the
 * new process is gone, its name is free again by then, and a trapping starter finds no exit message of it.
 */
import * as Context from "effect/Context"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import * as ExitReason from "../ExitReason.ts"
import type * as Pid from "../Pid.ts"
import { AlreadyStarted, Ignored, InitFailed, type StartError, StartTimeout } from "../StartError.ts"
import { currentSystem } from "./current.ts"
import { type Name, whereis } from "./names.ts"
import { currentFiber, type Parkable } from "./park.ts"
import { type Body, link, ProcessImpl, Self, sendExit, unlink, Watcher } from "./process.ts"
import type { SystemImpl } from "./system.ts"

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
  readonly system?: SystemImpl
}

/** The new process's side of its start. */
export class Init extends Watcher {
  private readonly fiber: Parkable
  private readonly process: ProcessImpl
  private result: StartResult | undefined = undefined
  private waiting = true

  constructor(fiber: Parkable, process: ProcessImpl) {
    super()
    this.fiber = fiber
    this.process = process
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
    if (this.waiting && this.result !== undefined) this.fiber.evaluate(Exit.succeed(this.result))
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

class Start extends Effectable.Class<StartResult> {
  readonly options: StartOptions
  constructor(options: StartOptions) {
    super()
    this.options = options
  }

  asEffect() {
    const fiber = currentFiber()
    const { body, name, linked, timeout } = this.options
    const parent = linked ? selfOf(fiber.context) : undefined
    const system = this.options.system ?? parent?.system ?? currentSystem(fiber)
    const taken = name === undefined ? undefined : whereis(system, name)
    if (taken !== undefined) return Exit.succeed<StartResult>({ _tag: "AlreadyStarted", pid: taken })
    const process = new ProcessImpl({
      system,
      context: fiber.context,
      parent,
      kind: this.options.kind,
      label: this.options.label ?? (typeof name === "string" ? name : undefined),
      body: (self) => body(self, init)
    })
    const init = new Init(fiber, process)
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
    if (timeout !== undefined) system.addTimer(fiber, init, timeout)
    process.awaken()
    return fiber.yieldWith(() => init.leave())
  }
}

/** Starts a process and waits for its init. */
export const start = (options: StartOptions): Effectable.Class<StartResult> => new Start(options)

/** Says how a start that did not succeed failed. */
export const startErrorOf = (
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
