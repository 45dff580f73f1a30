/** The fabric "bridge" on this host, without guests: frames between sockets, and what is left of it when it ends. */
import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Captures from "../src/driver/internal/captures.ts"
import * as DriverTree from "../src/driver/internal/driverTree.ts"
import * as Traffic from "../src/driver/internal/traffic.ts"
import { Detailed, type RunEvent } from "../src/driver/RunEvent.ts"
import * as HostProcess from "../src/host/HostProcess.ts"
import * as Bridge from "../src/network/Bridge.ts"
import * as NetworkSpec from "../src/network/NetworkSpec.ts"
import type { Vlan } from "../src/network/Vlan.ts"
import { titled } from "../test/needs.ts"
import { cardAt, everybody, macOf } from "./socketCards.ts"

const possible = await Effect.runPromise(Effect.result(Bridge.probe))
const why = possible._tag === "Success" ? undefined : possible.failure.message
const limits = possible._tag === "Success" ? possible.success.limits : undefined
const hasDump = (await Effect.runPromise(Effect.result(HostProcess.locate("tcpdump"))))._tag === "Success"
const noDump = hasDump ? undefined : "tcpdump is not installed"

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-test-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

/** Waits until a card has got exactly this. */
const gets = (card: { readonly got: ReadonlyArray<string> }, ...frames: ReadonlyArray<string>) =>
  Effect.sync(() => assert.deepStrictEqual(card.got, frames)).pipe(
    Effect.sandbox,
    Effect.retry({ times: 100, schedule: Schedule.spaced("20 millis") })
  )

/** Three cards on a bridge. */
const three = Effect.gen(function* () {
  const directory = yield* folder
  const bridges = yield* Bridge.make
  const vlan = yield* bridges.vlan({ vlan: 1, directory })
  const cards = yield* Effect.forEach([1, 2, 3], (number) => cardAt(Path.join(directory, `card${number}`), number))
  const ports = yield* Effect.forEach(["a eth1", "b eth1", "c eth1"], vlan.port)
  yield* Effect.forEach(ports, (port, index) => port.plugIn(Path.join(directory, `card${index + 1}`)), {
    concurrency: "unbounded",
    discard: true
  })
  yield* Effect.sync(() => cards.every(({ isPlugged }) => isPlugged())).pipe(
    Effect.repeat({ until: (all) => all, schedule: Schedule.spaced("5 millis") })
  )
  const [a, b, c] = cards
  return { vlan, directory, ports, a: a!, b: b!, c: c! }
})

