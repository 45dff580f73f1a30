import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, layer } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Socket from "effect/socket/Socket"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import { Reporter } from "../src/driver/RunEvent.ts"
import * as Runner from "../src/driver/Runner.ts"
import * as SavedTest from "../src/driver/SavedTest.ts"
import { SoftFailures } from "../src/driver/SoftFailure.ts"
import { test } from "../src/driver/TestCase.ts"
import * as Image from "../src/images/Image.ts"
import type { Machine } from "../src/machine/Machine.ts"
import * as Bridge from "../src/network/Bridge.ts"

const tiny = { image: Image.tiny(), memory: "128 MiB" } as const

const big = Buffer.alloc(10 * 1024 * 1024)
for (let at = 0; at < big.length; at += 4) big.writeUInt32LE((at * 2654435761) >>> 0, at)
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")

class Broken extends Error {
  override readonly name = "Broken"
}

/** What an upstream of a test may do. */
const api = (requests: Ref.Ref<number>) =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    yield* Ref.update(requests, (count) => count + 1)
    switch (request.url) {
      case "/big":
        return HttpServerResponse.uint8Array(big)
      case "/sum":
        return HttpServerResponse.text(sha256(new Uint8Array(yield* request.arrayBuffer)))
      case "/slow":
        return yield* Effect.never
      case "/fails-late":
        return yield* Effect.delay(Effect.fail(new Broken("too late")), "50 millis")
      case "/fails":
        return yield* Effect.fail(new Broken("no such luck"))
      default:
        return HttpServerResponse.text(`${request.method} ${request.url} for ${request.headers.host}\n`)
    }
  })

/** Says back each line. */
const echo = (socket: Socket.Socket) =>
  Effect.gen(function* () {
    const writer = yield* socket.writer
    yield* Socket.toStream(socket).pipe(
      Stream.decodeText(),
      Stream.splitLines,
      Stream.runForEach(
        (line): Effect.Effect<void, Broken | Socket.SocketError> =>
          line === "break" ? Effect.fail(new Broken("told to")) : writer.write(`you said ${line}\n`)
      )
    )
  })

const get = (machine: Machine, path: string, more = "") => machine.succeed(`wget -q -O - ${more} http://api${path}`)

/** Kills the processes in which the services of this test have their TCP. */
const killStacks = Effect.sync(() => {
  for (const pid of Fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    const [command = "", parent = ""] = ["cmdline", "stat"].map((file) => {
      const path = `/proc/${pid}/${file}`
      return Fs.existsSync(path) ? Fs.readFileSync(path, "utf8") : ""
    })
    const isOurs = Number(parent.slice(parent.lastIndexOf(")") + 2).split(" ")[1]) === process.pid
    if (isOurs && command.includes("guestfwd=tcp:192.168.1.254")) process.kill(Number(pid), "SIGKILL")
  }
})

const run = Effect.fnUntraced(function* (
  tests: Parameters<typeof Runner.run>[0],
  output = "vmtest-output",
  capture = false
) {
  const logged: Array<string> = []
  const results = yield* Runner.run(tests, { output, capture }).pipe(
    Effect.provideService(Reporter, (event) =>
      Effect.sync(() => {
        if (event._tag === "Log") logged.push(event.line)
      })
    )
  )
  for (const { failure, name } of results) assert.isUndefined(failure, `${name}: ${failure?.message}`)
  return logged
})

