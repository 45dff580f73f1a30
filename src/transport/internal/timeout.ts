/** Timeouts as callers give them, who may have computed them wrongly. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/** A timeout that is longer than zero; else the error of what is wrong with it. */
export const timeout = <E>(input: Duration.Input, error: (detail: string) => E): Effect.Effect<Duration.Duration, E> =>
  Effect.suspend(() => {
    const read = Duration.fromInput(input)
    return Option.isSome(read) && Duration.isGreaterThan(read.value, Duration.zero)
      ? Effect.succeed(read.value)
      : Effect.fail(error(`timeout must be longer than zero, got ${String(input)}`))
  })
