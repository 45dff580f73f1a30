import type * as Net from "node:net"
import { connect as dial } from "node:net"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Connection } from "../../src/transport/Connection.ts"
import { vsock } from "../../src/transport/GuestChannel.ts"
import * as Vsock from "../../src/transport/Vsock.ts"
import { folder, lines, serve } from "./peer.ts"

/** A hypervisor that does this with a connection that asked for a port. */
const hypervisor = (answer: (socket: Net.Socket, asked: string) => void) =>
  Effect.gen(function* () {
    const path = join(yield* folder, "vsock")
    yield* serve(path, (socket) => lines(socket, (line) => answer(socket, line)))
    return path
  })

/** What a connection says, once it has said as much as is wanted. */
const heard = (connection: Connection, wanted: string) =>
  Effect.callback<string>((resume) => {
    let text = ""
    connection.onData((chunk) => {
      text += chunk.toString()
      if (text.length >= wanted.length) resume(Effect.succeed(text))
    })
  }).pipe(
    Effect.timeout("5 seconds"),
    Effect.map((text) => assert.strictEqual(text, wanted))
  )

const said = "OK 1073741824\nvmtest: shell ready\n"

describe("a connection over vsock", () => {
  it.live("asks for its port and hands over what comes after the answer, wherever reads cut it", () =>
    Effect.gen(function* () {
      for (let cut = 0; cut <= said.length; cut++) {
        const asked: Array<string> = []
        const socket = yield* hypervisor((peer, line) => {
          asked.push(line)
          peer.write(said.slice(0, cut))
          setTimeout(() => peer.write(said.slice(cut)), 2)
        })
        const connection = yield* Vsock.connect({ machine: "vm", socket, port: 5000 })
        yield* heard(connection, "vmtest: shell ready\n")
        assert.deepStrictEqual(asked, ["CONNECT 5000"])
      }
    }).pipe(Effect.scoped)
  )

  it.live("fails at once with a typed error when the answer is cut off at any byte", () =>
    Effect.gen(function* () {
      for (let cut = 0; cut < said.indexOf("\n"); cut++) {
        const socket = yield* hypervisor((peer) => peer.end(said.slice(0, cut)))
        const error = yield* Effect.timeout(
          Effect.flip(Vsock.connect({ machine: "vm", socket, port: 5000 })),
          "2 seconds"
        )
        assert.deepInclude(error, { _tag: "TransportError", machine: "vm", socket })
        assert.include(error.message, "vsock port 5000")
      }
    }).pipe(Effect.scoped)
  )

  it.live("takes nothing else for an answer", () =>
    Effect.gen(function* () {
      for (const garbage of ["NO\n", "OK\n", "ok 12\n", "OK 12x\n", "\n", "x".repeat(100), "\0\xff\n", "OK 1\r\n"]) {
        const socket = yield* hypervisor((peer) => peer.write(garbage))
        const error = yield* Effect.timeout(Effect.flip(Vsock.connect({ machine: "vm", socket, port: 1 })), "2 seconds")
        assert.include(error.message, "the peer did not answer OK")
      }
    }).pipe(Effect.scoped)
  )

  it.live("leaves nothing of the attempts before it", () =>
    Effect.gen(function* () {
      const open = new Set<Net.Socket>()
      let asked = 0
      const socket = yield* hypervisor((peer) => {
        open.add(peer)
        peer.on("close", () => open.delete(peer))
        peer.write(asked++ < 5 ? "NO\n" : said)
      })
      const transport = Vsock.make({ machine: "vm", channel: vsock({ socket, port: 1 }) })
      yield* heard(yield* transport.bootstrap, "vmtest: shell ready\n")
      yield* Effect.sleep("100 millis")
      assert.strictEqual(open.size, 1)
    }).pipe(Effect.scoped)
  )

  it.live("that the guest makes arrives at the host's port, once, with all that it said", () =>
    Effect.gen(function* () {
      const socket = join(yield* folder, "vsock")
      const listener = yield* Vsock.listen({ machine: "vm", socket, port: 7 })
      const guest = dial(`${socket}_7`)
      guest.write("hello")
      const connection = yield* listener.accept
      yield* heard(connection, "hello")
      const second = dial(`${socket}_7`)
      yield* Effect.callback<void>((resume) => {
        second.on("close", () => resume(Effect.void))
        second.on("error", () => {})
      })
      guest.destroy()
      assert.include(yield* connection.closed, "closed")
    }).pipe(Effect.scoped)
  )
})
