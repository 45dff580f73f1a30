/**
 * HTTP over a unix socket, as Firecracker and Cloud Hypervisor are controlled.
 *
 * Requests and answers have schemas; a refusal carries the status and the peer's own words.
 *
 * @since 0.1.0
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import type { HttpClientError } from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Timeout from "./internal/timeout.ts"
import { TransportError } from "./ShellError.ts"

/** The peer refused a request, did not answer in time, or answered something of another shape. */
export class RestError extends Schema.TaggedError<RestError>()("RestError", {
  machine: Schema.String,
  method: Schema.String,
  path: Schema.String,
  reason: Schema.Literals(["Refused", "Timeout", "BadRequest", "BadReply"]),
  /** the HTTP status, or 0 where there was no answer */
  status: Schema.Int,
  /** what the peer said about it, or what was wrong with what it said */
  detail: Schema.String
}) {
  override get message() {
    const status = this.status === 0 ? "" : ` (${this.status})`
    return `${this.machine}: ${this.method} ${this.path}: ${this.detail}${status}`
  }
}

/** What a request sends and expects. */
export interface RestOptions<In, Out> {
  readonly method: "GET" | "PUT" | "PATCH" | "POST" | "DELETE"
  /** with a leading slash: `/machine-config` */
  readonly path: string
  /** how the body is written as JSON; no body unless given */
  readonly request?: { readonly schema: Schema.Encoder<In>; readonly body: NoInfer<In> } | undefined
  /** how the answer is read; ignored unless given */
  readonly response?: Schema.Decoder<Out> | undefined
  /** how long the peer may take; 30 s unless told */
  readonly timeout?: Duration.Input | undefined
}

/** A control channel to one micro-VM. */
export interface RestApiService {
  readonly machine: string
  readonly request: <In = never, Out = void>(
    options: RestOptions<In, Out>
  ) => Effect.Effect<Out, RestError | TransportError>
}

/** The control channel, as a service. */
export class RestApi extends Context.Service<RestApi, RestApiService>()("vmtest/transport/RestApi") {}

/** What {@link make} needs. */
export interface RestApiOptions {
  readonly machine: string
  /** the path of the unix socket that the peer listens on */
  readonly socket: string
  /** when to try again to connect; every 20 ms, for 10 s in all, unless told */
  readonly retry?: Schedule.Schedule<unknown, TransportError | RestError> | undefined
  readonly connectTimeout?: Duration.Input | undefined
}

/** What the two peers say about a refusal: an object with a message, a list of reasons, or plain text. */
const Fault = Schema.fromJsonString(
  Schema.Union([
    Schema.Struct({ fault_message: Schema.String }),
    Schema.Struct({ error: Schema.String }),
    Schema.Array(Schema.String)
  ])
)

const faultOf = (text: string): string => {
  const fault = Option.getOrUndefined(Schema.decodeUnknownOption(Fault)(text))
  if (fault === undefined) return text.trim() === "" ? "the request was refused" : text.trim()
  return "fault_message" in fault ? fault.fault_message : "error" in fault ? fault.error : fault.join(": ")
}

/** A control channel over a unix socket. Nothing is sent yet; connections are made, and made again, as they are needed. */
export const make = Effect.fnUntraced(function* (
  options: RestApiOptions
): Effect.fn.Return<RestApiService, never, Scope.Scope> {
  const { machine, socket } = options
  const context = yield* Layer.build(NodeHttpClient.layerNodeHttpOptions({ socketPath: socket }))
  const client = Context.get(context, HttpClient.HttpClient)

  const request = Effect.fnUntraced(function* <In, Out>(one: RestOptions<In, Out>) {
    const { method, path } = one
    const failed = (reason: RestError["reason"], status: number, detail: string) =>
      new RestError({ machine, method, path, reason, status, detail })
    const given = (timeout: Duration.Input) => Timeout.timeout(timeout, (detail) => failed("BadRequest", 0, detail))
    const timeout = yield* given(one.timeout ?? "30 seconds")
    const connectTimeout = yield* given(options.connectTimeout ?? "10 seconds")
    let outgoing = HttpClientRequest.make(method)(`http://localhost${path}`, { acceptJson: true })
    if (one.request !== undefined) {
      const json = yield* Schema.encodeEffect(Schema.fromJsonString(Schema.Unknown))(
        yield* Effect.mapError(Schema.encodeEffect(one.request.schema)(one.request.body), (error) =>
          failed("BadRequest", 0, error.message)
        )
      ).pipe(Effect.mapError((error) => failed("BadRequest", 0, error.message)))
      outgoing = HttpClientRequest.bodyText(outgoing, json, "application/json")
    }
    const unreachable = (error: HttpClientError) => {
      const { cause } = error.reason
      return new TransportError({ machine, socket, reason: cause instanceof Error ? cause.message : error.message })
    }
    const late = (what: string, status: number) =>
      Effect.fail(failed("Timeout", status, `${what} within ${Duration.format(timeout)}`))
    const response = yield* client.execute(outgoing).pipe(
      Effect.mapError(unreachable),
      Effect.timeoutOrElse({ duration: timeout, orElse: () => late("no answer", 0) }),
      // Only what never reached the peer is sent again.
      Effect.retry({
        schedule: Schedule.upTo(options.retry ?? Schedule.spaced("20 millis"), { duration: connectTimeout }),
        while: (error: TransportError | RestError) =>
          error._tag === "TransportError" && /ENOENT|ECONNREFUSED/.test(error.reason)
      })
    )
    const text = yield* response.text.pipe(
      Effect.mapError(unreachable),
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () =>
          Effect.fail(failed("Timeout", response.status, `no whole answer within ${Duration.format(timeout)}`))
      })
    )
    if (response.status < 200 || response.status > 299) return yield* failed("Refused", response.status, faultOf(text))
    if (one.response === undefined) return undefined
    const decoded: Out = yield* Effect.mapError(
      Schema.decodeUnknownEffect(Schema.fromJsonString(Schema.Unknown))(text === "" ? "null" : text).pipe(
        Effect.flatMap(Schema.decodeUnknownEffect(one.response))
      ),
      (error) => failed("BadReply", response.status, error.message)
    )
    return decoded
  })

  return { machine, request: request as RestApiService["request"] }
})

/** {@link make} as a layer. */
export const layer = (options: RestApiOptions): Layer.Layer<RestApi> => Layer.effect(RestApi, make(options))
