/**
 * Spans, metrics and logs for an OpenTelemetry collector, if the environment names one: by the standard variables, such as `OTEL_EXPORTER_OTLP_ENDPOINT`,
 * `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME` and `OTEL_SDK_DISABLED`.
 *
 * A collector that is away, or does not answer, costs a run at most a second at its end, and a warning.
 *
 * **Example** (In the environment of a run)
 *
 * ```sh
 * OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 vmtest run web.ts
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import type { HttpClientError } from "effect/http/HttpClientError"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import { complain } from "./Subcommand.ts"

/** What is sent. Spans always are. */
export interface Signals {
  /** Whether metrics and logs are sent, too, unless the environment says otherwise. Default true. */
  readonly all?: boolean
}

const endpoints = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]

/** How long the end of a run waits for the collector; how often spans are sent, in milliseconds. */
const defaults = (service: string, all: boolean) => ({
  OTEL_SERVICE_NAME: service,
  OTEL_TRACES_EXPORTER: "otlp",
  OTEL_METRICS_EXPORTER: all ? "otlp" : "none",
  OTEL_LOGS_EXPORTER: all ? "otlp" : "none",
  OTEL_EXPORTER_OTLP_TIMEOUT: "1000",
  OTEL_BSP_SCHEDULE_DELAY: "1000"
})

/** How long a collector may take to answer a request. */
const answerWithin = "5 seconds"

const make = Effect.fnUntraced(function* (service: string, all: boolean) {
  const Otlp = yield* Effect.promise(() => import("effect/observability/Otlp"))
  const Serialization = yield* Effect.promise(() => import("effect/observability/OtlpSerialization"))
  const HttpClient = yield* Effect.promise(() => import("effect/http/HttpClient"))
  const Client = yield* Effect.promise(() => import("@effect/platform-node/NodeHttpClient"))
  let warned = false
  const warn = (reason: string) =>
    Effect.suspend(() => {
      if (warned) return Effect.void
      warned = true
      return complain(`could not send telemetry to the collector: ${reason}`)
    })
  /** Of a collector that cannot be reached the exporter is told by a defect: of anything else it would try again, and keep the end waiting. */
  const resilient = Layer.effect(
    HttpClient.HttpClient,
    Effect.map(HttpClient.HttpClient, (client) =>
      HttpClient.transformResponse(
        client,
        (response): Effect.Effect<HttpClientResponse, HttpClientError> =>
          response.pipe(
            Effect.timeout(answerWithin),
            Effect.catchCause((cause) => {
              const error = Cause.squash(cause)
              const reason = Cause.isTimeoutError(error) ? `no answer within ${answerWithin}` : Cause.pretty(cause)
              return Effect.andThen(warn(reason.split("\n")[0] ?? ""), Effect.die(error))
            })
          )
      )
    )
  ).pipe(Layer.provide(Client.layerNodeHttp))
  const isJson = process.env.OTEL_EXPORTER_OTLP_PROTOCOL === "http/json"
  const provider = ConfigProvider.orElse(ConfigProvider.fromEnv(), ConfigProvider.fromUnknown(defaults(service, all)))
  return Otlp.layerFromConfig({ loggerMergeWithExisting: true }).pipe(
    Layer.provide(isJson ? Serialization.layerJson : Serialization.layerProtobuf),
    Layer.provide(resilient),
    Layer.provide(Layer.succeed(ConfigProvider.ConfigProvider, provider)),
    // A setting that makes no sense must not keep tests from running.
    Layer.catchCause((cause) => Layer.effectDiscard(warn(Cause.pretty(cause).split("\n")[0] ?? "")))
  )
})

/** Sends spans to the collector of the environment, as the service of this name; does nothing, and loads nothing, if there is none. */
export const layer = (service: string, { all = true }: Signals = {}): Layer.Layer<never> =>
  Layer.unwrap(
    Effect.suspend(() => {
      const isNamed = endpoints.some((name) => (process.env[name] ?? "") !== "")
      return isNamed ? make(service, all) : Effect.succeed(Layer.empty)
    })
  )
