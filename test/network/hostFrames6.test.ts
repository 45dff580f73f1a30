import { assert, describe, it } from "@effect/vitest"
import { HostFrames } from "../../src/network/internal/hostFrames.ts"
import { bytesOf } from "../../src/network/internal/hostFrames6.ts"

const [own, peer] = ["5254001201fe", "525400120101"]
const [ownIp, peerIp, nobody] = [
  "20010db80001" + "0".repeat(18) + "fe",
  "20010db80001" + "0".repeat(18) + "01",
  "0".repeat(32)
]
const hex = (...parts: ReadonlyArray<string>) => Buffer.from(parts.join("").replaceAll(" ", ""), "hex")

/** The Internet checksum over words; 0 over a packet whose checksum is right. */
const sumOf = (...parts: ReadonlyArray<Buffer>): number => {
  const bytes = Buffer.concat(parts)
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) sum += at + 1 < bytes.length ? bytes.readUInt16BE(at) : bytes[at]! << 8
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

/** The checksum of what a packet of IPv6 carries, with its pseudo header. */
const sumOf6 = (frame: Buffer) =>
  sumOf(
    frame.subarray(22, 54),
    hex(`0000${frame.subarray(18, 20).toString("hex")}000000`, frame.subarray(20, 21).toString("hex")),
    frame.subarray(54)
  )

const ipv6 = (next: number, payload: Buffer, { from = peerIp, hops = 64, macTo = own, to = ownIp } = {}) => {
  const frame = Buffer.concat([
    hex(
      macTo,
      peer,
      "86dd 60000000",
      payload.length.toString(16).padStart(4, "0"),
      next.toString(16).padStart(2, "0"),
      hops.toString(16).padStart(2, "0"),
      from,
      to
    ),
    payload
  ])
  const at = 54 + (next === 6 ? 16 : 2)
  frame.writeUInt16BE(0, at)
  frame.writeUInt16BE(sumOf6(frame), at)
  return frame
}

const segment = (port: number, flags: number, data = "") => {
  const bytes = Buffer.concat([hex("9c40 0000 00000001 00000002 50 00 ffff 0000 0000"), Buffer.from(data)])
  bytes.writeUInt16BE(port, 2)
  bytes.writeUInt8(flags, 13)
  return bytes
}

const host = () => new HostFrames("52:54:00:12:01:fe", "192.168.1.254", "2001:db8:1::fe")
const on80 = (port: number) => port === 80

describe("a host of its own, over IPv6", () => {
  it("reads addresses in each spelling", () => {
    assert.strictEqual(bytesOf("2001:db8:1::fe").toString("hex"), ownIp)
    assert.strictEqual(bytesOf("::1").toString("hex"), `${"0".repeat(31)}1`)
    assert.strictEqual(bytesOf("fd00::").toString("hex"), `fd${"0".repeat(30)}`)
    assert.strictEqual(bytesOf("1:2:3:4:5:6:7:8").toString("hex"), "00010002000300040005000600070008")
  })

  it("answers who asks for its address, and says so to all nodes where somebody wants it for himself", () => {
    for (const [from, macFrom, ipTo, flags] of [
      [peerIp, peer, peerIp, 0x60],
      [nobody, "333300000001", "ff02000000000000" + "0000000000000001", 0x20]
    ] as const) {
      const asked = ipv6(58, hex("87 00 0000 00000000", ownIp), {
        from,
        hops: 255,
        macTo: "3333ff0000fe",
        to: "ff0200000000000000000001ff0000fe"
      })
      const received = host().receive(asked, on80)
      if (received?._tag !== "Reply") return assert.fail("there is no answer")
      const { frame } = received
      assert.strictEqual(frame.subarray(0, 12).toString("hex"), macFrom + own)
      assert.strictEqual(frame.subarray(22, 54).toString("hex"), ownIp + ipTo)
      assert.deepStrictEqual([frame[54], frame[58], frame[21]], [136, flags, 255])
      assert.strictEqual(frame.subarray(62).toString("hex"), `${ownIp}0201${own}`)
      assert.strictEqual(sumOf6(frame), 0)
    }
  })

  it("answers nobody who asks for another address, or from beyond a router", () => {
    const to = { macTo: "3333ff0000fe", to: "ff0200000000000000000001ff0000fe" }
    const other = `${ownIp.slice(0, -4)}77fe`
    assert.isUndefined(host().receive(ipv6(58, hex("87 00 0000 00000000", other), { ...to, hops: 255 }), on80))
    assert.isUndefined(host().receive(ipv6(58, hex("87 00 0000 00000000", ownIp), { ...to, hops: 254 }), on80))
    assert.isUndefined(new HostFrames("52:54:00:12:01:fe", "192.168.1.254").receive(ipv6(6, segment(80, 2)), on80))
  })

  it("answers pings", () => {
    for (const data of ["", "odd", "even"]) {
      const received = host().receive(ipv6(58, Buffer.concat([hex("80 00 0000 1234 0001"), Buffer.from(data)])), on80)
      if (received?._tag !== "Reply") return assert.fail("there is no answer")
      assert.strictEqual(received.frame.subarray(22, 54).toString("hex"), ownIp + peerIp)
      assert.strictEqual(received.frame[54], 129)
      assert.strictEqual(sumOf6(received.frame), 0)
    }
  })

  it("gives its servers IPv4, and their answers to the peer as IPv6, with right check sums", () => {
    const frames = host()
    for (const data of ["", "odd", "even"]) {
      const received = frames.receive(ipv6(6, segment(80, 2, data)), on80)
      if (received?._tag !== "Serve") return assert.fail("it is not served")
      const { frame } = received
      assert.strictEqual(frame.readUInt16BE(12), 0x0800)
      assert.strictEqual(sumOf(frame.subarray(14, 34)), 0)
      const length = frame.length - 34
      assert.strictEqual(
        sumOf(frame.subarray(26, 34), hex(`0006${length.toString(16).padStart(4, "0")}`), frame.subarray(34)),
        0
      )
      assert.strictEqual(frame[26]! >> 4, 15)
      assert.strictEqual(frame.subarray(54).toString(), data)
      // The server's answer, to whom the segment came from.
      const answer = Buffer.from(frame)
      answer.set(frame.subarray(30, 34), 26)
      answer.set(frame.subarray(26, 30), 30)
      const { out } = frames.send(answer)
      assert.strictEqual(out?.subarray(0, 14).toString("hex"), `${peer}${own}86dd`)
      assert.strictEqual(out?.subarray(22, 54).toString("hex"), ownIp + peerIp)
      assert.strictEqual(sumOf6(out!), 0)
      assert.strictEqual(out?.subarray(74).toString(), data)
    }
    // What ends a connection reaches the peer, too.
    const [reset] = frames.end(80)
    assert.strictEqual(reset?.readUInt16BE(12), 0x86dd)
    assert.strictEqual(sumOf6(reset!), 0)
  })

  it("refuses connections to ports that are not served", () => {
    const received = host().receive(ipv6(6, segment(81, 2)), on80)
    if (received?._tag !== "Reply") return assert.fail("it is not refused")
    assert.strictEqual(received.frame.subarray(22, 54).toString("hex"), ownIp + peerIp)
    assert.strictEqual(received.frame[67]! & 4, 4)
    assert.strictEqual(sumOf6(received.frame), 0)
  })

  it("reads no more of a frame than there is", () => {
    const whole = ipv6(6, segment(80, 2, "some data"))
    for (let length = 0; length < whole.length; length++) {
      assert.isUndefined(host().receive(whole.subarray(0, length), on80))
    }
  })
})
