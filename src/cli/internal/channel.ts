/** A socket on which frames come and go. */
import type * as Net from "node:net"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Wire from "./wire.ts"

export interface Channel {
  /** The next frame; undefined when the other side has closed, or says something else. */
  readonly next: Effect.Effect<Wire.Frame | undefined>
  /** Sends a message. Nothing happens if the other side has gone. */
  readonly send: (message: unknown) => Effect.Effect<void>
  /** Sends bytes; `done` is called when they have been taken. */
  readonly write: (bytes: Uint8Array | string, done?: () => void) => void
}

/** The channel of a connected socket, which is closed with the scope once everything has been sent. */
export const of: (socket: Net.Socket) => Effect.Effect<Channel, never, Scope.Scope> = Effect.fnUntraced(function* (
  socket: Net.Socket
) {
  const queue = yield* Queue.unbounded<Wire.Frame, Cause.Done>()
  const frames = new Wire.Frames()
  const end = () => void Queue.endUnsafe(queue)
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      socket.on("data", (piece: Buffer) => {
        const taken = frames.take(piece)
        if (taken === undefined) {
          end()
          socket.destroy()
        }
        for (const frame of taken ?? []) Queue.offerUnsafe(queue, frame)
      })
      socket.on("end", end)
      socket.on("close", end)
      // Of a side that has gone; "close" follows.
      socket.on("error", () => socket.destroy())
    }),
    () =>
      Effect.callback<void>((resume) => {
        if (socket.destroyed) return resume(Effect.void)
        socket.once("close", () => resume(Effect.void))
        socket.end(() => socket.destroy())
      }).pipe(Effect.timeoutOption("2 seconds"), Effect.asVoid)
  )
  const write = (bytes: Uint8Array, done: () => void = () => undefined) => {
    if (socket.writable) socket.write(bytes, () => done())
    else done()
  }
  return {
    next: Effect.orElseSucceed(Queue.take(queue), () => undefined),
    send: (message) => Effect.callback<void>((resume) => write(Wire.message(message), () => resume(Effect.void))),
    write: (bytes, done) => write(Wire.bytes(bytes), done)
  }
})
