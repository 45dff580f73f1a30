import * as Http from "node:http"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as RestApi from "../../src/transport/RestApi.ts"
import { folder, serve } from "./peer.ts"

type Handler = (request: Http.IncomingMessage, body: string, response: Http.ServerResponse) => void

const listen = (path: string, handler: Handler) =>
  Effect.acquireRelease(
    Effect.callback<Http.Server>((resume) => {
      const server = Http.createServer((request, response) => {
        let body = ""
        request.on("data", (chunk) => {
          body += chunk
        })
        request.on("end", () => handler(request, body, response))
      })
      server.listen(path, () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.sync(() => {
        server.closeAllConnections()
        server.close()
      })
  )

const api = (handler: Handler) =>
  Effect.gen(function* () {
    const socket = join(yield* folder, "api")
    yield* listen(socket, handler)
    return yield* RestApi.make({ machine: "vm", socket })
  })

const Config = Schema.Struct({ vcpu_count: Schema.Int, mem_size_mib: Schema.Int })

describe("a REST control channel", () => {
  it.live("sends what a schema writes and reads what one expects", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const rest = yield* api((request, body, response) => {
        seen.push([request.method, request.url, request.headers["content-type"], body])
        response.end(request.method === "GET" ? JSON.stringify({ state: "Running" }) : "")
      })
      const body = { vcpu_count: 1, mem_size_mib: 128 }
      yield* rest.request({ method: "PUT", path: "/machine-config", request: { schema: Config, body } })
      const State = Schema.Struct({ state: Schema.Literals(["Running", "Paused"]) })
      assert.deepStrictEqual(yield* rest.request({ method: "GET", path: "/", response: State }), { state: "Running" })
      assert.deepStrictEqual(seen, [
        ["PUT", "/machine-config", "application/json", JSON.stringify(body)],
        ["GET", "/", undefined, ""]
      ])
    })
  )

  it.live("tells a refusal in the peer's words", () =>
    Effect.gen(function* () {
      for (const [said, detail] of [
        [JSON.stringify({ fault_message: "no such drive" }), "no such drive"],
        [JSON.stringify(["VM is not created", "nothing to boot"]), "VM is not created: nothing to boot"],
        ["plain words\n", "plain words"],
        ["", "the request was refused"]
      ] as const) {
        const rest = yield* api((_, __, response) => {
          response.statusCode = 400
          response.end(said)
        })
        const error = yield* Effect.flip(rest.request({ method: "PUT", path: "/actions" }))
        assert.deepInclude(error, { _tag: "RestError", machine: "vm", reason: "Refused", status: 400, detail })
      }
    })
  )

  it.live("does not send what is given a timeout that makes no sense", () =>
    Effect.gen(function* () {
      let asked = 0
      const rest = yield* api((_, __, response) => {
        asked++
        response.end("")
      })
      for (const timeout of [Number.NaN, -1, 0, JSON.parse('"soon"')]) {
        const odd = yield* RestApi.make({ machine: "vm", socket: "nowhere", connectTimeout: timeout })
        for (const refused of [
          rest.request({ method: "GET", path: "/", timeout }),
          odd.request({ method: "GET", path: "/" })
        ]) {
          const error = yield* Effect.flip(refused)
          assert.deepInclude(error, { _tag: "RestError", machine: "vm", reason: "BadRequest", status: 0 })
        }
      }
      assert.strictEqual(asked, 0)
    })
  )

  it.live("does not send what the schema refuses, nor take what it does not expect", () =>
    Effect.gen(function* () {
      const rest = yield* api((_, __, response) => response.end("[1"))
      const body = { vcpu_count: 1.5, mem_size_mib: 128 }
      const sent = yield* Effect.flip(rest.request({ method: "PUT", path: "/a", request: { schema: Config, body } }))
      assert.deepInclude(sent, { reason: "BadRequest" })
      const read = yield* Effect.flip(rest.request({ method: "GET", path: "/a", response: Config }))
      assert.deepInclude(read, { reason: "BadReply", status: 200 })
    })
  )

  it.live("waits for a socket that is not there yet, and not for ever", () =>
    Effect.gen(function* () {
      const socket = join(yield* folder, "api")
      const rest = yield* RestApi.make({ machine: "vm", socket, connectTimeout: "200 millis" })
      const error = yield* Effect.flip(rest.request({ method: "GET", path: "/", timeout: "200 millis" }))
      assert.deepInclude(error, { _tag: "TransportError", socket })
      const early = yield* Effect.forkChild(
        Effect.flatMap(RestApi.make({ machine: "vm", socket }), (later) => later.request({ method: "GET", path: "/" })),
        { startImmediately: true }
      )
      yield* Effect.sleep("100 millis")
      yield* listen(socket, (_, __, response) => response.end())
      yield* Fiber.join(early)
    })
  )

  it.live("fails in time when the peer is silent or goes away, and sends nothing twice", () =>
    Effect.gen(function* () {
      let requests = 0
      const silent = yield* api(() => {
        requests++
      })
      const error = yield* Effect.flip(silent.request({ method: "PUT", path: "/", timeout: "100 millis" }))
      assert.deepInclude(error, { reason: "Timeout" })
      const gone = yield* api((request) => {
        requests++
        request.socket.destroy()
      })
      assert.deepInclude(yield* Effect.flip(gone.request({ method: "PUT", path: "/" })), { _tag: "TransportError" })
      assert.strictEqual(requests, 2)
    })
  )

  it.live("cut off at any byte of an answer, gives it whole or a typed error", () =>
    Effect.gen(function* () {
      const State = Schema.Struct({ state: Schema.Literals(["Running", "Paused"]) })
      const body = JSON.stringify({ state: "Running" })
      // As Firecracker says it.
      const said = `HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
      for (let cut = 0; cut <= said.length; cut++) {
        const socket = join(yield* folder, "api")
        yield* serve(socket, (peer) => {
          peer.once("data", () => peer.end(said.slice(0, cut)))
        })
        const rest = yield* RestApi.make({ machine: "vm", socket })
        const result = yield* Effect.timeout(
          Effect.result(rest.request({ method: "GET", path: "/", response: State })),
          "5 seconds"
        )
        if (cut === said.length) assert.deepStrictEqual(result, Result.succeed({ state: "Running" }))
        else {
          assert(result._tag === "Failure", `${cut}`)
          assert.strictEqual(result.failure.machine, "vm")
        }
      }
    }).pipe(Effect.scoped)
  )

  it.live("fails on garbage instead of HTTP", () =>
    Effect.gen(function* () {
      for (const garbage of [
        "",
        "\n\n",
        "HTTP/9.9 what\r\n\r\n",
        "\x1e\xff\0",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"
      ]) {
        const socket = join(yield* folder, "api")
        yield* serve(socket, (peer) => {
          peer.once("data", () => peer.end(garbage))
        })
        const rest = yield* RestApi.make({ machine: "vm", socket })
        const error = yield* Effect.timeout(Effect.flip(rest.request({ method: "GET", path: "/" })), "5 seconds")
        assert.deepInclude(error, { _tag: "TransportError", machine: "vm" })
      }
    }).pipe(Effect.scoped)
  )
})
