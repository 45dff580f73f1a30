/**
 * The state machine's loop: gen_statem's queue of events, postponed events, timers and transitions.
 *
 * An event is handled by the current state; what its handler returns is a transition under construction. Actions are
 * collected, enter calls are made, and only then the transition is done: postponed events come back if the state changed,
 * timers are cancelled and started, and inserted events go to the front of the queue. The mailbox is only looked at when the
 * queue is empty and no zero timeout waits.
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
import { InitOutcome, UnknownMessage } from "./server.ts"

/** A state: its name, and whatever belongs to it. */
export interface State {
  readonly _tag: string
}

/** Something for a handler: of the protocol, or a plain message, which has no tag. */
export class Event {
  readonly tag: string | undefined
  readonly payload: unknown
  readonly from: PendingCall | undefined
  constructor(tag: string | undefined, payload: unknown, from: PendingCall | undefined) {
    this.tag = tag
    this.payload = payload
    this.from = from
  }
}

/** One action of a result. */
export type Action =
  | { readonly _tag: "Reply"; readonly from: unknown; readonly exit: Exit.Exit<unknown, unknown> }
  | { readonly _tag: "Postpone"; readonly postpone: boolean }
  | { readonly _tag: "NextEvent"; readonly tag: string | undefined; readonly payload: unknown; readonly from: unknown }
  | TimeoutAction

/** Starts (`millis`), cancels (no end of `millis`) or renews (`update`) the timeout that `tag` belongs to. */
export interface TimeoutAction {
  readonly _tag: "Timeout"
  readonly tag: string
  readonly payload: unknown
  /** Milliseconds, or `update`: leave the timer, change the payload. */
  readonly time: number | "update"
}

/** What a handler returns. */
export class Transition {
  readonly _tag:
    | "NextState"
    | "KeepState"
    | "KeepStateAndData"
    | "RepeatState"
    | "RepeatStateAndData"
    | "Stop"
    | "StopAndReply"
  readonly state: State | undefined
  readonly actions: ReadonlyArray<Action>
  readonly reason: ExitReason.ExitReason | undefined
  constructor(
    tag: Transition["_tag"],
    state: State | undefined,
    actions: ReadonlyArray<Action>,
    reason: ExitReason.ExitReason | undefined
  ) {
    this._tag = tag
    this.state = state
    this.actions = actions
    this.reason = reason
  }
}

const noActions: ReadonlyArray<never> = []
export const keepStateAndData = new Transition("KeepStateAndData", undefined, noActions, undefined)

/** What a successful `init` decided. */
export class StatemInit extends InitOutcome {
  readonly actions: ReadonlyArray<Action>
  constructor(state: State, actions: ReadonlyArray<Action>) {
    super("Ok", state, undefined, undefined)
    this.actions = actions
  }
}

/** One state's callbacks without their types. */
export interface StateModule {
  readonly enter?: ((state: State, previous: State) => unknown) | undefined
  readonly handlers: Readonly<Record<string, ((payload: unknown, state: State, from: unknown) => unknown) | undefined>>
  readonly info?: ((message: unknown, state: State) => unknown) | undefined
}

export interface StatemModule {
  readonly states: Readonly<Record<string, StateModule | undefined>>
  readonly terminate: ((reason: ExitReason.ExitReason, state: State) => unknown) | undefined
  /** The timer that a timeout's tag stands for: its own, the state's or the event's. */
  readonly timerOf: (tag: string) => string
  /** Whether a failure of a request's handler is one that the protocol declares. */
  readonly isDeclared: (tag: string, error: unknown) => boolean
}

/** The one timer that a change of state cancels. */
export const stateTimer = "StateTimeout"
/** The one timer that every event cancels. */
export const eventTimer = "EventTimeout"

class Running {
  event: Event
  timer: FunctionTimer | undefined = undefined
  constructor(event: Event) {
    this.event = event
  }
}

/** A timer has fired. It may have been cancelled since. */
class Fired implements Letter {
  nextLetter: Letter | undefined = undefined
  readonly key: string
  readonly running: Running
  constructor(key: string, running: Running) {
    this.key = key
    this.running = running
  }
}

/** A transition under construction. */
interface Step {
  readonly event: Event | undefined
  state: State
  events: Array<Event> | undefined
  timeouts: Array<TimeoutAction> | undefined
  postpone: boolean
  /** The results collected now are those of an enter call, which may do less. */
  entering: boolean
}

const newStep = (event: Event | undefined, state: State): Step => ({
  event,
  state,
  events: undefined,
  timeouts: undefined,
  postpone: false,
  entering: false
})

