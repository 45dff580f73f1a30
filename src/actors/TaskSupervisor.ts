/**
 * Supervisors of tasks: dynamic supervisors whose children are tasks, `temporary` by default.
 *
 * **Details**
 *
 * A task started here is linked to the supervisor, which ends it when it is itself ended, and is owned by the process that
 * asked for it, which waits with `Task.await` and its siblings. {@link async} links it to its owner as well;
 * {@link asyncNoLink} does not, so that its crash is only a `Task.TaskExit` for the owner.
 *
 * **Example** (A task that may crash)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Process, Task, TaskSupervisor } from "vmtest/actors"
 *
 * export const program = Process.run(
 *   Effect.gen(function* () {
 *     const tasks = yield* TaskSupervisor.startLink()
 *     const task = yield* TaskSupervisor.asyncNoLink(tasks, Effect.die("a bug"))
 *     return yield* Task.await(task).pipe(Effect.catchTag("TaskExit", () => Effect.succeed("it did")))
 *   })
 * )
 * // gives "it did"
 * ```
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Result from "effect/Result"
import type * as Stream from "effect/Stream"
import * as DynamicSupervisor from "./DynamicSupervisor.ts"
import type { Name } from "./internal/process/names.ts"
import { implOf, type ProcessImpl } from "./internal/process/process.ts"
import { self as currentProcess } from "./internal/process/start.ts"
import { launch, type TaskImpl, taskProcess } from "./internal/tasks/task.ts"
import { type Spawn, streamTasks } from "./internal/tasks/taskStream.ts"
import type * as Pid from "./Pid.ts"
import type * as Process from "./Process.ts"
import type * as Supervisor from "./Supervisor.ts"
import type * as Task from "./Task.ts"

export {
  /** A task supervisor as a child of another supervisor. */
  childSpec,
  /** A task supervisor for as long as the Layer lives. */
  layer,
  /** How many tasks may run at the same time (`maxChildren`), and how many restarts are accepted. */
  type Options,
  /** Starts a task supervisor that belongs to a Scope. */
  scoped,
  /** Starts a task supervisor linked to this process. */
  startLink,
  /** Ends a task. */
  terminateChild
} from "./DynamicSupervisor.ts"

/** A task supervisor, by its pid or name. */
export type Ref = Pid.Any | Name

/** Why a task was not started: there are too many, or there is no such supervisor. */
export type StartError = DynamicSupervisor.StartChildError

export interface TaskOptions extends Task.Options {
  /** How the supervisor ends the task; 5 seconds of patience by default. */
  readonly shutdown?: Supervisor.Shutdown
}

export interface ChildOptions extends TaskOptions {
  /** `temporary` by default: whatever becomes of the task, it is not started again. */
  readonly restart?: Supervisor.Restart
}

const supervise = (
  supervisor: Ref,
  options: ChildOptions,
  start: (supervisor: ProcessImpl) => ProcessImpl
): Effect.Effect<Supervisor.StartedChild, StartError> =>
  DynamicSupervisor.startChild(supervisor, {
    id: options.label ?? "task",
    restart: options.restart ?? "temporary",
    ...(options.shutdown === undefined ? {} : { shutdown: options.shutdown }),
    start: Effect.sync(() => start(currentProcess()))
  })

const own = <A, E, R>(
  linked: boolean,
  supervisor: Ref,
  body: Effect.Effect<A, E, R>,
  options: TaskOptions
): Effect.Effect<Task.Task<A, E>, StartError, Task.Requirements<R>> =>
  Effect.contextWith((context: Context.Context<Task.Requirements<R>>) =>
    Effect.suspend(() => {
      const owner = currentProcess()
      let task: TaskImpl<A, E> | undefined
      return Effect.flatMap(
        supervise(supervisor, options, (parent) => {
          const links = linked ? [parent, owner] : [parent]
          task = launch(owner, body as Effect.Effect<A, E>, { context, parent, links, label: options.label })
          return implOf(task.pid as Pid.Any)
        }),
        () => Effect.sync(() => task as Task.Task<A, E>)
      )
    })
  )

