/**
 * The ways in which starting and stopping a server can fail; also part of `GenServer`.
 *
 * They carry live pids and exit reasons, which never leave the program, so they are plain tagged errors without a schema.
 *
 * **Example** (A start that fails)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { ExitReason, GenServer } from "vmtest/actors"
 *
 * const Broken = GenServer.make(GenServer.protocol({}), {
 *   init: () => GenServer.initStop(ExitReason.custom("no disk")),
 *   handlers: {}
 * })
 *
 * export const program = GenServer.start(Broken).pipe(
 *   Effect.asVoid,
 *   Effect.catchTag("InitFailed", ({ reason }) => Effect.succeed(ExitReason.format(reason)))
 * )
 * // gives "no disk"
 * ```
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as ExitReason from "./ExitReason.ts"
import type * as Pid from "./Pid.ts"

/** `init` gave `ignore`: there is nothing to do, and no server. */
export class Ignored extends Data.TaggedError("Ignored")<{ readonly server: string }> {
  override get message() {
    return `${this.server} was not started: its init said ignore`
  }
}

/** The name is taken. */
export class AlreadyStarted extends Data.TaggedError("AlreadyStarted")<{
  readonly server: string
  readonly pid: Pid.Any
}> {
  override get message() {
    return `${this.server} is already started as ${this.pid}`
  }
}

/** Init stopped, failed or was ended. */
export class InitFailed extends Data.TaggedError("InitFailed")<{
  readonly server: string
  readonly reason: ExitReason.ExitReason
}> {
  override get message() {
    return `${this.server} was not started: ${ExitReason.format(this.reason)}`
  }
}

/** Init took too long; the process was killed. */
export class StartTimeout extends Data.TaggedError("StartTimeout")<{
  readonly server: string
  readonly timeout: number
}> {
  override get message() {
    return `${this.server} was not started: its init did not end within ${this.timeout} ms`
  }
}

/** Every way in which a start can fail. */
export type StartError = Ignored | AlreadyStarted | InitFailed | StartTimeout

/** The server did not end with the reason that it was stopped with. */
export class StopFailed extends Data.TaggedError("StopFailed")<{
  readonly server: string
  /** The reason it ended with instead; `undefined` when it did not end in time. */
  readonly reason: ExitReason.ExitReason | undefined
}> {
  override get message() {
    return this.reason === undefined
      ? `${this.server} did not stop in time`
      : `${this.server} stopped with another reason: ${ExitReason.format(this.reason)}`
  }
}
