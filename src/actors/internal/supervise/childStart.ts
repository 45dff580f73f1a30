/**
 * Running a child's start, and stopping a child: what supervisors of every kind do the same way.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as ExitReason from "../../ExitReason.ts"
import { Ignored, InitFailed } from "../../StartError.ts"
import { StartCrash } from "../../SupervisorError.ts"
import { ProcessImpl, sendExit, unlink } from "../process/process.ts"
import { awaitAllDown, awaitDown } from "../process/stop.ts"
import type { Shutdown } from "./childSpec.ts"

/** A pid with something to tell the one who asked for the child. */
export class Started {
  readonly _tag = "Started"
  readonly pid: ProcessImpl
  readonly info: unknown
  constructor(pid: ProcessImpl, info: unknown) {
    this.pid = pid
    this.info = info
  }
}

/** What became of a start. */
export type StartOutcome =
  | { readonly _tag: "Running"; readonly pid: ProcessImpl; readonly info: unknown }
  | { readonly _tag: "Ignored" }
  | { readonly _tag: "Failed"; readonly reason: ExitReason.ExitReason }

/** The reason that a failed start stands for. */
const reasonOfFailure = (error: unknown): ExitReason.ExitReason =>
  error instanceof InitFailed ? error.reason : ExitReason.custom(error)

/** What the end of a start stands for. */
export const outcomeOf = (exit: Exit.Exit<unknown, unknown>): StartOutcome => {
  if (exit._tag === "Success") {
    const value = exit.value
    if (value instanceof ProcessImpl) return { _tag: "Running", pid: value, info: undefined }
    if (value instanceof Started) return { _tag: "Running", pid: value.pid, info: value.info }
    return { _tag: "Failed", reason: ExitReason.custom(value) }
  }
  const failure = exit.cause.reasons.find(Cause.isFailReason)
  if (failure === undefined) {
    return { _tag: "Failed", reason: ExitReason.custom(new StartCrash({ cause: exit.cause })) }
  }
  if (failure.error instanceof Ignored) return { _tag: "Ignored" }
  return { _tag: "Failed", reason: reasonOfFailure(failure.error) }
}

export const startChild = (start: Effect.Effect<unknown, unknown>): Effect.Effect<StartOutcome> =>
  Effect.map(Effect.exit(start), outcomeOf)

/**
 * Stops one child: `shutdown`, and `kill` when it takes too long; or `kill` at once. Waits for the end, whatever its reason.
 * An exit message that the child has already left in the supervisor's mailbox is then nobody's: it is no child any more.
 */
export const stopChild = (
  supervisor: ProcessImpl,
  child: ProcessImpl,
  shutdown: Shutdown
): Effect.Effect<ExitReason.ExitReason> =>
  Effect.suspend(() => {
    unlink(supervisor, child)
    sendExit(supervisor, child, shutdown === "brutalKill" ? ExitReason.kill : ExitReason.shutdown, false)
    // No time at all: the kill follows the signal before the child can do anything about it.
    if (shutdown === 0) sendExit(supervisor, child, ExitReason.kill, false)
    const patience = typeof shutdown === "number" && shutdown > 0 ? shutdown : Number.POSITIVE_INFINITY
    return Effect.flatMap(awaitDown(child, patience), (reason) => {
      if (reason !== undefined) return Effect.succeed(reason)
      sendExit(supervisor, child, ExitReason.kill, false)
      return Effect.map(awaitDown(child, Number.POSITIVE_INFINITY), (last) => last ?? ExitReason.killed)
    })
  })

/** Stops all children at once, with one timer, when the supervisor itself ends: what they leave in its mailbox is never read. */
export const stopChildren = (
  supervisor: ProcessImpl,
  children: ReadonlyArray<ProcessImpl>,
  shutdown: Shutdown
): Effect.Effect<void> => {
  const signal = (reason: ExitReason.ExitReason) => {
    for (const child of children) if (child.reason === undefined) sendExit(supervisor, child, reason, false)
  }
  return Effect.suspend(() => {
    for (const child of children) unlink(supervisor, child)
    signal(shutdown === "brutalKill" ? ExitReason.kill : ExitReason.shutdown)
    if (typeof shutdown !== "number") return awaitAllDown(children, Number.POSITIVE_INFINITY)
    return Effect.andThen(
      awaitAllDown(children, shutdown),
      Effect.suspend(() => {
        signal(ExitReason.kill)
        return awaitAllDown(children, Number.POSITIVE_INFINITY)
      })
    )
  })
}
