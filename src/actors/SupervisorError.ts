/**
 * What supervisors answer when they cannot do as told.
 *
 * **Example** (A child that is there already)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Supervisor } from "vmtest/actors"
 *
 * export const program = Effect.scoped(
 *   Effect.gen(function* () {
 *     const worker = Supervisor.child("worker", Effect.never)
 *     const supervisor = yield* Supervisor.scoped({ children: [worker] })
 *     const again = yield* Effect.flip(Supervisor.startChild(supervisor, worker))
 *     const other = yield* Effect.flip(Supervisor.terminateChild(supervisor, "other"))
 *     return [again._tag, other._tag]
 *   })
 * )
 * // gives ["ChildRunning", "ChildNotFound"]
 * ```
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as ExitReason from "./ExitReason.ts"
import type * as Pid from "./Pid.ts"

/** What is wrong with a supervisor's flags or with a child spec: OTP's words. */
export type Problem =
  | "invalidStrategy"
  | "invalidIntensity"
  | "invalidPeriod"
  | "invalidAutoShutdown"
  | "badStartSpec"
  | "missingId"
  | "missingStart"
  | "invalidStart"
  | "invalidRestart"
  | "invalidShutdown"
  | "invalidType"
  | "invalidModules"
  | "invalidSignificant"
  | "invalidChildSpec"
  | "duplicateChildName"
  | "significantWithoutAutoShutdown"
  | "significantAndPermanent"
  | "invalidMaxChildren"
  | "invalidExtraArguments"
  | "missingName"
  | "missingChild"
  | "invalidPartitions"

/** A supervisor's flags or a child spec are not valid. Nothing was started. */
export class InvalidSpec extends Data.TaggedError("InvalidSpec")<{
  /** Whether the supervisor itself or one of its children is wrong. */
  readonly of: "supervisor" | "child"
  readonly problem: Problem
  /** The offending value. */
  readonly value: unknown
}> {
  override get message() {
    return `invalid ${this.of} spec: ${this.problem} (${String(this.value)})`
  }
}

/** A child whose start failed; the detail of the supervisor's own `ShutdownWith` when that happens in its init. */
export class FailedToStartChild extends Data.TaggedError("FailedToStartChild")<{
  readonly id: unknown
  readonly reason: ExitReason.ExitReason
}> {
  override get message() {
    return `child "${String(this.id)}" could not be started: ${ExitReason.format(this.reason)}`
  }
}

/** The start Effect of a child died instead of failing: it is the start that is broken, not the process. */
export class StartCrash extends Data.TaggedError("StartCrash")<{ readonly cause: Cause.Cause<unknown> }> {}

/** The child runs already. */
export class ChildRunning extends Data.TaggedError("ChildRunning")<{ readonly id: unknown; readonly pid: Pid.Any }> {
  override get message() {
    return `child "${String(this.id)}" is running as ${this.pid}`
  }
}

/** There is a spec of that id, but its child does not run: use `restartChild`, or `deleteChild` first. */
export class AlreadyPresent extends Data.TaggedError("AlreadyPresent")<{ readonly id: unknown }> {
  override get message() {
    return `the child spec "${String(this.id)}" already exists, but its child is not running`
  }
}

/** The supervisor has no such child. */
export class ChildNotFound extends Data.TaggedError("ChildNotFound")<{ readonly id: unknown }> {
  override get message() {
    return `there is no child "${String(this.id)}"`
  }
}

/** The supervisor is trying to restart that child. */
export class ChildRestarting extends Data.TaggedError("ChildRestarting")<{ readonly id: unknown }> {
  override get message() {
    return `child "${String(this.id)}" is being restarted`
  }
}

/** A dynamic supervisor has as many children as it may have. */
export class MaxChildren extends Data.TaggedError("MaxChildren")<{ readonly maxChildren: number }> {
  override get message() {
    return `there are ${this.maxChildren} children already, the most that this supervisor accepts`
  }
}

/** A request that makes no sense for simple_one_for_one, whose children have no ids. */
export class SimpleOneForOne extends Data.TaggedError("SimpleOneForOne")<{ readonly request: string }> {
  override get message() {
    return `${this.request} takes a pid under simpleOneForOne`
  }
}
