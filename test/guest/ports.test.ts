import { spawn, spawnSync } from "node:child_process"
import { createSocket } from "node:dgram"
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { createServer, type ListenOptions } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NewUnits from "../../src/guest/internal/newUnits.ts"
import * as PortList from "../../src/guest/internal/portList.ts"
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

const bound = (host: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<ReturnType<typeof createSocket>>((resume) => {
        const socket = createSocket(host.includes(":") ? "udp6" : "udp4")
        socket.bind(0, host, () => resume(Effect.succeed(socket)))
      }),
      (socket) => Effect.sync(() => socket.close())
    ),
    (socket) => socket.address().port
  )

for (const program of ["bash", "dash"] as const) {
  describe(`a UDP port, in ${program}`, () => {
    const soon = { protocol: "udp", timeout: "20 seconds" } as const
    const late = { protocol: "udp", timeout: "300 millis" } as const

    for (const [host, addresses, others] of [
      ["127.0.0.1", [undefined, "127.0.0.1", "localhost"], ["::1"]],
      ["::1", [undefined, "::1", "localhost"], ["127.0.0.1"]],
      ["::", [undefined, "::1", "localhost", "127.0.0.1"], []]
    ] as const) {
      it.live(`is open at ${addresses.map(String).join(", ")} when a socket is bound to ${host}`, () =>
        Effect.gen(function* () {
          const ports = Port.make((yield* guestOn(hostShell(program))).guest)
          const port = yield* bound(host)
          for (const address of addresses) {
            yield* ports.waitForOpenPort(port, address, soon)
            assert.strictEqual((yield* Effect.flip(ports.waitForClosedPort(port, address, late)))._tag, "WaitTimeout")
          }
          for (const address of others) yield* ports.waitForClosedPort(port, address, soon)
          // As TCP the same number is another port.
          yield* ports.waitForClosedPort(port, { timeout: "20 seconds" })
          const tcp = yield* Effect.flip(ports.waitForOpenPort(port, { timeout: "300 millis" }))
          assert.include(tcp.message, `UDP port ${port} is open; protocol: "udp" waits for it`)
        })
      )
    }

    it.live("is closed while nothing is bound to it, and the error of its wait has what is bound", () =>
      Effect.gen(function* () {
        const ports = Port.make((yield* guestOn(hostShell(program))).guest)
        const port = yield* bound("127.0.0.1")
        const tcp = yield* listening({ host: "127.0.0.1" })
        const error = yield* Effect.flip(ports.waitForOpenPort(tcp, late))
        assert.include(error.message, ` for UDP port ${tcp} to be open`)
        assert.match(error.message, new RegExp(`bound: .*127\\.0\\.0\\.1:${port}\\b`))
        assert.include(error.message, `TCP port ${tcp} is open; protocol: "tcp" waits for it`)
        yield* ports.waitForClosedPort(tcp, soon)
      })
    )
  })

  describe(`a port in another network namespace, in ${program}`, () => {
    // Only root may make one; guests are asked in integration-tests/machine-debian.test.ts.
    const can = spawnSync("unshare", ["--net", "true"]).status === 0
    it.live("is open if all namespaces count, and is told if they do not", ({ skip }) =>
      Effect.gen(function* () {
        if (!can) return skip("this user may not make a network namespace (unshare --net)")
        const ports = Port.make((yield* guestOn(hostShell(program))).guest)
        const server = `ip link set lo up 2>/dev/null; exec ${process.execPath} -e 'require("net").createServer().listen(45671, "127.0.0.1"); require("dgram").createSocket("udp4").bind(45672)'`
        yield* Effect.acquireRelease(
          Effect.sync(() => spawn("unshare", ["--net", "sh", "-c", server], { stdio: "ignore" })),
          (child) => Effect.sync(() => child.kill("SIGKILL"))
        )
        yield* ports.waitForOpenPort(45671, { namespaces: "all", timeout: "20 seconds" })
        yield* ports.waitForOpenPort(45672, { namespaces: "all", protocol: "udp", timeout: "20 seconds" })
        const own = yield* Effect.flip(ports.waitForOpenPort(45671, { timeout: "300 millis" }))
        assert.match(
          own.message,
          /port 45671 is open in the network namespace of \S+ \(process \d+\); namespaces: "all" counts it/
        )
        const closed = yield* Effect.flip(
          ports.waitForClosedPort(45672, { namespaces: "all", protocol: "udp", timeout: "300 millis" })
        )
        assert.match(closed.message, /UDP port 45672 to be closed in any network namespace/)
        assert.match(closed.message, /bound in the network namespace of \S+ \(process \d+\): .*0\.0\.0\.0:45672/)
        yield* ports.waitForClosedPort(45671, { timeout: "20 seconds" })
      })
    )
  })
}

