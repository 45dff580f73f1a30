/**
 * Deadlines by the thousand for one armed timer.
 *
 * Most deadlines are the same duration (a call's 5 s), so those of one duration already stand in the order in which they
 * fire: a doubly linked list a duration, O(1) to add and to remove. A deadline added while the run queue is drained gets
 * its time when the drain pauses, by one reading of the Clock for all: no timer could fire before that anyway, and most
 * calls are answered by then, so that they never touch the Clock at all. One sleep on Effect's Clock is armed for the
 * earliest deadline left, and let go when none is, so that an idle system does not keep the program running.
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/** Something that happens at a time unless it is cancelled before. */
export abstract class Timer {
  /** Monotonic milliseconds, or `undefined` until the drain pauses. */
  at: number | undefined = undefined
  list: TimerList | undefined = undefined
  previous: Timer | undefined = undefined
  next: Timer | undefined = undefined
  abstract fire(): void

  cancel(): void {
    const list = this.list
    if (list === undefined) return
    this.list = undefined
    list.timers.size--
    if (list.unstamped === this) list.unstamped = this.next
    if (this.previous === undefined) list.head = this.next
    else this.previous.next = this.next
    if (this.next === undefined) list.tail = this.previous
    else this.next.previous = this.previous
    this.previous = undefined
    this.next = undefined
  }
}

class TimerList {
  readonly timers: Timers
  head: Timer | undefined = undefined
  tail: Timer | undefined = undefined
  unstamped: Timer | undefined = undefined
  constructor(timers: Timers) {
    this.timers = timers
  }
}

/** A timer that runs a function. */
export class FunctionTimer extends Timer {
  readonly run: () => void
  constructor(run: () => void) {
    super()
    this.run = run
  }
  fire() {
    this.run()
  }
}

/** The deadlines of one actor system on one Clock. */
export class Timers {
  size = 0
  private readonly clock: Clock.Clock
  private readonly context: Context.Context<never>
  private readonly lists = new Map<number, TimerList>()
  private armed: Fiber.Fiber<unknown, unknown> | undefined = undefined
  private armedFor = Number.POSITIVE_INFINITY

  constructor(clock: Clock.Clock, context: Context.Context<never>) {
    this.clock = clock
    this.context = context
  }

  /** Adds a timer that fires `millis` after the next {@link settle}. */
  add(timer: Timer, millis: number): void {
    let list = this.lists.get(millis)
    if (list === undefined) {
      list = new TimerList(this)
      this.lists.set(millis, list)
    }
    this.size++
    timer.list = list
    timer.at = undefined
    timer.previous = list.tail
    if (list.tail === undefined) list.head = timer
    else list.tail.next = timer
    list.tail = timer
    if (list.unstamped === undefined) list.unstamped = timer
  }

  /** Gives the new timers their time, and arms, moves or disarms the one sleep. */
  settle(): void {
    if (this.size === 0) {
      if (this.armed !== undefined) this.disarm()
      return
    }
    let now: number | undefined
    let earliest = this.armedFor
    for (const [millis, list] of this.lists) {
      if (list.unstamped === undefined) continue
      now ??= this.now()
      for (let timer: Timer | undefined = list.unstamped; timer !== undefined; timer = timer.next)
        timer.at = now + millis
      list.unstamped = undefined
      const at = list.head?.at
      if (at !== undefined && at < earliest) earliest = at
    }
    if (now !== undefined && earliest < this.armedFor) this.arm(earliest, now)
  }

  private disarm(): void {
    const armed = this.armed
    this.armed = undefined
    this.armedFor = Number.POSITIVE_INFINITY
    this.lists.clear()
    armed?.interruptUnsafe()
  }

  private now(): number {
    return Number(this.clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  private arm(at: number, now: number): void {
    this.armed?.interruptUnsafe()
    this.armedFor = at
    // Rounded up: a sleep that ends a fraction too early would be armed again for nothing.
    const sleep = this.clock.sleep(Duration.millis(Math.max(1, Math.ceil(at - now))))
    this.armed = Effect.runForkWith(this.context)(
      Effect.andThen(
        sleep,
        Effect.sync(() => this.expire())
      )
    )
  }

  private expire(): void {
    this.armed = undefined
    this.armedFor = Number.POSITIVE_INFINITY
    const now = this.now()
    let earliest = Number.POSITIVE_INFINITY
    for (const list of this.lists.values()) {
      let head = list.head
      while (head?.at !== undefined && head.at <= now) {
        head.cancel()
        head.fire()
        head = list.head
      }
      if (head?.at !== undefined && head.at < earliest) earliest = head.at
    }
    if (earliest < this.armedFor) this.arm(earliest, now)
    this.settle()
  }
}
