/**
 * The HTTP interface of a hypervisor on a unix socket, as Firecracker and Cloud Hypervisor have it: one JSON request at a time, with a deadline and the
 * hypervisor's own words where it refuses.
 *
 * **Example** (Ask a hypervisor that has just been started)
 *
 * ```ts
 * const program = Effect.gen(function* () {
 *   const api = yield* RestApi.make({ machine: "web", socket: "/run/web/api.sock", explain: RestApi.wordsIn("fault_message") })
 *   yield* api.connect({ method: "GET", path: "/version" }, { within: "10 seconds" })
 *   yield* api.request({ method: "PATCH", path: "/vm", body: { state: "Paused" } })
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { RestError } from "./RestError.ts"

/** One request. `answer` is the shape of the answer's body; without it the body does not matter. */
export interface Request<A = void> {
  readonly method: "GET" | "PUT" | "PATCH"
  readonly path: string
  /** Sent as JSON. */
  readonly body?: object | undefined
  readonly answer?: Schema.Decoder<A> | undefined
  /** Default: that of the interface. */
  readonly timeout?: Duration.Input | undefined
}

/** How to reach a hypervisor. */
export interface RestApiOptions {
  readonly machine: string
  /** The path of its unix socket. */
  readonly socket: string
  /** What the body of a refusal says, the outermost reason first; undefined for a body of another shape. */
  readonly explain: (body: unknown) => ReadonlyArray<string> | undefined
  /** How long each request may take. Default 30 seconds. */
  readonly timeout?: Duration.Input | undefined
}

/** A hypervisor's HTTP interface. */
export interface RestApi {
  readonly request: <A = void>(request: Request<A>) => Effect.Effect<A, RestError>
  /** The first request to a hypervisor that is being started: asked again by `schedule` while its socket is not there or refuses. */
  readonly connect: <A = void>(
    request: Request<A>,
    options: {
      readonly within: Duration.Input
      /** Default {@link connectSchedule}. */
      readonly schedule?: Schedule.Schedule<unknown> | undefined
    }
  ) => Effect.Effect<A, RestError>
}

/** How often a socket that is not there yet is tried again: every 5 ms. */
export const connectSchedule: Schedule.Schedule<unknown> = Schedule.spaced("5 millis")

/** An explanation that is a text in one field of an object. */
export const wordsIn =
  (field: string) =>
  (body: unknown): ReadonlyArray<string> | undefined => {
    const text = Predicate.hasProperty(body, field) ? body[field] : undefined
    return typeof text === "string" ? [text] : undefined
  }

/** An explanation that is a list of texts. */
export const words = (body: unknown): ReadonlyArray<string> | undefined =>
  Array.isArray(body) && body.every((word) => typeof word === "string") ? body : undefined

/** How much of an answer that is not understood goes into an error. */
const longestBody = 1000

const parse = (text: string): unknown => {
  const parsed = Result.try((): unknown => JSON.parse(text))
  return Result.isSuccess(parsed) ? parsed.success : undefined
}

/** Errors of a socket that was not there, or that nobody listens at. */
const unreachable = new Set(["ENOENT", "ECONNREFUSED", "EACCES", "ENOTSOCK"])

/** What Node said of a connection that did not give an answer. */
const causeOf = (error: { readonly message: string; readonly reason: object }) => {
  const cause = Predicate.hasProperty(error.reason, "cause") ? error.reason.cause : undefined
  const code = Predicate.hasProperty(cause, "code") ? `${cause.code}` : ""
  const reason = cause instanceof Error ? cause.message : error.message
  return { kind: unreachable.has(code) ? ("unreachable" as const) : ("closed" as const), reason }
}

/** A connection is made for each request; leaving the scope closes those that are open. */
export const make = Effect.fnUntraced(function* (
  options: RestApiOptions
): Effect.fn.Return<RestApi, never, Scope.Scope> {
  const { explain, machine, socket } = options
  const agent = yield* NodeHttpClient.makeAgent({ socketPath: socket })
  const client = yield* Effect.provideService(NodeHttpClient.makeNodeHttp, NodeHttpClient.HttpAgent, agent)

  const request = <A = void>({ answer, body, method, path, timeout }: Request<A>): Effect.Effect<A, RestError> => {
    const failed = (kind: RestError["kind"], reason: string, status?: number) =>
      new RestError({ machine, method, path, kind, reason, ...(status === undefined ? {} : { status }) })
    const limit = Duration.fromInputUnsafe(timeout ?? options.timeout ?? "30 seconds")
    const plain = HttpClientRequest.make(method)(`http://localhost${path}`)
    const sent = body === undefined ? plain : HttpClientRequest.bodyJsonUnsafe(plain, body)
    return Effect.gen(function* () {
      const response = yield* client.execute(sent)
      const text = yield* response.text
      const { status } = response
      if (status < 200 || status > 299) {
        const said = explain(parse(text))?.join(": ") ?? text.trim().slice(0, longestBody)
        return yield* failed("refused", said === "" ? "it gave no reason" : said, status)
      }
      // Without a shape there is nothing to give, which is what `A` is then.
      if (answer === undefined) return undefined as A
      return yield* Effect.mapError(Schema.decodeUnknownEffect(Schema.fromJsonString(answer))(text), ({ message }) =>
        failed("unexpected", message, status)
      )
    }).pipe(
      Effect.catchTag("HttpClientError", (error) => {
        const { kind, reason } = causeOf(error)
        return Effect.fail(failed(kind, reason))
      }),
      Effect.timeoutOrElse({
        duration: limit,
        orElse: () => Effect.fail(failed("timeout", Duration.format(limit)))
      })
    )
  }

  return {
    request,
    connect: (first, { schedule = connectSchedule, within }) => {
      const limit = Duration.fromInputUnsafe(within)
      let last = "its socket is not there"
      return request(first).pipe(
        Effect.tapError(({ reason }) =>
          Effect.sync(() => {
            last = reason
          })
        ),
        Effect.retry({ schedule, while: ({ kind }) => kind === "unreachable" }),
        Effect.timeoutOrElse({
          duration: limit,
          orElse: () =>
            Effect.fail(
              new RestError({
                ...{ machine, method: first.method, path: first.path, kind: "unreachable" },
                reason: `${last}, and it was tried for ${Duration.format(limit)}`
              })
            )
        })
      )
    }
  }
})
