import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Impairment from "../../src/network/Impairment.ts"
import { statisticsIn } from "../../src/network/internal/bridgeCapture.ts"
import * as Commands from "../../src/network/internal/bridgeCommands.ts"
import { carrierOf } from "../../src/network/internal/bridgePlugs.ts"
import { PcapReader } from "../../src/network/internal/pcap.ts"
import { FabricUnavailable } from "../../src/network/Vlan.ts"

const impairment = (options: Impairment.ImpairmentOptions) =>
  Impairment.make(Result.getOrThrow(Impairment.fromOptions(options)))

const devices = Commands.devicesOf(7, 2)

describe("the commands of a bridge", () => {
  it("give devices names that Linux takes", () => {
    for (const name of Object.values(Commands.devicesOf(254, 9999))) assert.isAtMost(name.length, 15)
  })

  it("make a VLAN without a spanning tree, and a hub without a memory", () => {
    assert.include(Commands.makeVlan(7, false), "link add v7 mtu 65521 type bridge stp_state 0 mcast_snooping 0")
    assert.notInclude(Commands.makeVlan(7, false), "ageing_time")
    assert.include(Commands.makeVlan(7, true), "ageing_time 0")
  })

  it("say every word of netem, so that nothing of an earlier impairment is left", () => {
    assert.strictEqual(
      Commands.netem(impairment({ latency: "100 millis", jitter: "10 millis", loss: "1 %", rate: "2 Mbit/s" })),
      "netem limit 1000 delay 100000us 10000us loss 1% duplicate 0% corrupt 0% reorder 0% rate 2000000bit"
    )
    assert.strictEqual(
      Commands.netem(Commands.unimpaired),
      "netem limit 1000000 delay 0us 0us loss 0% duplicate 0% corrupt 0% rate 0bit"
    )
    assert.include(Commands.netem(impairment({ loss: 1e-6 })), "loss 0.0001%")
  })

  it("keep frames in order whose delay varies, except where they are to be reordered", () => {
    assert.include(Commands.netem(impairment({ latency: "9 millis", jitter: "5 millis" })), "rate 100gbit")
    const reordered = impairment({ latency: "9 millis", jitter: "5 millis", reorder: "25 %" })
    assert.include(Commands.netem(reordered), "reorder 25% rate 0bit")
  })

  it("put what a card sends in a queue at the card, and what it receives in one at the VLAN", () => {
    const loss = impairment({ loss: 0.5 })
    assert.match(
      Commands.impair(devices, { out: loss, in: undefined }),
      /^tc -batch - <<'.'\nqdisc replace dev v7p2i .*\n\.$/
    )
    assert.match(
      Commands.impair(devices, { out: undefined, in: loss }),
      /^tc -batch - <<'.'\nqdisc replace dev v7p2o .*\n\.$/
    )
  })

  it("give netem a seed where tc takes one: the same for the same seed, port and direction", () => {
    const seedsOf = (port: string, seed: number | undefined) =>
      [
        ...Commands.impair(
          devices,
          { out: { ...impairment({ loss: 0.5 }), seed }, in: { ...impairment({ loss: 0.5 }), seed } },
          port
        ).matchAll(/ rate 0bit seed (\d+)\n/g)
      ].map(([, word]) => Number(word))
    const all = [seedsOf("a eth1", 7), seedsOf("a eth1", 8), seedsOf("b eth1", 7), seedsOf("a eth1", undefined)].flat()
    assert.strictEqual(new Set(all).size, 8)
    assert.deepStrictEqual(seedsOf("a eth1", 7), all.slice(0, 2))
    assert.notInclude(Commands.impair(devices, { out: impairment({ loss: 0.5 }), in: undefined }), "seed")
  })

  it("separate the ports of all partitions, both ways", () => {
    const ports = new Map(["a", "b", "c"].map((name, index) => [name, Commands.devicesOf(1, index + 1)]))
    const pairs = (...partitions: ReadonlyArray<ReadonlyArray<ReadonlyArray<string>>>) =>
      Commands.separated(
        ports,
        partitions.map((groups) => groups.map((group) => new Set(group)))
      ).map((pair) => pair.map((name) => name.slice(3, -1)).join(""))
    assert.deepStrictEqual(pairs([["a"], ["b"]]), ["12", "21"])
    assert.deepStrictEqual(pairs([["a"]]), ["12", "13", "21", "31"])
    assert.deepStrictEqual(pairs([["a"], ["b"]], [["b"], ["c"]]), ["12", "21", "23", "32"])
    assert.deepStrictEqual(pairs([["a", "b"], ["c"]]), ["13", "23", "31", "32"])
    assert.deepStrictEqual(pairs([["a", "gone"], ["gone too"]]), [])
  })

  it("replace the rules of all partitions in one transaction", () => {
    assert.strictEqual(
      Commands.partition(1, []),
      "nft -f - <<'.'\nadd table bridge vmtest1\ndelete table bridge vmtest1\n."
    )
    const rules = Commands.partition(1, [["v1p1o", "v1p2o"]])
    assert.include(rules, 'iifname . oifname { "v1p1o" . "v1p2o" } drop')
  })

  it("read counters, and what queues have lost", () => {
    const printed = [
      "Inter-|   Receive                                                |  Transmit",
      " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed",
      "v17p2o:    1      999    0    0    0     0          0         0        1     888    0    0    0     0       0          0",
      " v7p2o: 5086756    1162    0    0    0     0          0         0    43808     520    0    0    0     0       0          0",
      "qdisc netem 8001: root refcnt 3 limit 1000000 delay 100ms loss 10%",
      " Sent 9000 bytes 90 pkt (dropped 10, overlimits 0 requeues 0) ",
      " backlog 0b 0p requeues 0",
      "received",
      "qdisc noqueue 0: root refcnt 2 ",
      " Sent 0 bytes 0 pkt (dropped 0, overlimits 0 requeues 0) ",
      ""
    ].join("\n")
    assert.deepStrictEqual(Commands.countsIn(printed, devices), { sent: 1172, received: 520, lost: 10 })
    assert.deepStrictEqual(Commands.countsIn("", devices), { sent: 0, received: 0, lost: 0 })
  })
})