/** Starts a task that is linked to the supervisor and to this process, which owns it. */
export const async = <A, E, R>(
  supervisor: Ref,
  body: Effect.Effect<A, E, R>,
  options: TaskOptions = {}
): Effect.Effect<Task.Task<A, E>, StartError, Task.Requirements<R>> => own(true, supervisor, body, options)

/** Starts a task that this process owns without being linked to it. */
export const asyncNoLink = <A, E, R>(
  supervisor: Ref,
  body: Effect.Effect<A, E, R>,
  options: TaskOptions = {}
): Effect.Effect<Task.Task<A, E>, StartError, Task.Requirements<R>> => own(false, supervisor, body, options)

/** Starts a process for an Effect whose result nobody wants. Any failure of it is a crash, and `restart` says what follows. */
export const startChild = <A, E, R>(
  supervisor: Ref,
  body: Effect.Effect<A, E, R>,
  options: ChildOptions = {}
): Effect.Effect<Pid.Any, StartError, Exclude<R, Process.Provided>> =>
  Effect.contextWith((context: Context.Context<Exclude<R, Process.Provided>>) =>
    Effect.suspend(() => {
      let started: ProcessImpl | undefined
      return Effect.flatMap(
        supervise(supervisor, options, (parent) => {
          started = taskProcess({
            system: parent.system,
            context,
            parent,
            links: [parent],
            label: options.label,
            body: () => body as Effect.Effect<A, E>
          })
          return started
        }),
        () => Effect.sync(() => started as Pid.Any)
      )
    })
  )

/** The tasks that run now. */
export const children = (supervisor: Ref): Effect.Effect<ReadonlyArray<Pid.Any>, Supervisor.RequestError> =>
  Effect.map(DynamicSupervisor.whichChildren(supervisor), (all) =>
    all.flatMap(({ child }) => (child === undefined || child === "restarting" ? [] : [child]))
  )

// ----------------------------------------------------------------------------
// Streams
// ----------------------------------------------------------------------------

/** Streams of supervised tasks fail as `Task.asyncStream` does, and when the supervisor cannot start a task. */
export interface AsyncStream {
  <A, B, E, R, E2 = never, R2 = never>(
    supervisor: Ref,
    inputs: Task.Inputs<A, E2, R2>,
    f: (input: A) => Effect.Effect<B, E, R>,
    options: Task.KillOnTimeout & TaskOptions
  ): Stream.Stream<Result.Result<B, E | Task.TaskExit | Task.TaskTimeout>, E2 | StartError, Task.Requirements<R> | R2>
  <A, B, E, R, E2 = never, R2 = never>(
    supervisor: Ref,
    inputs: Task.Inputs<A, E2, R2>,
    f: (input: A) => Effect.Effect<B, E, R>,
    options?: Task.ExitOnTimeout & TaskOptions
  ): Stream.Stream<Result.Result<B, E | Task.TaskExit>, E2 | StartError | Task.TaskTimeout, Task.Requirements<R> | R2>
}

const streamAs =
  (linked: boolean): AsyncStream =>
  <A, B, E, R>(
    supervisor: Ref,
    inputs: Task.Inputs<A, unknown, unknown>,
    f: (input: A) => Effect.Effect<B, E, R>,
    options: Task.StreamOptions & TaskOptions = {}
  ) => {
    const spawn: Spawn<StartError> = (body, context, _consumer, created) =>
      supervise(supervisor, options, (parent) => {
        const { label } = options
        const process = taskProcess({ system: parent.system, context, parent, links: [parent], label, body })
        created(process)
        return process
      })
    return streamTasks(inputs, f as (input: A) => Effect.Effect<B, E>, options, spawn, linked) as never
  }

/** `Task.asyncStream` with tasks of a supervisor; a crash ends this process, unless it traps exits. */
export const asyncStream: AsyncStream = streamAs(true)

/** `Task.asyncStream` with tasks of a supervisor whose crash stands in place of their result, and touches nobody. */
export const asyncStreamNoLink: AsyncStream = streamAs(false)
