/** Times that a test gives: what they may be, and what they are. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { BackendService } from "../backends/Backend.ts"
import * as Fields from "../host/Fields.ts"
import type { ExecuteOptions } from "../transport/Shell.ts"
import { Deadlines } from "./Deadlines.ts"

/** How long something may take; what takes no time at all could not be meant. */
export const Timeout = Fields.time({ endless: true })

/** How long to look, which is done once at least. */
export const LookTimeout = Fields.time({ endless: true, zero: true })

/** A time that passes between two things, or is slept. */
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

/** Options of waits that look again and again from the host. */
export const PollOptions = Fields.options(
  {
    ...WaitOptions.fields,
    /**
     * When to look again. A schedule that ends, such as `Schedule.recurs(5)`, ends the wait as its deadline would. The default is spaced evenly;
     * each wait says how.
     */
    schedule: Schema.optional(AnySchedule)
  },
  '{ timeout: "5 seconds" }'
)

/** Options of waits that look again and again from the host. */
export interface PollOptions extends Schema.Schema.Type<typeof PollOptions> {}

/** Options of waits that look again and again in the guest, in one command. */
export const GuestPollOptions = Fields.options(
  {
    ...WaitOptions.fields,
    /** Time between two looks. Default 20 ms. */
    interval: Schema.optional(Pause)
  },
  '{ timeout: "5 seconds" }'
)

/** Options of waits that look again and again in the guest, in one command. */
export interface GuestPollOptions extends Schema.Schema.Type<typeof GuestPollOptions> {}

/** The time that a wait may take: its own, or the one in force. */
export const timeoutOf = (
  guest: { readonly backend: BackendService },
  options: { readonly timeout?: Duration.Input | undefined } | undefined
): Effect.Effect<Duration.Duration> =>
  Effect.map(Deadlines, ({ wait }) =>
    options?.timeout === undefined
      ? Duration.times(wait, guest.backend.timeScale)
      : Duration.fromInputUnsafe(options.timeout)
  )

/** Options of a command whose time was looked at: nothing else is run on a guest. */
export type Timed<Options extends ExecuteOptions> = Omit<Options, "timeout"> & {
  readonly timeout?: Duration.Duration | undefined
}

/** The options of a command as a test gave them. */
export const timed = <Options extends ExecuteOptions>(options: Options | undefined): Timed<Options> => {
  const { timeout, ...others } = options ?? ({} as Options)
  return timeout === undefined ? others : { ...others, timeout: Duration.fromInputUnsafe(timeout) }
}
