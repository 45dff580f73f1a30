/** Serving a handler of a script on a unix socket. What fails in it ends one request or connection, and is told. */
import { createServer } from "node:http"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { causeResponse } from "effect/http/HttpServerError"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import { isHttpServerResponse } from "effect/http/HttpServerResponse"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as OutputFolder from "../../host/OutputFolder.ts"
import { kindOf, stackOf } from "../../host/Thrown.ts"
import type { HttpHandler, TcpHandler } from "../HostService.ts"
import { messageOf, named } from "./errorText.ts"
import { originOf, scriptFrame } from "./scriptLocation.ts"

/** Is told what failed, in a sentence. */
type Tell = (line: string) => Effect.Effect<void>

/** What failed, and the line of the script on which it did, if that is known. */
const textOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  const [step] = cause.reasons.flatMap((reason) => originOf(reason).slice(0, 1))
  const place = scriptFrame(stackOf(error)) ?? step
  const at = place === undefined ? "" : ` (${OutputFolder.shown(place.file)}:${place.line}:${place.column})`
  return `${named(kindOf(error), messageOf(error))}${at}`
}

const serveHttp = Effect.fnUntraced(function* (handler: HttpHandler<unknown, unknown>, path: string, tell: Tell) {
  // A script decides how long its answers take.
  const node = createServer({ requestTimeout: 0 })
  const server = yield* NodeHttpServer.make(() => node, { path, disablePreemptiveShutdown: true })
  // A server runs what it is given uninterruptibly.
  const checked = Effect.interruptible(handler).pipe(
    Effect.tap((response) => {
      if (isHttpServerResponse(response)) return Effect.void
      return Effect.die(new TypeError("the handler must give an HttpServerResponse"))
    })
  )
  const tellFailure = Effect.fnUntraced(function* (all: Cause.Cause<unknown>) {
    const [{ status }, cause] = yield* causeResponse(all)
    // A redirection and a route that is not there are answers, but a body that failed has the status of its beginning.
    if (status >= 300 && status < 500) return
    // A client that has gone, or a service that ends, is nobody's failure.
    if (cause.reasons.every(Cause.isInterruptReason)) return
    const { method, url } = yield* HttpServerRequest
    yield* tell(`${method} ${url} failed: ${textOf(cause)}`)
  })
  // After what answers them has ended, and before the server waits for them.
  yield* Effect.addFinalizer(() => Effect.sync(() => node.closeAllConnections()))
  // With a middleware, the fiber of a request that failed ends well; otherwise it would fail the test, as forked fibers do.
  yield* server.serve(checked, (request) => Effect.tapCause(request, tellFailure))
})

/** The other end has closed the connection; a handler that reads to the end of it fails with that. */
const isClosed = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.every(
    (reason) =>
      Cause.isInterruptReason(reason) ||
      (Cause.isFailReason(reason) &&
        Predicate.isTagged(reason.error, "SocketError") &&
        Predicate.hasProperty(reason.error, "reason") &&
        Predicate.isTagged(reason.error.reason, "SocketCloseError"))
  )

const serveTcp = Effect.fnUntraced(function* (handler: TcpHandler<unknown, unknown>, path: string, tell: Tell) {
  const server = yield* NodeSocketServer.make({ path, allowHalfOpen: true })
  const run = server.run((socket) =>
    Effect.suspend(() => handler(socket)).pipe(
      Effect.scoped,
      Effect.catchCause((cause) => (isClosed(cause) ? Effect.void : tell(`a connection failed: ${textOf(cause)}`))),
      Effect.ensuring(Effect.flatMap(NodeSocket.NetSocket, (node) => Effect.sync(() => node.destroySoon())))
    )
  )
  yield* Effect.forkScoped(run, { startImmediately: true })
})

/** Serves it until the scope closes, with the services of whoever calls. */
export const serve = (
  handler: HttpHandler<unknown, unknown> | TcpHandler<unknown, unknown>,
  path: string,
  tell: Tell
): Effect.Effect<void, never, Scope.Scope> =>
  // What a script's handler needs is in the context that it was given in.
  (Effect.isEffect(handler)
    ? Effect.orDie(serveHttp(handler, path, tell))
    : Effect.orDie(serveTcp(handler, path, tell))) as Effect.Effect<void, never, Scope.Scope>
