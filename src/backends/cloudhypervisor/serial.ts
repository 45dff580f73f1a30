/**
 * The serial console of a Cloud Hypervisor: a socket that it makes for each boot, and makes again when its guest reboots. What the guest says before we are
 * connected is kept for us.
 *
 * It writes each byte by itself and never waits, so its socket is full after some 280 bytes that we have not read. From 53.0 on it then keeps the rest until
 * the guest says something else, or until somebody connects: so after much at once, and then silence, we connect again.
 */
import { PassThrough, type Readable } from "node:stream"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Connection from "../../transport/Connection.ts"
import { TransportError } from "../../transport/ShellError.ts"

export interface Serial {
  /** Everything that the guest says over all of its boots, until the hypervisor ends. */
  readonly open: (process: { readonly exited: Effect.Effect<unknown> }) => Effect.Effect<Readable, never, Scope.Scope>
  readonly write: (text: string) => Effect.Effect<void, TransportError>
}

/** How long what the hypervisor said last may be under way when it has ended. */
const grace = "50 millis"

/** From so many bytes at once on the socket may have been full; a kernel with larger buffers takes fewer of them. */
const much = 128

/** The silence after which we look whether there is more. */
const silence = "100 millis"

export const make = (machine: string, socket: string): Serial => {
  let current: Connection.Connection | undefined
  return {
    write: (text) =>
      Effect.suspend(() =>
        current === undefined
          ? Effect.fail(new TransportError({ machine, socket, reason: "the console is not connected" }))
          : current.write(text)
      ),
    open: Effect.fnUntraced(function* ({ exited }) {
      const all = new PassThrough()
      const full = yield* Latch.make()
      let heard = 0
      /** One connection, until the hypervisor closes it: it does so when there is another. */
      const attached = Effect.gen(function* () {
        const connection = yield* Connection.connect({ machine, socket, timeout: "1 minute" })
        current = connection
        connection.onData((chunk) => {
          heard++
          if (chunk.length >= much) full.openUnsafe()
          all.write(chunk)
        })
        yield* connection.closed
        if (current === connection) current = undefined
      }).pipe(Effect.scoped, Effect.ignore)
      /** Returns when the hypervisor may keep something back. */
      const isBehind = Effect.gen(function* () {
        yield* full.await
        const quiet = Effect.suspend(() => {
          const before = heard
          return Effect.delay(
            Effect.sync(() => heard === before),
            silence
          )
        })
        yield* Effect.repeat(quiet, { until: (yes) => yes })
        full.closeUnsafe()
      })
      const one = Effect.flatMap(Effect.forkScoped(attached), (connection) =>
        Effect.raceFirst(Fiber.await(connection), isBehind)
      )
      yield* Effect.forkScoped(Effect.repeat(one, Schedule.spaced("5 millis")))
      yield* Effect.forkScoped(
        Effect.andThen(
          exited,
          Effect.delay(
            Effect.sync(() => all.end()),
            grace
          )
        )
      )
      return all
    })
  }
}
