import { spawn, spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as Observer from "../../src/actors/Observer.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Report from "../../src/actors/Report.ts"
import * as Vlan from "../../src/network/Vlan.ts"
import { needs } from "../needs.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-test-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
)

const broadcast = "ff:ff:ff:ff:ff:ff"
const macOf = (node: number) => `52:54:00:12:01:0${node}`
const bytesOf = (mac: string) => Buffer.from(mac.replaceAll(":", ""), "hex")

/** A frame whose text a test can find again. */
const frame = (to: string, from: string, text: string, size = 60) => {
  const bytes = Buffer.alloc(size)
  bytes.set(bytesOf(to), 0)
  bytes.set(bytesOf(from), 6)
  bytes.write(text, 14)
  return bytes
}

/** What a QEMU would be: a socket that listens, frames that it sends, and those that it has got. */
const makeCard = Effect.fnUntraced(function* (directory: string, node: number) {
  const path = Path.join(directory, `card${node}`)
  const got: Array<string> = []
  const lengths: Array<number> = []
  let peer: Net.Socket | undefined
  let rest = Buffer.alloc(0)
  yield* Effect.acquireRelease(
    Effect.callback<Net.Server>((resume) => {
      const server = Net.createServer((socket) => {
        peer = socket
        socket.on("error", () => {})
        socket.on("data", (chunk) => {
          rest = Buffer.concat([rest, chunk])
          while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE(0)) {
            const size = rest.readUInt32BE(0)
            got.push(rest.toString("latin1", 18, 4 + size).replace(/\0+$/, ""))
            lengths.push(size)
            rest = rest.subarray(4 + size)
          }
        })
      })
      server.listen(path, () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.sync(() => {
        peer?.destroy()
        server.close()
      })
  )
  const send = (...frames: ReadonlyArray<Buffer>) => {
    for (const one of frames) {
      const header = Buffer.alloc(4)
      header.writeUInt32BE(one.length, 0)
      peer?.write(Buffer.concat([header, one]))
    }
  }
  const say = (to: number | "all", text: string, size?: number) =>
    send(frame(to === "all" ? broadcast : macOf(to), macOf(node), text, size))
  return { path, got, lengths, send, say, write: (bytes: Buffer) => peer?.write(bytes), close: () => peer?.destroy() }
})

/** Ends the process of a label, as a crash would. */
const kill = Effect.fnUntraced(function* (label: string) {
  const { processes } = yield* Observer.snapshot
  const found = processes.find((process) => process.label === label)
  if (found === undefined) return yield* Effect.die(new Error(`no process ${label}`))
  yield* Process.exit(found.pid, ExitReason.custom("boom"))
})

/** Without the reports of supervisors. */
const quiet = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, Report.Reports, "quiet")

/** Waits until something is so; the test's own timeout ends it. */
const until = (holds: () => boolean) => Effect.repeat(Effect.sleep("2 millis"), { until: holds })

/** A VLAN with cards that have said who they are. */
const network = Effect.fnUntraced(function* (count: number, options: { readonly hub?: boolean } = {}) {
  const directory = yield* temporary
  const vlan = yield* Vlan.make({ vlan: 1, directory, ...options })
  const cards = yield* Effect.forEach(
    Array.from({ length: count }, (_, index) => index + 1),
    (node) => makeCard(directory, node)
  )
  const ports = yield* Effect.forEach(cards, (card, index) =>
    Effect.tap(vlan.port(`m${index + 1} eth1`), ({ plugIn }) => plugIn(card.path))
  )
  for (const [index, card] of cards.entries()) {
    card.say("all", `hello from ${index + 1}`)
    yield* until(() => cards.every(({ got }, other) => other === index || got.includes(`hello from ${index + 1}`)))
  }
  for (const { got } of cards) got.length = 0
  return { directory, vlan, cards, ports } as const
})

describe("a VLAN's switch", () => {
  it.live("carries a frame to the card that it is for, and to all others if it is for nobody that is known", () =>
    Effect.gen(function* () {
      const { cards } = yield* network(3)
      const [a, b, c] = cards
      a!.say(2, "for b")
      yield* until(() => b!.got.length === 1)
      a!.send(frame("52:54:00:99:99:99", macOf(1), "for whom?"))
      yield* until(() => b!.got.length === 2 && c!.got.length === 1)
      assert.deepStrictEqual(b!.got, ["for b", "for whom?"])
      assert.deepStrictEqual(c!.got, ["for whom?"])
      assert.deepStrictEqual(a!.got, [])
    })
  )

  it.live("shows everything to everybody as a hub", () =>
    Effect.gen(function* () {
      const { cards } = yield* network(3, { hub: true })
      cards[0]!.say(2, "for b")
      yield* until(() => cards[1]!.got.length === 1 && cards[2]!.got.length === 1)
    })
  )

  it.live("carries frames of any size, in any pieces, in their order", () =>
    Effect.gen(function* () {
      const { cards } = yield* network(2)
      const [a, b] = cards
      for (let size = 60; size <= 9100; size += 113) a!.say(2, `${size} bytes`, size)
      yield* until(() => b!.got.length === 81)
      assert.strictEqual(b!.got[80], "9100 bytes")
      assert.deepStrictEqual(b!.lengths.slice(-2), [8987, 9100])
    })
  )

  it.live("follows a card that moves to another port", () =>
    Effect.gen(function* () {
      const { cards } = yield* network(3)
      const [a, b, c] = cards
      c!.send(frame(broadcast, macOf(2), "I am b now"))
      yield* until(() => a!.got.length === 1)
      a!.say(2, "for b")
      yield* until(() => c!.got.length === 1)
      assert.notInclude(b!.got, "for b")
    })
  )

  it.live("gives the port of a card to the next one, and forgets one that went", () =>
    Effect.gen(function* () {
      const { cards, directory, ports } = yield* network(2)
      const [a, b] = cards
      b!.close()
      const next = yield* makeCard(directory, 3)
      yield* ports[1]!.plugIn(next.path)
      a!.say("all", "who is there?")
      yield* until(() => next.got.length === 1)
    })
  )

  it.live(
    "fails to plug in what does not listen, with its name",
    () =>
      Effect.gen(function* () {
        const { directory, vlan } = yield* network(1)
        const port = yield* vlan.port("m9 eth1")
        const failing = yield* Effect.forkChild(Effect.flip(port.plugIn(`${directory}/nothing`)))
        const error = yield* Fiber.join(failing)
        assert.include(error.message, `VLAN 1: could not connect to m9 eth1 at ${directory}/nothing within`)
      }),
    15_000
  )

  it.live("is started again when it crashes; cards stay plugged in, and what they send meanwhile arrives", () =>
    ActorSystem.scoped(
      Effect.gen(function* () {
        const { cards, ports } = yield* network(2)
        const [a, b] = cards
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* ports[0]!.impair({ loss: 1 })
            yield* kill("switch")
            a!.say(2, "lost")
            yield* Effect.sleep("50 millis")
            // The impairment holds in its next life.
            assert.deepStrictEqual(b!.got, [])
          })
        )
        a!.say(2, "it lives")
        yield* until(() => b!.got.includes("it lives"))
        assert.notInclude(b!.got, "lost")
        assert.strictEqual((yield* ports[0]!.counts).lost, 1)
      })
    ).pipe(quiet)
  )

  it.live("connects a card again whose cable's process crashed", () =>
    ActorSystem.scoped(
      Effect.gen(function* () {
        const { cards } = yield* network(2)
        const [a, b] = cards
        for (const text of ["first", "second"]) {
          yield* kill("m2 eth1")
          // It is said again until the card is connected.
          yield* Effect.repeat(
            Effect.andThen(
              Effect.sync(() => a!.say(2, text)),
              Effect.sleep("2 millis")
            ),
            { until: () => b!.got.includes(text) }
          )
          b!.say(1, `${text} has come`)
          yield* until(() => a!.got.includes(`${text} has come`))
        }
      })
    ).pipe(quiet)
  )

  it.live("gives up a card whose socket went away while its cable's process crashed", () =>
    ActorSystem.scoped(
      Effect.gen(function* () {
        const { cards, vlan } = yield* network(1)
        cards[0]!.close()
        yield* Effect.sleep("10 millis")
        const { processes } = yield* Observer.snapshot
        assert.deepStrictEqual(
          processes.filter(({ label }) => label === "m1 eth1"),
          []
        )
        assert.isTrue(Option.isNone(yield* Effect.timeoutOption(vlan.lost, "10 millis")))
      })
    ).pipe(quiet)
  )

  for (const [label, words] of [
    ["switch", "VLAN 1: its switch kept crashing"],
    ["m1 eth1", "VLAN 1: its cables kept crashing"]
  ] as const) {
    it.live(`ends when its process "${label}" crashes over and over`, () =>
      ActorSystem.scoped(
        Effect.gen(function* () {
          const { vlan } = yield* network(1)
          const crashes = yield* Effect.forkChild(
            Effect.forever(Effect.andThen(Effect.ignoreCause(kill(label)), Effect.sleep("10 millis")))
          )
          assert.strictEqual((yield* vlan.lost).message, words)
          yield* Fiber.interrupt(crashes)
        })
      ).pipe(quiet)
    )
  }

  it.live("ends when a card sends something else than frames", () =>
    ActorSystem.scoped(
      Effect.gen(function* () {
        const { cards, vlan } = yield* network(1)
        cards[0]!.write(Buffer.from("GET / HTTP/1.1\r\n"))
        assert.include(
          (yield* vlan.lost).message,
          "m1 eth1 sent something else than frames: a frame of 1195725856 bytes"
        )
      })
    ).pipe(quiet)
  )
})

