import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Socket } from "effect/socket"
import type { HttpHandler, TcpHandler } from "../../src/driver/HostService.ts"
import * as FiberEnds from "../../src/driver/internal/fiberEnds.ts"
import { serve } from "../../src/driver/internal/serveHandler.ts"
import * as TestContext from "../../src/driver/internal/testContext.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-test-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
)

const serving = Effect.fnUntraced(function* (
  handler: HttpHandler<unknown, HttpServerRequest.HttpServerRequest> | TcpHandler<unknown, Scope.Scope>
) {
  const socketPath = Path.join(yield* temporary, "socket")
  const told: Array<string> = []
  const shown = (line: string) => line.replace(/ \(test\/driver\/serveHandler\.test\.ts:\d+:\d+\)$/, " (here)")
  yield* serve(handler, socketPath, (line) => Effect.sync(() => told.push(shown(line))))
  return { socketPath, told } as const
})

/** The status and the body of an answer; or why there was none. */
const get = (socketPath: string, path: string) =>
  Effect.callback<string>((resume) => {
    const request = Http.get({ socketPath, path }, (response) => {
      let body = ""
      response
        .on("data", (chunk) => (body += chunk))
        .on("error", ({ message }) => resume(Effect.succeed(message)))
        .on("end", () => resume(Effect.succeed(`${response.statusCode} ${body}`)))
    })
    request.on("error", ({ message }) => resume(Effect.succeed(message)))
    return Effect.sync(() => request.destroy())
  })

/** What a server says back to a text, until it closes the connection. */
const say = (path: string, text: string) =>
  Effect.callback<string>((resume) => {
    let said = ""
    const socket = Net.connect({ path }, () => socket.write(text))
    socket.on("data", (chunk) => (said += chunk)).on("close", () => resume(Effect.succeed(said)))
    socket.on("error", () => {})
    return Effect.sync(() => socket.destroy())
  })

class NoSuchUser extends Error {
  override readonly name = "NoSuchUser"
}

describe("a handler of HTTP requests", () => {
  it.live("answers, and what fails in it ends its request alone, and is told", () =>
    Effect.gen(function* () {
      const handler = Effect.gen(function* () {
        const { url } = yield* HttpServerRequest.HttpServerRequest
        if (url === "/fails") return yield* Effect.fail(new NoSuchUser("7"))
        if (url === "/dies") return yield* Effect.die(new NoSuchUser("8"))
        if (url === "/forgets") return JSON.parse("{}")
        return HttpServerResponse.text(url)
      })
      const { socketPath, told } = yield* serving(handler)
      assert.strictEqual(yield* get(socketPath, "/ok"), "200 /ok")
      for (const path of ["/fails", "/dies", "/forgets"]) assert.strictEqual(yield* get(socketPath, path), "500 ")
      assert.strictEqual(yield* get(socketPath, "/ok"), "200 /ok")
      assert.deepStrictEqual(told, [
        "GET /fails failed: NoSuchUser: 7 (here)",
        "GET /dies failed: NoSuchUser: 8 (here)",
        "GET /forgets failed: TypeError: the handler must give an HttpServerResponse"
      ])
    })
  )

  it.live("can be a router, whose answer to an unknown route is no failure", () =>
    Effect.gen(function* () {
      const routes = HttpRouter.add("GET", "/users", HttpServerResponse.text("all"))
      const { socketPath, told } = yield* serving(Effect.scoped(yield* HttpRouter.toHttpEffect(routes)))
      assert.strictEqual(yield* get(socketPath, "/users"), "200 all")
      assert.match(yield* get(socketPath, "/nobody"), /^404/)
      assert.deepStrictEqual(told, [])
    })
  )
})

