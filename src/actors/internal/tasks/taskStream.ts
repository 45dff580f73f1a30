/**
 * Streams of tasks: a few at a time, in order or as they come, each with a deadline.
 *
 * The stream belongs to the process that pulls it, and keeps out of its mailbox: ends and deadlines are watched from here.
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as ExitReason from "../../ExitReason.ts"
import { currentFiber } from "../process/park.ts"
import { type Body, implOf, type ProcessImpl, Self, sendExit } from "../process/process.ts"
import { awaitDown } from "../process/stop.ts"
import type { Runnable } from "../process/system.ts"
import { Watcher } from "../process/watcher.ts"
import { TaskExit, TaskTimeout, taskProcess, toResult } from "./task.ts"

export interface Options {
  /** How many tasks run at the same time: by default as many as the machine has processors for this program. */
  readonly maxConcurrency?: number
  /** Whether outcomes come in the order of the inputs, which is the default, or as they are ready. */
  readonly ordered?: boolean
  /** The time of each task; 5 seconds by default. */
  readonly timeout?: Duration.Input
  /** What a task that takes too long does: `exit`, the default, ends the stream; `killTask` only that task. */
  readonly onTimeout?: "exit" | "killTask"
  /** Puts the input into every {@link TaskExit} and {@link TaskTimeout}. `false` by default. */
  readonly zipInputOnExit?: boolean
}

/** Options that make no sense: a defect. */
export class BadStreamOptions extends Error {
  override readonly name = "BadStreamOptions"
}

/** Starts the process of one task; calls `created` with it before it can run. */
export type Spawn<E> = (
  body: Body,
  context: Context.Context<never>,
  consumer: ProcessImpl,
  created: (process: ProcessImpl) => void
) => Effect.Effect<unknown, E>

/** A task of the consumer's own. The link is made by the stream, so that no exit message comes into the mailbox. */
export const spawnLinked: Spawn<never> = (body, context, consumer, created) =>
  Effect.sync(() =>
    created(taskProcess({ system: consumer.system, context, parent: consumer, links: [], label: undefined, body }))
  )

/** How many tasks run at the same time by default: OTP's number of schedulers, here one for each processor. */
const defaultConcurrency = (): number => globalThis.navigator?.hardwareConcurrency ?? 1

type Outcome = Result.Result<unknown, unknown>

class Running extends Watcher {
  readonly process: ProcessImpl
  private readonly ended: (reason: ExitReason.ExitReason) => void
  timedOut = false
  constructor(process: ProcessImpl, ended: (reason: ExitReason.ExitReason) => void) {
    super()
    this.process = process
    this.ended = ended
  }
  fire() {
    this.timedOut = true
    sendExit(undefined, this.process, ExitReason.kill, false)
  }
  down(reason: ExitReason.ExitReason) {
    this.cancel()
    this.ended(reason)
  }
}

/** A place in the stream: its outcome, once its task has ended. */
interface Slot {
  outcome: Outcome | undefined
  ended: boolean
}

class TaskStream<A> implements Runnable {
  private readonly consumer: ProcessImpl
  private readonly linked: boolean
  private readonly timeout: Duration.Duration
  private readonly options: Options
  private readonly running = new Set<Running>()
  /** Places whose outcome was not delivered: in the order of the inputs, or those that are ready as they came. */
  private readonly slots: Array<Slot> = []
  private readonly ordered: boolean
  /** Some task ended since the stream last looked. */
  private changed = false
  /** The stream cannot go on: a task took too long. */
  fatal: TaskTimeout | undefined = undefined
  private waiting: ((effect: Effect.Effect<void>) => void) | undefined = undefined

  constructor(consumer: ProcessImpl, options: Options, linked: boolean) {
    this.consumer = consumer
    this.linked = linked
    this.options = options
    this.ordered = options.ordered !== false
    this.timeout = options.timeout === undefined ? Duration.seconds(5) : Duration.fromInputUnsafe(options.timeout)
  }

  get active(): number {
    return this.running.size
  }

  get empty(): boolean {
    return this.slots.length === 0
  }

  /** The body of the next input's task, and what to do with its process. */
  add(input: A, body: Effect.Effect<unknown, unknown>) {
    // The puller's, for its Clock: the process may be created by a supervisor.
    const fiber = currentFiber()
    const slot: Slot = { outcome: undefined, ended: false }
    if (this.ordered) this.slots.push(slot)
    const taskBody: Body = () =>
      toResult(body, (result) => {
        slot.outcome = result
      })
    const follow = (process: ProcessImpl) => {
      const running: Running = new Running(process, (reason) => {
        this.running.delete(running)
        this.ended(slot, input, running, reason)
      })
      this.running.add(running)
      process.watch(running)
      if (Duration.isFinite(this.timeout)) {
        this.consumer.system.addTimer(fiber, running, Duration.toMillis(this.timeout))
      }
    }
    return { taskBody, follow }
  }

  /** The next outcome that can be delivered. */
  take(): Outcome | undefined {
    this.changed = false
    return this.slots[0]?.ended === true ? this.slots.shift()?.outcome : undefined
  }