describe.skipIf(why !== undefined)(titled("a bridge", why), () => {
  it.live("carries frames of any size to whom they are for, and counts them", () =>
    Effect.gen(function* () {
      const { a, b, c, ports } = yield* three
      yield* a.send(everybody, "hello")
      yield* Effect.all([gets(b, "hello 60"), gets(c, "hello 60")])
      yield* b.send(macOf(1), "reply", 65000)
      yield* gets(a, "reply 65000")
      yield* c.send(macOf(1), "reply", 9018)
      yield* gets(a, "reply 65000", "reply 9018")
      yield* Effect.all([gets(b, "hello 60"), gets(c, "hello 60")])
      const counts = yield* Effect.forEach(ports, (port) => port.counts)
      assert.deepStrictEqual(
        counts.map(({ lost, received, sent }) => [sent, received, lost]),
        [
          [1, 2, 0],
          [1, 1, 0],
          [1, 1, 0]
        ]
      )
    }).pipe(Effect.scoped)
  )

  it.live("has nothing on it that speaks by itself", () =>
    Effect.gen(function* () {
      const { a, b, c, ports } = yield* three
      yield* Effect.sleep("3 seconds")
      assert.deepStrictEqual([a.got, b.got, c.got], [[], [], []])
      assert.deepStrictEqual((yield* ports[0]!.counts).received, 0)
    }).pipe(Effect.scoped)
  )

  it.live.skipIf(limits?.partition !== undefined)(
    titled("separates ports until scopes close, each partition its own", limits?.partition?.message),
    () =>
      Effect.gen(function* () {
        const { a, b, c, vlan } = yield* three
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* vlan.partition([["a eth1"], ["b eth1"]])
            yield* Effect.scoped(
              Effect.gen(function* () {
                yield* vlan.partition([["a eth1"], ["c eth1"]])
                yield* a.send(everybody, "alone")
                yield* Effect.sleep("500 millis")
              })
            )
            yield* a.send(everybody, "apart")
            yield* gets(c, "apart 60")
            yield* c.send(everybody, "to both")
            yield* Effect.all([gets(a, "to both 60"), gets(b, "to both 60")])
          })
        )
        yield* a.send(everybody, "together")
        yield* Effect.all([gets(b, "to both 60", "together 60"), gets(c, "apart 60", "together 60")])
      }).pipe(Effect.scoped)
  )

  it.live("pulls and plugs a cable", () =>
    Effect.gen(function* () {
      const { a, b, ports } = yield* three
      yield* ports[0]!.tap!.setLink(false)
      yield* a.send(everybody, "lost")
      yield* Effect.sleep("200 millis")
      yield* ports[0]!.tap!.setLink(true)
      yield* a.send(everybody, "found")
      yield* gets(b, "found 60")
    }).pipe(Effect.scoped)
  )

  it.live.skipIf(!hasDump)(titled("shows its packets, with their senders", noDump), () =>
    Effect.gen(function* () {
      const { a, b, c, vlan } = yield* three
      const seen: Array<string> = []
      const reading = yield* Effect.forkChild(Stream.runHead(vlan.capture), { startImmediately: true })
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* vlan.watch({
            see: ({ fate, frame, from }) =>
              seen.push(`${from} ${fate} ${frame.length} ${Buffer.from(frame.subarray(14, 15))}`),
            onEnd: Effect.die,
            onDropped: Effect.die
          })
          yield* c.send(everybody, "1")
          yield* gets(b, "1 60")
          yield* b.send(macOf(1), "2", 9018)
          yield* gets(a, "1 60", "2 9018")
        })
      )
      assert.deepStrictEqual(seen, ["c eth1 passed 60 1", "b eth1 passed 9018 2"])
      // A stream begins a moment after it is read.
      const head = yield* Effect.raceFirst(
        Fiber.join(reading),
        Effect.forever(Effect.andThen(a.send(everybody, "3"), Effect.sleep("50 millis")))
      )
      assert.include(["a eth1", "b eth1", "c eth1"], Option.getOrThrow(head).from)
    }).pipe(Effect.scoped)
  )

  /** The tcpdump at the port of a, which is a child of this process; the first one, if there are several. */
  const dumpOfA = () =>
    Number(execFileSync("pgrep", ["-o", "-P", `${process.pid}`, "-f", "tcpdump -i v1p1o"], { encoding: "utf8" }))

  const captured = Effect.fnUntraced(function* (
    vlan: Vlan,
    during: Effect.Effect<unknown, unknown, never>
  ): Effect.fn.Return<{ readonly seen: number; readonly told: ReadonlyArray<string>; readonly closing: number }> {
    let seen = 0
    const told: Array<string> = []
    const tell = (line: string) => Effect.sync(() => void told.push(line))
    const scope = yield* Scope.make()
    const watching = vlan.watch({ see: () => (seen += 1), onEnd: ({ message }) => tell(message), onDropped: tell })
    yield* Effect.orDie(Effect.andThen(Scope.provide(watching, scope), during))
    const [closing] = yield* Effect.timed(Scope.close(scope, Exit.void))
    return { seen, told, closing: Duration.toMillis(closing) }
  })

  it.live.skipIf(!hasDump)(titled("is captured to the last packet, without waiting for more", noDump), () =>
    Effect.gen(function* () {
      const { a, b, vlan } = yield* three
      for (const count of [1, 200, 200]) {
        b.got.length = 0
        const sent = Effect.forEach(Array.from({ length: count }), () => a.send(macOf(2), "x", 1500), { discard: true })
        const arrived = Effect.repeat(Effect.sleep("1 millis"), { until: () => b.got.length >= count })
        const begun = Effect.andThen(b.send(macOf(1), "y"), gets(a, ...a.got, "y 60"))
        const { closing, seen, told } = yield* captured(vlan, Effect.all([begun, sent, arrived]))
        assert.deepStrictEqual([seen, told], [count + 1, []])
        process.stderr.write(`the capture of ${count} packets at three ports ended in ${closing.toFixed(0)} ms\n`)
        assert.isBelow(closing, 1000)
      }
    }).pipe(Effect.scoped)
  )

  it.live.skipIf(!hasDump)(titled("that is captured to a file says for reports how much it carried", noDump), () =>
    Effect.gen(function* () {
      const { a, b, directory, vlan } = yield* three
      const networks = NetworkSpec.resolve({ lan: { vlan: 1, fabric: "bridge" } })
      const events: Array<RunEvent> = []
      const emit = (event: RunEvent) => Effect.sync(() => void events.push(event))
      const carried = Effect.fnUntraced(function* (capture: boolean) {
        const options = { networks, capture, output: directory, test: "t" }
        const watch = Effect.andThen(Captures.toFiles(options, emit)(vlan), Traffic.count(options, emit)(vlan))
        const begin = b.got.length
        const sent = Effect.forEach([1, 2, 3, 4, 5], () => a.send(macOf(2), "x", 1500), { discard: true })
        const arrived = Effect.repeat(Effect.sleep("1 millis"), { until: () => b.got.length >= begin + 5 })
        yield* Effect.scoped(Effect.all([watch, sent, arrived]))
        return events.splice(0)
      })
      yield* Effect.gen(function* () {
        // Both ports are known before.
        yield* b.send(macOf(1), "y")
        yield* gets(a, "y 60")
        const told = yield* carried(true)
        const sum = (what: "packets" | "bytes") =>
          told.reduce((all, event) => all + (event._tag === "Traffic" && event.network === "lan" ? event[what] : 0), 0)
        assert.deepStrictEqual([sum("packets"), sum("bytes")], [5, 7500])
        assert.deepStrictEqual([...new Set(told.map(({ _tag }) => _tag))], ["Traffic"])
        assert.isAbove(Fs.statSync(Path.join(directory, "lan.pcapng")).size, 7500)
        assert.deepStrictEqual(yield* carried(false), [])
      }).pipe(Effect.provideService(Detailed, true))
    }).pipe(Effect.scoped)
  )

  it.live.skipIf(!hasDump)(titled("tells how many packets tcpdump was too slow for", noDump), () =>
    Effect.gen(function* () {
      const { a, b, vlan } = yield* three
      yield* b.send(macOf(1), "here")
      yield* gets(a, "here 60")
      const count = 2000
      const { seen, told } = yield* captured(
        vlan,
        Effect.gen(function* () {
          process.kill(dumpOfA(), "SIGSTOP")
          yield* Effect.forEach(Array.from({ length: count }), () => a.send(macOf(2), "x"), { discard: true })
          yield* Effect.repeat(Effect.sleep("5 millis"), { until: () => b.got.length >= count })
          process.kill(dumpOfA(), "SIGCONT")
        })
      )
      const [sentence = ""] = told.filter((line) => line.startsWith("packets of a eth1 may be missing: tcpdump: "))
      const missing = /tcpdump: (\d+) packets dropped by kernel, sent by a eth1 or to it$/.exec(sentence)?.[1]
      assert.isAbove(Number(missing), 0, told.join("; "))
      assert.strictEqual(seen + Number(missing), count)
    }).pipe(Effect.scoped)
  )

  it.live.skipIf(!hasDump)(titled("tells when a capture has ended, and fails who reads it", noDump), () =>
    Effect.gen(function* () {
      const { vlan } = yield* three
      const reading = yield* Effect.forkChild(Effect.flip(Stream.runDrain(vlan.capture)), { startImmediately: true })
      const kill = Effect.andThen(
        Effect.sleep("20 millis"),
        Effect.try(() => process.kill(dumpOfA(), "SIGKILL"))
      )
      const { told } = yield* captured(
        vlan,
        Effect.gen(function* () {
          // One of each capture.
          yield* Effect.retry(kill, { times: 200 })
          yield* Effect.retry(kill, { times: 200 })
          yield* Effect.sleep("200 millis")
        })
      ).pipe(Effect.timeout("20 seconds"))
      assert.deepStrictEqual(told, ["the capture of a eth1 ended with signal SIGKILL while the test ran"])
      assert.strictEqual((yield* Fiber.join(reading)).message, told[0])
    }).pipe(Effect.scoped)
  )

  it.live("fails with what tcpdump said if it does not start", () =>
    Effect.gen(function* () {
      const { directory, vlan } = yield* three
      const broken = Path.join(directory, "bin")
      Fs.mkdirSync(broken)
      Fs.writeFileSync(Path.join(broken, "tcpdump"), "#!/bin/sh\necho tcpdump: no luck today >&2\nexit 7\n", {
        mode: 0o755
      })
      const path = process.env.PATH
      const error = yield* Effect.acquireUseRelease(
        Effect.sync(() => (process.env.PATH = `${broken}:${path}`)),
        () => Effect.flip(Stream.runDrain(vlan.capture)),
        () => Effect.sync(() => (process.env.PATH = path))
      )
      assert.strictEqual(
        error.message,
        'the fabric "bridge" cannot capture packets on this host: tcpdump ended with exit code 7: tcpdump: no luck today; run vmtest as root, or use fabric: "switch" (QEMU only)'
      )
    }).pipe(Effect.scoped)
  )

  it.live("is refused before anything starts where its packets are to be captured without tcpdump", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const tools = Path.join(directory, "bin")
      Fs.mkdirSync(tools)
      for (const tool of ["setpriv", "unshare", "nsenter", "ip", "tc", "mount", "mkdir", "qemu-system-x86_64"]) {
        Fs.symlinkSync(yield* HostProcess.locate(tool), Path.join(tools, tool))
      }
      const path = process.env.PATH
      const networks = NetworkSpec.resolve({ lan: { fabric: "bridge" } })!
      const error = yield* Effect.acquireUseRelease(
        Effect.sync(() => (process.env.PATH = tools)),
        () => Effect.flip(Effect.scoped(DriverTree.make(directory, { networks, captures: true }))),
        () => Effect.sync(() => (process.env.PATH = path))
      )
      assert.strictEqual(
        error.message,
        'the fabric "bridge" cannot capture packets on this host: tcpdump is not installed; run apt-get install tcpdump, or use fabric: "switch" (QEMU only)'
      )
    }).pipe(Effect.scoped)
  )

  it.live("cannot impair links where the kernel has no netem, and says so", () =>
    Effect.gen(function* () {
      const { ports } = yield* three
      const impaired = yield* Effect.result(Effect.scoped(ports[0]!.impair({ latency: "10 millis" })))
      if (limits?.impair === undefined) return assert.strictEqual(impaired._tag, "Success")
      assert.strictEqual(impaired._tag, "Failure")
      if (impaired._tag === "Failure")
        assert.match(impaired.failure.message, /cannot impair links on this host: .*netem/)
    }).pipe(Effect.scoped)
  )

  it.live("has a TAP for a hypervisor that runs in the namespace and opens it by its name", () =>
    Effect.gen(function* () {
      const { a, b, directory, vlan } = yield* three
      const { tap } = yield* vlan.port("d eth1")
      const device = yield* tap!.device
      const path = Path.join(directory, "inside")
      const words = [
        ...["-M", "none", "-nodefaults", "-display", "none"],
        ...["-netdev", `tap,id=tap,ifname=${device},script=no,downscript=no`],
        ...["-netdev", `stream,id=card,server=off,addr.type=unix,addr.path=${path}`],
        ...["-netdev", "hubport,id=one,hubid=0,netdev=tap", "-netdev", "hubport,id=other,hubid=0,netdev=card"]
      ]
      const d = yield* cardAt(path, 4)
      const command = yield* HostProcess.locate("qemu-system-x86_64")
      yield* HostProcess.spawn({ ...tap!.inside({ command, args: words }), grace: 0, wholeGroup: true })
      yield* Effect.repeat(Effect.sync(d.isPlugged), { until: (yes) => yes, schedule: Schedule.spaced("5 millis") })
      yield* d.send(everybody, "hello")
      yield* Effect.all([gets(a, "hello 60"), gets(b, "hello 60")])
      yield* a.send(macOf(4), "reply")
      yield* gets(d, "reply 60")
    }).pipe(Effect.scoped)
  )

  it.live("never meets that of another test", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* three, yield* three]
      yield* one.a.send(everybody, "for one")
      yield* other.a.send(everybody, "for the other")
      yield* Effect.all([gets(one.b, "for one 60"), gets(other.b, "for the other 60")])
      assert.deepStrictEqual([one.a.got, other.a.got], [[], []])
    }).pipe(Effect.scoped)
  )

  it.live("tells if a card has lost its way to it, and not if the card is gone", () =>
    Effect.gen(function* () {
      const { a, b, directory, vlan } = yield* three
      const told = yield* Effect.forkChild(vlan.lost, { startImmediately: true })
      b.leave()
      yield* Effect.sleep("300 millis")
      yield* a.send(everybody, "hello")
      yield* Effect.sleep("300 millis")
      assert.isUndefined(told.pollUnsafe())
      const carriers = execFileSync("pgrep", ["-f", `path=${directory}/v1p1 `], { encoding: "utf8" })
        .trim()
        .split("\n")
      for (const pid of carriers) process.kill(Number(pid), "SIGKILL")
      const error = yield* Fiber.join(told)
      assert.include(
        error.message,
        "the QEMU that leads a eth1 to its TAP ended with signal SIGKILL while the test ran"
      )
    }).pipe(Effect.scoped)
  )

  it.live("fails the test if its namespace ends", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const networks = NetworkSpec.resolve({ lan: { fabric: "bridge" } })
      const tree = yield* DriverTree.make(directory, { networks: networks! })
      const { port } = yield* tree.vlan(1)
      const { tap } = yield* port("a eth1")
      const kill = Effect.sync(() => process.kill(Number(/--target (\d+)/.exec(tap!.netdev)?.[1]), "SIGKILL"))
      const error = yield* Effect.flip(tree.script(Effect.andThen(kill, Effect.never)))
      assert.strictEqual(error._tag, "VlanFailed")
      assert.include(error.message, "VLAN 1: its network namespace ended with signal SIGKILL while the test ran")
    }).pipe(Effect.scoped)
  )
})

