/** Peers that dial the host, as QEMU does where the host listens for a console. */
import { once } from "node:events"
import { connect as dial } from "node:net"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Connection from "../../src/transport/Connection.ts"
import { virtConsole } from "../../src/transport/GuestChannel.ts"
import * as Shell from "../../src/transport/Shell.ts"
import { folder } from "./peer.ts"

/** A peer that dials and leaves again. */
const stray = (path: string) =>
  Effect.promise(async () => {
    const socket = dial(path)
    await once(socket, "connect")
    socket.destroy()
    await once(socket, "close")
  })

describe("a listener", () => {
  it.live("passes over a peer that left, and stays with one that is there until it leaves", () =>
    Effect.gen(function* () {
      const socket = join(yield* folder, "console")
      const { accept } = yield* Connection.listen({ machine: "vm", socket })
      yield* stray(socket)
      const [first, second] = [dial(socket), dial(socket)]
      yield* Effect.sleep("100 millis")
      const connection = yield* Effect.timeout(accept, "2 seconds")
      assert.strictEqual(yield* accept, connection)
      first.destroy()
      yield* Effect.timeout(connection.closed, "2 seconds")
      const other = yield* Effect.timeout(accept, "2 seconds")
      assert.notStrictEqual(other, connection)
      second.destroy()
      yield* Effect.timeout(other.closed, "2 seconds")
    }).pipe(Effect.scoped)
  )

  it.live("gives what a peer said that has left already", () =>
    Effect.gen(function* () {
      const socket = join(yield* folder, "console")
      const { accept } = yield* Connection.listen({ machine: "vm", socket })
      dial(socket).end("all")
      yield* Effect.sleep("100 millis")
      const connection = yield* Effect.timeout(accept, "2 seconds")
      const text = yield* Effect.callback<string>((resume) =>
        connection.onData((chunk) => resume(Effect.succeed(String(chunk))))
      )
      assert.strictEqual(text, "all")
    }).pipe(Effect.scoped)
  )

  it.live("keeps the words of so many peers that left, and turns the others away", () =>
    Effect.gen(function* () {
      const socket = join(yield* folder, "console")
      const { accept } = yield* Connection.listen({ machine: "vm", socket })
      for (let i = 0; i < 40; i++) {
        yield* Effect.callback<void>((resume) => {
          const peer = dial(socket)
          // One that is turned away may not have said all.
          peer.on("error", () => {})
          peer.on("close", () => resume(Effect.void))
          peer.resume()
          peer.end(`${i}`)
        })
      }
      yield* Effect.sleep("100 millis")
      let kept = 0
      while ((yield* Effect.timeoutOption(accept, "200 millis"))._tag === "Some") kept++
      assert.strictEqual(kept, 16)
    }).pipe(Effect.scoped)
  )

  it.live("lets a peer that is not read yet wait, and loses nothing of what it says", () =>
    Effect.gen(function* () {
      const socket = join(yield* folder, "console")
      const { accept } = yield* Connection.listen({ machine: "vm", socket })
      const size = 20_000_000
      const peer = dial(socket)
      const piece = Buffer.alloc(100_000, "x")
      for (let sent = 0; sent < size; sent += piece.length) peer.write(piece)
      yield* Effect.sleep("500 millis")
      assert.isAbove(peer.writableLength, size / 2)
      const connection = yield* Effect.timeout(accept, "2 seconds")
      const whole = Effect.callback<void>((resume) => {
        let heard = 0
        connection.onData((chunk) => {
          heard += chunk.length
          if (heard === size) resume(Effect.void)
        })
      })
      yield* Effect.timeout(whole, "10 seconds")
      peer.destroy()
    }).pipe(Effect.scoped)
  )

  it.live("waits for the guest after a stray dial, for as long as a boot may take", () =>
    Effect.gen(function* () {
      const socket = join(yield* folder, "console")
      const shell = Shell.make({
        machine: "vm",
        channel: virtConsole({ socket, listen: true }),
        bootTimeout: "1 second"
      })
      const strays = Effect.andThen(Effect.sleep("200 millis"), stray(socket))
      const [error] = yield* Effect.all([Effect.flip(shell), strays], { concurrency: 2 })
      assert(error._tag === "ShellNotReady")
      assert.strictEqual(Duration.toMillis(error.waited), 1000)
      assert.include(error.reason, "did not answer")
    }).pipe(Effect.scoped)
  )
})
