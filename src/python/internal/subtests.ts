/** Subtests of a script: parts of the driver's, which a script begins and ends by calls. */
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { DriverService } from "../../driver/Driver.ts"

interface Part {
  /** What the driver gives to what runs in it. */
  readonly context: Context.Context<never>
  readonly end: Deferred.Deferred<void, unknown>
  readonly fiber: Fiber.Fiber<unknown>
}

export interface Subtests {
  /** Begins one within another, or within the test itself if that is 0; gives its number. */
  readonly begin: (name: string, within: number) => Effect.Effect<number>
  /** Ends one, with an error if it failed. */
  readonly end: (number: number, error?: Error) => Effect.Effect<void>
  /** Ends those that are open, the innermost first: what they are a part of is lost. */
  readonly abort: (error: unknown) => Effect.Effect<void>
  /** Runs an effect as a part of one. */
  readonly within: (number: number) => <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
}

export const make = (driver: DriverService, scope: Scope.Scope): Subtests => {
  const open = new Map<number, Part>()
  let last = 0
  const within: Subtests["within"] = (number) => (effect) => {
    const part = open.get(number)
    return part === undefined ? effect : Effect.provideContext(effect, part.context)
  }
  const close = Effect.fnUntraced(function* (number: number, part: Part, how: Effect.Effect<void, unknown>) {
    open.delete(number)
    yield* Deferred.complete(part.end, how)
    yield* Fiber.await(part.fiber)
  })
  return {
    within,
    begin: Effect.fnUntraced(function* (name, around) {
      const begun = Deferred.makeUnsafe<Context.Context<never>>()
      const end = Deferred.makeUnsafe<void, unknown>()
      const body = Effect.andThen(
        Effect.contextWith((context: Context.Context<never>) => Deferred.succeed(begun, context)),
        Deferred.await(end)
      )
      const fiber = yield* Effect.forkIn(Effect.exit(within(around)(driver.subtest(name, body))), scope, {
        startImmediately: true
      })
      const number = ++last
      open.set(number, { context: yield* Deferred.await(begun), end, fiber })
      return number
    }),
    end: (number, error) =>
      Effect.suspend(() => {
        const part = open.get(number)
        if (part === undefined) return Effect.void
        return close(number, part, error === undefined ? Effect.void : Effect.fail(error))
      }),
    abort: (error) =>
      Effect.suspend(() =>
        Effect.forEach([...open].reverse(), ([number, part]) => close(number, part, Effect.fail(error)), {
          discard: true
        })
      )
  }
}
