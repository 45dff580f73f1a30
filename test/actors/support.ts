import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Report from "../../src/actors/Report.ts"

/** Runs a test's body as a process, in an actor system of its own; crashes are not logged. */
export const actor = <A, E>(body: Effect.Effect<A, E, Process.Self | Scope.Scope>): Effect.Effect<A, E> =>
  Effect.provideService(ActorSystem.scoped(Process.run(body)), Report.Reports, "quiet")

/** Lets everything that can happen without time passing happen. */
export const quiet: Effect.Effect<void> = Effect.forEach([1, 2, 3, 4, 5, 6], () => Effect.yieldNow, { discard: true })

/** Everything that is in this process's mailbox once nothing moves any more. */
export const flush: Effect.Effect<Array<unknown>, never, Process.Self> = Effect.gen(function* () {
  yield* quiet
  const messages: Array<unknown> = []
  for (;;) {
    const next = yield* Effect.option(Process.receiveWithin(0, (message) => ({ message })))
    if (next._tag === "None") return messages
    messages.push(next.value.message)
  }
})

/** The reasons of the trapped exits among messages. */
export const exits = (messages: ReadonlyArray<unknown>): Array<string> =>
  messages.filter(Process.isExit).map(({ reason }) => ExitReason.format(reason))

/** How a body ends when it runs as a process of its own. */
export const fate = <A, E>(
  body: Effect.Effect<A, E, Process.Self | Scope.Scope>
): Effect.Effect<ExitReason.ExitReason> =>
  Effect.flatMap(Process.spawn(Effect.andThen(Effect.yieldNow, body)), (pid) => Process.awaitExit(pid))