const Told = Schema.fromJsonString(
  Schema.Union([
    Schema.Struct({ namespace: Schema.String, unprivileged: Schema.Boolean, pids: Schema.Array(Schema.Int) }),
    Schema.Struct({ unprivileged: Schema.Boolean }),
    Schema.Struct({ failed: Schema.String })
  ])
)

const child = Path.join(import.meta.dirname, "cleanup/bridgeChild.ts")

/** Starts the other process, and gives what it tells. */
const started = Effect.fnUntraced(function* (wrap: ReadonlyArray<string>, directory: string, what = "run") {
  const [command = "", ...args] = [...wrap, process.execPath, child, directory, what]
  const run = yield* HostProcess.spawn({ command, args, stdout: "pipe", stderr: "inherit" })
  const lines = yield* run.stdout.pipe(Stream.decodeText(), Stream.splitLines, Stream.take(1), Stream.runCollect)
  return { run, told: yield* Schema.decodeEffect(Told)(lines[0] ?? "") }
})

const lives = (pid: number) => {
  const stat = Fs.existsSync(`/proc/${pid}/stat`) ? Fs.readFileSync(`/proc/${pid}/stat`, "utf8") : ""
  return stat !== "" && !/\) Z /.test(stat)
}

const namespaces = () =>
  execFileSync("lsns", ["-t", "net", "-n", "-o", "NS"], { encoding: "utf8" })
    .split("\n")
    .map((line) => `net:[${line.trim()}]`)
