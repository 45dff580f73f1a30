/** A collector of OpenTelemetry that keeps the spans that it is sent. */
import { createServer } from "node:http"

/** A span, as far as tests look at it. */
interface Span {
  readonly name: string
  readonly traceId: string
}

/** What came so far. */
export interface Collector {
  readonly url: string
  /** The newest of each name. */
  readonly spans: ReadonlyMap<string, Span>
  /** Waits for a span of this name. */
  readonly has: (name: string) => Promise<void>
  readonly close: () => void
}

/** Listens on this host. */
export const collector = (): Promise<Collector> =>
  new Promise((resolve) => {
    const spans = new Map<string, Span>()
    const server = createServer((request, response) => {
      let body = ""
      request.setEncoding("utf8").on("data", (part: string) => {
        body += part
      })
      request.on("end", () => {
        for (const [, traceId = "", , name = ""] of body.matchAll(
          /"traceId":"(\w+)"((?:(?!"traceId").)*?)"name":"([^"]+)"/g
        ))
          spans.set(name, { name, traceId })
        response.end("{}")
      })
    })
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      const port = typeof address === "object" && address !== null ? address.port : 0
      resolve({
        url: `http://127.0.0.1:${port}`,
        spans,
        has: async (name) => {
          for (let waited = 0; !spans.has(name); waited += 100) {
            if (waited > 20_000) throw new Error(`no span ${name}; there are ${[...spans.keys()].join(", ")}`)
            await new Promise((done) => setTimeout(done, 100))
          }
        },
        close: () => void server.close()
      })
    })
  })
