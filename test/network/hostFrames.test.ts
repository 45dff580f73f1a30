import { assert, describe, it } from "@effect/vitest"
import { HostFrames, type Received } from "../../src/network/internal/hostFrames.ts"

const [own, peer, all] = ["5254001201fe", "525400120101", "ffffffffffff"]
const [ownIp, peerIp] = ["c0a801fe", "c0a80101"]
const hex = (...parts: ReadonlyArray<string>) => Buffer.from(parts.join("").replaceAll(" ", ""), "hex")

/** The Internet checksum over words; 0 over a packet whose checksum is right. */
const sumOf = (bytes: Buffer): number => {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += at + 1 < bytes.length ? bytes.readUInt16BE(at) : bytes[at]! << 8
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

const arp = (operation: number, target: string, to = all) =>
  hex(to, peer, "0806 0001 0800 06 04", `000${operation}`, peer, peerIp, "000000000000", target)

interface Segment {
  readonly port: number
  readonly flags: number
  readonly seq?: number
  readonly acknowledged?: number
  readonly data?: Buffer
  readonly to?: string
  readonly fragment?: string
}

const tcp = ({
  acknowledged = 0,
  data = Buffer.alloc(0),
  flags,
  fragment = "0000",
  port,
  seq = 0,
  to = ownIp
}: Segment) => {
  const frame = Buffer.concat([
    hex(
      own,
      peer,
      "0800 45 00 0000 0000",
      fragment,
      "40 06 0000",
      peerIp,
      to,
      "9c40 0000 00000000 00000000 50 00 ffff 0000 0000"
    ),
    data
  ])
  frame.writeUInt16BE(frame.length - 14, 16)
  frame.writeUInt16BE(port, 36)
  frame.writeUInt32BE(seq, 38)
  frame.writeUInt32BE(acknowledged, 42)
  frame.writeUInt8(flags, 47)
  return frame
}

const host = () => new HostFrames("52:54:00:12:01:fe", "192.168.1.254")
const on80 = (port: number) => port === 80

const replyOf = (received: Received | undefined): Buffer => {
  assert.strictEqual(received?._tag, "Reply")
  return received?._tag === "Reply" ? received.frame : Buffer.alloc(0)
}

describe("a host on a VLAN", () => {
  it("answers who asks for its address, and for no other", () => {
    const reply = replyOf(host().receive(arp(1, ownIp), on80))
    assert.deepStrictEqual(reply, hex(peer, own, "0806 0001 0800 06 04 0002", own, ownIp, peer, peerIp))
    for (const other of [arp(1, "c0a80102"), arp(2, ownIp), arp(1, ownIp, "525400999999")]) {
      assert.isUndefined(host().receive(other, on80))
    }
  })

  it("answers pings", () => {
    const ping = hex(
      own,
      peer,
      "0800 4500 0024 0000 0000 40 01 0000",
      peerIp,
      ownIp,
      "08 00 0000 0001 0002 0102030405060708"
    )
    ping.writeUInt16BE(sumOf(ping.subarray(34)), 36)
    const reply = replyOf(host().receive(ping, on80))
    assert.deepStrictEqual(reply.subarray(0, 12), hex(peer, own))
    assert.deepStrictEqual(reply.subarray(26, 34), hex(ownIp, peerIp))
    assert.strictEqual(reply[34], 0)
    assert.strictEqual(sumOf(reply.subarray(34)), 0)
    assert.deepStrictEqual(reply.subarray(38), ping.subarray(38))
  })

  it("hands over TCP for ports that are served, and the sender's address before its first segment", () => {
    const one = host()
    const syn = one.receive(tcp({ port: 80, flags: 2 }), on80)
    assert.strictEqual(syn?._tag, "Serve")
    if (syn?._tag !== "Serve") return
    assert.strictEqual(syn.port, 80)
    assert.deepStrictEqual(syn.hello?.subarray(28, 32), hex(peerIp))
    assert.deepInclude(one.receive(tcp({ port: 80, flags: 16 }), on80), { _tag: "Serve", hello: undefined })
  })

  it("resets the connections to a port that is served no longer, each once", () => {
    const one = host()
    const from = (port: number, flags: number, source: number, acknowledged = 0) => {
      const frame = tcp({ port, flags, acknowledged })
      frame.writeUInt16BE(source, 34)
      one.receive(frame, () => true)
    }
    from(80, 2, 1)
    from(80, 16, 1, 70)
    from(80, 16, 1, 77)
    from(80, 2, 2)
    from(80, 16, 3, 5)
    from(80, 4, 3)
    from(81, 16, 4, 9)
    const [acked, opening, ...rest] = one.end(80)
    assert.deepStrictEqual(rest, [])
    assert.deepStrictEqual([acked![47], acked!.readUInt16BE(36), acked!.readUInt32BE(38)], [4, 1, 77])
    assert.deepStrictEqual([opening![47], opening!.readUInt16BE(36), opening!.readUInt32BE(42)], [4 | 16, 2, 1])
    assert.deepStrictEqual(acked!.subarray(0, 12), hex(peer, own))
    assert.deepStrictEqual(one.end(80), [])
    assert.lengthOf(one.end(81), 1)
  })

  it("refuses connections to other ports, as TCP does", () => {
    const syn = replyOf(host().receive(tcp({ port: 81, flags: 2, seq: 0xffffffff }), on80))
    assert.strictEqual(syn[47], 4 | 16)
    assert.strictEqual(syn.readUInt32BE(42), 0)
    const acked = replyOf(
      host().receive(tcp({ port: 81, flags: 16, acknowledged: 77, data: Buffer.from("abc") }), on80)
    )
    assert.strictEqual(acked[47], 4)
    assert.strictEqual(acked.readUInt32BE(38), 77)
    for (const reply of [syn, acked]) {
      assert.deepStrictEqual(reply.subarray(0, 12), hex(peer, own))
      assert.deepStrictEqual([reply.readUInt16BE(34), reply.readUInt16BE(36)], [81, 0x9c40])
      assert.strictEqual(sumOf(reply.subarray(14, 34)), 0)
      const pseudo = Buffer.concat([reply.subarray(26, 34), hex("0006 0014"), reply.subarray(34)])
      assert.strictEqual(sumOf(pseudo), 0)
    }
    assert.isUndefined(host().receive(tcp({ port: 81, flags: 4 }), on80))
  })

  it("drops everything else: other addresses and cards, other protocols, fragments, halves of frames", () => {
    const udp = tcp({ port: 53, flags: 2 })
    udp.writeUInt8(17, 23)
    const foreign = tcp({ port: 80, flags: 2 })
    foreign.set(hex("525400120102"), 0)
    const whole = tcp({ port: 80, flags: 2 })
    const dropped = [
      ...[udp, foreign, tcp({ port: 80, flags: 2, to: "c0a80102" }), tcp({ port: 80, flags: 2, fragment: "2000" })],
      ...[tcp({ port: 80, flags: 2, fragment: "0001" }), hex(all, peer, "86dd", "60000000"), hex(own, peer, "0800")],
      ...Array.from({ length: whole.length }, (_, length) => whole.subarray(0, length))
    ]
    for (const frame of dropped) assert.isUndefined(host().receive(frame, on80))
  })

  it("sends what its servers say as its own, to those that have asked, and answers their questions itself", () => {
    const one = host()
    const answer = hex(all, "525500112233", "0800 4500 0028 0000 0000 40 06 0000", ownIp, peerIp, "00".repeat(20))
    assert.deepStrictEqual(one.send(answer), {})
    one.receive(tcp({ port: 80, flags: 2 }), on80)
    const { out } = one.send(answer)
    assert.deepStrictEqual(out?.subarray(0, 12), hex(peer, own))
    assert.deepStrictEqual(out?.subarray(12), answer.subarray(12))
    const asked = one.send(arp(1, "c0a80133"))
    assert.isUndefined(asked.out)
    assert.deepStrictEqual(asked.answer?.subarray(28, 32), hex("c0a80133"))
    const [dhcp, other] = [Buffer.from(answer), Buffer.from(answer)]
    dhcp.writeUInt8(17, 23)
    other.set(hex("c0a80102"), 26)
    for (const frame of [dhcp, other, arp(2, ownIp), hex("00")]) assert.deepStrictEqual(one.send(frame), {})
  })
})
