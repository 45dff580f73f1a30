/**
 * The insides of an actor system: the process table, the names, the timers and the run queue.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import type { ExitReason } from "../../ExitReason.ts"
import type { ProcessImpl } from "./process.ts"
import { type Timer, Timers } from "./timers.ts"

/** Something that waits for its turn. */
export interface Runnable {
  run(): void
  /** Its turn ended with a throw: a handler's bug. */
  crash(error: unknown): void
}

/** Told of every start, end and restart of a process; must not throw. */
export interface SystemObserver {
  readonly onStart?: (process: ProcessImpl) => void
  readonly onExit?: (process: ProcessImpl, reason: ExitReason) => void
  /** A supervisor has started a child again. */
  readonly onRestart?: (supervisor: ProcessImpl, previous: ProcessImpl, process: ProcessImpl) => void
}

interface Owner {
  readonly context: Context.Context<never>
}

/** Turns taken before the event loop gets its own. */
const turnsPerDrain = 2048

/**
 * Nobody is ever resumed in the stack of the one who woke them: they are put on the run queue, which one task drains. So
 * calls neither recurse nor pay for a trip through the event loop, and everything happens in the order in which it was sent.
 */
export class SystemImpl {
  readonly processes = new Set<ProcessImpl>()
  readonly names = new Map<string, ProcessImpl>()
  readonly observers = new Set<SystemObserver>()
  /** How long the finalizers of a killed process may take before it is given up, in milliseconds. */
  readonly abandonAfter: number
  /** Processes that were given up because their finalizers hung. */
  abandoned = 0
  private readonly timersByClock = new Map<Clock.Clock, Timers>()
  private lastTimers: Timers | undefined = undefined
  private lastClock: Clock.Clock | undefined = undefined
  private nextId = 0
  private queue: Array<Runnable | undefined> = []
  private head = 0
  private current: Runnable | undefined = undefined
  private scheduled = false
  private scheduler: Scheduler.Scheduler | undefined = undefined
  private dispatcher: Scheduler.SchedulerDispatcher | undefined = undefined
  private readonly drainEffect: Effect.Effect<void>

  constructor(options: { readonly abandonAfter: number }) {
    this.abandonAfter = options.abandonAfter
    // The drain runs as an Effect so that what a handler throws is caught by Effect's own run loop.
    const drain: Effect.Effect<void> = Effect.catchCause(
      Effect.sync(() => this.drain()),
      (cause) =>
        Effect.suspend(() => {
          const culprit = this.current
          this.current = undefined
          culprit?.crash(cause.reasons[0]?._tag === "Die" ? cause.reasons[0].defect : cause)
          return drain
        })
    )
    this.drainEffect = drain
  }

  newId(): number {
    return ++this.nextId
  }

  /** A supervisor has started a child again. */
  restarted(supervisor: ProcessImpl, previous: ProcessImpl, process: ProcessImpl): void {
    for (const observer of this.observers) observer.onRestart?.(supervisor, previous, process)
  }

  enqueue(runnable: Runnable): void {
    this.queue.push(runnable)
    if (!this.scheduled) this.schedule()
  }

  timers({ context }: Owner): Timers {
    const clock = Context.get(context, Clock.Clock)
    if (clock === this.lastClock && this.lastTimers !== undefined) return this.lastTimers
    let timers = this.timersByClock.get(clock)
    if (timers === undefined) {
      timers = new Timers(clock, Context.make(Scheduler.Scheduler, Context.get(context, Scheduler.Scheduler)))
      this.timersByClock.set(clock, timers)
    }
    this.lastClock = clock
    this.lastTimers = timers
    return timers
  }

  /** Fires `timer` after `millis` on the Clock of `owner`, a fiber or a process. */
  addTimer(owner: Owner, timer: Timer, millis: number): void {
    const timers = this.timers(owner)
    timers.add(timer, millis)
    // Otherwise the drain that is under way, or about to be, does it.
    if (!this.scheduled) timers.settle()
  }

  private schedule(): void {
    this.scheduled = true
    // The waker's scheduler: so that a TestClock that woke someone also waits for what that wakes.
    const fiber = Fiber.getCurrent()
    const scheduler = fiber === undefined ? undefined : fiber.cache.scheduler
    if (this.dispatcher === undefined || (scheduler !== undefined && scheduler !== this.scheduler)) {
      this.scheduler = scheduler ?? new Scheduler.MixedScheduler()
      this.dispatcher = this.scheduler.makeDispatcher()
    }
    this.dispatcher.scheduleTask(this.startDrain, 0)
  }

  private readonly startDrain = (): void => {
    Effect.runFork(this.drainEffect)
    this.scheduled = false
    if (this.head < this.queue.length) this.schedule()
    else {
      this.queue = []
      this.head = 0
    }
    for (const timers of this.timersByClock.values()) timers.settle()
    if (this.processes.size === 0) this.forgetClocks()
  }

  private drain(): void {
    for (let turns = 0; turns < turnsPerDrain && this.head < this.queue.length; turns++) {
      const runnable = this.queue[this.head]
      this.queue[this.head++] = undefined
      if (this.head === 4096) {
        this.queue.splice(0, 4096)
        this.head = 0
      }
      this.current = runnable
      runnable?.run()
    }
    this.current = undefined
  }

  private forgetClocks(): void {
    for (const [clock, timers] of this.timersByClock) {
      if (timers.size === 0) this.timersByClock.delete(clock)
    }
    this.lastClock = undefined
    this.lastTimers = undefined
  }
}
