/**
 * A control channel that mends itself: when the connection breaks while QEMU lives, another is made, and commands wait
 * for it. QEMU's socket takes one client at a time, and the guest notices nothing.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { QmpFailure, QmpOptions, QmpService } from "../../transport/qmp/Qmp.ts"
import * as Qmp from "../../transport/qmp/Qmp.ts"
import { TransportError } from "../../transport/ShellError.ts"

/** How long a command waits for a connection that is being made anew. */
const patience = "10 seconds"

/**
 * Connects, and keeps connected until the scope closes or `ended` resolves. Returns with the first connection; `closed`
 * resolves only at the very end.
 */
export const make: (
  options: QmpOptions,
  ended: Effect.Effect<unknown>
) => Effect.Effect<QmpService, QmpFailure, Scope.Scope> = Effect.fnUntraced(function* (options, ended) {
  const { machine, socket } = options
  const scope = yield* Effect.scope
  const closed = Deferred.makeUnsafe<string>()
  let current = Deferred.makeUnsafe<QmpService>()

  const connect = Effect.gen(function* () {
    const mine = yield* Scope.fork(scope)
    const qmp = yield* Qmp.make(options).pipe(
      Scope.provide(mine),
      Effect.onError(() => Scope.close(mine, Exit.void))
    )
    Deferred.doneUnsafe(current, Effect.succeed(qmp))
    return { qmp, mine }
  })
  const first = yield* connect
  yield* Effect.gen(function* () {
    let connection = first
    for (;;) {
      yield* connection.qmp.closed
      current = Deferred.makeUnsafe()
      yield* Scope.close(connection.mine, Exit.void)
      connection = yield* Effect.retry(connect, Schedule.spaced("100 millis"))
    }
  }).pipe(
    Effect.raceFirst(ended),
    Effect.ensuring(
      Effect.suspend(() => {
        current = Deferred.makeUnsafe()
        return Deferred.succeed(closed, "QEMU ended")
      })
    ),
    Effect.forkScoped({ startImmediately: true })
  )

  const failed = (reason: string) => Effect.fail(new TransportError({ machine, socket, reason }))
  const connected: Effect.Effect<QmpService, TransportError> = Effect.suspend(() => Deferred.await(current)).pipe(
    Effect.raceFirst(Effect.flatMap(Deferred.await(closed), failed)),
    Effect.timeoutOrElse({ duration: patience, orElse: () => failed("the control channel does not come back") })
  )

  return {
    ...first.qmp,
    execute: ((...args: Parameters<QmpService["execute"]>) =>
      Effect.flatMap(connected, (qmp) => qmp.execute(...args))) as QmpService["execute"],
    events: Stream.unwrap(
      Effect.map(connected, ({ events }) => events).pipe(Effect.orElseSucceed(() => Stream.empty))
    ).pipe(Stream.repeat(Schedule.forever), Stream.interruptWhen(Effect.andThen(Deferred.await(closed), Effect.void))),
    waitForEvent: (schema, wait) => Effect.flatMap(connected, (qmp) => qmp.waitForEvent(schema, wait)),
    hmp: (line) => Effect.flatMap(connected, (qmp) => qmp.hmp(line)),
    closed: Deferred.await(closed)
  }
})
