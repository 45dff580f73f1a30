/**
 * Errors of a paused machine: only the host knows why the guest does not answer.
 *
 * **Example** (A command on a machine that may be paused)
 *
 * ```ts
 * explainPause(guest.isPaused, shell.execute("true"))
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import { CommandRejected, CommandTimeout, ShellLost, ShellNotReady } from "../transport/ShellError.ts"

/** The state, and what to do. */
export const pausedMessage = "the machine is paused; call resume()"

const explained = (error: unknown): unknown => {
  const because = (what: string) => `${what} (${pausedMessage})`
  if (error instanceof CommandTimeout) return new CommandTimeout({ ...error, because: pausedMessage })
  if (error instanceof ShellLost) return new ShellLost({ ...error, reason: because(error.reason) })
  if (error instanceof ShellNotReady) return new ShellNotReady({ ...error, reason: because(error.reason) })
  if (error instanceof CommandRejected && error.reason === "Busy")
    return new CommandRejected({ ...error, detail: because(error.detail) })
  return error
}

/** Adds to the errors of an effect that the machine is paused, if that is why. */
export const explainPause = <A, E, R>(
  isPaused: Effect.Effect<boolean>,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  // The same error, with more in its message.
  Effect.catch(effect, (error) => Effect.flatMap(isPaused, (yes) => Effect.fail(yes ? (explained(error) as E) : error)))
