/**
 * The fabric "bridge" in a guest: its kernel has netem and nftables, which that of the host may not have. First what its commands do, with pairs of veth to two more
 * namespaces in the place of TAPs; then vmtest's own code, with Node and QEMU in the guest, and sockets in the place of guests.
 */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Esbuild from "esbuild"
import * as Image from "../src/images/Image.ts"
import * as Impairment from "../src/network/Impairment.ts"
import * as Commands from "../src/network/internal/bridgeCommands.ts"
import { Machine, machines } from "../src/vitest.ts"

class Host extends Machine<Host>()("host", { image: Image.debian({ packages: ["nftables"] }), memory: "512 MiB" }) {}

const places = [1, 2].map((index) => Commands.devicesOf(1, index))
const [near, far] = [places[0]!, places[1]!]

const impairment = (options: Impairment.ImpairmentOptions) =>
  Impairment.make(Result.getOrThrow(Impairment.fromOptions(options)))

const script = (namespace: string, text: string) => `ip netns exec ${namespace} sh -e <<'END'\n${text}\nEND`

const setUp = [
  "ip netns add fabric",
  script(
    "fabric",
    [
      Commands.makeVlan(1, false),
      ...places.map((place) => Commands.makePort(1, place)),
      Commands.makeTap(near, near.tap)
    ].join("\n")
  ),
  ...places.flatMap(({ bridge }, index) => [
    `ip netns add card${index + 1}`,
    `ip -n fabric link add cable${index + 1} type veth peer name eth1 netns card${index + 1}`,
    `ip -n fabric link set cable${index + 1} master ${bridge} up`,
    `ip -n card${index + 1} addr add 10.0.0.${index + 1}/24 dev eth1`,
    `ip -n card${index + 1} link set eth1 up`
  ]),
  "ip netns exec card1 ping -c 1 -w 10 10.0.0.2"
]

