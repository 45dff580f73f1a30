/** Which test a piece of JavaScript belongs to: fibers, callbacks and promises inherit it from what started them. */
import { AsyncLocalStorage } from "node:async_hooks"
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"

export interface TestContext {
  readonly test: string
  /** The short name of the test, which no other of its run has. */
  readonly label: string
  /** Takes an error that nothing caught; gives whether the test can still fail with it. */
  readonly thrown: (error: unknown) => boolean
  /** The fibers that failed, with their causes, as long as nothing has observed how they ended. */
  readonly unseen: Map<object, Cause.Cause<unknown>>
  /** Told of those fibers when the body has ended, since they fail nothing any more; undefined before. */
  late: ((fiber: object) => void) | undefined
  /** The calls of methods whose Effects nobody has run so far. */
  readonly made: Set<Call>
}

/** A call of a method by a script. */
export interface Call {
  /** `web.succeed("false")` */
  readonly what: string
  readonly gives: "Effect" | "Stream"
  /** As V8 writes it. */
  readonly stack?: string
}

/** The process that runs the script's own fibers. */
export const ScriptProcess = Context.Reference<unknown>("vmtest/driver/ScriptProcess", {
  defaultValue: () => undefined
})

const contexts = new AsyncLocalStorage<TestContext>()

export const current = (): TestContext | undefined => contexts.getStore()

/** Runs the effect, and all that it starts, as a part of the test. */
export const within =
  (context: TestContext) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.contextWith((services: Context.Context<R>) =>
      Effect.callback<A, E>((resume) => {
        // A fiber keeps the context in which it was started; the one that waits here keeps its own.
        const outside = AsyncLocalStorage.snapshot()
        const fiber = contexts.run(context, () => {
          const started = Effect.runForkWith(services)(effect)
          // Within as well: whoever watches the fibers of tests must hear that somebody waits for this one.
          started.addObserver((exit) => outside(() => resume(exit)))
          return started
        })
        return Fiber.interrupt(fiber)
      })
    )