describe("what leads a socket to a bridge", () => {
  it("has commas in paths doubled, as QEMU's options want it", () => {
    const words = carrierOf({ helper: (bridge) => `helper --br=${bridge}` }, "v1p1", "/run/a,b/v1p1")
    assert.include(words, "tap,id=left,helper=helper --br=v1p1")
    assert.include(words, "stream,id=right,server=on,addr.type=unix,addr.path=/run/a,,b/v1p1")
  })
})

describe("what tcpdump says", () => {
  it("has how many packets it wrote, and how many it was too slow for", () => {
    assert.deepStrictEqual(
      statisticsIn("tcpdump: 278 packets captured, 1025 packets received by filter, 746 packets dropped by kernel"),
      { written: 278, dropped: 746 }
    )
    assert.deepStrictEqual(
      statisticsIn("tcpdump: 1 packet captured, 1 packet received by filter, 0 packets dropped by kernel"),
      { written: 1, dropped: 0 }
    )
    assert.isUndefined(statisticsIn("tcpdump: listening on v1p1o, link-type EN10MB (Ethernet)"))
  })
})

describe("what tcpdump writes", () => {
  it("is read however it is cut into pieces", () => {
    const header = Buffer.alloc(24)
    const record = (seconds: number, nanos: number, frame: string) => {
      const bytes = Buffer.alloc(16 + frame.length)
      for (const [index, value] of [seconds, nanos, frame.length, frame.length].entries())
        bytes.writeUInt32LE(value, index * 4)
      bytes.write(frame, 16)
      return bytes
    }
    const file = Buffer.concat([header, record(1, 5, "first"), record(2, 6, ""), record(3, 7, "third")])
    for (const size of [1, 7, 40, file.length]) {
      const reader = new PcapReader()
      const frames = Array.from({ length: Math.ceil(file.length / size) }, (_, index) =>
        reader.push(file.subarray(index * size, (index + 1) * size))
      ).flat()
      assert.deepStrictEqual(
        frames.map(({ frame, time }) => [Buffer.from(frame).toString(), time]),
        [
          ["first", 1_000_000_005n],
          ["", 2_000_000_006n],
          ["third", 3_000_000_007n]
        ]
      )
    }
  })
})

describe("a fabric that cannot be had", () => {
  it("tells why, and what to do", () => {
    const { message } = new FabricUnavailable({
      doing: "connect machines",
      reason: "could not open /dev/net/tun: Permission denied",
      advice: "run vmtest as root"
    })
    assert.strictEqual(
      message,
      'the fabric "bridge" cannot connect machines on this host: could not open /dev/net/tun: Permission denied; run vmtest as root, or use fabric: "switch" (QEMU only)'
    )
  })
})
