/** How waits that loop in the guest pass the time between two looks. */
import * as Duration from "effect/Duration"
import type { GuestPollOptions } from "../Guest.ts"

/** Time between two looks of a wait that loops in the guest, by default. */
export const defaultInterval = Duration.millis(20)

/** The interval that a wait was given, or the default. */
export const intervalOf = (options: GuestPollOptions | undefined): Duration.Duration =>
  Duration.fromInputUnsafe(options?.interval ?? defaultInterval)

/**
 * Shell text that defines `pause`, which takes the interval. Needs `set +e`.
 *
 * A `sleep` is a process: an emulated guest takes longer to start one than to wait, and is kept busy by it. So bash waits by itself, for input
 * that never comes: both ends of the pipe are its own.
 */
export const pauseFunction = (interval: Duration.Duration): string => {
  const seconds = Duration.toSeconds(interval).toFixed(3)
  return `pause() { sleep ${seconds}; }
[ -z "\${BASH_VERSION:-}" ] || ! eval 'exec {_pause}<> <(:)' 2>/dev/null || pause() { read -r -t ${seconds} -u $_pause; }`
}
