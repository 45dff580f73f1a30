import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { afterEach, beforeEach, vi } from "vitest"
import * as Telemetry from "../../src/cli/Telemetry.ts"

interface Span {
  readonly name: string
  readonly traceId: string
  readonly parentSpanId?: string
}

/** A played collector, which answers or keeps silent, and what it got. */
const collector = (answers: boolean) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: Server; readonly url: string; readonly got: Array<readonly [string, string]> }>(
      (resume) => {
        const got: Array<readonly [string, string]> = []
        const server = createServer((request, response) => {
          let body = ""
          request.setEncoding("utf8").on("data", (text: string) => {
            body += text
          })
          request.on("end", () => {
            got.push([request.url ?? "", body])
            if (answers) response.end("{}")
          })
        })
        server.listen(0, "127.0.0.1", () => {
          const { port } = server.address() as AddressInfo
          resume(Effect.succeed({ server, got, url: `http://127.0.0.1:${port}` }))
        })
      }
    ),
    ({ server }) =>
      Effect.sync(() => {
        server.closeAllConnections()
        server.close()
      })
  )

const spansOf = (got: ReadonlyArray<readonly [string, string]>): ReadonlyArray<Span> =>
  got
    .filter(([path]) => path === "/v1/traces")
    .flatMap(([, body]) => JSON.parse(body).resourceSpans)
    .flatMap(({ scopeSpans }) => scopeSpans)
    .flatMap(({ spans }) => spans)

/** Runs what has two spans, and gives how long that took, in milliseconds, to the end of the telemetry. */
const traced = (lasts = 0) =>
  Effect.gen(function* () {
    const began = yield* Clock.currentTimeMillis
    const inner = Effect.withSpan(Effect.sleep(lasts), "vmtest.test", { attributes: { "vmtest.test.name": "one" } })
    const value = yield* Effect.as(inner, 3).pipe(
      Effect.withSpan("vmtest.run"),
      Effect.provide(Telemetry.layer("vmtest", { all: false }))
    )
    assert.strictEqual(value, 3)
    return (yield* Clock.currentTimeMillis) - began
  })

describe("telemetry", () => {
  let said: Array<string> = []
  beforeEach(() => {
    said = []
    vi.spyOn(process.stderr, "write").mockImplementation((text) => said.push(String(text)) > 0)
    for (const name of Object.keys(process.env)) if (name.startsWith("OTEL_")) vi.stubEnv(name, undefined)
  })
  afterEach(() => {
    vi.restoreAllMocks()
    vi.unstubAllEnvs()
  })

  it.live("sends the spans of a run as one trace to the collector of the environment, and nothing else", () =>
    Effect.gen(function* () {
      const { got, url } = yield* collector(true)
      vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
      vi.stubEnv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
      yield* traced()
      const spans = spansOf(got)
      assert.deepStrictEqual(spans.map(({ name }) => name).toSorted(), ["vmtest.run", "vmtest.test"])
      assert.strictEqual(new Set(spans.map(({ traceId }) => traceId)).size, 1)
      assert.deepStrictEqual([...new Set(got.map(([path]) => path))], ["/v1/traces"])
      assert.match(got[0]?.[1] ?? "", /"service\.name","value":\{"stringValue":"vmtest"\}/)
      assert.deepStrictEqual(said, [])
    })
  )

  it.live("is of the service that the environment names, and at its address for spans", () =>
    Effect.gen(function* () {
      const { got, url } = yield* collector(true)
      vi.stubEnv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", `${url}/elsewhere`)
      vi.stubEnv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
      vi.stubEnv("OTEL_SERVICE_NAME", "nightly")
      yield* traced()
      assert.strictEqual(got[0]?.[0], "/elsewhere")
      assert.include(got[0]?.[1], '"stringValue":"nightly"')
    })
  )

  it.live("neither slows nor fails a run whose collector is away, and says so once", () =>
    Effect.gen(function* () {
      const { server, url } = yield* collector(true)
      server.close()
      vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
      assert.isBelow(yield* traced(1500), 1500 + 700)
      assert.lengthOf(said, 1)
      assert.match(said[0] ?? "", /could not send telemetry to the collector: .*/)
    })
  )

  it.live("waits a second at most for a collector that does not answer", () =>
    Effect.gen(function* () {
      const { url } = yield* collector(false)
      vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
      assert.isBelow(yield* traced(), 1700)
    })
  )

  it.live("does not fail a run for settings that make no sense", () =>
    Effect.gen(function* () {
      vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere")
      assert.isBelow(yield* traced(), 1000)
      assert.lengthOf(said, 1)
    })
  )

  it.live("is off when the environment says so", () =>
    Effect.gen(function* () {
      const { got, url } = yield* collector(true)
      vi.stubEnv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
      vi.stubEnv("OTEL_SDK_DISABLED", "true")
      yield* traced()
      assert.deepStrictEqual(got, [])
    })
  )
})
