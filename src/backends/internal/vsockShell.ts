/** The shell of a guest over vsock, whose connections can all be closed from the host's side. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { vsockPort } from "../../images/BootImage.ts"
import { vsock } from "../../transport/GuestChannel.ts"
import { Transport, type TransportService } from "../../transport/Transport.ts"
import * as Vsock from "../../transport/Vsock.ts"

/** The guest's vsock port where its bootstrap shell listens; the host's ports of the lanes follow it. */
export const bootstrapPort = vsockPort

/** The guest's number on vsock. Each hypervisor has a socket of its own, so all guests can have the same. */
export const guestCid = 3

/** As long as the paths of the sockets that belong to it get. */
export const longestSocketOf = (socket: string): string => `${socket}_${bootstrapPort + 99}`

/** A transport, and what breaks it. */
export interface VsockShell {
  readonly transport: Layer.Layer<Transport>
  /** Closes all connections that are open. The guest's shells end, and the next command opens new ones. */
  readonly sever: Effect.Effect<void>
}

/** `others` says whether the hypervisor is another user than this process. */
export const make = (machine: string, socket: string, others = false): VsockShell => {
  const open = new Set<Scope.Closeable>()
  /** What it opens closes with the caller's scope, or when it is severed. */
  const severable = <A, E>(opening: Effect.Effect<A, E, Scope.Scope>) =>
    Effect.gen(function* () {
      const inner = yield* Scope.fork(yield* Effect.scope)
      open.add(inner)
      yield* Scope.addFinalizer(
        inner,
        Effect.sync(() => open.delete(inner))
      )
      return yield* Scope.provide(opening, inner)
    })
  const plain = Vsock.make({ machine, channel: vsock({ socket, port: bootstrapPort, others }) })
  const service: TransportService = {
    ...plain,
    bootstrap: severable(plain.bootstrap),
    lane: (...lane) => severable(plain.lane(...lane))
  }
  return {
    transport: Layer.succeed(Transport, service),
    sever: Effect.suspend(() => Effect.forEach([...open], (scope) => Scope.close(scope, Exit.void), { discard: true }))
  }
}
