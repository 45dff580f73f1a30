/**
 * Durations and schedules that a test gives, and their defaults.
 *
 * **Example** (The timeout of a wait)
 *
 * ```ts
 * const timeout = yield* timeoutOf(guest, { timeout: "10 seconds" })
 * ```
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { BackendService } from "../backends/Backend.ts"
import * as Fields from "../host/Fields.ts"
import type { ExecuteOptions } from "../transport/Shell.ts"
import { Deadlines } from "./Deadlines.ts"

/** How long something may take: more than zero. */
export const Timeout = Fields.time({ endless: true })

/** How long to look, which is done at least once. */
export const LookTimeout = Fields.time({ endless: true, zero: true })

/** A time between two things, or to sleep. */
export const Pause = Fields.time({ zero: true })

/** How long a wait may take. */
export const WaitOptions = Fields.options(
  {
    /** How long to wait. Default 5 minutes (`Deadlines`), three times that under emulation. */
    timeout: Schema.optional(Timeout)
  },
  '{ timeout: "5 seconds" }'
)

/** How long a wait may take. */
export interface WaitOptions extends Schema.Schema.Type<typeof WaitOptions> {}

const AnySchedule = Schema.declare<Schedule.Schedule<unknown>>(
  (value): value is Schedule.Schedule<unknown> => Schedule.isSchedule(value),
  { expected: 'a Schedule, such as Schedule.spaced("1 second")' }
)

/** Options of waits that poll from the host. */
export const PollOptions = Fields.options(
  {
    ...WaitOptions.fields,
    /**
     * When to look again. A schedule that ends, such as `Schedule.recurs(5)`, ends the wait as its deadline would. Each wait documents its
     * default.
     */
    schedule: Schema.optional(AnySchedule)
  },
  '{ timeout: "5 seconds" }'
)

/** Options of waits that poll from the host. */
export interface PollOptions extends Schema.Schema.Type<typeof PollOptions> {}

/** Options of waits that poll in the guest, with one command. */
export const GuestPollOptions = Fields.options(
  {
    ...WaitOptions.fields,
    /** Time between two looks. Default 20 ms. */
    interval: Schema.optional(Pause)
  },
  '{ timeout: "5 seconds" }'
)

/** Options of waits that poll in the guest, with one command. */
export interface GuestPollOptions extends Schema.Schema.Type<typeof GuestPollOptions> {}

/** The timeout of a wait: its own, or the current default. */
export const timeoutOf = (
  guest: { readonly backend: BackendService },
  options: { readonly timeout?: Duration.Input | undefined } | undefined
): Effect.Effect<Duration.Duration> =>
  Effect.map(Deadlines, ({ wait }) =>
    options?.timeout === undefined
      ? Duration.times(wait, guest.backend.timeScale)
      : Duration.fromInputUnsafe(options.timeout)
  )

/** Options of a command with a decoded timeout. */
export type Timed<Options extends ExecuteOptions> = Omit<Options, "timeout"> & {
  readonly timeout?: Duration.Duration | undefined
}

/** The options of a command, with its timeout decoded. */
export const timed = <Options extends ExecuteOptions>(options: Options | undefined): Timed<Options> => {
  const { timeout, ...others } = options ?? ({} as Options)
  return timeout === undefined ? others : { ...others, timeout: Duration.fromInputUnsafe(timeout) }
}
