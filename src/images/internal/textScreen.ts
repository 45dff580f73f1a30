/**
 * A text screen for a kernel that is booted without its own real-mode set-up code.
 *
 * That code is what tells Linux of the display it found (`screen_info` in its boot parameters). PVH, the fast way to boot an
 * uncompressed kernel on QEMU, has no place for it, and Linux then leaves a VGA display dark. So the kernel's entry gets a
 * detour: it clears the screen, says "VGA, 80 columns, 25 lines" where nothing was said, puts the entry's own bytes back and
 * goes on there. Where there is no VGA, Linux finds out by itself: vgacon looks whether its memory is any.
 *
 * Layouts: the ELF-64 specification; `struct screen_info` in Linux's include/uapi/linux/screen_info.h, which is the beginning of
 * the boot parameters that `%rsi` points to (Documentation/arch/x86/boot.rst, "64-bit boot protocol").
 */

const LOAD = 1
const headerSize = 56

interface Segment {
  readonly type: number
  readonly offset: number
  readonly address: number
  readonly size: number
}

/** Free memory at that time, below any kernel, and in each identity map that kernels are entered with. */
const detourAddress = 0x100000

const little = (size: 2 | 4 | 8, value: bigint | number): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes.subarray(0, size)
}

const code = (hex: string): Buffer => Buffer.from(hex.replaceAll(" ", ""), "hex")

/** Page 0, mode 3, 80 columns. */
const firstHalf = Buffer.from([0, 0, 0, 0, 0, 0, 3, 80])
/** An EGA with all its memory, 25 lines, a VGA. */
const secondHalf = Buffer.from([0, 0, 3, 0, 0, 0, 25, 1])
const pointsOfFont = 16
const blankCells = "2007 2007 2007 2007"

const detour = (entry: number, original: Buffer): Buffer =>
  Buffer.concat([
    code("80 7e 07 00"), // cmpb $0, 7(%rsi): columns
    code("75 39"), // jne past the stores
    ...[code("48 b8"), firstHalf, code("48 89 06")], // mov $…, %rax; mov %rax, (%rsi)
    ...[code("48 b8"), secondHalf, code("48 89 46 08")], // mov $…, %rax; mov %rax, 8(%rsi)
    ...[code("66 c7 46 10"), little(2, pointsOfFont)], // movw $16, 16(%rsi)
    ...[code("48 b8"), code(blankCells)], // mov $…, %rax
    ...[code("bf"), little(4, 0xb8000)], // mov $0xb8000, %edi: the text buffer of a colour VGA
    ...[code("b9"), little(4, (80 * 25) / 4)], // mov $500, %ecx
    code("fc f3 48 ab"), // cld; rep stosq
    ...[code("48 b8"), original], // mov $…, %rax
    ...[code("b9"), little(4, entry)], // mov $entry, %ecx
    code("48 89 01 ff e1") // mov %rax, (%rcx); jmp *%rcx
  ])

/** `vmlinux` as a kernel that knows of a VGA text screen; as it is when it is not laid out as a kernel for x86-64. */
export const withTextScreen = (vmlinux: Buffer): Buffer => {
  if (vmlinux.length < 64 || vmlinux.readUInt32BE(0) !== 0x7f454c46 || vmlinux.readUInt8(4) !== 2) return vmlinux
  const entry = Number(vmlinux.readBigUInt64LE(24))
  const headers = Number(vmlinux.readBigUInt64LE(32))
  const count = vmlinux.readUInt16LE(56)
  if (vmlinux.readUInt16LE(54) !== headerSize || headers + count * headerSize > vmlinux.length) return vmlinux
  const segments = Array.from({ length: count }, (_, index): Segment => {
    const at = headers + index * headerSize
    return {
      type: vmlinux.readUInt32LE(at),
      offset: Number(vmlinux.readBigUInt64LE(at + 8)),
      address: Number(vmlinux.readBigUInt64LE(at + 24)),
      size: Number(vmlinux.readBigUInt64LE(at + 32))
    }
  }).filter(({ type }) => type === LOAD)
  const home = segments.find(({ address, size }) => address <= entry && entry + 8 <= address + size)
  const inTheWay = segments.some(({ address }) => address < 2 * detourAddress)
  if (home === undefined || inTheWay || entry > 0x7fffffff) return vmlinux
  const at = home.offset + entry - home.address
  const body = detour(entry, vmlinux.subarray(at, at + 8))
  const bodyAt = Math.ceil(vmlinux.length / 4096) * 4096
  const headersAt = bodyAt + 256
  const result = Buffer.alloc(headersAt + (count + 1) * headerSize)
  vmlinux.copy(result)
  Buffer.concat([code("b8"), little(4, detourAddress), code("ff e0")]).copy(result, at) // mov $…, %eax; jmp *%rax
  body.copy(result, bodyAt)
  vmlinux.copy(result, headersAt, headers, headers + count * headerSize)
  Buffer.concat([
    ...[little(4, LOAD), little(4, 5)],
    ...[bodyAt, detourAddress, detourAddress, body.length, body.length, 4096].map((value) => little(8, value))
  ]).copy(result, headersAt + count * headerSize)
  result.writeBigUInt64LE(BigInt(headersAt), 32)
  result.writeUInt16LE(count + 1, 56)
  return result
}