describe("an impairment", () => {
  it.live("loses the same share of the same frames each time, and ends with its scope", () =>
    Effect.gen(function* () {
      const lost = yield* Effect.forEach([1, 2], () =>
        Effect.scoped(
          Effect.gen(function* () {
            const { cards, ports } = yield* network(2)
            const [a, b] = cards
            yield* Effect.scoped(
              Effect.gen(function* () {
                yield* ports[0]!.impair({ loss: 0.1, seed: 7 })
                for (let index = 0; index < 2000; index += 1) a!.say(2, `${index}`)
                yield* Effect.repeat(
                  Effect.flatMap(Effect.sleep("5 millis"), () => ports[0]!.counts),
                  {
                    until: ({ sent }) => sent >= 2001
                  }
                )
              })
            )
            a!.say(2, "end")
            yield* until(() => b!.got.at(-1) === "end")
            assert.strictEqual((yield* ports[0]!.counts).lost, 2001 - b!.got.length)
            return b!.got.join(" ")
          })
        )
      )
      assert.strictEqual(lost[0], lost[1])
      const share = 1 - (lost[0]!.split(" ").length - 1) / 2000
      assert.isAbove(share, 0.07)
      assert.isBelow(share, 0.13)
    })
  )

  it.live("delays what a card sends, or what it receives, and keeps the order", () =>
    Effect.gen(function* () {
      const { cards, ports } = yield* network(2)
      const [a, b] = cards
      for (const direction of ["out", "in"] as const) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* ports[direction === "out" ? 0 : 1]!.impair({ latency: "80 millis", jitter: "60 millis", direction })
            b!.got.length = 0
            for (let index = 0; index < 50; index += 1) a!.say(2, `${index}`)
            b!.say(1, "the way back")
            yield* until(() => a!.got.includes("the way back"))
            assert.deepStrictEqual(b!.got, [], "delayed")
            yield* until(() => b!.got.length === 50)
            assert.deepStrictEqual(
              b!.got,
              Array.from({ length: 50 }, (_, index) => `${index}`)
            )
            a!.got.length = 0
          })
        )
      }
    })
  )

  it.live("duplicates, corrupts and reorders", () =>
    Effect.gen(function* () {
      const { cards, ports } = yield* network(2)
      const [a, b] = cards
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* ports[0]!.impair({ duplicate: 1 })
          a!.say(2, "twice")
          yield* until(() => b!.got.length === 2)
        })
      )
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* ports[0]!.impair({ corrupt: 1 })
          a!.say(2, "sound")
          yield* until(() => b!.got.length === 3)
        })
      )
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* ports[0]!.impair({ latency: "30 millis", reorder: 0.5, seed: 1 })
          for (let index = 0; index < 20; index += 1) a!.say(2, `${index}`)
          yield* until(() => b!.got.length === 23)
        })
      )
      assert.deepStrictEqual(b!.got.slice(0, 2), ["twice", "twice"])
      const order = b!.got.slice(3).map(Number)
      assert.notDeepEqual(
        order,
        order.toSorted((one, other) => one - other)
      )
      const { corrupted, duplicated, reordered } = yield* ports[0]!.counts
      assert.deepStrictEqual([duplicated, corrupted], [1, 1])
      assert.isAbove(reordered, 3)
    })
  )

  it.live("limits the rate, and loses what no longer fits", () =>
    Effect.gen(function* () {
      const { cards, ports } = yield* network(2)
      const [a, b] = cards
      yield* Effect.scoped(
        Effect.gen(function* () {
          // 12 ms for each frame.
          const begun = yield* Clock.monotonicTimeNanos
          yield* ports[0]!.impair({ rate: 1_000_000 })
          for (let index = 0; index < 1200; index += 1) a!.say(2, `${index}`, 1500)
          yield* until(() => b!.got.length >= 20)
          assert.isAtLeast(Number((yield* Clock.monotonicTimeNanos) - begun), 20 * 12_000_000)
          // 1000 wait, and those that have arrived left their places.
          yield* Effect.repeat(Effect.andThen(Effect.sleep("5 millis"), ports[0]!.counts), {
            until: ({ sent }) => sent >= 1201
          })
          assert.isAtLeast((yield* ports[0]!.counts).lost, 1200 - 1000 - b!.got.length)
        })
      )
    })
  )
})

