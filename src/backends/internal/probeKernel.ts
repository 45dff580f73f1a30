/**
 * A kernel of a few instructions, which ends its hypervisor: whoever runs it to its end can run guests on this host. It boots by PVH, as Linux does: the
 * processor is in 32-bit mode then. Sources: elf(5), Xen's `public/elfnote.h` and `docs/misc/pvh.pandoc`.
 */

/** A number as so many bytes, the lowest first. */
const little = (value: number, bytes: number): ReadonlyArray<number> =>
  Array.from({ length: bytes }, (_, index) => Math.floor(value / 256 ** index) % 256)

/** `hlt; jmp $-1`: whatever the write to a port does takes its time. */
const wait = [0xf4, 0xeb, 0xfd]

/** The code by hypervisor. */
const codes = {
  /** `mov al, 0xfe; out 0x64, al`: the keyboard controller resets the processor. */
  firecracker: [0xb0, 0xfe, 0xe6, 0x64, ...wait],
  /** `mov dx, 0x600; mov al, 0x34; out dx, al`: ACPI's sleep state S5, with the bit that enters it. */
  "cloud-hypervisor": [0x66, 0xba, 0x00, 0x06, 0xb0, 0x34, 0xee, ...wait]
} as const

/** Where it is loaded: above the first mebibyte, which belongs to the firmware. */
const address = 0x1000000

const headers = { file: 64, segment: 56 } as const

/** The note that names the entry point: `Xen`, type 18, four bytes. */
const note = [...little(4, 4), ...little(4, 4), ...little(18, 4), 0x58, 0x65, 0x6e, 0, ...little(address, 4)]

/** One segment: type, flags, place in the file and in memory, size. */
const segment = (type: number, flags: number, offset: number, at: number, size: number): ReadonlyArray<number> => [
  ...[...little(type, 4), ...little(flags, 4), ...little(offset, 8), ...little(at, 8), ...little(at, 8)],
  ...[...little(size, 8), ...little(size, 8), ...little(4, 8)]
]

/** The kernel for a hypervisor: an ELF executable with a segment of code (PT_LOAD) and one of notes (PT_NOTE). */
export const probeKernel = (hypervisor: keyof typeof codes): Uint8Array => {
  const code = codes[hypervisor]
  const notes = headers.file + 2 * headers.segment
  const start = notes + note.length
  return Uint8Array.from([
    ...[0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    // ET_EXEC for EM_X86_64, the version, and its entry point.
    ...[...little(2, 2), ...little(62, 2), ...little(1, 4), ...little(address, 8)],
    ...[...little(headers.file, 8), ...little(0, 8), ...little(0, 4), ...little(headers.file, 2)],
    ...[...little(headers.segment, 2), ...little(2, 2), ...little(0, 6)],
    ...segment(1, 5, start, address, code.length),
    ...segment(4, 4, notes, address + 0x1000, note.length),
    ...note,
    ...code
  ])
}