const links = () =>
  execFileSync("ip", ["-o", "link"], { encoding: "utf8" })
    .split("\n")
    .map((line) => line.split(":")[1])

/** Kills a run that has everything, and looks at what is left. */
const killed = (wrap: ReadonlyArray<string>, directory: string, signal: NodeJS.Signals) =>
  Effect.gen(function* () {
    const before = links()
    const { run, told } = yield* started(wrap, directory)
    if (!("namespace" in told)) return assert.fail(JSON.stringify(told))
    // The shell, QEMU, vde_switch and, where there is tcpdump, three of these.
    assert.isAtLeast(told.pids.length, 3)
    assert.isTrue(told.pids.every(lives))
    assert.include(namespaces(), told.namespace)
    assert.deepStrictEqual(links(), before)
    process.kill(run.pid, signal)
    yield* run.exited
    yield* Effect.sync(() => told.pids.some(lives) || namespaces().includes(told.namespace)).pipe(
      Effect.repeat({ until: (some) => !some, schedule: Schedule.spaced("50 millis") }),
      Effect.timeout("5 seconds")
    )
    assert.deepStrictEqual(links(), before)
    return told
  })

describe.skipIf(why !== undefined)(titled("a run with a bridge", why), () => {
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    it.live(`leaves no process, namespace, bridge or TAP after ${signal}`, () =>
      Effect.gen(function* () {
        const directory = yield* folder
        yield* killed([], directory, signal)
      }).pipe(Effect.scoped)
    )
  }
})

