/**
 * Tasks: processes that run one Effect, whose result another process waits for.
 *
 * **Details**
 *
 * The process that starts a task owns it: it is linked to it and monitors it, and it alone may {@link await} its result. The
 * task's typed errors are part of its result, and come out in the error channel of `await`. Everything else that goes wrong
 * crashes the task, and over the link its owner; an owner that traps exits, or a task of {@link asyncNoLink}, finds
 * {@link TaskExit} instead.
 *
 * A result is a message in the owner's mailbox, {@link TaskReply}, so that a server can also get it in its `info`. It should
 * then take back the monitor, `Process.demonitor(task.monitor, { flush: true })`.
 *
 * **Example** (Two at once)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Process, Task } from "vmtest/actors"
 *
 * export const program = Process.run(
 *   Effect.gen(function* () {
 *     const left = yield* Task.async(Effect.succeed("left"))
 *     const right = yield* Task.async(Effect.as(Effect.sleep("1 millis"), "right"))
 *     return yield* Task.awaitMany([left, right])
 *   })
 * )
 * // gives ["left", "right"]
 * ```
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Stream from "effect/Stream"
import { Message } from "./internal/process/mailbox.ts"
import { implOf, Self } from "./internal/process/process.ts"
import { self as currentProcess } from "./internal/process/start.ts"
import { launch, type TaskExit, TaskImpl, TaskReply, type TaskTimeout, taskProcess } from "./internal/tasks/task.ts"
import type { Task } from "./internal/tasks/taskAwait.ts"
import { type Options as StreamOptionsImpl, spawnLinked, streamTasks } from "./internal/tasks/taskStream.ts"
import type * as Pid from "./Pid.ts"
import * as Process from "./Process.ts"
import type * as Supervisor from "./Supervisor.ts"

export {
  /** A process that does not own the task wanted its result: a defect. */
  NotTaskOwner,
  /** What a finished task has to tell: its result, its own error, or its end without either. */
  type Outcome,
  /** A task ended without a result. */
  TaskExit,
  /** The message that brings a task's result to its owner: `{ _tag: "TaskReply", task, result }`. */
  TaskReply,
  /** A task had no result in time. */
  TaskTimeout,
  /** A task that was completed from the start cannot be shut down: a defect. */
  TaskWithoutProcess
} from "./internal/tasks/task.ts"
export * from "./internal/tasks/taskAwait.ts"
export {
  /** Options of a stream that make no sense: a defect. */
  BadStreamOptions
} from "./internal/tasks/taskStream.ts"

export interface Options {
  /** Shown by observers and in messages. */
  readonly label?: string
}

/** What starting a task takes from where it is started. */
export type Requirements<R> = Exclude<R, Process.Provided> | Process.Self

// ----------------------------------------------------------------------------
// Starting
// ----------------------------------------------------------------------------

const startAs = <A, E, R>(
  linked: boolean,
  body: Effect.Effect<A, E, R>,
  options: Options | undefined
): Effect.Effect<Task<A, E>, never, Requirements<R>> =>
  Effect.contextWith((context: Context.Context<Requirements<R>>) =>
    Effect.sync(() => {
      const owner = currentProcess()
      const links = linked ? [owner] : []
      return launch(owner, body as Effect.Effect<A, E>, { context, parent: owner, links, label: options?.label })
    })
  )

/** Starts a task linked to this process, which owns it. */
export const async = <A, E, R>(
  body: Effect.Effect<A, E, R>,
  options?: Options
): Effect.Effect<Task<A, E>, never, Requirements<R>> => startAs(true, body, options)

/** Starts a task whose crash does not touch its owner. Better under a `TaskSupervisor`, which ends it in the end. */
export const asyncNoLink = <A, E, R>(
  body: Effect.Effect<A, E, R>,
  options?: Options
): Effect.Effect<Task<A, E>, never, Requirements<R>> => startAs(false, body, options)

