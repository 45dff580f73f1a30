/**
 * Why a process ended.
 *
 * The same words as Erlang/OTP: a process that returns ends with `Normal`, one told to stop by its supervisor with
 * `Shutdown`, one that failed with `Crashed`, whose `Cause` stands where Erlang has a reason and a stack trace. What
 * counts as a normal end, the question that a restart policy asks, is answered by one function: {@link isNormal}.
 *
 * **Example** (What a restart policy asks)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ExitReason, Process } from "vmtest/actors"
 *
 * const endOf = (body: Effect.Effect<unknown, string>) => Effect.flatMap(Process.spawn(body), Process.awaitExit)
 *
 * export const program = Effect.gen(function* () {
 *   const reasons = [yield* endOf(Process.exit(ExitReason.shutdown)), yield* endOf(Effect.fail("boom"))]
 *   return reasons.map((reason) => [ExitReason.format(reason), ExitReason.isNormal(reason)])
 * })
 * // gives [["shutdown", true], ["crashed: boom", false]]
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"

/** The process returned, or stopped on purpose. */
export interface Normal {
  readonly _tag: "Normal"
}

/** An orderly stop asked for by a supervisor or an owner. */
export interface Shutdown {
  readonly _tag: "Shutdown"
}

/** An orderly stop that says more: `{shutdown, Detail}` in Erlang. */
export interface ShutdownWith {
  readonly _tag: "ShutdownWith"
  readonly detail: unknown
}

/**
 * As a signal from another process: cannot be trapped, and the victim's reason becomes {@link Killed}. As the reason with
 * which a process itself ends: an ordinary abnormal reason, which links can trap.
 */
export interface Kill {
  readonly _tag: "Kill"
}

/** The process was killed by another. */
export interface Killed {
  readonly _tag: "Killed"
}

/** There was no such process, when a link, a monitor or a call was made. */
export interface NoProcess {
  readonly _tag: "NoProcess"
}

/** An unhandled failure or defect. */
export interface Crashed {
  readonly _tag: "Crashed"
  readonly cause: Cause.Cause<unknown>
}

/** A behaviour's callback returned something that it must not return. */
export interface BadReturn {
  readonly _tag: "BadReturn"
  readonly value: unknown
}

/** Any other reason, chosen by the program. */
export interface Custom {
  readonly _tag: "Custom"
  readonly term: unknown
}

/** Every reason with which a process can end. */
export type ExitReason = Normal | Shutdown | ShutdownWith | Kill | Killed | NoProcess | Crashed | BadReturn | Custom

export const normal: ExitReason = { _tag: "Normal" }
export const shutdown: ExitReason = { _tag: "Shutdown" }
export const kill: ExitReason = { _tag: "Kill" }
export const killed: ExitReason = { _tag: "Killed" }
export const noProcess: ExitReason = { _tag: "NoProcess" }
export const shutdownWith = (detail: unknown): ExitReason => ({ _tag: "ShutdownWith", detail })
export const crashed = (cause: Cause.Cause<unknown>): ExitReason => ({ _tag: "Crashed", cause })
export const badReturn = (value: unknown): ExitReason => ({ _tag: "BadReturn", value })
export const custom = (term: unknown): ExitReason => ({ _tag: "Custom", term })

/** `true` for the three reasons that a transient child's end is not a failure: `Normal`, `Shutdown` and `ShutdownWith`. */
export const isNormal = (reason: ExitReason): boolean =>
  reason._tag === "Normal" || reason._tag === "Shutdown" || reason._tag === "ShutdownWith"

/** The defect by which a process ends itself with a chosen reason; it travels through an Effect like any other defect. */
export class ExitDefect {
  readonly reason: ExitReason
  constructor(reason: ExitReason) {
    this.reason = reason
  }
}

/**
 * The exit reason that a failed Effect stands for: the reason given to `Process.exit`, `Killed` for a fiber that was
 * interrupted from outside the actor system, else `Crashed` with the whole cause.
 */
export const fromCause = (cause: Cause.Cause<unknown>): ExitReason => {
  for (const reason of cause.reasons) {
    if (Cause.isDieReason(reason) && reason.defect instanceof ExitDefect) return reason.defect.reason
  }
  return Cause.hasInterruptsOnly(cause) ? killed : crashed(cause)
}

const same = (a: unknown, b: unknown): boolean => Object.is(a, b)

/** Whether two reasons are the same: equal tags and identical details. */
export const equals = (a: ExitReason, b: ExitReason): boolean => {
  if (a === b) return true
  switch (a._tag) {
    case "ShutdownWith":
      return b._tag === a._tag && same(a.detail, b.detail)
    case "Crashed":
      return b._tag === a._tag && same(a.cause, b.cause)
    case "BadReturn":
      return b._tag === a._tag && same(a.value, b.value)
    case "Custom":
      return b._tag === a._tag && same(a.term, b.term)
    default:
      return b._tag === a._tag
  }
}

const show = (value: unknown): string => {
  if (typeof value === "string") return value
  if (value instanceof Error) return `${value.name}: ${value.message}`
  return JSON.stringify(value) ?? String(value)
}

/** One line for people: `shutdown`, `killed`, `crashed: Error: boom`. */
export const format = (reason: ExitReason): string => {
  switch (reason._tag) {
    case "Normal":
      return "normal"
    case "Shutdown":
      return "shutdown"
    case "ShutdownWith":
      return `shutdown: ${show(reason.detail)}`
    case "Kill":
      return "kill"
    case "Killed":
      return "killed"
    case "NoProcess":
      return "no such process"
    case "Crashed":
      return `crashed: ${show(Cause.squash(reason.cause))}`
    case "BadReturn":
      return `bad return value: ${show(reason.value)}`
    case "Custom":
      return show(reason.term)
  }
}
