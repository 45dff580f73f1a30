/**
 * The way to a guest's bootstrap shell: connecting until it answers, telling how that goes, and giving up in the end.
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { BootProgress } from "../Shell.ts"
import { ShellNotReady } from "../ShellError.ts"
import type { TransportService } from "../Transport.ts"
import * as Admin from "./admin.ts"

/** What it takes to find a bootstrap shell. */
export interface BootstrapOptions {
  readonly transport: TransportService
  readonly bootTimeout: Duration.Duration
  readonly consoleTail: Effect.Effect<string>
  readonly onProgress: (progress: BootProgress) => Effect.Effect<void>
}

/** The way to the bootstrap shell of one guest. */
export const make = ({ bootTimeout, consoleTail, onProgress, transport }: BootstrapOptions) => {
  const { machine } = transport

  /** The error of a shell that is not there, with what the console said last. */
  const notReady = (reason: string, waited: Duration.Duration) =>
    Effect.map(consoleTail, (console) => new ShellNotReady({ machine, reason, waited, console }))

  /** Runs while the bootstrap shell is awaited: tells how the boot goes, and gives up in the end. */
  const awaiting = <A, E, R>(self: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const begun = yield* Clock.currentTimeMillis
      const progress = Effect.gen(function* () {
        let pause = 10_000
        for (;;) {
          yield* Effect.sleep(pause)
          // As long again as has gone by: at 10 s, 20 s, 40 s, …
          pause = (yield* Clock.currentTimeMillis) - begun
          yield* onProgress({ machine, waited: Duration.millis(pause), console: yield* consoleTail })
        }
      })
      return yield* Effect.raceFirst(self, progress)
    }).pipe(
      Effect.timeoutOrElse({
        duration: bootTimeout,
        orElse: () => Effect.flatMap(notReady("the bootstrap shell did not answer", bootTimeout), Effect.fail)
      })
    )

  /** Whether the connection is one that a saved guest had, and was not used yet. */
  let attached = (transport.attached?.() ?? []).length > 0

  /**
   * Connects to the bootstrap shell until it answers.
   *
   * A connection on which nothing at all is heard is made anew each second: with many ports on one bus QEMU can lose the
   * message that tells the guest that the host is there (its control queue has 32 places, and what does not fit is
   * dropped), and then the guest waits for ever. A shell that is there says its ready line at once.
   */
  const connect = Effect.gen(function* () {
    for (;;) {
      const scope = yield* Scope.make()
      const attempt = Effect.gen(function* () {
        const connection = yield* Scope.provide(transport.bootstrap, scope)
        const link = { ready: Deferred.makeUnsafe<void>() }
        const admin = Admin.make(connection, () => {
          Deferred.doneUnsafe(link.ready, Effect.void)
        })
        const silence = Effect.sleep("1 second").pipe(Effect.repeat({ until: () => !admin.heard() }), Effect.as(false))
        // A guest that goes on has its shell, which is asked for its agent first of all. Made anew, the connection would end it.
        const goesOn = attached
        attached = false
        const answered =
          goesOn ||
          (yield* Effect.raceAllFirst([
            // A connection that broke is made anew as one that closed.
            Effect.match(admin.awake, { onSuccess: () => true, onFailure: () => false }),
            transport.reconnects ? silence : Effect.never,
            Effect.as(connection.closed, false)
          ]))
        return answered ? { connection, admin, link } : undefined
      })
      const got = yield* attempt.pipe(
        Effect.onExit((exit) =>
          exit._tag === "Success" && exit.value !== undefined ? Effect.void : Scope.close(scope, Exit.void)
        )
      )
      if (got !== undefined) {
        yield* Effect.addFinalizer((exit) => Scope.close(scope, exit))
        return got
      }
      yield* Effect.sleep("50 millis")
    }
  })

  return { awaiting, connect, notReady }
}
