/**
 * The ELF kernel inside a bzImage.
 *
 * Booted directly (PVH on QEMU, and the only kind Firecracker takes) it skips the kernel's own decompression, which costs
 * half a second under emulation. Layout: Documentation/arch/x86/boot.rst in Linux; LZ4's legacy frame:
 * doc/lz4_Frame_format.md of LZ4.
 */
import * as Zlib from "node:zlib"

/** Undefined when the image is not a bzImage or is compressed in a way that is not known here. */
export const extractVmlinux = (image: Buffer): Buffer | undefined => {
  if (image.length < 0x260 || image.toString("latin1", 0x202, 0x206) !== "HdrS") return undefined
  const protectedMode = ((image.readUInt8(0x1f1) || 4) + 1) * 512
  const start = protectedMode + image.readUInt32LE(0x248)
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c))
  const vmlinux = decompress(payload)
  return vmlinux?.readUInt32BE(0) === 0x7f454c46 ? vmlinux : undefined
}

/** The kernel appends the unpacked length, 4 bytes, to every kind of payload. */
const decompress = (payload: Buffer): Buffer | undefined => {
  const magic = payload.readUInt32BE(0)
  const size = payload.readUInt32LE(payload.length - 4)
  if (magic === 0x02214c18) return lz4Legacy(payload.subarray(4, -4), size)
  if (magic >>> 16 === 0x1f8b) return Zlib.gunzipSync(payload.subarray(0, -4))
  if (magic === 0x28b52ffd) return Zlib.zstdDecompressSync(payload.subarray(0, -4))
  return undefined
}

const lz4Legacy = (payload: Buffer, size: number): Buffer | undefined => {
  const output = Buffer.allocUnsafe(size)
  let from = 0
  let to = 0
  while (from + 4 <= payload.length) {
    const length = payload.readUInt32LE(from)
    to = lz4Block(payload.subarray(from + 4, from + 4 + length), output, to)
    from += 4 + length
  }
  return to === size ? output : undefined
}

/** Unpacks one block behind `to`, and returns where it ends. */
const lz4Block = (input: Buffer, output: Buffer, to: number): number => {
  let from = 0
  let end = to
  const length = (nibble: number): number => {
    let total = nibble
    if (nibble === 15) {
      let more: number
      do {
        more = input.readUInt8(from++)
        total += more
      } while (more === 255)
    }
    return total
  }
  while (from < input.length) {
    const token = input.readUInt8(from++)
    const literals = length(token >> 4)
    input.copy(output, end, from, from + literals)
    from += literals
    end += literals
    if (from >= input.length) break
    const offset = input.readUInt16LE(from)
    from += 2
    const match = length(token & 15) + 4
    // A match may reach into the bytes it is making itself; then it repeats.
    if (offset >= match) output.copyWithin(end, end - offset, end - offset + match)
    else for (let index = 0; index < match; index++) output[end + index] = output[end + index - offset] ?? 0
    end += match
  }
  return end
}
