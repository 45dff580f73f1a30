/** The cable between a switch and a card: a socket at which QEMU's `stream` back end listens. */
import * as Net from "node:net"
import type { Readable, Writable } from "node:stream"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { Joiner } from "./frames.ts"
import type { VlanState } from "./vlanState.ts"

/** When a card that does not listen yet is tried again. */
const connectSchedule = Schedule.spaced("5 millis")

/** Bytes that wait for a card that does not read, because its machine is paused or busy; then it loses frames, as a card does whose queue is full. */
const mostQueued = 1024 * 1024

const connectOnce = (path: string): Effect.Effect<Net.Socket, string> =>
  Effect.callback((resume) => {
    const socket = Net.connect({ path })
    const failed = (error: Error) => resume(Effect.fail(error.message))
    socket.once("error", failed)
    socket.once("connect", () => {
      socket.off("error", failed)
      resume(Effect.succeed(socket))
    })
    return Effect.sync(() => socket.destroy())
  })

/** Whether a program listens at a socket. */
export const listens = (path: string): Effect.Effect<boolean> =>
  connectOnce(path).pipe(
    Effect.map((socket) => {
      socket.destroy()
      return true
    }),
    Effect.orElseSucceed(() => false)
  )

/** Connects to a socket that may not listen yet; closed with the scope. */
export const connect = (path: string): Effect.Effect<Net.Socket, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.orDie(Effect.retry(connectOnce(path), connectSchedule)),
    (socket) => Effect.sync(() => socket.destroy()),
    { interruptible: true }
  )

/** How frames are put into bytes and found again. */
export interface Coding {
  readonly join: () => { readonly push: (chunk: Buffer) => Buffer | string }
  /** Frames with their headers, as the other end wants them. */
  readonly encode: (segments: Buffer) => Buffer
}

/** As the switch has them. */
export const plain: Coding = { join: () => new Joiner(), encode: (segments) => segments }

/** Carries frames between a port and a pair of pipes until these end, and gives the reason. Fails with the reason if what arrives is not a frame. */
export const carry = (
  state: VlanState,
  port: string,
  input: Readable,
  output: Writable,
  { encode, join }: Coding
): Effect.Effect<string, string> =>
  Effect.callback<string, string>((resume) => {
    const joiner = join()
    let corked = false
    const uncork = () => {
      corked = false
      output.uncork()
    }
    const unplug = state.plug(port, {
      send: (segments) => {
        if (output.writableLength > mostQueued || output.destroyed) return false
        if (!corked) {
          corked = true
          output.cork()
          process.nextTick(uncork)
        }
        output.write(encode(segments))
        return true
      }
    })
    let forget = () => {}
    /** While no switch runs, the card's frames wait in its socket. */
    const take = (frames: Buffer): boolean => {
      if (frames.length === 0 || state.receive(port, frames)) return true
      input.pause()
      forget = state.onBegin(() => {
        if (take(frames)) input.resume()
      })
      return false
    }
    const onData = (chunk: Buffer) => {
      const frames = joiner.push(chunk)
      if (typeof frames === "string") stop(Effect.fail(frames))
      else take(frames)
    }
    const closed = Effect.succeed("it was closed")
    const onError = (error: Error) => stop(Effect.succeed(error.message))
    const onClose = () => stop(closed)
    const clean = () => {
      unplug()
      forget()
      input.off("data", onData).off("close", onClose)
      output.off("close", onClose)
      // Errors from here on say nothing new, but an error that nobody listens to would throw.
      input.off("error", onError).on("error", () => {})
      output.off("error", onError).on("error", () => {})
    }
    const stop = (end: Effect.Effect<string, string>) => {
      clean()
      resume(end)
    }
    input.on("data", onData).on("error", onError).on("close", onClose)
    output.on("error", onError).on("close", onClose)
    return Effect.sync(clean)
  })
