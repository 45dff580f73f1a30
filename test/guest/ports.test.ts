import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { createServer, type ListenOptions } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Port from "../../src/guest/Port.ts"
import { guestOn, hostShell, shellOf } from "../machine/support.ts"

const listening = (options: ListenOptions) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<ReturnType<typeof createServer>>((resume) => {
        const server = createServer()
        server.listen({ port: 0, ...options }, () => resume(Effect.succeed(server)))
      }),
      (server) => Effect.sync(() => server.close())
    ),
    (server) => (server.address() as { port: number }).port
  )

for (const program of ["bash", "dash"] as const) {
  describe(`a listener of IPv6, in ${program}`, () => {
    for (const host of ["::ffff:127.0.0.1", "::ffff:0.0.0.0"]) {
      it.live(`is reached at 127.0.0.1 when it has ${host}`, () =>
        Effect.gen(function* () {
          const { guest } = yield* guestOn(hostShell(program))
          const port = yield* listening({ host })
          for (const address of ["127.0.0.1", "localhost"]) {
            yield* Port.make(guest).waitForOpenPort(port, address, { timeout: "20 seconds" })
            const closed = yield* Effect.flip(
              Port.make(guest).waitForClosedPort(port, address, { timeout: "300 millis" })
            )
            assert.strictEqual(closed._tag, "WaitTimeout")
          }
        })
      )
    }
  })
}

describe("a port of 127.0.0.1 on which IPv6 alone is heard", () => {
  it.live("is closed", () =>
    Effect.gen(function* () {
      const ports = Port.make((yield* guestOn(hostShell("bash"))).guest)
      const port = yield* listening({ host: "::", ipv6Only: true })
      yield* ports.waitForClosedPort(port, "127.0.0.1", { timeout: "20 seconds" })
      const open = yield* Effect.flip(ports.waitForOpenPort(port, "127.0.0.1", { timeout: "1 second" }))
      assert.strictEqual(open._tag, "WaitTimeout")
      yield* ports.waitForOpenPort(port, "localhost", { timeout: "20 seconds" })
    })
  )

  it.live("is open when IPv4 is heard as well, which is tried once", () =>
    Effect.gen(function* () {
      const ports = Port.make((yield* guestOn(hostShell("bash"))).guest)
      let connections = 0
      const server = createServer(() => connections++)
      yield* Effect.callback<void>((resume) => {
        server.listen(0, "::", () => resume(Effect.void))
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => server.close()))
      const { port } = server.address() as { port: number }
      yield* ports.waitForOpenPort(port, "127.0.0.1", { timeout: "20 seconds" })
      yield* Effect.flip(ports.waitForClosedPort(port, "127.0.0.1", { timeout: "1 second" }))
      assert.strictEqual(connections, 2)
    })
  )
})

/** A guest without bash, with these programs besides `sleep`. */
const bare = (programs: Readonly<Record<string, string>>) =>
  Effect.gen(function* () {
    const folder = mkdtempSync(join(tmpdir(), "vmtest-bare-"))
    yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
    symlinkSync("/bin/sleep", join(folder, "sleep"))
    for (const [name, script] of Object.entries(programs)) {
      writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`)
      chmodSync(join(folder, name), 0o755)
    }
    const shell = hostShell("dash")
    const { guest } = yield* guestOn(shellOf((command) => Effect.orDie(shell.execute(`PATH=${folder}\n${command}`))))
    return { ports: Port.make(guest), folder }
  })

describe("a port elsewhere", () => {
  it.live("needs something to connect with", () =>
    Effect.gen(function* () {
      const { ports } = yield* bare({})
      for (const waiting of [ports.waitForClosedPort(80, "web"), ports.waitForOpenPort(80, "web")]) {
        const error = yield* Effect.flip(waiting)
        assert.strictEqual(error._tag, "NoWayToConnect")
        assert.include(error.message, "could not connect to port 80 of web: the guest has none of bash, telnet and nc")
      }
    })
  )

  it.live("is open or closed as telnet or nc say", () =>
    Effect.gen(function* () {
      for (const [name, open, refused, unresolved] of [
        ["telnet", "echo Connected to web; exit 1", "Connection refused", "telnet: bad address 'web'"],
        ["nc", "exit 0", "nc: can't connect to remote host (10.0.0.1): Connection refused", "nc: bad address 'web'"]
      ] as const) {
        const soon = { timeout: "20 seconds" } as const
        const late = { timeout: "1 second" } as const
        yield* (yield* bare({ [name]: open })).ports.waitForOpenPort(80, "web", soon)
        yield* (yield* bare({ [name]: `echo "${refused}" >&2; exit 1` })).ports.waitForClosedPort(80, "web", soon)
        const { ports } = yield* bare({ [name]: `echo "${unresolved}" >&2; exit 1` })
        const closed = yield* Effect.flip(ports.waitForClosedPort(80, "web", late))
        assert.include(closed.message, "web has no address")
        assert.strictEqual((yield* Effect.flip(ports.waitForOpenPort(80, "web", late)))._tag, "WaitTimeout")
      }
    })
  )

  it.live("is said to be refused, without a route, or without an answer, when a wait for it is over", () =>
    Effect.gen(function* () {
      for (const [does, says] of [
        ["echo 'nc: web (10.0.0.1:80): Connection refused' >&2; exit 1", "the connection is refused"],
        ["echo 'nc: web (10.0.0.1:80): No route to host' >&2; exit 1", "there is no route to it"],
        // As what is ended after a second is.
        ["kill $$", "no answer within a second"],
        ["exit 1", "connecting fails"]
      ] as const) {
        const { ports } = yield* bare({ nc: does })
        const error = yield* Effect.flip(ports.waitForOpenPort(80, "web", { timeout: "1 second" }))
        assert.include(error.message, `last seen: ${says}`)
      }
    })
  )

  it.live("is neither open nor closed when its name has no address, for bash too", () =>
    Effect.gen(function* () {
      const ports = Port.make((yield* guestOn(hostShell("bash"))).guest)
      const error = yield* Effect.flip(ports.waitForClosedPort(80, "no-such-host.invalid", { timeout: "1 second" }))
      assert.strictEqual(error._tag, "WaitTimeout")
      yield* ports.waitForClosedPort(1, "127.0.0.2", { timeout: "20 seconds" })
    })
  )
})
