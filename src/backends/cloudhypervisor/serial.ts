/**
 * The serial console of a Cloud Hypervisor: a socket that it makes for each boot, and makes again when its guest reboots. What the guest says before we are
 * connected is kept for us.
 */
import { PassThrough, type Readable } from "node:stream"
import * as Effect from "effect/Effect"
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
      const one = Effect.gen(function* () {
        const connection = yield* Connection.connect({ machine, socket, timeout: "1 minute" })
        current = connection
        connection.onData((chunk) => all.write(chunk))
        yield* connection.closed
        current = undefined
      }).pipe(Effect.scoped, Effect.ignore)
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