machines(Host)("the commands of the fabric bridge", (it) => {
  const fabric = (text: string) => Host.use((host) => host.succeed(script("fabric", text)))
  const impair = (options: Impairment.ImpairmentOptions) =>
    fabric(
      Commands.impair(near, {
        out: options.direction === "in" ? undefined : impairment(options),
        in: options.direction === "in" || options.direction === "both" ? impairment(options) : undefined
      })
    )
  const heal = fabric(Commands.impair(near, { out: Commands.unimpaired, in: Commands.unimpaired }))
  const ping = (options: string) =>
    Host.use((host) => Effect.map(host.execute(`ip netns exec card1 ping ${options} 10.0.0.2`), ({ stdout }) => stdout))
  /** Milliseconds. */
  const roundTrip = Effect.map(ping("-q -c 20 -i 0.1"), (text) => Number(/= [\d.]+\/([\d.]+)\//.exec(text)?.[1]))
  const counts = Effect.map(fabric(Commands.count(near)), (printed) => Commands.countsIn(printed, near))

  it.effect("connect two cards, and make a TAP", () =>
    Effect.gen(function* () {
      yield* (yield* Host).succeed(...setUp)
      assert.include(yield* fabric("ip -d link show dev v1p1t"), "tun type tap")
    })
  )

  it.effect("delay frames by 100 ms, one way or both, and no longer when healed", () =>
    Effect.gen(function* () {
      const before = yield* roundTrip
      yield* impair({ latency: "100 millis" })
      const out = yield* roundTrip
      yield* impair({ latency: "50 millis", direction: "both" })
      const both = yield* roundTrip
      yield* heal
      const healed = yield* roundTrip
      process.stderr.write(`round trips: ${before} ms, out ${out} ms, both ${both} ms, healed ${healed} ms\n`)
      assert.approximately(out - before, 100, 20)
      assert.approximately(both - before, 100, 20)
      assert.approximately(healed - before, 0, 20)
    })
  )

  it.effect("deliver what is under way when it is due, though the link is healed meanwhile", () =>
    Effect.gen(function* () {
      yield* impair({ latency: "1 second" })
      const host = yield* Host
      const [answer] = yield* Effect.all([ping("-c 1 -W 5"), Effect.andThen(host.succeed("sleep 0.3"), heal)], {
        concurrency: "unbounded"
      })
      assert.match(answer, /1 received/)
      assert.isAtLeast(Number(/time=([\d.]+) ms/.exec(answer)?.[1]), 900)
    })
  )

  it.effect("lose 10 % of 2,000 frames, and count them", () =>
    Effect.gen(function* () {
      const before = yield* counts
      yield* impair({ loss: "10 %" })
      const text = yield* ping("-q -c 2000 -i 0.005 -W 2")
      yield* heal
      const after = yield* counts
      const lost = Number(/([\d.]+)% packet loss/.exec(text)?.[1])
      process.stderr.write(`lost: ${lost} %, counted ${after.lost - before.lost} of ${after.sent - before.sent}\n`)
      assert.approximately(lost, 10, 3)
      assert.approximately((after.lost - before.lost) / 20, lost, 0.5)
      assert.approximately(after.sent - before.sent, 2000, 20)
    })
  )

  it.effect("send frames twice", () =>
    Effect.gen(function* () {
      yield* impair({ duplicate: "50 %" })
      const text = yield* ping("-q -c 200 -i 0.02")
      yield* heal
      assert.approximately(Number(/\+(\d+) duplicates/.exec(text)?.[1]), 100, 40)
    })
  )

  it.effect("flip bits, which the check sums of IP find", () =>
    Effect.gen(function* () {
      yield* impair({ corrupt: "50 %" })
      const text = yield* ping("-q -c 200 -i 0.02 -W 1")
      yield* heal
      assert.approximately(Number(/([\d.]+)% packet loss/.exec(text)?.[1]), 50, 20)
    })
  )

  it.effect("keep the order of frames with a jitter, and break it where that is asked for", () =>
    Effect.gen(function* () {
      const order = Effect.map(ping("-c 300 -i 0.005 -W 2"), (text) =>
        [...text.matchAll(/icmp_seq=(\d+)/g)].map(([, sequence]) => Number(sequence))
      )
      yield* impair({ latency: "40 millis", jitter: "30 millis" })
      const kept = yield* order
      yield* impair({ latency: "40 millis", jitter: "30 millis", reorder: "25 %" })
      const broken = yield* order
      yield* heal
      const sorted = (numbers: ReadonlyArray<number>) => numbers.toSorted((a, b) => a - b)
      assert.deepStrictEqual(kept, sorted(kept))
      assert.notDeepEqual(broken, sorted(broken))
      assert.lengthOf(broken, 300)
    })
  )

  it.effect("limit a link to 2 Mbit/s", () =>
    Effect.gen(function* () {
      const host = yield* Host
      // It answers with the milliseconds from the first byte to the last, which leaves out how long interpreters take to start.
      const receive = `use IO::Socket::INET; sub now { open my $f, "<", "/proc/uptime"; 1000 * (split " ", <$f>)[0] } my $s = IO::Socket::INET->new(LocalAddr => "10.0.0.2:7000", Listen => 1, ReuseAddr => 1) or die; my $c = $s->accept; my ($n, $b, $t) = 0; while (sysread $c, $b, 65536) { $t ||= now; $n += length $b } print $c "$n ", int(now() - $t); close $c`
      const send = `use IO::Socket::INET; my $c; until ($c = IO::Socket::INET->new("10.0.0.2:7000")) { select undef, undef, undef, 0.1 } print $c "x" x 500000; shutdown $c, 1; sysread $c, my $b, 100; print $b`
      const transfer = Effect.gen(function* () {
        yield* host.succeed(`ip netns exec card2 perl -e '${receive}' >/dev/null 2>&1 </dev/null &`)
        const [bytes, millis] = (yield* host.succeed(`ip netns exec card1 perl -e '${send}'`)).split(" ").map(Number)
        assert.strictEqual(bytes, 500000)
        return millis!
      })
      const free = yield* transfer
      yield* impair({ rate: "2 Mbit/s" })
      const limited = yield* transfer
      yield* heal
      assert.notInclude(yield* fabric(Commands.count(near)), "rate")
      // A busy host can take its time, but not each time.
      const healed = yield* Effect.repeat(transfer, { times: 4, until: (millis) => millis < 1500 })
      process.stderr.write(`500 kB: ${free} ms, at 2 Mbit/s ${limited} ms, healed ${healed} ms\n`)
      assert.isAtLeast(limited, 1800)
      assert.isBelow(limited, 4000)
      assert.isBelow(healed, 1500)
    })
  )

  it.effect("separate two ports, and take that back", () =>
    Effect.gen(function* () {
      const host = yield* Host
      const pairs = Commands.separated(
        new Map([
          ["a", near],
          ["b", far]
        ]),
        [[new Set(["a"]), new Set(["b"])]]
      )
      yield* fabric(Commands.partition(1, pairs))
      yield* host.fail("ip netns exec card1 ping -c 1 -W 2 10.0.0.2")
      yield* fabric(Commands.partition(1, []))
      yield* host.succeed("ip netns exec card1 ping -c 1 -W 5 10.0.0.2")
    })
  )

  it.effect("pull a cable and plug it in", () =>
    Effect.gen(function* () {
      const host = yield* Host
      yield* fabric(Commands.setLink(near, false))
      yield* host.fail("ip netns exec card1 ping -c 1 -W 2 10.0.0.2")
      yield* fabric(Commands.setLink(near, true))
      yield* host.succeed("ip netns exec card1 ping -c 1 -W 5 10.0.0.2")
    })
  )
})

class Whole extends Machine<Whole>()("whole", {
  image: Image.debian({ packages: ["libstdc++6", "nftables", "qemu-system-x86", "tcpdump"] }),
  memory: "2 GiB",
  cpus: 2
}) {}

const Measured = Schema.fromJsonString(
  Schema.Struct({
    latency: Schema.Struct({ out: Schema.Number, in: Schema.Number, both: Schema.Number }),
    loss: Schema.Struct({ missing: Schema.Number, counted: Schema.Number, sent: Schema.Number }),
    duplicates: Schema.Number,
    corrupted: Schema.Number,
    reordered: Schema.Array(Schema.Number),
    kept: Schema.Array(Schema.Number),
    rate: Schema.Struct({ limited: Schema.Number, free: Schema.Number, arrived: Schema.Number }),
    partition: Schema.Struct({ during: Schema.Number, after: Schema.Number }),
    capture: Schema.Struct({ seen: Schema.Number, passed: Schema.Number, told: Schema.Array(Schema.String) })
  })
)

machines(Whole)("networks of the fabric bridge", (it) => {
  it.effect("are impaired, separated and captured by vmtest as they are asked to be", () =>
    Effect.gen(function* () {
      const whole = yield* Whole
      const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-in-guest-"))
      const bundle = Path.join(folder, "bridgeFaults.mjs")
      yield* Effect.promise(() =>
        Esbuild.build({
          entryPoints: [Path.join(import.meta.dirname, "inGuest/bridgeFaults.ts")],
          ...{ bundle: true, platform: "node", format: "esm", target: "node24", outfile: bundle },
          banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' }
        })
      )
      yield* whole.copyFromHost(bundle, "/root/bridgeFaults.mjs")
      yield* whole.copyFromHost(process.execPath, "/root/node")
      yield* whole.succeed("modprobe -a tun bridge veth sch_netem")
      const printed = yield* whole.succeed("/root/node /root/bridgeFaults.mjs", { timeout: "8 minutes" })
      Fs.rmSync(folder, { recursive: true })
      const of = yield* Schema.decodeEffect(Measured)(printed.trim())
      const { reordered, kept, ...shown } = of
      process.stderr.write(`measured in the guest: ${JSON.stringify(shown)}\n`)
      assert.approximately(of.latency.out, 100, 20)
      assert.approximately(of.latency.in, 100, 20)
      assert.approximately(of.latency.both, 100, 20)
      assert.approximately(of.loss.missing, 200, 60)
      assert.deepStrictEqual([of.loss.counted, of.loss.sent], [of.loss.missing, 2000])
      assert.approximately(of.duplicates, 100, 40)
      assert.isAtLeast(of.corrupted, 1)
      const sorted = (numbers: ReadonlyArray<number>) => numbers.toSorted((a, b) => a - b)
      assert.lengthOf(reordered, 200)
      assert.notDeepEqual(reordered, sorted(reordered))
      assert.lengthOf(kept, 200)
      assert.deepStrictEqual(kept, sorted(kept))
      // 250 frames of 1000 bytes.
      assert.strictEqual(of.rate.arrived, 250)
      assert.approximately(of.rate.limited, 1, 0.3)
      assert.isBelow(of.rate.free, 0.7)
      assert.deepStrictEqual(of.partition, { during: 0, after: 1 })
      assert.deepStrictEqual(of.capture, { seen: of.capture.passed, passed: of.capture.passed, told: [] })
    })
  )
})
