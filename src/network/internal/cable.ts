/** The cable between a switch and a card: a socket at which QEMU's `stream` back end listens. */
import * as Fs from "node:fs"
import * as Net from "node:net"
import type { Readable, Writable } from "node:stream"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { FrameMemory } from "./frameMemory.ts"
import type { VlanState } from "./vlanState.ts"

/** When a card that does not listen yet is tried again. */
const connectSchedule = Schedule.spaced("5 millis")

/** Bytes that wait for a card that does not read, because its machine is paused or busy; then it loses frames, as a card does whose queue is full. */
const mostQueued = 1024 * 1024

const connectOnce = (options: Net.IpcNetConnectOpts): Effect.Effect<Net.Socket, string> =>
  Effect.callback((resume) => {
    const socket = Net.connect(options)
    const failed = (error: Error) => resume(Effect.fail(error.message))
    // What arrives before somebody reads waits in the socket.
    if (options.onread !== undefined) socket.pause()
    socket.once("error", failed)
    socket.once("connect", () => {
      socket.off("error", failed)
      resume(Effect.succeed(socket))
    })
    return Effect.sync(() => socket.destroy())
  })

/** Whether a program listens at a socket. */
export const listens = (path: string): Effect.Effect<boolean> =>
  connectOnce({ path }).pipe(
    Effect.map((socket) => {
      socket.destroy()
      return true
    }),
    Effect.orElseSucceed(() => false)
  )

const connectTo = (options: Net.IpcNetConnectOpts): Effect.Effect<Net.Socket, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.orDie(Effect.retry(connectOnce(options), connectSchedule)),
    (socket) => Effect.sync(() => socket.destroy()),
    { interruptible: true }
  )

/** Connects to a socket that may not listen yet; closed with the scope. */
export const connect = (path: string): Effect.Effect<Net.Socket, never, Scope.Scope> => connectTo({ path })

/**
 * The number of a socket's file; undefined where there is none. What is written to it at once skips Node's streams, whose code and callbacks cost more than all
 * else that a switch does with a lone frame: a round trip between two programs that use the caches took a fifth less. Node has no public name for it.
 * It is valid until the socket is destroyed.
 */
const fileOf = (output: Writable): number | undefined => {
  const handle: unknown = output instanceof Net.Socket ? Reflect.get(output, "_handle") : undefined
  const file: unknown = typeof handle === "object" && handle !== null ? Reflect.get(handle, "fd") : undefined
  return typeof file === "number" && file >= 0 ? file : undefined
}

/** Both ends of a cable that leads to a program. */
export interface Ends {
  readonly input: Readable
  readonly output: Writable
  /**
   * Calls back with whole frames and their headers, as they arrive. The callback tells whether they must stay as they are after it has returned. A failure is
   * why what arrived is no frame. Gives what ends that.
   */
  readonly onFrames: (take: (frames: Buffer) => boolean, failed: (reason: string) => void) => () => void
  /** Frames with their headers, as the other end wants them. */
  readonly encode: (segments: Buffer) => Buffer
}

/** Connects to a card's socket that may not listen yet; closed with the scope. Its frames are read straight into memory that is used again. */
export const toCard = (path: string): Effect.Effect<Ends, never, Scope.Scope> =>
  Effect.suspend(() => {
    const memory = new FrameMemory()
    let onBytes: (count: number) => void = () => {}
    const onread: Net.OnReadOpts = {
      buffer: () => memory.space,
      callback: (count) => {
        onBytes(count)
        return true
      }
    }
    return Effect.map(
      connectTo({ path, onread }),
      (socket): Ends => ({
        input: socket,
        output: socket,
        encode: (segments) => segments,
        onFrames: (take, failed) => {
          onBytes = (count) => {
            const reason = memory.push(count, take)
            if (reason !== undefined) failed(reason)
          }
          socket.resume()
          return () => {
            onBytes = () => {}
          }
        }
      })
    )
  })

/** Carries frames between a port and a program until the cable ends, and gives the reason. Fails with the reason if what arrives is not a frame. */
export const carry = (
  state: VlanState,
  port: string,
  { encode, input, onFrames, output }: Ends
): Effect.Effect<string, string> =>
  Effect.callback<string, string>((resume) => {
    /** Whether this turn of the event loop has sent a single frame; those that follow in it are gathered. */
    let turn: "quiet" | "one" | "gathered" = "quiet"
    const endOfTurn = () => {
      if (turn === "gathered") output.uncork()
      turn = "quiet"
    }
    const gather = () => {
      if (turn === "quiet") {
        turn = "one"
        process.nextTick(endOfTurn)
      } else if (turn === "one") {
        turn = "gathered"
        output.cork()
      }
    }
    const file = fileOf(output)
    /** How many of these bytes the kernel has taken at once. */
    const taken = (bytes: Buffer): number => {
      if (file === undefined || output.writableLength > 0 || turn === "gathered") return 0
      return Result.getOrElse(
        Result.try(() => Fs.writeSync(file, bytes)),
        () => 0
      )
    }
    const unplug = state.plug(port, {
      send: (segments, single) => {
        if (output.writableLength > mostQueued || output.destroyed) return false
        if (single) gather()
        const bytes = encode(segments)
        const count = taken(bytes)
        if (count < bytes.length) output.write(Buffer.from(bytes.subarray(count)))
        return true
      }
    })
    let forget = () => {}
    /** While no switch runs, these frames are kept, and the card's later ones wait in its socket. */
    const take = (frames: Buffer): boolean => {
      if (state.receive(port, frames)) return false
      input.pause()
      forget = state.onBegin(() => {
        if (!take(frames)) input.resume()
      })
      return true
    }
    const closed = Effect.succeed("it was closed")
    const onError = (error: Error) => stop(Effect.succeed(error.message))
    const onClose = () => stop(closed)
    const end = onFrames(take, (reason) => stop(Effect.fail(reason)))
    const clean = () => {
      unplug()
      forget()
      end()
      input.off("close", onClose)
      output.off("close", onClose)
      // Errors from here on say nothing new, but an error that nobody listens to would throw.
      input.off("error", onError).on("error", () => {})
      output.off("error", onError).on("error", () => {})
    }
    const stop = (end: Effect.Effect<string, string>) => {
      clean()
      resume(end)
    }
    input.on("error", onError).on("close", onClose)
    output.on("error", onError).on("close", onClose)
    return Effect.sync(clean)
  })
