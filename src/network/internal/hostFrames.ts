/**
 * What a host of its own on a VLAN does with frames: it answers ARP for its address, and pings; hands TCP for ports that are served to whoever serves
 * them, and refuses connections to all other ports. Everything else that reaches it, or that its servers say, is dropped. Its servers see IPv4 only: what
 * comes over IPv6 is turned into that, and back.
 *
 * Sources: RFC 826 (ARP), RFC 791 (IPv4), RFC 792 (echo), RFC 9293 section 3.10.7.1 (the reset of a port that nobody listens on).
 */
import { shortest } from "./frames.ts"
import { HostFrames6, typeIpv6 } from "./hostFrames6.ts"

const typeArp = 0x0806
const typeIpv4 = 0x0800
const protocolIcmp = 1
const protocolTcp = 6

/** Flags of TCP. */
const fin = 1
const syn = 2
const rst = 4
const ack = 16

/** How many addresses it remembers the cards of; the oldest is forgotten. */
const mostNeighbours = 1024

/** How many connections it remembers; the oldest is forgotten. */
const mostConnections = 1024

/** What its servers take their neighbours' cards to be; the true one is put in its place when a frame leaves. */
const anyCard = Buffer.from("525400000001", "hex")

const broadcast = 0xffffffffffff

/** What comes of a frame from the VLAN. */
export type Received =
  | { readonly _tag: "Reply"; readonly frame: Buffer }
  /** For the server of a port: a frame of IPv4. `hello` is to be said to it before, so that it knows whom it answers. */
  | { readonly _tag: "Serve"; readonly port: number; readonly frame: Buffer; readonly hello: Buffer | undefined }

export class HostFrames {
  /** The cards of those that have sent something, by their IPv4 addresses. */
  private readonly neighbours = new Map<number, Buffer>()
  /** The headers of the last segment of each connection to a port that is served, by who sent it. */
  private readonly connections = new Map<string, { readonly port: number; readonly headers: Buffer }>()
  private readonly mac: Buffer
  private readonly macNumber: number
  private readonly ip: number
  private readonly six: HostFrames6 | undefined

  constructor(mac: string, ipv4: string, ipv6?: string | undefined) {
    this.mac = Buffer.from(mac.replaceAll(":", ""), "hex")
    this.macNumber = this.mac.readUIntBE(0, 6)
    this.ip = Buffer.from(ipv4.split(".").map(Number)).readUInt32BE()
    this.six = ipv6 === undefined ? undefined : new HostFrames6(this.mac, ipv6, this.ip)
  }

  /** A frame from the VLAN; `serves` says which ports are served. */
  receive(frame: Buffer, serves: (port: number) => boolean): Received | undefined {
    if (frame.length < shortest) return undefined
    const to = frame.readUIntBE(0, 6)
    const type = frame.readUInt16BE(12)
    if (type === typeArp && (to === broadcast || to === this.macNumber)) return this.arp(frame)
    if (type === typeIpv4 && to === this.macNumber) return this.ipv4(frame, serves)
    const isForUs = to === this.macNumber || this.six?.isSolicited(frame.subarray(0, 6)) === true
    return type === typeIpv6 && isForUs ? this.ipv6(frame, serves) : undefined
  }

  private ipv6(frame: Buffer, serves: (port: number) => boolean): Received | undefined {
    const { reply, tcp } = this.six?.receive(frame) ?? {}
    if (reply !== undefined) return { _tag: "Reply", frame: reply }
    const received = tcp === undefined ? undefined : this.ipv4(tcp, serves)
    return received?._tag === "Reply" ? { ...received, frame: this.leaving(received.frame) } : received
  }

  /** As a peer of IPv6 gets it. */
  private leaving(frame: Buffer): Buffer {
    return this.six?.leaving(frame) ?? frame
  }

  /** A frame that a server sends, made one of this host's; or what is to be answered to the server. */
  send(frame: Buffer): { readonly out?: Buffer; readonly answer?: Buffer } {
    if (frame.length < shortest) return {}
    const type = frame.readUInt16BE(12)
    if (type === typeArp && frame.length >= 42 && frame.readUInt16BE(20) === 1) {
      return { answer: arpFrame(2, anyCard, frame.readUInt32BE(38), frame.subarray(22, 28), frame.readUInt32BE(28)) }
    }
    if (type !== typeIpv4 || frame.length < 34 || frame[23] !== protocolTcp || frame.readUInt32BE(26) !== this.ip) {
      return {}
    }
    const neighbour = this.neighbours.get(frame.readUInt32BE(30))
    if (neighbour === undefined) return {}
    const out = Buffer.from(frame)
    out.set(neighbour, 0)
    out.set(this.mac, 6)
    return { out: this.leaving(out) }
  }

  /** What ends the connections to a port that is served no longer. Who only waits for an answer would never hear of it otherwise. */
  end(port: number): ReadonlyArray<Buffer> {
    const ended = [...this.connections].filter(([, connection]) => connection.port === port)
    return ended.map(([key, { headers }]) => {
      this.connections.delete(key)
      return this.leaving(this.reset(headers, headers.length - 20))
    })
  }

  private arp(frame: Buffer): Received | undefined {
    if (frame.length < 42 || frame.readUInt16BE(20) !== 1 || frame.readUInt32BE(38) !== this.ip) return undefined
    const [mac, ip] = [frame.subarray(22, 28), frame.readUInt32BE(28)]
    return { _tag: "Reply", frame: arpFrame(2, this.mac, this.ip, mac, ip) }
  }