export class StatemLoop extends MessageLoop {
  state: State
  private readonly module: StatemModule
  private queue: Array<Event> = []
  private postponed: Array<Event> = []
  private readonly timers = new Map<string, Running>()
  /** The timers of no time at all, in the order in which their events come. */
  private zero: Array<string> = []

  constructor(process: ProcessImpl, module: StatemModule, state: State, actions: ReadonlyArray<Action>) {
    super(process)
    this.module = module
    this.state = state
    process.details = () => ({ state: this.state._tag })
    // Entering the first state comes before anything in the mailbox, but after the starter was answered.
    this.next = () => {
      const step = newStep(undefined, state)
      const bad = this.collect(actions, step)
      step.postpone = false
      return bad === undefined ? this.enter(step) : this.nonsense(bad, step)
    }
  }

  protected handle(letter: Letter): Work {
    if (letter instanceof PendingCall) return this.react(new Event(letter.tag, letter.payload, letter))
    if (letter instanceof Cast) return this.react(new Event(letter.tag, letter.payload, undefined))
    if (letter instanceof Message) return this.react(new Event(undefined, letter.value, undefined))
    if (!(letter instanceof Fired) || this.timers.get(letter.key) !== letter.running) return undefined
    this.timers.delete(letter.key)
    return this.react(letter.running.event)
  }

  protected terminate(reason: ExitReason.ExitReason): Work {
    for (const running of this.timers.values()) running.timer?.cancel()
    this.timers.clear()
    const result = this.module.terminate?.(reason, this.state)
    return Effect.isEffect(result) ? (result as Effect.Effect<unknown, unknown>) : undefined
  }

  // --------------------------------------------------------------- one event

  private react(event: Event): Work {
    const module = this.module.states[this.state._tag]
    const step = newStep(event, this.state)
    if (module === undefined) return Exit.die(new UnknownMessage(this.state._tag))
    if (event.tag === undefined) {
      return this.settle(module.info?.(event.payload, this.state) ?? keepStateAndData, step)
    }
    const handler = module.handlers[event.tag]
    if (handler === undefined) return Exit.die(new UnknownMessage(event.tag))
    return this.settle(handler(event.payload, this.state, event.from), step)
  }

  private settle(result: unknown, step: Step): Work {
    if (result instanceof Transition) return this.apply(result, step)
    if (!Effect.isEffect(result)) return this.nonsense(result, step)
    if (Exit.isExit(result) && result._tag === "Success") return this.settle(result.value, step)
    const effect = result as Effect.Effect<unknown, unknown>
    const finish = (value: unknown): Effect.Effect<unknown, unknown> =>
      (value instanceof Transition ? this.apply(value, step) : this.nonsense(value, step)) ?? Exit.void
    const from = step.entering ? undefined : step.event?.from
    if (from === undefined) return Effect.flatMap(effect, finish)
    return Effect.matchCauseEffect(effect, {
      onSuccess: finish,
      onFailure: (cause) => {
        const only = cause.reasons.length === 1 ? cause.reasons[0] : undefined
        if (only?._tag !== "Fail" || !this.module.isDeclared(from.tag, only.error)) return Exit.failCause(cause)
        from.settle(Exit.fail(only.error))
        return this.apply(keepStateAndData, step) ?? Exit.void
      }
    })
  }

  private apply(result: Transition, step: Step): Work {
    const stays = result.state === undefined || result.state._tag === step.state._tag
    switch (result._tag) {
      case "Stop":
      case "StopAndReply": {
        if (stays) step.state = result.state ?? step.state
        for (const action of result.actions) if (!this.reply(action)) return this.nonsense(action, step)
        this.state = step.state
        this.stop(result.reason ?? ExitReason.normal)
        return undefined
      }
      case "NextState":
        if (step.entering && !stays) return this.nonsense(result, step)
        break
      default:
        if (!stays) return this.nonsense(result, step)
    }
    step.state = result.state ?? step.state
    const bad = this.collect(result.actions, step)
    if (bad !== undefined) return this.nonsense(bad, step)
    const repeats = result._tag === "RepeatState" || result._tag === "RepeatStateAndData"
    return repeats || !stays ? this.enter(step) : this.finish(step)
  }

