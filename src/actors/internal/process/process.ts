/**
 * A process: a fiber with a mailbox, links, monitors and a flag that turns exit signals into messages.
 *
 * JavaScript runs one thing at a time, so a signal is a plain function call and arrives in the order in which it was sent;
 * what it sets off runs later, from the system's run queue.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import { identity } from "effect/Function"
import { NodeInspectSymbol } from "effect/Inspectable"
import * as Scope from "effect/Scope"
import type * as Types from "effect/Types"
import * as ExitReason from "../../ExitReason.ts"
import * as Pid from "../../Pid.ts"
import { ExitMessage, type Letter, Mailbox, Message } from "./mailbox.ts"
import type { Parkable } from "./park.ts"
import { currentFiber } from "./park.ts"
import { reportCrash } from "./report.ts"
import type { Runnable, SystemImpl } from "./system.ts"
import { FunctionTimer, type Timer } from "./timers.ts"
import type { Watcher } from "./watcher.ts"

/** The process that runs the current fiber; provided inside processes only. */
export class Self extends Context.Service<Self, Pid.Any>()("vmtest/actors/Process/Self") {}

/** Called when the process has its turn and is waiting for messages. */
export interface Waiter {
  wake(process: ProcessImpl): void
  /** Goes on after a callback threw, for a process that has no fiber yet. */
  recover?(error: unknown): Effect.Effect<unknown, unknown>
}

/** Takes back a name given outside the system's own table. */
export type Unregister = () => void

/**
 * What a process does. A behaviour that has nothing unfinished to do answers `undefined` and leaves a {@link Waiter}: it gets
 * its fiber when it first needs one.
 */
export type Body = (process: ProcessImpl) => Effect.Effect<unknown, unknown> | undefined

export interface ProcessOptions {
  readonly system: SystemImpl
  readonly context: Context.Context<never>
  readonly parent: ProcessImpl | undefined
  readonly kind: string
  readonly label: string | undefined
  readonly body: Body
}

const unit = Exit.void

export class ProcessImpl extends Mailbox implements Runnable {
  // biome-ignore lint/suspicious/noExplicitAny: a process does not know its protocol; the pid's type does
  declare readonly [Pid.TypeId]: { readonly _Protocol: Types.Invariant<any> }
  readonly id: number
  readonly system: SystemImpl
  readonly kind: string
  label: string | undefined
  parent: ProcessImpl | undefined
  context: Context.Context<never>
  body: Body | undefined
  private ownScope: Scope.Closeable | undefined = undefined
  fiber: Parkable | undefined = undefined
  waiter: Waiter | undefined = undefined
  /** The other end of the only link: most processes have one, to who started them, and a Set for it would weigh more than all else. */
  private peer: ProcessImpl | undefined = undefined
  /** The other ends of the links once there are several, in the order in which they were made. */
  private peers: Set<ProcessImpl> | undefined = undefined
  watchers: Watcher | undefined = undefined
  lastWatcher: Watcher | undefined = undefined
  watching: Set<Watcher> | undefined = undefined
  trapExit = false
  queued = false
  /** The exit signal that will end, or is ending, the process. */
  pending: ExitReason.ExitReason | undefined = undefined
  private interrupted = false
  private killed = false
  /** The reason that the process's own body ended with, once its scope is being closed. */
  private ended: ExitReason.ExitReason | undefined = undefined
  private abandon: Timer | undefined = undefined
  /** The final reason; a process with a reason is dead. */
  reason: ExitReason.ExitReason | undefined = undefined
  name: string | undefined = undefined
  unregister: Unregister | undefined = undefined
  /** The process that waits for this one's init, and gets no message about its failure. */
  starter: ProcessImpl | undefined = undefined
  readonly startedAt: number
  /** What an observer should show beside the process, kept by its behaviour: a supervisor's restarts, a state's name. */
  details: (() => Readonly<Record<string, unknown>>) | undefined = undefined
  /** The loop of a behaviour, for those who know it. */
  behaviour: object | undefined = undefined

  constructor(options: ProcessOptions) {
    super()
    this.system = options.system
    this.id = options.system.newId()
    this.kind = options.kind
    this.label = options.label
    this.parent = options.parent
    this.body = options.body
    this.context = options.context
    this.startedAt = Context.get(options.context, Clock.Clock).currentTimeMillisUnsafe()
    options.system.processes.add(this)
    for (const observer of options.system.observers) observer.onStart?.(this)
  }

