/** eth0, which leads nowhere by default, to the host's networks with `internet: true`, and into the guest by ports of the host. */
import * as Net from "node:net"
import * as Os from "node:os"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import * as Image from "../src/images/Image.ts"
import { Machine, onDriver } from "../src/vitest.ts"

const small = { image: Image.tiny(), memory: "128 MiB", snapshot: false } as const

class Open extends Machine<Open>()("open", { ...small, internet: true }) {}
class Closed extends Machine<Closed>()("closed", small) {}

/** A server of the host at all of its addresses, which says who it is. */
const server = Effect.acquireRelease(
  Effect.callback<{ readonly server: Net.Server; readonly port: number; readonly count: () => number }>((resume) => {
    let count = 0
    const server = Net.createServer((socket) => {
      count += 1
      socket.on("error", () => {}).end("the host\n")
    })
    server.listen(0, "0.0.0.0", () =>
      resume(Effect.succeed({ server, port: (server.address() as Net.AddressInfo).port, count: () => count }))
    )
  }),
  ({ server }) => Effect.sync(() => server.close())
)

/** An address of the host that is not its loopback's. */
const outer = Object.values(Os.networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address
if (outer === undefined) process.stderr.write("skipped in part: this host has no address besides its loopback's\n")

/** What somebody says to whoever connects to a port of the host. */
const said = (port: number) =>
  Effect.callback<string>((resume) => {
    let text = ""
    const socket = Net.connect({ port, host: "127.0.0.1" })
    socket.on("data", (chunk) => (text += chunk.toString()))
    socket.on("error", () => {}).on("close", () => resume(Effect.succeed(text)))
    return Effect.sync(() => socket.destroy())
  })

onDriver(DriverLayer.layer({ name: "the internet" }), Layer.mergeAll(Open.layer, Closed.layer))("eth0", (it) => {
  it.effect("leads to the host and its networks with internet, and nowhere without", () =>
    Effect.gen(function* () {
      const [open, closed, host] = [yield* Open, yield* Closed, yield* server]
      // libslirp's name for the loopback of the host, and an address of its own.
      const addresses = ["10.0.2.2", ...(outer === undefined ? [] : [outer])]
      for (const address of addresses) {
        const before = host.count()
        const ask = `nc -w 10 ${address} ${host.port} </dev/null`
        assert.strictEqual(yield* open.succeed(ask), "the host\n", address)
        yield* closed.fail(ask.replace("-w 10", "-w 3"))
        assert.strictEqual(host.count(), before + 1)
      }
      assert.include(yield* open.succeed("ip route"), "default via 10.0.2.2 dev eth0")
      assert.include(yield* open.succeed("cat /etc/resolv.conf"), "nameserver 10.0.2.3")
      assert.notInclude(yield* closed.succeed("ip route"), "default")
      assert.notInclude(yield* closed.succeed("cat /etc/resolv.conf"), "nameserver")
    }).pipe(Effect.scoped)
  )

  it.effect("leads from a port of the host into the guest, declared and while it runs, internet or not", () =>
    Effect.gen(function* () {
      const driver = yield* Driver
      // A free one: another process could take it before the machine does, but hardly does.
      const hostPort = yield* Effect.scoped(Effect.map(server, ({ port }) => port))
      const declared = yield* driver.machine("declared", { ...small, forwards: [{ hostPort, guestPort: 7000 }] })
      const twin = { ...small, forwards: [{ hostPort, guestPort: 80 }] }
      const error = yield* Effect.flip(driver.machine("twin", twin))
      assert.include(
        error.message,
        `hostPort must be a port of its own, got ${hostPort}, which leads to declared already`
      )
      for (const machine of [yield* Open, yield* Closed, declared]) {
        yield* machine.succeed(`nc -ll -p 7000 -e echo ${machine.name} </dev/null >/dev/null 2>&1 &`)
        yield* machine.waitForOpenPort(7000)
        assert.strictEqual(yield* said(yield* machine.forwardPort({ guestPort: 7000 })), `${machine.name}\n`)
      }
      assert.strictEqual(yield* said(hostPort), "declared\n")
    })
  )
})
