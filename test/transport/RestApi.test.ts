import * as Fs from "node:fs"
import * as Http from "node:http"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as RestApi from "../../src/transport/RestApi.ts"
import { folder, serve } from "./peer.ts"

/** A server on a unix socket. */
const server = (socket: string, answer: Http.RequestListener) =>
  Effect.acquireRelease(
    Effect.callback<Http.Server>((resume) => {
      const server = Http.createServer(answer)
      server.listen(socket, () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.sync(() => {
        server.closeAllConnections()
        server.close()
      })
  )

const says =
  (status: number, body: string): Http.RequestListener =>
  (request, response) => {
    request.resume()
    request.on("end", () => response.writeHead(status).end(body))
  }

const put = { method: "PUT", path: "/vsock", body: { guest_cid: 3 } } as const

const apiAt = (socket: string, explain: RestApi.RestApiOptions["explain"] = RestApi.wordsIn("fault_message")) =>
  RestApi.make({ machine: "web", socket, explain, timeout: "300 millis" })

describe("an HTTP interface on a unix socket", () => {
  it.live("sends JSON with its length, and gives what its answer's shape says", () =>
    Effect.gen(function* () {
      const socket = join(yield* folder, "api.sock")
      const heard: Array<unknown> = []
      yield* server(socket, (request, response) => {
        let text = ""
        request.on("data", (chunk) => {
          text += chunk
        })
        request.on("end", () => {
          heard.push([
            request.method,
            request.url,
            request.headers["content-type"],
            request.headers["content-length"],
            text
          ])
          response.end('{"version":"1.16.1","more":true}')
        })
      })
      const api = yield* apiAt(socket)
      const answer = yield* api.request({ ...put, answer: Schema.Struct({ version: Schema.String }) })
      assert.deepStrictEqual(answer, { version: "1.16.1" })
      assert.isUndefined(yield* api.request({ method: "GET", path: "/" }))
      assert.deepStrictEqual(heard[0], ["PUT", "/vsock", "application/json", "15", '{"guest_cid":3}'])
    }).pipe(Effect.scoped)
  )

  it.live("refuses with the peer's words, outermost first", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const cases: ReadonlyArray<readonly [number, string, RestApi.RestApiOptions["explain"], string]> = [
        [400, '{"fault_message":"it is odd"}', RestApi.wordsIn("fault_message"), "it is odd"],
        [500, '["Error from API","VM is missing"]', RestApi.words, "Error from API: VM is missing"],
        [500, "not JSON\n", RestApi.words, "not JSON"],
        [404, '[{"a":1}]', RestApi.words, '[{"a":1}]'],
        [400, "", RestApi.wordsIn("fault_message"), "it gave no reason"]
      ]
      for (const [index, [status, body, explain, words]] of cases.entries()) {
        const socket = join(path, `${index}`)
        yield* server(socket, says(status, body))
        const error = yield* Effect.flip(Effect.flatMap(apiAt(socket, explain), ({ request }) => request(put)))
        assert.deepInclude(error, { _tag: "RestError", kind: "refused", status, reason: words })
        assert.strictEqual(error.message, `web: the hypervisor refused PUT /vsock with status ${status}: ${words}`)
      }
    }).pipe(Effect.scoped)
  )

  it.live(
    "tells a peer that is not there, one that refuses, one that hangs up, one that is silent and one that is odd apart",
    () =>
      Effect.gen(function* () {
        const path = yield* folder
        const stale = join(path, "stale")
        yield* Effect.scoped(serve(stale, () => {}))
        Fs.writeFileSync(stale, "")
        yield* serve(join(path, "closed"), (socket) => socket.once("data", () => socket.destroy()))
        yield* serve(join(path, "half"), (socket) =>
          socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"))
        )
        yield* serve(join(path, "silent"), () => {})
        yield* server(join(path, "odd"), says(200, "{}"))
        for (const [name, kind] of [
          ["missing", "unreachable"],
          ["stale", "unreachable"],
          ["closed", "closed"],
          ["half", "closed"],
          ["silent", "timeout"],
          ["odd", "unexpected"]
        ] as const) {
          const api = yield* apiAt(join(path, name))
          const error = yield* Effect.flip(api.request({ ...put, answer: Schema.Struct({ version: Schema.String }) }))
          assert.strictEqual(error.kind, kind, name)
        }
      }).pipe(Effect.scoped)
  )

  it.live("waits for a socket that comes later, and not for ever", () =>
    Effect.gen(function* () {
      const path = yield* folder
      const socket = join(path, "late")
      yield* Effect.forkChild(Effect.delay(Effect.andThen(server(socket, says(200, "{}")), Effect.never), "100 millis"))
      const api = yield* apiAt(socket)
      yield* api.connect({ method: "GET", path: "/" }, { within: "5 seconds" })
      const never = yield* apiAt(join(path, "never"))
      const [took, error] = yield* Effect.timed(
        Effect.flip(never.connect({ method: "GET", path: "/" }, { within: "200 millis" }))
      )
      assert.isAtLeast(Duration.toMillis(took), 190)
      assert.match(
        error.message,
        /could not reach the hypervisor for GET \/: connect ENOENT .*, and it was tried for 200ms/
      )
    }).pipe(Effect.scoped)
  )
})
