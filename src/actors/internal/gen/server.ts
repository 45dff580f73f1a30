/**
 * The generic server's loop: requests and messages by tag, everything else to `info`.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as ExitReason from "../../ExitReason.ts"
import { MessageLoop, type Work } from "../process/loop.ts"
import { type Letter, Message } from "../process/mailbox.ts"
import type { ProcessImpl } from "../process/process.ts"
import type { Init } from "../process/start.ts"
import { FunctionTimer } from "../process/timers.ts"
import { Cast, PendingCall } from "./call.ts"

/** What happens before the next message. */
export interface Next {
  /** Handed to the `continue` handler before anything that is already in the mailbox. */
  readonly continue?: unknown
  /** Milliseconds after which `info` gets {@link Timeout}, unless any message arrives first. */
  readonly timeout?: number
}

/** One shape for every result, so that the loop's checks stay cheap. */
export class Outcome {
  readonly _tag: "Reply" | "NoReply" | "Stop" | "StopReply"
  readonly state: unknown
  readonly value: unknown
  readonly reason: ExitReason.ExitReason | undefined
  readonly next: Next | undefined
  constructor(
    tag: Outcome["_tag"],
    state: unknown,
    value: unknown,
    reason: ExitReason.ExitReason | undefined,
    next: Next | undefined
  ) {
    this._tag = tag
    this.state = state
    this.value = value
    this.reason = reason
    this.next = next
  }
}

/** What `init` decided. */
export class InitOutcome {
  readonly _tag: "Ok" | "Ignore" | "InitStop"
  readonly state: unknown
  readonly reason: ExitReason.ExitReason | undefined
  readonly next: Next | undefined
  constructor(
    tag: InitOutcome["_tag"],
    state: unknown,
    reason: ExitReason.ExitReason | undefined,
    next: Next | undefined
  ) {
    this._tag = tag
    this.state = state
    this.reason = reason
    this.next = next
  }
}

/** The message that `info` gets when the timeout of the last result passed. */
export class Timeout {
  readonly _tag = "Timeout"
}
const timeoutMessage = new Timeout()

/** A server's callbacks without their types. Each returns an outcome, or an Effect of one. */
export interface ServerModule {
  readonly handlers: Readonly<Record<string, (payload: unknown, state: unknown, from: unknown) => unknown>>
  readonly info: ((message: unknown, state: unknown) => unknown) | undefined
  readonly continue: ((value: unknown, state: unknown) => unknown) | undefined
  readonly terminate: ((reason: ExitReason.ExitReason, state: unknown) => unknown) | undefined
}

/** Whether a failure of a request's handler is one that the protocol declares. */
export type IsDeclared = (tag: string, error: unknown) => boolean

export class ServerLoop extends MessageLoop {
  state: unknown
  private readonly module: ServerModule
  private readonly isDeclared: IsDeclared
  private timeout: FunctionTimer | undefined = undefined

  constructor(process: ProcessImpl, module: ServerModule, isDeclared: IsDeclared, init: InitOutcome) {
    super(process)
    this.module = module
    this.isDeclared = isDeclared
    this.state = init.state
    if (init.next !== undefined) this.schedule(init.next)
  }

  protected handle(letter: Letter): Work {
    if (this.timeout !== undefined) {
      this.timeout.cancel()
      this.timeout = undefined
    }
    if (letter instanceof PendingCall) {
      const handler = this.module.handlers[letter.tag]
      if (handler === undefined) return Exit.die(new UnknownMessage(letter.tag))
      return this.settle(handler(letter.payload, this.state, letter), letter)
    }
    if (letter instanceof Cast) {
      const handler = this.module.handlers[letter.tag]
      if (handler === undefined) return Exit.die(new UnknownMessage(letter.tag))
      return this.settle(handler(letter.payload, this.state, undefined), undefined)
    }
    const info = this.module.info
    if (info === undefined || !(letter instanceof Message)) return undefined
    return this.settle(info(letter.value, this.state), undefined)
  }