describe("in a test, whose forked fibers must not fail", () => {
  /** The causes of the fibers that failed while the effect ran, and that nobody joined. */
  const unseenOf = (effect: Effect.Effect<void, unknown>) => {
    const context = {
      ...{ test: "a test", label: "a test", thrown: () => false },
      ...({ unseen: new Map(), late: undefined, made: new Set() } satisfies Partial<TestContext.TestContext>)
    }
    return FiberEnds.watch(TestContext.within(context)(effect)).pipe(Effect.map(() => [...context.unseen.values()]))
  }
  const later = Effect.sleep("20 millis")
  const handlers: Record<string, readonly [HttpHandler<unknown>, ReadonlyArray<string>]> = {
    "fails after a while": [
      Effect.andThen(later, Effect.fail(new NoSuchUser("7"))),
      ["GET / failed: NoSuchUser: 7 (here)"]
    ],
    "dies after a while": [
      Effect.andThen(later, Effect.die(new NoSuchUser("8"))),
      ["GET / failed: NoSuchUser: 8 (here)"]
    ],
    "has no end": [Effect.never, []],
    "has a body that fails": [
      Effect.succeed(
        HttpServerResponse.stream(Stream.fromEffect(Effect.andThen(later, Effect.fail(new NoSuchUser("9")))))
      ),
      ["GET / failed: NoSuchUser: 9 (here)"]
    ],
    "has a body without end": [
      Effect.succeed(HttpServerResponse.stream(Stream.concat(Stream.make(new Uint8Array(5)), Stream.never))),
      []
    ]
  }
  for (const [how, [handler, lines]] of Object.entries(handlers)) {
    it.live(`a handler that ${how} is nobody's failure but its client's, also when that has gone`, () =>
      Effect.gen(function* () {
        const told: Array<string> = []
        const program = Effect.gen(function* () {
          const service = yield* serving(handler)
          yield* Effect.timeoutOption(get(service.socketPath, "/"), "100 millis")
          yield* Effect.sleep("50 millis")
          told.push(...service.told)
        })
        assert.deepStrictEqual(yield* unseenOf(Effect.scoped(program)), [])
        assert.deepStrictEqual(told, lines)
      })
    )
  }
})

describe("a handler of TCP connections", () => {
  it.live("has the connection until it ends; what fails in it is told, but not that the other end has gone", () =>
    Effect.gen(function* () {
      const { socketPath, told } = yield* serving((socket) =>
        Effect.gen(function* () {
          const first = yield* Stream.runHead(Stream.decodeText(Socket.toStream(socket)))
          if (first._tag === "Some" && first.value === "fail") return yield* Effect.fail(new NoSuchUser("9"))
        })
      )
      assert.strictEqual(yield* say(socketPath, "fail"), "")
      assert.deepStrictEqual(told, ["a connection failed: NoSuchUser: 9 (here)"])
    })
  )

  it.live("need not read what it is sent, and can say more than one thing", () =>
    Effect.gen(function* () {
      const { socketPath, told } = yield* serving((socket) =>
        Effect.gen(function* () {
          const writer = yield* socket.writer
          yield* Socket.toStream(socket).pipe(
            Stream.decodeText(),
            Stream.splitLines,
            Stream.takeWhile((line) => line !== "end"),
            Stream.runForEach((line) => writer.write(`${line}!\n`))
          )
        })
      )
      assert.strictEqual(yield* say(socketPath, "a\nb\nend\n"), "a!\nb!\n")
      assert.deepStrictEqual(told, [])
      const idle = yield* serving(() => Effect.void)
      assert.strictEqual(yield* say(idle.socketPath, "unread"), "")
    })
  )
})

describe("a handler that has no end", () => {
  it.live("is interrupted when the service ends, and nothing is told of that", () =>
    Effect.gen(function* () {
      for (const handler of [Effect.never, () => Effect.never]) {
        const { request, told } = yield* Effect.scoped(
          Effect.gen(function* () {
            const service = yield* serving(handler)
            const request = yield* Effect.forkDetach(get(service.socketPath, "/"), { startImmediately: true })
            yield* Effect.sleep("50 millis")
            return { request, told: service.told }
          })
        )
        assert.notMatch(yield* Effect.timeout(Fiber.join(request), "1 second"), /^200/)
        assert.deepStrictEqual(told, [])
      }
    })
  )
})