describe("a partition", () => {
  it.live("separates groups; who is in none reaches all; it ends with its scope", () =>
    Effect.gen(function* () {
      const { cards, vlan } = yield* network(4)
      const heard = Effect.fnUntraced(function* (speaker: number) {
        for (const { got } of cards) got.length = 0
        cards[speaker - 1]!.say("all", "hear me")
        yield* Effect.sleep("40 millis")
        return cards.flatMap(({ got }, index) => (got.length > 0 ? [index + 1] : []))
      })
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* vlan.partition([["m1 eth1", "m2 eth1"], ["m3 eth1"]])
          assert.deepStrictEqual(yield* heard(1), [2, 4])
          assert.deepStrictEqual(yield* heard(3), [4])
          assert.deepStrictEqual(yield* heard(4), [1, 2, 3])
        })
      )
      assert.deepStrictEqual(yield* heard(3), [1, 2, 4])
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* vlan.partition([["m1 eth1"]])
          assert.deepStrictEqual(yield* heard(1), [])
          assert.deepStrictEqual(yield* heard(2), [3, 4])
          yield* vlan.heal
          assert.deepStrictEqual(yield* heard(1), [2, 3, 4])
        })
      )
    })
  )
})

describe("the capture of a VLAN", () => {
  it.live("has the packets that cards sent, with what became of them", () =>
    Effect.gen(function* () {
      const { cards, ports, vlan } = yield* network(2)
      const seen = yield* Effect.forkChild(Stream.runCollect(Stream.take(vlan.capture, 3)), { startImmediately: true })
      yield* ports[1]!.impair({ loss: 1 })
      cards[0]!.say(2, "first")
      yield* until(() => cards[1]!.got.length === 1)
      cards[1]!.say(1, "second")
      yield* Effect.sleep("20 millis")
      cards[0]!.say(2, "third")
      const packets = yield* Fiber.join(seen)
      assert.deepStrictEqual(
        packets.map(({ fate, frame, from }) => [from, fate, Buffer.from(frame).toString("latin1", 14, 19)]),
        [
          ["m1 eth1", "passed", "first"],
          ["m2 eth1", "lost", "secon"],
          ["m1 eth1", "passed", "third"]
        ]
      )
    })
  )
})

