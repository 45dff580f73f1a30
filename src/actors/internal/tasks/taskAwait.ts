/**
 * Waiting for tasks, and giving up on them: what only their owner may do.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as ExitReason from "../../ExitReason.ts"
import type * as Pid from "../../Pid.ts"
import * as Process from "../../Process.ts"
import type { Monitor } from "../process/monitor.ts"
import { implOf, type ProcessImpl, Self, sendExit, unlink } from "../process/process.ts"
import { awaitDown } from "../process/stop.ts"
import { NotTaskOwner, type Outcome, TaskExit, TaskReply, TaskTimeout, TaskWithoutProcess } from "./task.ts"

/** A task with result `A` and typed errors `E`. */
export interface Task<out A, out E = never> {
  /** The process that may ask for the result. */
  readonly owner: Pid.Any
  /** The task's process; `undefined` for {@link completed}. */
  readonly pid: Pid.Any | undefined
  /** The owner's monitor of the task. */
  readonly monitor: Monitor | undefined
  readonly "~types"?: (_: never) => [A, E]
}

// ----------------------------------------------------------------------------
// Waiting
// ----------------------------------------------------------------------------

type News<A, E> = TaskReply<A, E> | Process.Down

const newsOf =
  <A, E>(task: Task<A, E>) =>
  (message: unknown): News<A, E> | undefined => {
    if (message instanceof TaskReply) return message.task === task ? message : undefined
    return message instanceof Process.Down && message.monitor === task.monitor ? message : undefined
  }

const own = (task: Task<unknown, unknown>): Effect.Effect<void, never, Process.Self> =>
  Effect.flatMap(Self, (caller) =>
    caller === task.owner ? Exit.void : Exit.die(new NotTaskOwner({ owner: task.owner, caller }))
  )

const forget = (task: Task<unknown, unknown>): Effect.Effect<void, never, Process.Self> =>
  task.monitor === undefined ? Exit.void : Process.demonitor(task.monitor, { flush: true })

const outcomeOf = <A, E>(task: Task<A, E>, news: News<A, E>): Effect.Effect<Outcome<A, E>, never, Process.Self> =>
  news instanceof Process.Down
    ? Effect.succeed(Result.fail(new TaskExit({ pid: task.pid, reason: news.reason })))
    : Effect.as(forget(task), news.result)

/** The time that is given to every wait here unless another is given. */
const defaultTimeout = Duration.seconds(5)

const timeoutOf = (timeout: Duration.Input | undefined): Duration.Duration =>
  timeout === undefined ? defaultTimeout : Duration.fromInputUnsafe(timeout)

/** The outcome of a task, or `undefined` when there is none in time. The monitor stays then. */
const receiveOutcome = <A, E>(
  task: Task<A, E>,
  timeout: Duration.Duration
): Effect.Effect<Outcome<A, E> | undefined, never, Process.Self> =>
  Process.receiveWithin(timeout, newsOf(task)).pipe(
    Effect.flatMap((news) => outcomeOf(task, news)),
    Effect.catchTag("ReceiveTimeout", () => Effect.succeed(undefined))
  )

export interface WaitOptions {
  /** 5 seconds by default. */
  readonly timeout?: Duration.Input
}

const await_ = <A, E>(
  task: Task<A, E>,
  options?: WaitOptions
): Effect.Effect<A, E | TaskExit | TaskTimeout, Process.Self> => {
  const timeout = timeoutOf(options?.timeout)
  return Effect.andThen(
    own(task),
    Effect.flatMap(
      receiveOutcome(task, timeout),
      (outcome): Effect.Effect<A, E | TaskExit | TaskTimeout, Process.Self> =>
        outcome === undefined
          ? Effect.andThen(forget(task), Effect.fail(new TaskTimeout({ pid: task.pid, timeout })))
          : Effect.fromResult(outcome)
    )
  )
}

