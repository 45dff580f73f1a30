/** Times that a test gives. Each is looked at before a machine is started, waited for or asked: one that is none says so at once. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { BackendService } from "../backends/Backend.ts"
import type { ExecuteOptions } from "../transport/Shell.ts"
import { Deadlines } from "./Deadlines.ts"
import { InvalidArgument } from "./MachineError.ts"

interface Kind {
  readonly argument: string
  /** Whether it may be no time at all. */
  readonly zero: boolean
  /** Whether it may have no end. */
  readonly endless: boolean
  /** What one that does not fit is not. */
  readonly what: string
}

/** The times that methods take. */
export const kinds = {
  timeout: { argument: "timeout", zero: false, endless: true, what: "a duration above zero" },
  /** Of what looks once at least. */
  looking: { argument: "timeout", zero: true, endless: true, what: "a time from zero on" },
  interval: { argument: "interval", zero: true, endless: false, what: "a time between two looks" },
  delay: { argument: "delay", zero: true, endless: false, what: "a time between two keys" },
  sleep: { argument: "duration", zero: true, endless: false, what: "a time to sleep" }
} as const satisfies Record<string, Kind>

/** A time of this kind, if it is one. */
export const within = (value: Duration.Input, { endless, zero }: Kind): Option.Option<Duration.Duration> =>
  // Not a number is no time at all to Effect.
  Number.isNaN(value)
    ? Option.none()
    : Option.filter(
        Duration.fromInput(value),
        (time) =>
          (endless || Duration.isFinite(time)) &&
          (Duration.isGreaterThan(time, Duration.zero) || (zero && Duration.isZero(time)))
      )

/** A time of this kind that a test gave. */
export const timeOf = (
  guest: { readonly name: string },
  kind: Kind,
  value: Duration.Input
): Effect.Effect<Duration.Duration, InvalidArgument> =>
  Option.match(within(value, kind), {
    onSome: Effect.succeed,
    onNone: () => {
      const unread = typeof value === "string" && Option.isNone(Duration.fromInput(value))
      const form = unread ? '; a time is a number of milliseconds, or a text such as "5 minutes"' : ""
      return Effect.fail(
        new InvalidArgument({
          machine: guest.name,
          argument: kind.argument,
          value: typeof value === "number" ? value : String(value),
          reason: `is not ${kind.what}${form}`
        })
      )
    }
  })

/** The time that a wait may take: its own, or the one in force. */
export const timeoutOf = (
  guest: { readonly name: string; readonly backend: BackendService },
  options: { readonly timeout?: Duration.Input | undefined } | undefined
): Effect.Effect<Duration.Duration, InvalidArgument> =>
  Effect.flatMap(Deadlines, ({ wait }) =>
    timeOf(guest, kinds.timeout, options?.timeout ?? Duration.times(wait, guest.backend.timeScale))
  )

/** Options of a command whose time was looked at: nothing else is run on a guest. */
export type Timed<Options extends ExecuteOptions> = Omit<Options, "timeout"> & {
  readonly timeout?: Duration.Duration | undefined
}

/** The options of a command as a test gave them. */
export const timed = <Options extends ExecuteOptions>(
  guest: { readonly name: string },
  options: Options | undefined
): Effect.Effect<Timed<Options>, InvalidArgument> => {
  const { timeout, ...others } = options ?? ({} as Options)
  return timeout === undefined
    ? Effect.succeed(others)
    : Effect.map(timeOf(guest, kinds.timeout, timeout), (checked) => ({ ...others, timeout: checked }))
}