describe("a port for programs that know VDE", () => {
  needs(spawnSync("vde_plug", ["--help"]).error === undefined, "vde_plug is not installed (Debian: vde2)")

  /** A process of vde2 with these words in its command line. */
  const processOf = (...words: ReadonlyArray<string>) =>
    Fs.readdirSync("/proc").find((pid) => {
      const read = Result.try(() => Fs.readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0"))
      return Result.isSuccess(read) && words.every((word) => read.success.includes(word))
    })

  it.live("is one folder however often it is asked for, and ends the VLAN when its programs end", () =>
    Effect.gen(function* () {
      const { cards, vlan } = yield* network(1)
      const port = yield* vlan.port("m2 eth1")
      const [folder, same] = yield* Effect.all([port.vde, port.vde], { concurrency: 2 })
      assert.strictEqual(folder, same)
      // Another program that is plugged in hears what the card says, and the card what it says.
      const program = spawn("vde_plug", [folder], { stdio: ["pipe", "pipe", "ignore"] })
      yield* Effect.addFinalizer(() => Effect.sync(() => program.kill("SIGKILL")))
      let heard = ""
      program.stdout.on("data", (chunk: Buffer) => {
        heard += chunk.toString("latin1")
      })
      yield* Effect.repeat(
        Effect.andThen(
          Effect.sync(() => cards[0]!.say("all", "to VDE")),
          Effect.sleep("20 millis")
        ),
        { until: () => heard.includes("to VDE") }
      )
      const one = frame(broadcast, macOf(2), "from VDE")
      program.stdin.write(Buffer.concat([Buffer.from([one.length >> 8, one.length & 0xff]), one]))
      yield* until(() => cards[0]!.got.includes("from VDE"))

      const pid = processOf("--sock", folder)
      assert.isDefined(pid)
      process.kill(Number(pid), "SIGKILL")
      assert.match((yield* vlan.lost).message, /^VLAN 1: vde_(switch|plug) ended with .* while the test ran/)
    })
  )

  it.live("leaves no process and no folder behind", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.scoped(
        Effect.gen(function* () {
          const { vlan } = yield* network(1)
          return yield* Effect.flatMap(vlan.port("m2 eth1"), ({ vde }) => vde)
        })
      )
      assert.isUndefined(processOf(folder))
      assert.isFalse(Fs.existsSync(folder))
    })
  )
})