const yield_ = <A, E>(
  task: Task<A, E>,
  options?: WaitOptions
): Effect.Effect<Outcome<A, E> | undefined, never, Process.Self> =>
  Effect.andThen(own(task), receiveOutcome(task, timeoutOf(options?.timeout)))

export {
  /**
   * Waits for a task's result, at most 5 seconds by default. Fails with the task's own error, with {@link TaskExit} when it
   * ended without a result, and with {@link TaskTimeout}, after which a late result is dropped. Can be done once a task, and
   * only by its owner; it is a defect, {@link NotTaskOwner}, for others.
   */
  await_ as await,
  /** Waits for a while: `undefined` when the task is still busy. It may be asked again, any number of times until there is news. */
  yield_ as yield
}

type Pending = Map<Task<unknown, unknown>, number>
type AwaitedSuccess<T> = T extends Task<infer A, infer _E> ? A : never
type AwaitedError<T> = T extends Task<infer _A, infer E> ? E : never

const remaining = (deadline: number): Effect.Effect<Duration.Duration> =>
  Effect.map(Clock.currentTimeMillis, (now) => Duration.millis(Math.max(0, deadline - now)))

/** The next news of any of the tasks. */
const nextOutcome = (pending: Pending, deadline: number) =>
  Effect.gen(function* () {
    const select = (message: unknown) => {
      for (const [task, index] of pending) {
        const news = newsOf(task)(message)
        if (news !== undefined) return { task, index, news }
      }
      return undefined
    }
    const found = yield* Process.receiveWithin(yield* remaining(deadline), select).pipe(
      Effect.catchTag("ReceiveTimeout", () => Effect.succeed(undefined))
    )
    if (found === undefined) return undefined
    pending.delete(found.task)
    return { index: found.index, outcome: yield* outcomeOf(found.task, found.news) }
  })

const deadlineOf = (timeout: Duration.Duration): Effect.Effect<number> =>
  Effect.map(Clock.currentTimeMillis, (now) => now + Duration.toMillis(timeout))

const pendingOf = (tasks: ReadonlyArray<Task<unknown, unknown>>): Pending =>
  new Map(tasks.map((task, index) => [task, index]))

/** Waits for the results of several tasks, in their order. The first one that fails, or the deadline for all, ends it. */
export const awaitMany = <const T extends ReadonlyArray<Task<unknown, unknown>>>(
  tasks: T,
  options?: WaitOptions
): Effect.Effect<
  { -readonly [K in keyof T]: AwaitedSuccess<T[K]> },
  AwaitedError<T[number]> | TaskExit | TaskTimeout,
  Process.Self
> =>
  Effect.gen(function* () {
    for (const task of tasks) yield* own(task)
    const pending = pendingOf(tasks)
    const timeout = timeoutOf(options?.timeout)
    const deadline = yield* deadlineOf(timeout)
    const results: Array<unknown> = tasks.map(() => undefined)
    while (pending.size > 0) {
      const next = yield* nextOutcome(pending, deadline)
      if (next !== undefined && Result.isSuccess(next.outcome)) {
        results[next.index] = next.outcome.success
        continue
      }
      const [late] = pending.keys()
      for (const task of pending.keys()) yield* forget(task)
      return yield* Effect.fail(
        next === undefined || Result.isSuccess(next.outcome)
          ? new TaskTimeout({ pid: late?.pid, timeout })
          : next.outcome.failure
      )
    }
    return results
  }) as never

export interface YieldManyOptions extends WaitOptions {
  /** Enough outcomes to stop waiting; all by default. */
  readonly limit?: number
  /** What is done with those that are busy when the time is over; `nothing` by default. */
  readonly onTimeout?: "nothing" | "ignore" | "killTask"
}

/** Waits for several tasks for a while: their outcomes in their order, `undefined` for those that are still busy. */
export const yieldMany = <const T extends ReadonlyArray<Task<unknown, unknown>>>(
  tasks: T,
  options?: YieldManyOptions
): Effect.Effect<
  { -readonly [K in keyof T]: Outcome<AwaitedSuccess<T[K]>, AwaitedError<T[K]>> | undefined },
  never,
  Process.Self
