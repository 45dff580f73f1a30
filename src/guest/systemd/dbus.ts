/**
 * The part of D-Bus's wire format that systemd needs: it encodes calls with string arguments, and decodes any message.
 *
 * Little-endian only, as systemd uses it on every machine that vmtest boots. Source: the D-Bus specification, "Message Protocol".
 */

/** A value in a message: arrays and structs are arrays, dictionaries are maps, 64-bit integers are numbers. */
export type Value = number | boolean | string | ReadonlyArray<Value> | ReadonlyMap<Value, Value>

/** A received message. */
export interface Message {
  readonly type: "call" | "return" | "error" | "signal" | "unknown"
  /** The serial number of the call that a return or an error answers. */
  readonly replySerial: number | undefined
  readonly path: string
  readonly interface: string
  readonly member: string
  readonly errorName: string
  readonly body: ReadonlyArray<Value>
}

/** A method call. */
export interface Call {
  readonly path: string
  readonly interface: string
  readonly member: string
  readonly args: ReadonlyArray<string>
}

const types = ["unknown", "call", "return", "error", "signal"] as const

/** Numbers of header fields. */
const fields = { path: 1, interface: 2, member: 3, errorName: 4, replySerial: 5, destination: 6, signature: 8 } as const

const pad = (length: number, to: number) => (to - (length % to)) % to

class Writer {
  private readonly parts: Array<Buffer> = []
  length = 0

  raw(bytes: Buffer): this {
    this.parts.push(bytes)
    this.length += bytes.length
    return this
  }

  align(to: number): this {
    return this.raw(Buffer.alloc(pad(this.length, to)))
  }

  uint32(value: number): this {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(value)
    return this.align(4).raw(bytes)
  }

  string(text: string): this {
    const bytes = Buffer.from(text)
    return this.uint32(bytes.length).raw(bytes).raw(Buffer.of(0))
  }

  signature(text: string): this {
    return this.raw(Buffer.of(text.length)).raw(Buffer.from(`${text}\0`))
  }

  bytes(): Buffer {
    return Buffer.concat(this.parts)
  }
}

/** The bytes of a call to systemd. */
export const encodeCall = (serial: number, call: Call): Buffer => {
  const body = new Writer()
  for (const arg of call.args) body.string(arg)
  const header = new Writer()
  const field = (number: number, type: "s" | "o", value: string) =>
    header.align(8).raw(Buffer.of(number)).signature(type).string(value)
  field(fields.path, "o", call.path)
  field(fields.interface, "s", call.interface)
  field(fields.member, "s", call.member)
  field(fields.destination, "s", "org.freedesktop.systemd1")
  if (call.args.length > 0) {
    header.align(8).raw(Buffer.of(fields.signature)).signature("g").signature("s".repeat(call.args.length))
  }
  return new Writer()
    .raw(Buffer.from([0x6c, 1, 0, 1]))
    .uint32(body.length)
    .uint32(serial)
    .uint32(header.length)
    .raw(header.bytes())
    .align(8)
    .raw(body.bytes())
    .bytes()
}

/** Where the complete type that begins at `at` ends. */
const typeEnd = (signature: string, at: number): number => {
  const type = signature[at]
  if (type === "a") return typeEnd(signature, at + 1)
  if (type !== "(" && type !== "{") return at + 1
  const close = type === "(" ? ")" : "}"
  let end = at + 1
  while (end < signature.length && signature[end] !== close) end = typeEnd(signature, end)
  return end + 1
}

const alignments: Record<string, number> = { y: 1, g: 1, v: 1, n: 2, q: 2, x: 8, t: 8, d: 8, "(": 8, "{": 8 }

/** Reads values from a buffer whose first byte is aligned to 8. */
class Cursor {
  private readonly bytes: Buffer
  at: number

  constructor(bytes: Buffer, at: number) {
    this.bytes = bytes
    this.at = at
  }

  private take(length: number): number {
    const start = this.at
    this.at += length
    return start
  }