  /** Closed when the process ends, whatever the reason. */
  get scope(): Scope.Closeable {
    if (this.ownScope === undefined) this.ownScope = Scope.makeUnsafe()
    return this.ownScope
  }

  get alive(): boolean {
    return this.reason === undefined && this.pending === undefined && this.ended === undefined
  }

  // --------------------------------------------------------------- mailbox

  deliver(letter: Letter): void {
    if (this.reason !== undefined) return
    this.put(letter)
    if (this.waiter !== undefined) this.awaken()
  }

  awaken(): void {
    if (this.queued) return
    this.queued = true
    this.system.enqueue(this)
  }

  // --------------------------------------------------------------- turns

  run(): void {
    this.queued = false
    if (this.reason !== undefined) return
    if (this.pending !== undefined && !this.interrupted) this.die()
    else if (this.body !== undefined) this.begin(this.body)
    else this.waiter?.wake(this)
  }

  crash(error: unknown): void {
    this.queued = false
    if (this.fiber !== undefined) this.fiber.evaluate(Exit.die(error))
    else if (this.reason === undefined) this.launch(this.waiter?.recover?.(error) ?? Exit.die(error))
  }

  private begin(body: Body): void {
    this.body = undefined
    const effect = body(this)
    if (effect !== undefined) this.launch(effect)
  }

  /** Goes on with `effect` in the process's fiber, which is made if there is none yet. */
  execute(effect: Effect.Effect<unknown, unknown>): void {
    if (this.fiber === undefined) this.launch(effect)
    else this.fiber.evaluate(effect)
  }

  private launch(effect: Effect.Effect<unknown, unknown>): void {
    this.waiter = undefined
    this.context = Context.add(Context.add(this.context, Scope.Scope, this.scope), Self, this)
    const fiber = Effect.runForkWith(this.context)(
      Effect.onExit(new Begin(this, effect), (exit) => this.finalize(exit))
    )
    fiber.addObserver((exit) => this.finish(exit))
  }

  /** Ends a process that has no fiber. */
  end(reason: ExitReason.ExitReason): void {
    this.ended = reason
    this.finish(unit)
  }

  private finalize(exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    if (!this.interrupted) this.ended = reasonOf(exit)
    return this.scope.state._tag === "Empty" ? unit : Scope.close(this.scope, exit)
  }

  /** Ends the process because of its pending exit signal. */
  private die(): void {
    this.interrupted = true
    if (this.fiber === undefined) this.finish(unit)
    else this.fiber.interruptUnsafe()
    if (this.killed) this.abandonLater()
  }

  /** A finalizer cannot be killed: when the finalizers of a killed process hang, the process is declared dead without them. */
  private abandonLater(): void {
    if (this.reason !== undefined || this.abandon !== undefined || this.fiber === undefined) return
    const timer = new FunctionTimer(() => {
      if (this.reason !== undefined) return
      this.system.abandoned++
      this.pending = ExitReason.killed
      this.interrupted = true
      this.ended = undefined
      Effect.runForkWith(this.context)(
        Effect.logWarning(`process ${describe(this)} was killed, but its clean-up hangs: it is left behind`)
      )
      this.finish(unit)
    })
    this.abandon = timer
    this.system.addTimer(this.fiber, timer, this.system.abandonAfter)
  }

  private finish(exit: Exit.Exit<unknown, unknown>): void {
    if (this.reason !== undefined) return
    const reason = this.ended ?? (this.interrupted && this.pending !== undefined ? this.pending : reasonOf(exit))
    this.reason = reason
    if (this.ended !== undefined && !ExitReason.isNormal(reason)) reportCrash(this, reason)
    this.pending = undefined
    this.abandon?.cancel()
    this.abandon = undefined
    this.waiter = undefined
    this.body = undefined
    this.clear()
    const system = this.system
    system.processes.delete(this)
    if (this.name !== undefined && system.names.get(this.name) === this) system.names.delete(this.name)
    this.unregister?.()
    this.unregister = undefined
    for (const observer of system.observers) observer.onExit?.(this, reason)
    const { peer, peers } = this
    this.peer = undefined
    this.peers = undefined
    if (peer !== undefined) this.depart(peer, reason)
    else if (peers !== undefined) for (const each of peers) this.depart(each, reason)
    this.starter = undefined
    if (this.watching !== undefined) {
      for (const watcher of this.watching) watcher.unwatch()
      this.watching = undefined
    }
    for (let watcher = this.watchers; watcher !== undefined; watcher = this.watchers) {
      watcher.unwatch()
      watcher.down(reason)
    }
    this.fiber = undefined
    this.context = Context.empty()
    this.details = undefined
    this.behaviour = undefined
  }