> =>
  Effect.gen(function* () {
    for (const task of tasks) yield* own(task)
    const pending = pendingOf(tasks)
    const deadline = yield* deadlineOf(timeoutOf(options?.timeout))
    const enough = tasks.length - Math.min(options?.limit ?? tasks.length, tasks.length)
    const outcomes: Array<Outcome<unknown, unknown> | undefined> = tasks.map(() => undefined)
    while (pending.size > enough) {
      const next = yield* nextOutcome(pending, deadline)
      if (next === undefined) break
      outcomes[next.index] = next.outcome
    }
    if (pending.size <= enough) return outcomes
    for (const [task, index] of pending) {
      if (options?.onTimeout === "ignore") outcomes[index] = yield* ignore(task)
      if (options?.onTimeout === "killTask") outcomes[index] = yield* shutdown(task, "brutalKill")
    }
    return outcomes
  }) as never

// ----------------------------------------------------------------------------
// Giving up
// ----------------------------------------------------------------------------

/** Lets a task go: it runs on, unlinked, and its result is dropped. The answer is its outcome, if there already was one. */
export const ignore = <A, E>(task: Task<A, E>): Effect.Effect<Outcome<A, E> | undefined, never, Process.Self> =>
  Effect.gen(function* () {
    yield* own(task)
    const outcome = yield* receiveOutcome(task, Duration.zero)
    if (task.pid !== undefined) unlink(implOf(task.owner), implOf(task.pid))
    if (outcome === undefined) yield* forget(task)
    return outcome
  })

/**
 * Unlinks a task and ends it: with `Shutdown`, and after the time with a kill, or with a kill at once. The answer is its
 * outcome if there was one by then, `undefined` when it was ended as wanted, and {@link TaskExit} when it ended otherwise.
 * 5 seconds by default.
 */
export const shutdown = <A, E>(
  task: Task<A, E>,
  how: Duration.Input | "brutalKill" = defaultTimeout
): Effect.Effect<Outcome<A, E> | undefined, never, Process.Self> =>
  Effect.gen(function* () {
    yield* own(task)
    if (task.pid === undefined) return yield* Effect.die(new TaskWithoutProcess())
    const process = implOf(task.pid)
    const ended = process.reason === undefined ? yield* end(implOf(task.owner), process, how) : ExitReason.noProcess
    const news = yield* Process.receiveWithin(0, newsOf(task)).pipe(
      Effect.catchTag("ReceiveTimeout", () => Effect.succeed(undefined))
    )
    if (news instanceof TaskReply) return yield* outcomeOf(task, news)
    yield* forget(task)
    const reason = news === undefined ? ended : news.reason
    const wanted = how === "brutalKill" ? ExitReason.killed : ExitReason.shutdown
    return ExitReason.equals(reason, wanted) ? undefined : Result.fail(new TaskExit({ pid: task.pid, reason }))
  })

const end = (
  owner: ProcessImpl,
  process: ProcessImpl,
  how: Duration.Input | "brutalKill"
): Effect.Effect<ExitReason.ExitReason> =>
  Effect.suspend(() => {
    unlink(owner, process)
    sendExit(owner, process, how === "brutalKill" ? ExitReason.kill : ExitReason.shutdown, false)
    const patience = how === "brutalKill" ? Number.POSITIVE_INFINITY : Duration.toMillis(Duration.fromInputUnsafe(how))
    return Effect.flatMap(awaitDown(process, patience), (reason) => {
      if (reason !== undefined) return Effect.succeed(reason)
      sendExit(owner, process, ExitReason.kill, false)
      return Effect.map(awaitDown(process, Number.POSITIVE_INFINITY), (last) => last ?? ExitReason.killed)
    })
  })
