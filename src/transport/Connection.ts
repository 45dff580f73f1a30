/**
 * A byte stream to a guest or a hypervisor: a unix socket, with deadlines.
 *
 * What arrives goes straight to one function, without an Effect a chunk, since a guest says up to 100 MB/s. What is
 * written waits while the peer does not read.
 *
 * **Example** (Say something to a socket that may not listen yet)
 *
 * ```ts
 * const program = Effect.gen(function* () {
 *   const connection = yield* Connection.connect({ machine: "web", socket: "/run/web/serial", timeout: "5 seconds" })
 *   connection.onData((chunk) => process.stdout.write(chunk))
 *   yield* connection.write("hello\n")
 *   return yield* connection.closed // why the connection ended
 * }).pipe(Effect.scoped)
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { TransportError } from "./ShellError.ts"

/** An open byte stream. */
export interface Connection {
  readonly socket: string
  /** Waits until the peer took it, more or less: until what is under way fits the socket's buffer again. */
  readonly write: (data: string | Uint8Array) => Effect.Effect<void, TransportError>
  /** Hands over what arrives, beginning with what arrived since the connection opened. The last caller wins. */
  readonly onData: (receive: (chunk: Buffer) => void) => void
  /** Reads no more until {@link Connection.resume}; the peer is slowed down, nothing is lost. */
  readonly pause: () => void
  readonly resume: () => void
  /** Waits for the end of the connection and says why it ended. */
  readonly closed: Effect.Effect<string>
}

/** How often a socket that is not there yet, or refuses, is tried again: every 20 ms. */
export const retryConnect: Schedule.Schedule<unknown, TransportError> = Schedule.spaced("20 millis")

/** What {@link connect} needs. */
export interface ConnectOptions {
  readonly machine: string
  /** the path of a unix socket */
  readonly socket: string
  /** when to try again. Default {@link retryConnect} */
  readonly retry?: Schedule.Schedule<unknown, TransportError> | undefined
  /** how long to try. Default 10 s */
  readonly timeout?: Duration.Input | undefined
}

/** The most bytes that are kept until a connection is read; the peer waits before it sends more. */
const mostEarly = 256 * 1024

/** A connection over a node socket that is open already. */
export const fromSocket = (machine: string, path: string, socket: Net.Socket): Connection => {
  const closed = Deferred.makeUnsafe<string>()
  let reason = "the peer closed the connection"
  let receive: ((chunk: Buffer) => void) | undefined
  const early: Array<Buffer> = []
  let kept = 0
  /** whether the socket is paused because it has no reader yet, and whether its reader paused it, too */
  let held = false
  let paused = false
  // As many as write at once wait for it to drain, which is no leak.
  socket.setMaxListeners(0)
  socket.on("data", (chunk) => {
    if (receive !== undefined) return receive(chunk)
    early.push(chunk)
    kept += chunk.length
    if (kept < mostEarly) return
    held = true
    socket.pause()
  })
  socket.on("error", (error) => {
    reason = error.message
  })
  socket.on("close", () => {
    Deferred.doneUnsafe(closed, Effect.succeed(reason))
  })
  const broken = () => new TransportError({ machine, socket: path, reason })
  return {
    socket: path,
    write: (data) =>
      Effect.callback<void, TransportError>((resume) => {
        if (socket.destroyed || !socket.writable) return resume(Effect.fail(broken()))
        if (data.length === 0 || socket.write(data)) return resume(Effect.void)
        const done = () => {
          stop()
          resume(Effect.void)
        }
        const failed = () => {
          stop()
          resume(Effect.fail(broken()))
        }
        const stop = () => {
          socket.off("drain", done)
          socket.off("close", failed)
        }
        socket.on("drain", done)
        socket.on("close", failed)
        return Effect.sync(stop)
      }),
    onData: (next) => {
      receive = next
      for (const chunk of early.splice(0)) next(chunk)
      if (held && !paused) socket.resume()
      held = false
    },
    pause: () => {
      paused = true
      socket.pause()
    },
    resume: () => {
      paused = false
      if (!held) socket.resume()
    },
    closed: Deferred.await(closed)
  }
}

