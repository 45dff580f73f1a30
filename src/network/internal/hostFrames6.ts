/**
 * IPv6 of a host of its own on a VLAN: it answers neighbour solicitations and pings, and turns TCP over IPv6 into TCP over IPv4 and back, because QEMU's user network
 * leads only IPv4 to a program. For that, each peer has an IPv4 address that no machine can have (240.0.0.0/4). Segments need no other size: those of peers say
 * how long they may be over IPv6 (MSS).
 *
 * Sources: RFC 4861 sections 4.3, 4.4 and 7.2.4 (neighbours), RFC 4443 section 4 (echo), RFC 7915 sections 4 and 5 (translation), RFC 1624 (check sums).
 */
import { shortest } from "./frames.ts"

const typeIpv4 = 0x0800
export const typeIpv6 = 0x86dd
const protocolTcp = 6
const protocolIcmp6 = 58
const echoRequest = 128
const solicitation = 135
const advertisement = 136

/** Where the addresses of an IPv6 header are in a frame, and what follows it. */
const at = { source: 22, destination: 38, payload: 54 } as const

/** How many peers it knows; the oldest is forgotten. */
const mostPeers = 1024

/** Flags of an advertisement: it was asked for, and replaces what was known. */
const solicited = 0x40
const overrides = 0x20

const allNodes = Buffer.from("ff020000000000000000000000000001", "hex")

/** A canonical IPv6 address as bytes. */
export const bytesOf = (address: string): Buffer => {
  const [before = "", after] = address.split("::")
  const words = (text: string) => (text === "" ? [] : text.split(":").map((word) => Number.parseInt(word, 16)))
  const [head, tail] = [words(before), words(after ?? "")]
  const bytes = Buffer.alloc(16)
  for (const [index, word] of head.entries()) bytes.writeUInt16BE(word, index * 2)
  for (const [index, word] of tail.entries()) bytes.writeUInt16BE(word, 16 - (tail.length - index) * 2)
  return bytes
}

const wordsSum = (bytes: Buffer, from: number, to: number): number => {
  let sum = 0
  for (let index = from; index < to; index += 2) sum += index + 1 < to ? bytes.readUInt16BE(index) : bytes[index]! << 8
  return sum
}

const folded = (sum: number): number => {
  let rest = sum
  while (rest > 0xffff) rest = (rest & 0xffff) + (rest >>> 16)
  return rest
}

/** A check sum whose words were replaced: the sums of the old ones and of the new ones. */
const updated = (checksum: number, before: number, after: number): number =>
  ~folded((~checksum & 0xffff) + (~folded(before) & 0xffff) + folded(after)) & 0xffff

export class HostFrames6 {
  /** The IPv4 addresses of peers, by their IPv6 addresses in hexadecimal; the newest is the last. */
  private readonly numbers = new Map<string, number>()
  private readonly peers = new Map<number, Buffer>()
  private last = 0xf0000000
  private readonly mac: Buffer
  private readonly ip: Buffer
  private readonly ipv4: number

  constructor(mac: Buffer, ipv6: string, ipv4: number) {
    this.mac = mac
    this.ip = bytesOf(ipv6)
    this.ipv4 = ipv4
  }

  /** Whether a multicast address is that of its solicitations: 33:33:ff and the last three bytes of its address. */
  isSolicited(destination: Buffer): boolean {
    return destination.readUIntBE(0, 3) === 0x3333ff && destination.compare(this.ip, 13, 16, 3, 6) === 0
  }

  /** An answer to a frame, or the TCP in it as a frame of IPv4. */
  receive(frame: Buffer): { readonly reply?: Buffer; readonly tcp?: Buffer } {
    if (frame.length < at.payload + 8) return {}
    const end = at.payload + frame.readUInt16BE(18)
    if (end > frame.length) return {}
    const whole = frame.subarray(0, end)
    const isForUs = this.ip.equals(whole.subarray(at.destination, at.payload))
    if (whole[20] === protocolTcp) return isForUs && end >= at.payload + 20 ? { tcp: this.toIpv4(whole) } : {}
    if (whole[20] !== protocolIcmp6) return {}
    const isSolicitation = whole[at.payload] === solicitation && whole[21] === 255 && end >= at.payload + 24
    if (isSolicitation && this.ip.equals(whole.subarray(at.payload + 8, at.payload + 24))) {
      return { reply: this.advertise(whole) }
    }
    return isForUs && whole[at.payload] === echoRequest ? { reply: this.echo(whole) } : {}
  }

  /** A frame that leaves for a peer of IPv6; as it is for any other. */
  leaving(frame: Buffer): Buffer {
    if (frame.length < 34 || frame.readUInt16BE(12) !== typeIpv4) return frame
    const peer = this.peers.get(frame.readUInt32BE(30))
    return peer === undefined ? frame : this.toIpv6(frame, peer)
  }

