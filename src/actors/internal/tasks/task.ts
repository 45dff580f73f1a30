/**
 * Tasks from the inside: a process that runs one Effect and sends its result to the process that owns it.
 */
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as ExitReason from "../../ExitReason.ts"
import type * as Pid from "../../Pid.ts"
import { Message } from "../process/mailbox.ts"
import { isActive, type Monitor, monitor } from "../process/monitor.ts"
import { type Body, link, ProcessImpl } from "../process/process.ts"
import type { SystemImpl } from "../process/system.ts"

/** A task ended without a result: it crashed, was ended, or was killed. */
export class TaskExit extends Data.TaggedError("TaskExit")<{
  readonly pid: Pid.Any | undefined
  readonly reason: ExitReason.ExitReason
  /** The input of the task, in a stream with `zipInputOnExit`. */
  readonly input?: unknown
}> {
  override get message() {
    return `the task ${this.pid ?? ""} ended without a result: ${ExitReason.format(this.reason)}`
  }
}

/** A task had no result in time. */
export class TaskTimeout extends Data.TaggedError("TaskTimeout")<{
  readonly pid: Pid.Any | undefined
  /** How long it was waited for. */
  readonly timeout: Duration.Duration
  /** The input of the task, in a stream with `zipInputOnExit`. */
  readonly input?: unknown
}> {
  override get message() {
    return `the task ${this.pid ?? ""} had no result within ${Duration.format(this.timeout)}`
  }
}

/** A process that does not own the task wanted its result: a defect, as only the owner is ever sent it. */
export class NotTaskOwner extends Data.TaggedError("NotTaskOwner")<{
  readonly owner: Pid.Any
  readonly caller: Pid.Any
}> {
  override get message() {
    return `only its owner ${this.owner} can ask for the result of a task, not ${this.caller}`
  }
}

/** Something was asked of a task that has no process, for it was completed from the start: a defect. */
export class TaskWithoutProcess extends Data.TaggedError("TaskWithoutProcess") {
  override get message() {
    return "a task that was completed from the start has no process to shut down"
  }
}

/** What a finished task has to tell. */
export type Outcome<A, E> = Result.Result<A, E | TaskExit>

export class TaskImpl<A, E> {
  readonly owner: ProcessImpl
  readonly pid: ProcessImpl | undefined
  readonly monitor: Monitor | undefined
  declare readonly "~types"?: (_: never) => [A, E]
  constructor(owner: ProcessImpl, pid: ProcessImpl | undefined) {
    this.owner = owner
    this.pid = pid
    this.monitor = pid === undefined ? undefined : monitor(owner, pid)
  }
}

/** The message that brings a task's result to its owner. */
export class TaskReply<A = unknown, E = unknown> extends Data.TaggedClass("TaskReply")<{
  readonly task: TaskImpl<A, E>
  readonly result: Result.Result<A, E>
}> {}

/**
 * Runs a body to its result and hands it over; a single typed failure is a result as well. Anything else ends the process
 * with the failure's reason.
 */
export const toResult = <A, E, R>(
  body: Effect.Effect<A, E, R>,
  settle: (result: Result.Result<A, E>) => void
): Effect.Effect<void, unknown, R> =>
  Effect.matchCauseEffect(body, {
    onSuccess: (value) => {
      settle(Result.succeed(value))
      return Exit.void
    },
    onFailure: (cause) => {
      const only = cause.reasons.length === 1 ? cause.reasons[0] : undefined
      if (only?._tag !== "Fail") return Exit.failCause(cause)
      settle(Result.fail(only.error))
      return Exit.void
    }
  })

export interface TaskProcess {
  readonly system: SystemImpl
  readonly context: Context.Context<never>
  readonly parent: ProcessImpl | undefined
  readonly links: ReadonlyArray<ProcessImpl>
  readonly label: string | undefined
  readonly body: Body
}

/** Makes a task's process, which starts at its turn: what is set up before the caller yields is there in time. */
export const taskProcess = ({ links, ...options }: TaskProcess): ProcessImpl => {
  const process = new ProcessImpl({ ...options, kind: "Task" })
  for (const each of links) link(each, process)
  process.awaken()
  return process
}

/** Starts a task. Its result is sent to the owner as long as the owner's monitor is in place. */
export const launch = <A, E>(
  owner: ProcessImpl,
  body: Effect.Effect<A, E>,
  options: Omit<TaskProcess, "system" | "body">
): TaskImpl<A, E> => {
  const task: TaskImpl<A, E> = new TaskImpl(
    owner,
    taskProcess({
      ...options,
      system: owner.system,
      body: () =>
        toResult(body, (result) => {
          if (task.monitor !== undefined && isActive(task.monitor)) {
            owner.deliver(new Message(new TaskReply({ task, result })))
          }
        })
    })
  )
  return task
}
