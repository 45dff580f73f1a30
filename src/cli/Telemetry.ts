/**
 * Spans, metrics and logs for an OpenTelemetry collector, if the environment names one.
 *
 * **Example** (In the environment of a worker)
 *
 * ```sh
 * OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 vmtest fleet worker
 * ```
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** Sends to `OTEL_EXPORTER_OTLP_ENDPOINT`, as the service of this name; does nothing, and loads nothing, if that is not set. */
export const layer = (service: string): Layer.Layer<never> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const baseUrl = process.env.OTEL_EXPORTER_OTLP_ENDPOINT ?? ""
      if (baseUrl === "") return Layer.empty
      const Otlp = yield* Effect.promise(() => import("effect/observability/Otlp"))
      const Client = yield* Effect.promise(() => import("@effect/platform-node/NodeHttpClient"))
      return Otlp.layerJson({ baseUrl, resource: { serviceName: service }, tracerExportInterval: "1 second" }).pipe(
        Layer.provide(Client.layerNodeHttp)
      )
    })
  )
