/** A connection to a database that can be cut and be slow. */
import { connect, createServer, type Socket } from "node:net"

/** What stands between a client and a server. */
export interface Proxy {
  readonly port: number
  /** Cuts all connections, and takes none for a while. */
  readonly cut: (millis: number) => Promise<void>
  /** From now on, what the client sends takes so many milliseconds. */
  readonly slow: (millis: number) => void
  readonly close: () => void
}

/** A proxy before a port of this host. */
export const proxy = (target: number): Promise<Proxy> =>
  new Promise((resolve) => {
    const sockets = new Set<Socket>()
    let isCut = false
    let delay = 0
    const server = createServer((client) => {
      if (isCut) return client.destroy()
      const upstream = connect(target, "127.0.0.1")
      for (const [from, to] of [
        [client, upstream],
        [upstream, client]
      ] as const) {
        sockets.add(from)
        from.on("error", () => {})
        from.on("close", () => {
          sockets.delete(from)
          to.destroy()
        })
      }
      client.on("data", (bytes) => {
        if (delay === 0) upstream.write(bytes)
        else setTimeout(() => upstream.write(bytes), delay)
      })
      upstream.on("data", (bytes) => client.write(bytes))
    })
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      resolve({
        port: typeof address === "object" && address !== null ? address.port : 0,
        cut: (millis) => {
          isCut = true
          for (const socket of sockets) socket.destroy()
          return new Promise((done) =>
            setTimeout(() => {
              isCut = false
              done()
            }, millis)
          )
        },
        slow: (millis) => {
          delay = millis
        },
        close: () => {
          for (const socket of sockets) socket.destroy()
          server.close()
        }
      })
    })
  })
