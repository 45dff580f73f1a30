/** Programs of a few dozen bytes for guests, which bring no library with them. */

const headers = 64 + 56
const address = 0x400000n

/** Code for x86-64 as an ELF file that can be run: one header, one segment. */
export const elf = (text: Uint8Array): Buffer => {
  const file = Buffer.alloc(headers)
  // 64 bits, little-endian, version 1; an executable for x86-64.
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  file.writeUInt16LE(2, 16)
  file.writeUInt16LE(62, 18)
  file.writeUInt32LE(1, 20)
  file.writeBigUInt64LE(address + BigInt(headers), 24)
  file.writeBigUInt64LE(64n, 32)
  file.writeUInt16LE(64, 52)
  file.writeUInt16LE(56, 54)
  file.writeUInt16LE(1, 56)
  // PT_LOAD, to be read and executed: the whole file.
  file.writeUInt32LE(1, 64)
  file.writeUInt32LE(5, 68)
  file.writeBigUInt64LE(address, 80)
  file.writeBigUInt64LE(address, 88)
  const size = BigInt(headers + text.length)
  file.writeBigUInt64LE(size, 96)
  file.writeBigUInt64LE(size, 104)
  file.writeBigUInt64LE(4096n, 112)
  return Buffer.concat([file, text])
}

/** Bytes as every shell's `printf %b` takes them. */
export const octal = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => `\\0${byte.toString(8).padStart(3, "0")}`).join("")