/** Starts a process for an Effect whose result nobody wants. Nobody is linked to it. */
export const start = <A, E, R>(
  body: Effect.Effect<A, E, R>,
  options?: Options
): Effect.Effect<Pid.Pid, never, Exclude<R, Process.Provided>> => Process.spawn(body, options)

/** Starts a process, linked to this one, for an Effect whose result nobody wants. Any failure of it is a crash. */
export const startLink = <A, E, R>(
  body: Effect.Effect<A, E, R>,
  options?: Options
): Effect.Effect<Pid.Pid, never, Requirements<R>> =>
  Effect.contextWith((context: Context.Context<Requirements<R>>) =>
    Effect.sync(() => {
      const parent = currentProcess()
      return taskProcess({
        system: parent.system,
        context,
        parent,
        links: [parent],
        label: options?.label,
        body: () => body as Effect.Effect<A, E>
      })
    })
  )

/** A task as a child of a supervisor; temporary by default, so that it runs once. */
export const childSpec = <A, E, R>(
  id: string,
  body: Effect.Effect<A, E, R>,
  options?: Supervisor.ChildOptions
): Supervisor.ChildSpec<Requirements<R>> => ({
  restart: "temporary",
  ...options,
  id,
  start: startLink(body, { label: id })
})

/** A task that has its result already, and no process. */
export const completed = <A>(value: A): Effect.Effect<Task<A>, never, Process.Self> =>
  Effect.map(Self, (me) => {
    const owner = implOf(me)
    const task = new TaskImpl<A, never>(owner, undefined)
    owner.deliver(new Message(new TaskReply({ task, result: Result.succeed(value) })))
    return task
  })

// ----------------------------------------------------------------------------
// Streams
// ----------------------------------------------------------------------------

/** Where the inputs of {@link asyncStream} come from. */
export type Inputs<A, E = never, R = never> = Iterable<A> | Stream.Stream<A, E, R>

export interface StreamOptions extends StreamOptionsImpl {}

/** A stream that ends with {@link TaskTimeout} when a task takes too long. */
export interface ExitOnTimeout extends StreamOptions {
  readonly onTimeout?: "exit"
}

/** A stream that continues when a task takes too long, with {@link TaskTimeout} in place of its result. */
export interface KillOnTimeout extends StreamOptions {
  readonly onTimeout: "killTask"
}

/**
 * Runs a task for every input, a few at a time, and streams their outcomes in the order of the inputs.
 *
 * Inputs are only taken, and tasks only started, while the stream is pulled. The tasks are linked to the process that pulls: a crash
 * ends it, unless it traps exits; then {@link TaskExit} stands in place of the result. A task that takes longer than
 * `timeout` is killed, and ends the stream with {@link TaskTimeout} or, with `onTimeout: "killTask"`, stands as that in the
 * stream. However the stream ends, the tasks that still run are killed.
 */
export const asyncStream: {
  <A, B, E, R, E2 = never, R2 = never>(
    inputs: Inputs<A, E2, R2>,
    f: (input: A) => Effect.Effect<B, E, R>,
    options: KillOnTimeout
  ): Stream.Stream<Result.Result<B, E | TaskExit | TaskTimeout>, E2, Requirements<R> | R2>
  <A, B, E, R, E2 = never, R2 = never>(
    inputs: Inputs<A, E2, R2>,
    f: (input: A) => Effect.Effect<B, E, R>,
    options?: ExitOnTimeout
  ): Stream.Stream<Result.Result<B, E | TaskExit>, E2 | TaskTimeout, Requirements<R> | R2>
} = <A, B, E, R>(
  inputs: Inputs<A, unknown, unknown>,
  f: (input: A) => Effect.Effect<B, E, R>,
  options: StreamOptions = {}
) => streamTasks(inputs, f as (input: A) => Effect.Effect<B, E>, options, spawnLinked, true) as never
