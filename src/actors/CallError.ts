/**
 * The ways in which a call can end without a reply.
 *
 * They carry live pids and exit reasons, which never leave the program, so they are plain tagged errors without a schema.
 *
 * **Example** (A server that is not there)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { GenServer } from "vmtest/actors"
 *
 * const Clock = GenServer.make(GenServer.protocol({ time: GenServer.Call<void, number>() }), {
 *   init: () => GenServer.ok(0),
 *   handlers: { time: (_, now) => GenServer.reply(now, now) }
 * })
 *
 * export const program = GenServer.call(GenServer.name(Clock, "clock"), "time").pipe(
 *   Effect.catchTags({
 *     NoProcess: ({ server }) => Effect.succeed(`nobody is ${server}`),
 *     CallTimeout: ({ timeout }) => Effect.succeed(`silent for ${timeout} ms`),
 *     ServerExit: ({ reason }) => Effect.succeed(reason._tag)
 *   })
 * )
 * // gives 'nobody is "clock"'
 * ```
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as ExitReason from "./ExitReason.ts"

const quoted = (request: string) => (request === "" ? "call" : `call "${request}"`)

/** No process has the name, or the process was dead before the call. */
export class NoProcess extends Data.TaggedError("NoProcess")<{ readonly server: string; readonly request: string }> {
  override get message() {
    return `${quoted(this.request)}: there is no process ${this.server}`
  }
}

/** No reply came in time. The server is left alone, and a late reply is dropped. */
export class CallTimeout extends Data.TaggedError("CallTimeout")<{
  readonly server: string
  readonly request: string
  /** Milliseconds. */
  readonly timeout: number
}> {
  override get message() {
    return `${quoted(this.request)}: no reply from ${this.server} within ${this.timeout} ms`
  }
}

/** The server ended, for whatever reason, before it replied. */
export class ServerExit extends Data.TaggedError("ServerExit")<{
  readonly server: string
  readonly request: string
  readonly reason: ExitReason.ExitReason
}> {
  override get message() {
    return `${quoted(this.request)}: ${this.server} ended before it replied (${ExitReason.format(this.reason)})`
  }
}

/** A process called itself, which could only wait for ever. */
export class CallingSelf extends Data.TaggedError("CallingSelf")<{
  readonly server: string
  readonly request: string
}> {
  override get message() {
    return `${quoted(this.request)}: ${this.server} called itself`
  }
}

/** Every way in which a call can end without a reply. */
export type CallError = NoProcess | CallTimeout | ServerExit | CallingSelf