layer(DriverLayer.host, { excludeTestServices: true, timeout: "15 minutes" })("services of the host", (it) => {
  it.effect("are reached by name, over HTTP and TCP, under load, late links and partitions, and in forks", () =>
    Effect.gen(function* () {
      const took: Record<string, string> = {}
      const timed = <A, E, R>(name: string, effect: Effect.Effect<A, E, R>) =>
        Effect.map(Effect.timed(effect), ([duration, value]) => {
          took[name] = Duration.format(duration)
          return value
        })
      const logged = yield* run([
        test("a fake upstream", { machines: { a: tiny, b: tiny } }, ({ a, b }, driver) =>
          Effect.gen(function* () {
            const requests = yield* Ref.make(0)
            const handler = api(requests)
            const service = yield* timed("start", driver.hostService({ name: "api", port: 80, handler }))
            assert.deepInclude(service, {
              name: "api",
              port: 80,
              vlan: 1,
              ipv4: "192.168.1.254",
              ipv6: "2001:db8:1::fe",
              mac: "52:54:00:12:01:fe"
            })

            assert.strictEqual(yield* timed("one request", get(a, "/hello")), "GET /hello for api\n")
            // Over each family, by its addresses.
            yield* a.succeed("ping -c 1 -w 10 192.168.1.254", "ping6 -c 1 -w 10 2001:db8:1::fe")
            for (const [family, host] of [
              ["IPv4", "192.168.1.254"],
              ["IPv6", "[2001:db8:1::fe]"]
            ]) {
              const sums = a.succeed(`wget -q -O - http://${host}/big | sha256sum`)
              assert.strictEqual((yield* timed(`10 MiB, ${family}`, sums)).split(" ")[0], sha256(big))
              const refused = yield* a.execute(`wget -q -O - http://${host}:81/`)
              assert.include(refused.stderr, "Connection refused")
            }
            yield* a.succeed("head -c 200000 /dev/urandom | base64 > /tmp/body")
            const sum = (yield* a.succeed("sha256sum < /tmp/body")).split(" ")[0]
            assert.strictEqual(yield* get(a, "/sum", "--post-file /tmp/body"), sum)

            yield* timed(
              "50 connections",
              b.succeed("for i in $(seq 50); do wget -q -O - http://api/$i; done | grep -c for")
            )
            yield* timed(
              "8 at once",
              a
                .succeed("for i in 1 2 3 4 5 6 7 8; do wget -q -O - http://api/big | sha256sum & done; wait")
                .pipe(Effect.map((sums) => assert.strictEqual(sums, `${sha256(big)}  -\n`.repeat(8))))
            )
            const checked = a.succeed("wget -q -O - http://api/big | sha256sum")
            assert.strictEqual((yield* timed("10 MiB", checked)).split(" ")[0], sha256(big))
            assert.strictEqual(yield* Ref.get(requests), 1 + 2 + 1 + 50 + 8 + 1)

            const ended = yield* a.execute("wget -O - http://api/fails")
            assert.include(ended.stderr, "500 Internal Server Error")
            assert.include((yield* a.execute("wget -O - http://api/fails-late")).stderr, "500 Internal Server Error")
            // A client that gives up is no failure of the test, either.
            yield* a.fail("timeout 1 wget -q -O - http://api/slow")

            yield* Effect.scoped(
              Effect.gen(function* () {
                yield* service.link().impair({ latency: "50 millis" })
                const [late] = yield* Effect.timed(get(a, "/late"))
                assert.isAtLeast(Duration.toMillis(late), 100)
                assert.strictEqual((yield* timed("10 MiB, 50 ms late", checked)).split(" ")[0], sha256(big))
              })
            )
            yield* Effect.scoped(
              Effect.gen(function* () {
                yield* driver.network(1).partition([a], [b, service])
                yield* a.fail("timeout 3 wget -q -O - http://api/")
                yield* get(b, "/")
              })
            )
            yield* get(a, "/")

            // Further ports of the name, HTTP and TCP.
            yield* driver.hostService({
              name: "api",
              port: 8080,
              handler: Effect.succeed(HttpServerResponse.text("another port\n"))
            })
            assert.strictEqual(yield* b.succeed("wget -q -O - http://api:8080/"), "another port\n")
            yield* Effect.scoped(
              Effect.gen(function* () {
                yield* driver.hostService({ name: "api", port: 7, handler: echo })
                assert.strictEqual(yield* a.succeed("{ echo hello; sleep 1; } | nc api 7"), "you said hello\n")
                assert.strictEqual(yield* a.succeed("{ echo break; sleep 1; } | nc api 7 || true"), "")
              })
            )
            // Who waits for an answer when the service ends does not wait for ever.
            const waiting = yield* Effect.scoped(
              Effect.gen(function* () {
                yield* driver.hostService({ name: "api", port: 81, handler: Effect.never })
                const waits = yield* a.spawn("wget -q -O - http://api:81/", { detached: true })
                yield* a.waitUntilSucceeds("netstat -tn | grep -q ':81 .*ESTABLISHED'")
                return waits
              })
            )
            yield* waiting.wait({ timeout: "20 seconds" })
            // Nothing else of the address can be reached, nor what QEMU has in a user network.
            for (const port of [7, 22, 53]) {
              const refused = yield* a.execute(`timeout 5 nc api ${port} < /dev/null`)
              assert.include(refused.stderr, "Connection refused", `${port}`)
            }
            yield* a.fail("timeout 2 nc 192.168.1.2 53 </dev/null", "udhcpc -i eth1 -n -q -t 2 -T 1 -s /bin/true")
            assert.notInclude(yield* a.succeed("ip neigh show dev eth1"), "192.168.1.3 ")

            // A fork of the test has services of its own, which answer its machines.
            const before = yield* Ref.get(requests)
            yield* driver.fork(({ a }, fork) =>
              Effect.gen(function* () {
                assert.strictEqual(yield* get(a, "/fork"), "GET /fork for api\n")
                yield* fork.hostService({
                  name: "other",
                  port: 80,
                  handler: Effect.succeed(HttpServerResponse.text("of the fork\n"))
                })
                assert.strictEqual(yield* a.succeed("wget -q -O - http://other/"), "of the fork\n")
              })
            )
            assert.strictEqual(yield* Ref.get(requests), before + 1)
            yield* a.fail("ping -c 1 -w 1 other")
            yield* get(a, "/")

            // A machine that is made later knows the name.
            const c = yield* driver.machine("c", tiny)
            yield* get(c, "/late")

            const link = service.link()
            assert.throws(() => Reflect.get(service, "lnik"), 'api has no method "lnik"; did you mean "link"?')
            assert.throws(() => Reflect.get(link, "impiar"), 'api.link() has no method "impiar"')
            const tooMuch = yield* Effect.flip(link.impair({ loss: 10 }))
            assert.include(tooMuch.message, "api.link().impair: loss must be a share from 0 to 1")

            for (const [options, message] of [
              [{ name: "api", port: 80 }, "port must be one that api does not serve yet, got 80"],
              [{ name: "x", port: 70000 }, "port must be a whole number from 1 to 65535, got 70000"],
              [{ name: "a", port: 80 }, 'name must not be that of a machine, got "a"'],
              [{ name: "no name", port: 80 }, "name must be a host name"],
              [
                { name: "api", port: 81, ipv4: "192.168.1.77" },
                "ipv4 must be 192.168.1.254, which api has had since its first service, got 192.168.1.77"
              ],
              [{ name: "x", port: 80, network: "lna" }, "unknown network"],
              [
                { name: "api", port: 81, ipv6: "fd00::9" },
                "ipv6 must be 2001:db8:1::fe, which api has had since its first service, got fd00::9"
              ],
              [
                { name: "x", port: 80, ipv6: "2001:db8:1::1" },
                "ipv6 must be an address of its own, got 2001:db8:1::1, which a has"
              ],
              [{ name: "x", port: 80, ipv4: "none" }, "ipv4 must be an IPv4 address with a prefix of 1 to 32"],
              [
                { name: "x", port: 80, ipv4: "192.168.1.1" },
                "ipv4 must be an address of its own, got 192.168.1.1, which a has"
              ]
            ] as const) {
              const error = yield* Effect.flip(driver.hostService({ ...options, handler }))
              assert.strictEqual(error._tag, "InvalidArgument")
              assert.include(error.message, message)
            }

            // Its TCP dies, is started again, and the report says so.
            yield* killStacks
            yield* a.waitUntilSucceeds("wget -q -O - http://api/", { timeout: "1 minute" })
          })
        )
      ])
      const place = / \(integration-tests\/network-host-service\.test\.ts:\d+:\d+\)$/
      for (const line of logged.slice(0, 3)) assert.match(line, place)
      assert.deepStrictEqual(
        logged.slice(0, 3).map((line) => line.replace(place, "")),
        [
          "host service api:80: GET /fails failed: Broken: no such luck",
          "host service api:80: GET /fails-late failed: Broken: too late",
          "host service api:7: a connection failed: Broken: told to"
        ]
      )
      const restarted = "QEMU ended with signal SIGKILL; its connections are lost, and it is started again"
      assert.sameMembers(logged.slice(3), [`host service api:80: ${restarted}`, `host service api:8080: ${restarted}`])
      process.stdout.write(`measured: ${JSON.stringify(took)}\n`)
    })
  )

  it.effect("have their addresses again where a saved test is resumed, and are served again there", () =>
    Effect.gen(function* () {
      const output = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-resume-"))
      const handler = (text: string) => Effect.succeed(HttpServerResponse.text(text))
      // The second service has the second highest address.
      const overIpv6 = "wget -q -O - 'http://[2001:db8:1::fd]/'"
      const saved = test("saved", { machines: { a: tiny } }, ({ a }, driver) =>
        Effect.gen(function* () {
          yield* driver.hostService({ name: "other", port: 80, handler: handler("other\n"), ipv4: "192.168.1.77" })
          yield* driver.hostService({ name: "api", port: 80, handler: handler("before\n") })
          assert.strictEqual(yield* get(a, "/"), "before\n")
          assert.strictEqual(yield* a.succeed(overIpv6), "before\n")
          yield* a.succeed("exit 7")
        })
      )
      const [result] = yield* Runner.run([saved], { output, snapshotOnFailure: true })
      assert.strictEqual(result?.status, "failed")
      yield* Effect.scoped(
        Effect.gen(function* () {
          const opened = yield* SavedTest.open(result?.folder ?? "")
          const driver = yield* SavedTest.resume(opened, { output, soft: new SoftFailures() })
          const { a } = driver.machines
          // The guest knows its neighbour of before, so that it would try for two minutes.
          const early = yield* a!.execute("timeout 5 wget -q -O - http://api/")
          assert.notStrictEqual(early.exitCode, 0)
          assert.strictEqual(early.stdout, "")
          assert.notStrictEqual((yield* a!.execute(`timeout 5 ${overIpv6}`)).exitCode, 0)
          const api = yield* driver.hostService({ name: "api", port: 80, handler: handler("after\n") })
          assert.strictEqual(api.ipv4, "192.168.1.254")
          const [took, said] = yield* Effect.timed(a!.succeed(overIpv6))
          assert.strictEqual(said, "after\n")
          process.stdout.write(`measured: the first request over IPv6 took ${Duration.format(took)}\n`)
          // A guest that had to find its neighbour again would take seconds.
          assert.isBelow(Duration.toSeconds(took), 5)
          assert.strictEqual(yield* get(a!, "/"), "after\n")
          const other = yield* driver.hostService({ name: "other", port: 80, handler: handler("other\n") })
          assert.strictEqual(other.ipv4, "192.168.1.77")
          assert.strictEqual(yield* a!.succeed("wget -q -O - http://other/"), "other\n")
        })
      )
      Fs.rmSync(output, { recursive: true })
    })
  )

  it.effect("are seen by captures, and reached on a bridge of Linux, too", () =>
    Effect.gen(function* () {
      const bridge = yield* Effect.result(Bridge.probe)
      if (Result.isFailure(bridge)) process.stdout.write(`skipped on a bridge: ${bridge.failure.message}\n`)
      const fabrics = Result.isFailure(bridge) ? (["switch"] as const) : (["switch", "bridge"] as const)
      const output = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-service-"))
      const logged = yield* run(
        fabrics.map((fabric) =>
          test(fabric, { networks: { lan: { fabric } }, machines: { a: tiny } }, ({ a }, driver) =>
            Effect.gen(function* () {
              yield* driver.hostService({ name: "api", port: 80, handler: api(yield* Ref.make(0)) })
              yield* a.succeed("ping -c 1 -w 10 api")
              assert.strictEqual(yield* get(a, "/hello"), "GET /hello for api\n")
              // tcpdump tells of packets in its own time.
              yield* Effect.sleep("1 second")
            })
          )
        ),
        output,
        true
      )
      assert.deepStrictEqual(logged, [])
      for (const fabric of fabrics) {
        const file = Fs.readFileSync(Path.join(output, fabric, "lan.pcapng"), "latin1")
        for (const text of ["the card eth1 of a", "the host service api", "GET /hello HTTP/1.1", "HTTP/1.1 200 OK"]) {
          assert.include(file, text, fabric)
        }
      }
      Fs.rmSync(output, { recursive: true })
    })
  )
})