  private text(length: number): string {
    const start = this.take(length + 1)
    return this.bytes.toString("utf8", start, start + length)
  }

  read(signature: string, from = 0): Value {
    const type = signature[from] ?? ""
    this.at += pad(this.at, alignments[type] ?? 4)
    switch (type) {
      case "y":
        return this.bytes.readUInt8(this.take(1))
      case "b":
        return this.bytes.readUInt32LE(this.take(4)) !== 0
      case "n":
        return this.bytes.readInt16LE(this.take(2))
      case "q":
        return this.bytes.readUInt16LE(this.take(2))
      case "i":
        return this.bytes.readInt32LE(this.take(4))
      case "u":
      case "h":
        return this.bytes.readUInt32LE(this.take(4))
      case "x":
        return Number(this.bytes.readBigInt64LE(this.take(8)))
      case "t":
        return Number(this.bytes.readBigUInt64LE(this.take(8)))
      case "d":
        return this.bytes.readDoubleLE(this.take(8))
      case "s":
      case "o":
        return this.text(this.bytes.readUInt32LE(this.take(4)))
      case "g":
        return this.text(this.bytes.readUInt8(this.take(1)))
      case "v":
        return this.read(this.read("g") as string)
      case "(":
        return this.all(signature.slice(from + 1, typeEnd(signature, from) - 1))
      case "a":
        return this.array(signature, from + 1)
      default:
        throw new Error(`unknown type in a D-Bus message: ${JSON.stringify(type)}`)
    }
  }

  private array(signature: string, element: number): Value {
    const length = this.bytes.readUInt32LE(this.take(4))
    const type = signature[element] ?? ""
    this.at += pad(this.at, alignments[type] ?? 4)
    const end = this.at + length
    if (type === "{") {
      const key = element + 1
      const entries = new Map<Value, Value>()
      while (this.at < end) {
        this.at += pad(this.at, 8)
        entries.set(this.read(signature, key), this.read(signature, typeEnd(signature, key)))
      }
      return entries
    }
    const values: Array<Value> = []
    while (this.at < end) values.push(this.read(signature, element))
    return values
  }

  /** One value for each complete type of a signature. */
  all(signature: string): ReadonlyArray<Value> {
    const values: Array<Value> = []
    for (let at = 0; at < signature.length; at = typeEnd(signature, at)) values.push(this.read(signature, at))
    return values
  }
}

const decode = (bytes: Buffer): Message => {
  const header = new Map(
    (new Cursor(bytes, 12).read("a(yv)") as ReadonlyArray<readonly [number, Value]>).map(([field, value]) => [
      field,
      value
    ])
  )
  const fieldsLength = bytes.readUInt32LE(12)
  const bodyStart = 16 + fieldsLength + pad(fieldsLength, 8)
  const text = (field: number) => String(header.get(field) ?? "")
  return {
    type: types[bytes[1] ?? 0] ?? "unknown",
    replySerial: header.get(fields.replySerial) as number | undefined,
    path: text(fields.path),
    interface: text(fields.interface),
    member: text(fields.member),
    errorName: text(fields.errorName),
    body: new Cursor(bytes.subarray(bodyStart), 0).all(text(fields.signature))
  }
}

/** Finds messages in pieces of bytes of any size. Throws if the bytes are not messages. */
export class Decoder {
  private pending: Buffer = Buffer.alloc(0)

  push(bytes: Uint8Array): ReadonlyArray<Message> {
    this.pending = this.pending.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.pending, bytes])
    const messages: Array<Message> = []
    while (this.pending.length >= 16) {
      if (this.pending[0] !== 0x6c) throw new Error("not a little-endian D-Bus message")
      const header = this.pending.readUInt32LE(12)
      const size = 16 + header + pad(header, 8) + this.pending.readUInt32LE(4)
      if (this.pending.length < size) break
      messages.push(decode(this.pending.subarray(0, size)))
      this.pending = this.pending.subarray(size)
    }
    return messages
  }
}