  /** Waits until some task has ended since the last {@link take}. */
  readonly news: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.changed) return resume(Exit.void)
    this.waiting = resume
    return Effect.sync(() => {
      this.waiting = undefined
    })
  })

  run(): void {
    const resume = this.waiting
    this.waiting = undefined
    resume?.(Exit.void)
  }

  crash(): void {}

  /** Kills the tasks that still run and waits for their ends. */
  readonly close: Effect.Effect<void> = Effect.suspend(() => {
    const left = [...this.running]
    this.running.clear()
    for (const each of left) {
      each.unwatch()
      each.cancel()
      sendExit(undefined, each.process, ExitReason.kill, false)
    }
    return Effect.forEach(left, (each) => awaitDown(each.process, Number.POSITIVE_INFINITY), { discard: true })
  })

  private ended(slot: Slot, input: A, { process, timedOut }: Running, reason: ExitReason.ExitReason): void {
    const zipped = this.options.zipInputOnExit === true ? { input } : {}
    if (slot.outcome === undefined) {
      if (timedOut) {
        const late = new TaskTimeout({ pid: process, timeout: this.timeout, ...zipped })
        slot.outcome = Result.fail(late)
        if (this.options.onTimeout !== "killTask") this.fatal = late
      } else {
        // The link: it ends a consumer that does not trap exits, and is no message for one that does.
        if (this.linked && !this.consumer.trapExit && reason._tag !== "Normal") {
          sendExit(process, this.consumer, reason, true)
          return
        }
        slot.outcome = Result.fail(new TaskExit({ pid: process, reason, ...zipped }))
      }
    }
    slot.ended = true
    if (!this.ordered) this.slots.push(slot)
    this.changed = true
    if (this.waiting !== undefined) this.consumer.system.enqueue(this)
  }
}

/** Takes inputs one by one. */
type Next<A> = Effect.Effect<{ readonly value: A } | undefined, unknown>

const nextOf = <A>(
  inputs: Iterable<A> | Stream.Stream<A, unknown, unknown>
): Effect.Effect<Next<A>, never, Scope.Scope> => {
  if (!Stream.isStream(inputs)) {
    const iterator = inputs[Symbol.iterator]()
    let over = false
    return Effect.as(
      Effect.addFinalizer(() => Effect.sync(() => over || iterator.return?.())),
      Effect.sync(() => {
        const step = iterator.next()
        over = step.done === true
        return over ? undefined : { value: step.value as A }
      })
    )
  }
  return Effect.map(Stream.toPull(inputs as Stream.Stream<A, unknown>), (pull) => {
    let buffer: ReadonlyArray<A> = []
    let at = 0
    const one = (): { readonly value: A } => ({ value: buffer[at++] as A })
    return Effect.suspend(() => {
      if (at < buffer.length) return Effect.succeed(one())
      return pull.pipe(
        Effect.map((chunk) => {
          buffer = chunk
          at = 0
          return one()
        }),
        Effect.catchIf(Cause.isDone, () => Effect.succeed(undefined))
      )
    })
  })
}

/** The stream of the outcomes of a task for every input. */
export const streamTasks = <A, E>(
  inputs: Iterable<A> | Stream.Stream<A, unknown, unknown>,
  f: (input: A) => Effect.Effect<unknown, unknown>,
  options: Options,
  spawn: Spawn<E>,
  linked: boolean
): Stream.Stream<Outcome, unknown, Self> => {
  const max = options.maxConcurrency ?? defaultConcurrency()
  if (!Number.isInteger(max) || max < 1) {
    return Stream.die(new BadStreamOptions(`maxConcurrency must be a whole number above zero, got ${max}`))
  }
  if (options.timeout !== undefined && Duration.isNegative(Duration.fromInputUnsafe(options.timeout))) {
    return Stream.die(new BadStreamOptions("timeout must not be negative"))
  }
  return Stream.unwrap(
    Effect.gen(function* () {
      const consumer = implOf(yield* Self)
      const context = yield* Effect.context<never>()
      const next = yield* nextOf(inputs)
      const tasks = new TaskStream<A>(consumer, options, linked)
      yield* Effect.addFinalizer(() => tasks.close)
      let exhausted = false
      const pull = Effect.gen(function* () {
        for (;;) {
          if (tasks.fatal !== undefined) return yield* Effect.fail(tasks.fatal)
          const outcome = tasks.take()
          if (outcome !== undefined) return [outcome] as const
          if (!exhausted && tasks.active < max) {
            const input = yield* next
            if (input === undefined) {
              exhausted = true
              continue
            }
            const { taskBody, follow } = tasks.add(
              input.value,
              Effect.suspend(() => f(input.value))
            )
            yield* spawn(taskBody, context, consumer, follow)
          } else if (tasks.active === 0 && tasks.empty) {
            return yield* Cause.done()
          } else {
            yield* tasks.news
          }
        }
      })
      return Stream.fromPull(Effect.succeed(pull))
    })
  )
}
