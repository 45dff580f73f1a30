/**
 * The blocks of a pcapng file, as bytes: what Wireshark and tcpdump read. Source: draft-ietf-opsawg-pcapng, sections 4.1 to 4.3.
 *
 * Little-endian. Each block is its type, its length, its body, and its length again, all on boundaries of four bytes.
 */

const sectionHeader = 0x0a0d0d0a
const interfaceDescription = 1
const enhancedPacket = 6

/** LINKTYPE_ETHERNET. */
const ethernet = 1

/** Codes of options; 0 ends them, 1 is a comment in any block. */
const comment = 1
const shbUserApplication = 4
const ifName = 2
const ifDescription = 3
const ifTimeResolution = 9
const epbFlags = 2
const epbDropCount = 4

/** The direction bits of `epb_flags`: the card sent it. */
const outbound = 2

const padded = (length: number) => (length + 3) & ~3

interface Option {
  readonly code: number
  readonly value: Buffer
}

const text = (code: number, value: string): Option => ({ code, value: Buffer.from(value) })

const uint32 = (code: number, value: number): Option => {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeUInt32LE(value)
  return { code, value: bytes }
}

const uint64 = (code: number, value: number): Option => {
  const bytes = Buffer.allocUnsafe(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return { code, value: bytes }
}

/** A block whose body is `fixed` bytes that `fill` writes, at the offset that it is given, and options. */
const block = (
  type: number,
  fixed: number,
  options: ReadonlyArray<Option>,
  fill: (bytes: Buffer, at: number) => void
): Buffer => {
  const ofOptions = options.reduce((sum, { value }) => sum + 4 + padded(value.length), options.length === 0 ? 0 : 4)
  const length = 12 + padded(fixed) + ofOptions
  const bytes = Buffer.alloc(length)
  bytes.writeUInt32LE(type, 0)
  bytes.writeUInt32LE(length, 4)
  fill(bytes, 8)
  let at = 8 + padded(fixed)
  for (const { code, value } of options) {
    bytes.writeUInt16LE(code, at)
    bytes.writeUInt16LE(value.length, at + 2)
    bytes.set(value, at + 4)
    at += 4 + padded(value.length)
  }
  // The end of the options is four zeros.
  bytes.writeUInt32LE(length, length - 4)
  return bytes
}

/** The beginning of a file; `title` is its comment. */
export const section = (title: string): Buffer =>
  block(sectionHeader, 16, [text(comment, title), text(shbUserApplication, "vmtest")], (bytes, at) => {
    bytes.writeUInt32LE(0x1a2b3c4d, at)
    bytes.writeUInt16LE(1, at + 4)
    bytes.writeUInt16LE(0, at + 6)
    // How long the section is: to the end of the file.
    bytes.writeBigInt64LE(-1n, at + 8)
  })

/** An Ethernet card, whose number in the file is how many came before it. Times are nanoseconds, packets are whole. */
export const card = (name: string, description: string): Buffer =>
  block(
    interfaceDescription,
    8,
    [
      text(ifName, name),
      text(ifDescription, description),
      // A power of ten.
      { code: ifTimeResolution, value: Buffer.from([9]) }
    ],
    (bytes, at) => {
      bytes.writeUInt16LE(ethernet, at)
      bytes.writeUInt32LE(0, at + 4)
    }
  )

/** What there is to say of a packet besides its bytes. */
export interface Notes {
  readonly comment?: string | undefined
  /** How many packets of the card between the one before and this one are not in the file. */
  readonly dropped?: number | undefined
}

/** A packet that a card sent; `time` is nanoseconds since 1970. */
export const packet = (cardNumber: number, time: bigint, frame: Uint8Array, notes: Notes = {}): Buffer => {
  const options = [
    ...(notes.comment === undefined ? [] : [text(comment, notes.comment)]),
    uint32(epbFlags, outbound),
    ...(notes.dropped === undefined || notes.dropped === 0 ? [] : [uint64(epbDropCount, notes.dropped)])
  ]
  return block(enhancedPacket, 20 + frame.length, options, (bytes, at) => {
    bytes.writeUInt32LE(cardNumber, at)
    bytes.writeUInt32LE(Number(time >> 32n), at + 4)
    bytes.writeUInt32LE(Number(time & 0xffffffffn), at + 8)
    bytes.writeUInt32LE(frame.length, at + 12)
    bytes.writeUInt32LE(frame.length, at + 16)
    bytes.set(frame, at + 20)
  })
}