  /** Takes note of the actions, and replies at once. The answer is the first action that is not allowed here. */
  private collect(actions: ReadonlyArray<Action>, step: Step): Action | undefined {
    for (const action of actions) {
      switch (action._tag) {
        case "Reply":
          if (!this.reply(action)) return action
          break
        case "Postpone":
          if (step.entering && action.postpone) return action
          step.postpone = action.postpone
          break
        case "NextEvent": {
          if (step.entering) return action
          step.events ??= []
          step.events.push(
            new Event(action.tag, action.payload, action.from instanceof PendingCall ? action.from : undefined)
          )
          break
        }
        case "Timeout":
          step.timeouts ??= []
          step.timeouts.push(action)
          break
        default:
          return action
      }
    }
    return undefined
  }

  private reply(action: Action): boolean {
    if (action._tag !== "Reply" || !(action.from instanceof PendingCall)) return false
    action.from.settle(action.exit)
    return true
  }

  private enter(step: Step): Work {
    const enter = this.module.states[step.state._tag]?.enter
    if (enter === undefined) return this.finish(step)
    step.entering = true
    return this.settle(enter(step.state, this.state), step)
  }

  private finish(step: Step): Work {
    if (step.postpone && step.event !== undefined) this.postponed.push(step.event)
    if (step.state._tag !== this.state._tag) {
      if (this.postponed.length > 0) {
        this.queue = this.postponed.concat(this.queue)
        this.postponed = []
      }
      this.cancel(stateTimer)
    }
    this.state = step.state
    if (this.timers.size > 0) this.cancel(eventTimer)
    if (step.timeouts !== undefined) this.startTimeouts(step.timeouts)
    if (step.events !== undefined) this.queue = step.events.concat(this.queue)
    if (this.queue.length > 0 || this.zero.length > 0) this.next = this.nextStep
    return undefined
  }

  private readonly nextStep = (): Work => {
    const queued = this.queue.shift()
    if (queued !== undefined) return this.react(queued)
    const key = this.zero[0]
    const running = key === undefined ? undefined : this.timers.get(key)
    if (key === undefined || running === undefined) return undefined
    this.cancel(key)
    return this.react(running.event)
  }

  // --------------------------------------------------------------- timeouts

  /** Of several actions for one timer the last counts. */
  private startTimeouts(actions: ReadonlyArray<TimeoutAction>): void {
    const last = new Map<string, TimeoutAction>()
    for (const action of actions) {
      const key = this.module.timerOf(action.tag)
      last.delete(key)
      last.set(key, action)
    }
    for (const [key, action] of last) this.startTimeout(key, action)
  }

  private startTimeout(key: string, action: TimeoutAction): void {
    const event = new Event(action.tag, action.payload, undefined)
    const old = this.timers.get(key)
    if (action.time === "update" && old !== undefined) {
      old.event = event
      return
    }
    this.cancel(key)
    if (action.time === Number.POSITIVE_INFINITY) return
    const running = new Running(event)
    this.timers.set(key, running)
    if (action.time === "update" || action.time <= 0) {
      this.zero.push(key)
      return
    }
    running.timer = new FunctionTimer(() => this.process.deliver(new Fired(key, running)))
    this.process.system.addTimer(this.process, running.timer, action.time)
  }

  private cancel(key: string): void {
    const running = this.timers.get(key)
    if (running === undefined) return
    this.timers.delete(key)
    if (running.timer === undefined) this.zero = this.zero.filter((other) => other !== key)
    else running.timer.cancel()
  }

  private nonsense(value: unknown, step: Step): Work {
    this.state = step.state
    return Exit.die(new ExitReason.ExitDefect(ExitReason.badReturn(value)))
  }
}

/** A state machine's body: init, then the loop. `initialize` returns an {@link InitOutcome} or an Effect of one. */
export const serveStatem =
  (initialize: () => unknown, module: StatemModule) =>
  (process: ProcessImpl, init: Init): Effect.Effect<unknown, unknown> => {
    const proceed = (value: unknown): Effect.Effect<unknown, unknown> => {
      if (value instanceof StatemInit) {
        const loop = new StatemLoop(process, module, value.state as State, value.actions)
        init.done()
        return loop.guarded()
      }
      if (!(value instanceof InitOutcome) || value._tag === "Ok") {
        return Exit.die(new ExitReason.ExitDefect(ExitReason.badReturn(value)))
      }
      if (value._tag === "InitStop") return Exit.die(new ExitReason.ExitDefect(value.reason ?? ExitReason.normal))
      init.ignore()
      return Exit.void
    }
    const result = initialize()
    return Effect.isEffect(result)
      ? Effect.flatMap(result as Effect.Effect<unknown, unknown>, proceed)
      : proceed(result)
  }
