/**
 * Connections that are opened before they are needed: a guest that continues from a saved one had them open, and must not see
 * them close.
 *
 * **Example** (Open the ports before a saved guest resumes)
 *
 * ```ts
 * const program = Effect.gen(function* () {
 *   const attached = yield* Preopened.open("web", [channel.bootstrap, ...channel.ports])
 *   yield* QmpCommands.cont(qmp)
 *   return yield* Shell.make({ machine: "web", channel, attached })
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { Connection, ConnectOptions } from "./Connection.ts"
import { connect } from "./Connection.ts"
import type { TransportError } from "./ShellError.ts"

/** Open connections. Each can be taken once; any other is opened when it is requested. */
export interface Preopened {
  /** The sockets whose connections nobody took yet. */
  readonly sockets: () => ReadonlySet<string>
  /** As `Connection.connect`. Leaving the scope closes the connection, whether it was open before or not. */
  readonly connect: (options: ConnectOptions) => Effect.Effect<Connection, TransportError, Scope.Scope>
}

/** None: every connection is opened when it is asked for. */
export const none: Preopened = { sockets: () => new Set(), connect }

/** Opens connections to all these sockets. Those that nobody takes are closed with the scope. */
export const open = Effect.fnUntraced(function* (
  machine: string,
  sockets: ReadonlyArray<string>
): Effect.fn.Return<Preopened, TransportError, Scope.Scope> {
  const outer = yield* Effect.scope
  const ready = new Map<string, { readonly connection: Connection; readonly scope: Scope.Closeable }>()
  yield* Effect.forEach(
    sockets,
    Effect.fnUntraced(function* (socket) {
      const scope = yield* Scope.fork(outer)
      const connection = yield* Scope.provide(connect({ machine, socket }), scope)
      ready.set(socket, { connection, scope })
    }),
    { concurrency: "unbounded", discard: true }
  )
  return {
    sockets: () => new Set(ready.keys()),
    connect: (options) =>
      Effect.suspend(() => {
        const given = ready.get(options.socket)
        if (given === undefined) return connect(options)
        ready.delete(options.socket)
        return Effect.acquireRelease(Effect.succeed(given.connection), () => Scope.close(given.scope, Exit.void))
      })
  }
})