describe("the sockets that a wait saw last", () => {
  const list = `in /proc/net/tcp 
0A 0100007F:1538
0A 00000000:0016
in /proc/net/tcp6 
0A 00000000000000000000000000000000:0016
0A 00000000000000000000000001000000:1538
0A 0000000000000000FFFF00000100007F:1F90
0A B80D0120000000000000000001000000:0050
in /proc/net/udp 
07 3500007F:0035
in /proc/312/net/tcp nginx
0A 00000000:0050
in /proc/400/net/udp6 dns masq
07 00000000000000000000000000000000:0035
`

  it("are shown with their addresses, by port, each once, and where else the port is in use", () => {
    assert.strictEqual(
      PortList.shown(80, { protocol: "tcp", namespaces: "own" })(list),
      `listening: 0.0.0.0:22, [::]:22, [2001:db8::1]:80, 127.0.0.1:5432, [::1]:5432, [::ffff:127.0.0.1]:8080
port 80 is open in the network namespace of nginx (process 312); namespaces: "all" counts it`
    )
    assert.strictEqual(
      PortList.shown(53, { protocol: "udp", namespaces: "all" })(list),
      "bound: 127.0.0.53:53\nbound in the network namespace of dns masq (process 400): [::]:53"
    )
    assert.strictEqual(
      PortList.shown(53, { protocol: "tcp", namespaces: "all" })("in /proc/net/udp \n07 3500007F:0035\n"),
      'nothing listens on any TCP port\nUDP port 53 is open; protocol: "udp" waits for it'
    )
    assert.strictEqual(
      PortList.shown(53, { protocol: "udp", namespaces: "own" })(""),
      "nothing is bound to any UDP port"
    )
    const many = Array.from(
      { length: 100 },
      (_, index) => `0A 00000000:${(index + 256).toString(16).toUpperCase().padStart(4, "0")}`
    )
    assert.match(
      PortList.shown(1, { protocol: "tcp", namespaces: "own" })(`in /proc/net/tcp \n${many.join("\n")}\n`),
      /^listening: 0\.0\.0\.0:256, .*0\.0\.0\.0:295, and 60 more$/
    )
  })
})

describe("options of a wait for a port that do not go together", () => {
  it.effect("are refused before the guest is asked", () =>
    Effect.gen(function* () {
      const ports = Port.make((yield* guestOn(shellOf(() => Effect.never))).guest)
      const udp = yield* Effect.flip(ports.waitForOpenPort(53, "dns", { protocol: "udp" }))
      assert.match(
        udp.message,
        /waitForOpenPort: protocol must be "tcp" with the address of another machine, got "udp"/
      )
      const all = yield* Effect.flip(ports.waitForClosedPort(53, "localhost", { namespaces: "all" }))
      assert.match(all.message, /waitForClosedPort: namespaces must be "own" with an address, got "all"/)
      const other = yield* Effect.flip(ports.waitForOpenPort(53, { protocol: JSON.parse('"sctp"') }))
      assert.match(other.message, /protocol must be "tcp" or "udp", got "sctp"/)
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
      assert.match(error.message, /last seen: no-such-host\.invalid has no address$/)
      yield* ports.waitForClosedPort(1, "127.0.0.2", { timeout: "20 seconds" })
    })
  )

  it.live("is said to be another machine's when its name is nearly one of the hosts file", () =>
    Effect.gen(function* () {
      const ports = Port.make((yield* guestOn(hostShell("bash"))).guest)
      for (const wait of [ports.waitForOpenPort, ports.waitForClosedPort]) {
        const error = yield* Effect.flip(wait(80, "localhos", { timeout: "1 second" }))
        assert.strictEqual(error._tag, "WaitTimeout")
        assert.match(error.message, /last seen: localhos has no address; did you mean "localhost"\?$/)
      }
    })
  )
})

describe("a service that is active before it listens", () => {
  const refused = "connect to other port 22: Connection refused"

  for (const address of [undefined, "127.0.0.2"]) {
    it.live(`is no reason for refusals once ${address ?? "its own"} port is open`, () =>
      Effect.gen(function* () {
        const { guest } = yield* guestOn(hostShell("bash"))
        const port = yield* listening({ host: "0.0.0.0" })
        NewUnits.note(guest, { unit: "web.service", type: "simple" })
        yield* Port.make(guest).waitForClosedPort(1, { timeout: "20 seconds" })
        assert.include(NewUnits.explain(guest, refused), "web.service is a service of Type=simple")
        yield* Port.make(guest).waitForOpenPort(port, address, { timeout: "20 seconds" })
        assert.strictEqual(NewUnits.explain(guest, refused), "")
      })
    )
  }
})