  private numberFor(peer: Buffer): number {
    const key = peer.toString("hex")
    const number = this.numbers.get(key) ?? ++this.last
    this.numbers.delete(key)
    this.numbers.set(key, number)
    this.peers.set(number, peer)
    if (this.numbers.size > mostPeers) {
      for (const [oldest, its] of this.numbers) {
        this.numbers.delete(oldest)
        this.peers.delete(its)
        break
      }
    }
    return number
  }

  private toIpv4(frame: Buffer): Buffer {
    const source = this.numberFor(Buffer.from(frame.subarray(at.source, at.destination)))
    const tcp = shortest + 20
    const packet = Buffer.concat([frame.subarray(0, shortest), Buffer.alloc(20), frame.subarray(at.payload)])
    packet.writeUInt16BE(typeIpv4, 12)
    packet.writeUInt8(0x45, shortest)
    packet.writeUInt16BE(packet.length - shortest, shortest + 2)
    // Not to be fragmented.
    packet.writeUInt16BE(0x4000, shortest + 6)
    packet.writeUInt8(frame.readUInt8(21), shortest + 8)
    packet.writeUInt8(protocolTcp, shortest + 9)
    packet.writeUInt32BE(source, shortest + 12)
    packet.writeUInt32BE(this.ipv4, shortest + 16)
    packet.writeUInt16BE(~folded(wordsSum(packet, shortest, tcp)) & 0xffff, shortest + 10)
    const [before, after] = [wordsSum(frame, at.source, at.payload), wordsSum(packet, shortest + 12, tcp)]
    packet.writeUInt16BE(updated(packet.readUInt16BE(tcp + 16), before, after), tcp + 16)
    return packet
  }

  private toIpv6(frame: Buffer, peer: Buffer): Buffer {
    const from = shortest + (frame.readUInt8(shortest) & 15) * 4
    const payload = frame.subarray(from, shortest + frame.readUInt16BE(shortest + 2))
    const packet = Buffer.concat([frame.subarray(0, shortest), Buffer.alloc(40), payload])
    packet.writeUInt16BE(typeIpv6, 12)
    packet.writeUInt8(0x60, shortest)
    packet.writeUInt16BE(payload.length, 18)
    packet.writeUInt8(protocolTcp, 20)
    packet.writeUInt8(frame.readUInt8(shortest + 8), 21)
    packet.set(this.ip, at.source)
    packet.set(peer, at.destination)
    const checksum = at.payload + 16
    const [before, after] = [wordsSum(frame, shortest + 12, shortest + 20), wordsSum(packet, at.source, at.payload)]
    packet.writeUInt16BE(updated(packet.readUInt16BE(checksum), before, after), checksum)
    return packet
  }

  /** The answer to a ping: the same packet with its addresses exchanged, and another type. */
  private echo(frame: Buffer): Buffer {
    const reply = Buffer.from(frame)
    reply.set(frame.subarray(6, 12), 0)
    reply.set(this.mac, 6)
    reply.set(frame.subarray(at.destination, at.payload), at.source)
    reply.set(frame.subarray(at.source, at.destination), at.destination)
    reply.writeUInt8(echoRequest + 1, at.payload)
    const checksum = at.payload + 2
    const words = [echoRequest << 8, (echoRequest + 1) << 8] as const
    reply.writeUInt16BE(updated(frame.readUInt16BE(checksum), ...words), checksum)
    return reply
  }

  /** Who asks for an address to use it itself has none yet, so that all nodes get the answer. */
  private advertise(frame: Buffer): Buffer {
    const source = frame.subarray(at.source, at.destination)
    const isProbe = source.every((byte) => byte === 0)
    const reply = Buffer.alloc(at.payload + 32)
    if (isProbe) reply.set([0x33, 0x33, 0, 0, 0, 1], 0)
    else reply.set(frame.subarray(6, 12), 0)
    reply.set(this.mac, 6)
    reply.writeUInt16BE(typeIpv6, 12)
    reply.writeUInt8(0x60, shortest)
    reply.writeUInt16BE(32, 18)
    reply.writeUInt8(protocolIcmp6, 20)
    reply.writeUInt8(255, 21)
    reply.set(this.ip, at.source)
    reply.set(isProbe ? allNodes : source, at.destination)
    reply.writeUInt8(advertisement, at.payload)
    reply.writeUInt8(overrides | (isProbe ? 0 : solicited), at.payload + 4)
    reply.set(this.ip, at.payload + 8)
    // An option with the address of its card, of eight bytes.
    reply.set([2, 1], at.payload + 24)
    reply.set(this.mac, at.payload + 26)
    const sum = wordsSum(reply, at.source, reply.length) + 32 + protocolIcmp6
    reply.writeUInt16BE(~folded(sum) & 0xffff, at.payload + 2)
    return reply
  }
}