/** As an ordinary user, where `/dev/net/tun` is as `prepare` makes it, for this process alone. */
const asNobody = (prepare: string) => [
  ...["unshare", "--mount", "--propagation", "private", "sh", "-c"],
  `${prepare}; exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`,
  "sh"
]

/** `/dev/net/tun` as most distributions have it. */
const open = "mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200"
const closed = "mount -t tmpfs tmpfs /dev/net && mknod -m 600 /dev/net/tun c 10 200"

const isRoot = process.getuid?.() === 0
const userNamespaces = isRoot
  ? Fs.existsSync(process.execPath) &&
    (await Effect.runPromise(
      Effect.result(
        HostProcess.check({
          command: "setpriv",
          args: [
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "unshare",
            "--user",
            "--map-root-user",
            "--net",
            process.execPath,
            "-e",
            `require("fs").readFileSync(${JSON.stringify(child)})`
          ]
        })
      )
    ))
  : undefined
const whyNot =
  userNamespaces === undefined || userNamespaces === false
    ? "this test becomes an ordinary user, so it must begin as root"
    : userNamespaces._tag === "Failure"
      ? userNamespaces.failure.message
      : undefined

describe.skipIf(why !== undefined || whyNot !== undefined)(titled("an ordinary user", why ?? whyNot), () => {
  it.live("has bridges in a user namespace, of which nothing is left after SIGKILL either", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      Fs.chownSync(directory, 65534, 65534)
      const told = yield* killed(asNobody(open), directory, "SIGKILL")
      assert.isTrue(told?.unprivileged)
    }).pipe(Effect.scoped)
  )

  it.live("is told what to do where they may not open /dev/net/tun", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const { told } = yield* started(asNobody(closed), directory, "probe")
      assert.include("failed" in told ? told.failed : "", "could not open /dev/net/tun")
      assert.include("failed" in told ? told.failed : "", 'or use fabric: "switch" (QEMU only)')
    }).pipe(Effect.scoped)
  )
})
