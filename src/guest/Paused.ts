/** What a guest that stands still does not do: its host knows why, and nobody else can say it. */
import * as Effect from "effect/Effect"
import { CommandRejected, CommandTimeout, ShellLost, ShellNotReady } from "../transport/ShellError.ts"

/** How things stand with it. */
export const pausedMessage = "the machine is paused; resume() lets it go on"

const told = (error: unknown): unknown => {
  const because = (what: string) => `${what} (${pausedMessage})`
  if (error instanceof CommandTimeout) return new CommandTimeout({ ...error, because: pausedMessage })
  if (error instanceof ShellLost) return new ShellLost({ ...error, reason: because(error.reason) })
  if (error instanceof ShellNotReady) return new ShellNotReady({ ...error, reason: because(error.reason) })
  if (error instanceof CommandRejected && error.reason === "Busy")
    return new CommandRejected({ ...error, detail: because(error.detail) })
  return error
}

/** Has the errors of an effect say that the machine is paused, where they are because of that. */
export const explainPause = <A, E, R>(
  isPaused: Effect.Effect<boolean>,
  effect: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  // What is told is the same error, with more to say.
  Effect.catch(effect, (error) => Effect.flatMap(isPaused, (yes) => Effect.fail(yes ? (told(error) as E) : error)))