  protected terminate(reason: ExitReason.ExitReason): Work {
    this.timeout?.cancel()
    const result = this.module.terminate?.(reason, this.state)
    if (!Effect.isEffect(result) || (Exit.isExit(result) && result._tag === "Success")) return undefined
    return result as Effect.Effect<unknown, unknown>
  }

  private settle(result: unknown, from: PendingCall | undefined): Work {
    if (result instanceof Outcome) return this.apply(result, from)
    if (!Effect.isEffect(result)) return this.nonsense(result)
    if (Exit.isExit(result) && result._tag === "Success") return this.settle(result.value, from)
    const effect = result as Effect.Effect<unknown, unknown>
    const finish = (value: unknown): Effect.Effect<unknown, unknown> => {
      const work = value instanceof Outcome ? this.apply(value, from) : this.nonsense(value)
      return work ?? Exit.void
    }
    if (from === undefined) return Effect.flatMap(effect, finish)
    return Effect.matchCauseEffect(effect, {
      onSuccess: finish,
      onFailure: (cause) => {
        const only = cause.reasons.length === 1 ? cause.reasons[0] : undefined
        if (only?._tag !== "Fail" || !this.isDeclared(from.tag, only.error)) return Exit.failCause(cause)
        from.settle(Exit.fail(only.error))
        return Exit.void
      }
    })
  }

  private apply(outcome: Outcome, from: PendingCall | undefined): Work {
    this.state = outcome.state
    switch (outcome._tag) {
      case "Reply":
        if (from === undefined) return this.nonsense(outcome)
        from.settle(Exit.succeed(outcome.value))
        break
      case "NoReply":
        break
      case "Stop":
        this.stop(outcome.reason ?? ExitReason.normal)
        return undefined
      case "StopReply":
        this.stop(outcome.reason ?? ExitReason.normal, () => from?.settle(Exit.succeed(outcome.value)))
        return undefined
    }
    if (outcome.next !== undefined) this.schedule(outcome.next)
    return undefined
  }

  private schedule(next: Next): void {
    if ("continue" in next) {
      const value = next.continue
      this.next = () => {
        const handler = this.module.continue
        return handler === undefined
          ? Exit.die(new UnknownMessage("continue"))
          : this.settle(handler(value, this.state), undefined)
      }
    }
    if (next.timeout !== undefined) {
      this.timeout = new FunctionTimer(() => {
        this.timeout = undefined
        if (this.process.firstLetter === undefined) this.process.deliver(new Message(timeoutMessage))
      })
      this.process.system.addTimer(this.process, this.timeout, next.timeout)
    }
  }

  private nonsense(value: unknown): Work {
    return Exit.die(new ExitReason.ExitDefect(ExitReason.badReturn(value)))
  }
}

/** A message for which the server has no handler: only untyped code can send one. */
export class UnknownMessage extends Error {
  override readonly name = "UnknownMessage"
  constructor(tag: string) {
    super(`no handler for "${tag}"`)
  }
}

/** A server's body: init, then the loop. `initialize` returns an {@link InitOutcome} or an Effect of one. */
export const serve =
  (initialize: () => unknown, module: ServerModule, isDeclared: IsDeclared) =>
  (process: ProcessImpl, init: Init): Effect.Effect<unknown, unknown> | undefined => {
    const proceed = (value: unknown): Effect.Effect<unknown, unknown> | undefined => {
      if (!(value instanceof InitOutcome)) return Exit.die(new ExitReason.ExitDefect(ExitReason.badReturn(value)))
      switch (value._tag) {
        case "Ok": {
          const loop = new ServerLoop(process, module, isDeclared, value)
          init.done()
          if (process.fiber !== undefined) return loop.guarded()
          loop.park()
          return undefined
        }
        case "Ignore":
          init.ignore()
          return Exit.void
        case "InitStop":
          return Exit.die(new ExitReason.ExitDefect(value.reason ?? ExitReason.normal))
      }
    }
    const result = initialize()
    return Effect.isEffect(result) && !(Exit.isExit(result) && result._tag === "Success")
      ? Effect.flatMap(result as Effect.Effect<unknown, unknown>, (value) => proceed(value) ?? Exit.void)
      : proceed(Exit.isExit(result) && result._tag === "Success" ? result.value : result)
  }