  private ipv4(frame: Buffer, serves: (port: number) => boolean): Received | undefined {
    if (frame.length < 34 || frame.readUInt32BE(30) !== this.ip) return undefined
    const at = shortest + (frame.readUInt8(14) & 15) * 4
    // Fragments are dropped: TCP makes none.
    if (frame.length < at + 8 || (frame.readUInt16BE(20) & 0x3fff) !== 0) return undefined
    if (frame[23] === protocolIcmp && frame[at] === 8) return { _tag: "Reply", frame: this.echo(frame, at) }
    if (frame[23] !== protocolTcp || frame.length < at + 20) return undefined
    const from = frame.readUInt32BE(26)
    remember(this.neighbours, mostNeighbours, from, Buffer.from(frame.subarray(6, 12)))
    const port = frame.readUInt16BE(at + 2)
    const flags = frame.readUInt8(at + 13)
    if (serves(port)) {
      const key = `${from} ${frame.readUInt16BE(at)} ${port}`
      if ((flags & rst) === 0)
        remember(this.connections, mostConnections, key, { port, headers: Buffer.from(frame.subarray(0, at + 20)) })
      else this.connections.delete(key)
      const hello = (flags & syn) === 0 ? undefined : arpFrame(2, anyCard, from, this.mac, this.ip)
      return { _tag: "Serve", port, frame, hello }
    }
    return (flags & rst) === 0 ? { _tag: "Reply", frame: this.reset(frame, at) } : undefined
  }

  /** The answer to a ping: the same packet with its addresses exchanged, and type 0 in the place of 8. */
  private echo(frame: Buffer, at: number): Buffer {
    const reply = Buffer.from(frame)
    reply.set(frame.subarray(6, 12), 0)
    reply.set(this.mac, 6)
    reply.set(frame.subarray(30, 34), 26)
    reply.set(frame.subarray(26, 30), 30)
    reply.writeUInt8(0, at)
    const sum = frame.readUInt16BE(at + 2) + 0x0800
    reply.writeUInt16BE((sum & 0xffff) + (sum >>> 16), at + 2)
    return reply
  }

  /** "Connection refused", for a segment whose header begins at `at`. */
  private reset(frame: Buffer, at: number): Buffer {
    const flags = frame.readUInt8(at + 13)
    const end = shortest + frame.readUInt16BE(16)
    const data = Math.max(0, end - at - (frame.readUInt8(at + 12) >> 4) * 4)
    const length = data + ((flags & syn) === 0 ? 0 : 1) + ((flags & fin) === 0 ? 0 : 1)
    const acknowledges = (flags & ack) !== 0
    const reply = Buffer.alloc(54)
    reply.set(frame.subarray(6, 12), 0)
    reply.set(this.mac, 6)
    reply.writeUInt16BE(typeIpv4, 12)
    reply.writeUInt8(0x45, 14)
    reply.writeUInt16BE(40, 16)
    // Not to be fragmented.
    reply.writeUInt16BE(0x4000, 20)
    reply.writeUInt8(64, 22)
    reply.writeUInt8(protocolTcp, 23)
    reply.writeUInt32BE(this.ip, 26)
    reply.writeUInt32BE(frame.readUInt32BE(26), 30)
    reply.writeUInt16BE(checksum(reply, 14, 34), 24)
    reply.writeUInt16BE(frame.readUInt16BE(at + 2), 34)
    reply.writeUInt16BE(frame.readUInt16BE(at), 36)
    if (acknowledges) reply.writeUInt32BE(frame.readUInt32BE(at + 8), 38)
    else reply.writeUInt32BE((frame.readUInt32BE(at + 4) + length) >>> 0, 42)
    reply.writeUInt8(0x50, 46)
    reply.writeUInt8(acknowledges ? rst : rst | ack, 47)
    // The check sum covers the addresses, the protocol and the length, too.
    reply.writeUInt16BE(checksum(reply, 26, 54, protocolTcp + 20), 50)
    return reply
  }
}

/** Makes an entry the newest; beyond `most` of them the oldest is forgotten. */
const remember = <K, V>(map: Map<K, V>, most: number, key: K, value: V): void => {
  map.delete(key)
  map.set(key, value)
  if (map.size <= most) return
  for (const oldest of map.keys()) {
    map.delete(oldest)
    break
  }
}

const arpFrame = (operation: number, mac: Buffer, ip: number, toMac: Buffer, toIp: number): Buffer => {
  const frame = Buffer.alloc(42)
  frame.set(toMac, 0)
  frame.set(mac, 6)
  frame.writeUInt16BE(typeArp, 12)
  // Ethernet and IPv4, whose addresses have 6 and 4 bytes.
  frame.writeUInt16BE(1, 14)
  frame.writeUInt16BE(typeIpv4, 16)
  frame.writeUInt8(6, 18)
  frame.writeUInt8(4, 19)
  frame.writeUInt16BE(operation, 20)
  frame.set(mac, 22)
  frame.writeUInt32BE(ip, 28)
  frame.set(toMac, 32)
  frame.writeUInt32BE(toIp, 38)
  return frame
}

/** The Internet checksum (RFC 1071) of an even number of bytes. */
const checksum = (bytes: Buffer, from: number, to: number, initial = 0): number => {
  let sum = initial
  for (let at = from; at < to; at += 2) sum += bytes.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}