  // --------------------------------------------------------------- links

  /** The processes that this one is linked to. */
  get links(): ReadonlySet<ProcessImpl> {
    return this.peers ?? new Set(this.peer === undefined ? [] : [this.peer])
  }

  addPeer(other: ProcessImpl): void {
    if (this.peers !== undefined) this.peers.add(other)
    else if (this.peer === undefined) this.peer = other
    else if (this.peer !== other) {
      this.peers = new Set([this.peer, other])
      this.peer = undefined
    }
  }

  removePeer(other: ProcessImpl): void {
    if (this.peer === other) this.peer = undefined
    else this.peers?.delete(other)
  }

  private depart(peer: ProcessImpl, reason: ExitReason.ExitReason): void {
    peer.removePeer(this)
    if (peer !== this.starter || !peer.trapExit) sendExit(this, peer, reason, true)
  }

  // --------------------------------------------------------------- signals

  /** An exit signal that cannot be trapped or ignored any more. */
  terminate(reason: ExitReason.ExitReason): void {
    if (this.reason !== undefined) return
    if (this.ended !== undefined || this.interrupted) {
      // Too late to change the reason; a kill still limits how long the clean-up may take.
      if (reason._tag === "Killed") this.abandonLater()
      return
    }
    if (reason._tag === "Killed") this.killed = true
    // The first signal decides.
    if (this.pending === undefined) this.pending = reason
    this.awaken()
  }

  watch(watcher: Watcher): void {
    watcher.target = this
    watcher.previousWatcher = this.lastWatcher
    if (this.lastWatcher === undefined) this.watchers = watcher
    else this.lastWatcher.nextWatcher = watcher
    this.lastWatcher = watcher
  }

  override toString(): string {
    return describe(this)
  }

  toJSON(): unknown {
    return describe(this)
  }

  [NodeInspectSymbol](): unknown {
    return describe(this)
  }
}
Object.defineProperty(ProcessImpl.prototype, Pid.TypeId, { value: { _Protocol: identity } })

/** The first step of a process's fiber: makes itself known. */
class Begin extends Effectable.Class<unknown, unknown> {
  readonly process: ProcessImpl
  readonly effect: Effect.Effect<unknown, unknown>
  constructor(process: ProcessImpl, effect: Effect.Effect<unknown, unknown>) {
    super()
    this.process = process
    this.effect = effect
  }
  asEffect() {
    this.process.fiber = currentFiber()
    return this.effect
  }
}

const reasonOf = (exit: Exit.Exit<unknown, unknown>): ExitReason.ExitReason =>
  exit._tag === "Success" ? ExitReason.normal : ExitReason.fromCause(exit.cause)

export const describe = (process: ProcessImpl): string =>
  `<${process.id}${process.label === undefined ? "" : ` ${process.label}`}>`

/** The insides of a pid. */
export const implOf = (pid: Pid.Any): ProcessImpl => {
  if (pid instanceof ProcessImpl) return pid
  throw new TypeError("not a pid of this actor runtime")
}

/**
 * Sends an exit signal. `linked` says that it comes over a link, because the sender died: then `Kill` is an ordinary
 * reason. Otherwise `Kill` cannot be trapped, and `Normal` only ends a process that sends it to itself.
 */
export const sendExit = (
  from: ProcessImpl | undefined,
  target: ProcessImpl,
  reason: ExitReason.ExitReason,
  linked: boolean
): void => {
  if (target.reason !== undefined) return
  if (!linked && reason._tag === "Kill") target.terminate(ExitReason.killed)
  else if (target.trapExit) target.deliver(new Message(new ExitMessage(from, reason)))
  else if (reason._tag !== "Normal" || (!linked && from === target)) target.terminate(reason)
}

/** Links two processes; `false` when `b` is dead. */
export const link = (a: ProcessImpl, b: ProcessImpl): boolean => {
  if (b.reason !== undefined) return false
  if (a === b) return true
  a.addPeer(b)
  b.addPeer(a)
  return true
}

export const unlink = (a: ProcessImpl, b: ProcessImpl): void => {
  a.removePeer(b)
  b.removePeer(a)
}

/** Makes a process, which starts at its turn. */
export const spawn = (options: ProcessOptions): ProcessImpl => {
  const process = new ProcessImpl(options)
  process.awaken()
  return process
}