const connectOnce = (machine: string, path: string): Effect.Effect<Net.Socket, TransportError> =>
  Effect.callback((resume) => {
    const socket = Net.connect({ path })
    const failed = (error: Error) =>
      resume(Effect.fail(new TransportError({ machine, socket: path, reason: error.message })))
    socket.once("error", failed)
    socket.once("connect", () => {
      socket.off("error", failed)
      resume(Effect.succeed(socket))
    })
    return Effect.sync(() => socket.destroy())
  })

/** Connects to a unix socket that may not listen yet. Leaving the scope closes the connection. */
export const connect = Effect.fnUntraced(function* (
  options: ConnectOptions
): Effect.fn.Return<Connection, TransportError, Scope.Scope> {
  const timeout = Duration.fromInputUnsafe(options.timeout ?? "10 seconds")
  let last = "nothing listens"
  const socket = yield* Effect.acquireRelease(
    connectOnce(options.machine, options.socket).pipe(
      Effect.tapError((error) =>
        Effect.sync(() => {
          last = error.reason
        })
      ),
      Effect.retry(options.retry ?? retryConnect),
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () =>
          Effect.fail(
            new TransportError({
              machine: options.machine,
              socket: options.socket,
              reason: `could not connect within ${Duration.format(timeout)}: ${last}`
            })
          )
      })
    ),
    (socket) => Effect.sync(() => socket.destroy()),
    { interruptible: true }
  )
  return fromSocket(options.machine, options.socket, socket)
})

/** Peers that a listener has at once, connected or gone after they said something that is still to be read; more are turned away. */
const mostWaiting = 16

/** Where peers may connect. */
export interface Listener {
  /**
   * The peer that was accepted last, while it is connected; else the next, but for one that left without a word. It stays connected until the scope of
   * {@link listen} is left.
   */
  readonly accept: Effect.Effect<Connection>
}

/** Listens on a unix socket; a socket that was left there by a dead process goes. Leaving the scope closes all. */
export const listen = Effect.fnUntraced(function* (options: {
  readonly machine: string
  readonly socket: string
  /** whether a peer is turned away while another is connected. By default it waits for its turn */
  readonly single?: boolean
  /** whether all users who can reach the socket may connect. By default only this one */
  readonly others?: boolean | undefined
}): Effect.fn.Return<Listener, TransportError, Scope.Scope> {
  const { machine, others = false, single = false, socket } = options
  const came = Latch.makeUnsafe(false)
  const waiting: Array<readonly [Net.Socket, Connection]> = []
  const connections = new Map<Net.Socket, Connection>()
  let accepted: readonly [Net.Socket, Connection] | undefined
  const next = (): Connection | undefined => {
    if (accepted === undefined || !connections.has(accepted[0])) accepted = waiting.shift()
    return accepted?.[1]
  }
  yield* Effect.acquireRelease(
    Effect.callback<Net.Server, TransportError>((resume) => {
      const server = Net.createServer((peer) => {
        const gone = waiting.filter(([socket]) => !connections.has(socket)).length
        if ((single && connections.size > 0) || connections.size + gone >= mostWaiting) {
          peer.on("error", () => {})
          peer.destroy()
          return
        }
        peer.on("close", () => {
          connections.delete(peer)
          // One that said something is still read.
          const at = waiting.findIndex(([socket]) => socket === peer)
          if (at !== -1 && peer.bytesRead === 0) waiting.splice(at, 1)
        })
        // After that: who hears of its end must no longer be given it.
        const connection = fromSocket(machine, socket, peer)
        connections.set(peer, connection)
        waiting.push([peer, connection])
        came.openUnsafe()
      })
      server.on("error", (error) => resume(Effect.fail(new TransportError({ machine, socket, reason: error.message }))))
      Fs.rmSync(socket, { force: true })
      server.listen({ path: socket, writableAll: others }, () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.sync(() => {
        server.close()
        for (const peer of connections.keys()) peer.destroy()
      })
  )
  return {
    accept: Effect.gen(function* () {
      for (;;) {
        const connection = next()
        if (connection !== undefined) return connection
        came.closeUnsafe()
        yield* came.await
      }
    })
  }
})
