/**
 * A kernel of a few instructions, which ends its hypervisor: whoever runs it to its end can run guests on this host. It boots by PVH, as Linux does: the
 * processor is in 32-bit mode then. Sources: Xen's `public/elfnote.h` and `docs/misc/pvh.pandoc`; for the registers, Intel's manual, volume 3.
 *
 * It does what Linux does on its way up, because a host can run simpler guests and still no Linux: there are KVMs that interpret each instruction of a
 * guest's kernel, which takes longer than emulation by QEMU, and lack some instructions.
 */
import * as Elf from "../../host/Elf.ts"

/** `hlt; jmp $-1`: whatever the write to a port does takes its time. */
const wait = [0xf4, 0xeb, 0xfd]

/** How the kernel ends its hypervisor. */
const endings = {
  /** `mov al, 0x10; out 0xf4, al`: a byte n written to QEMU's isa-debug-exit ends QEMU with exit code 2n + 1. */
  qemu: [0xb0, 0x10, 0xe6, 0xf4, ...wait],
  /** `mov al, 0xfe; out 0x64, al`: the keyboard controller resets the processor. */
  firecracker: [0xb0, 0xfe, 0xe6, 0x64, ...wait],
  /** `mov dx, 0x600; mov al, 0x34; out dx, al`: ACPI's sleep state S5, with the bit that enters it. */
  "cloud-hypervisor": [0x66, 0xba, 0x00, 0x06, 0xb0, 0x34, 0xee, ...wait]
} as const

/** With which exit code QEMU ends that ran the kernel. */
export const qemuExitCode = 2 * 0x10 + 1

/** Where it is loaded: above the first mebibyte, which belongs to the firmware. */
const address = 0x1000000
/** Three page tables, one for each level, and below them 16 bytes to work on. */
const tables = [0x1010000, 0x1011000, 0x1012000] as const
const data = 0x1013000

const word = (value: number) => Elf.little(value, 4)
/** `mov dword [at], value` */
const store = (at: number, value: number) => [0xc7, 0x05, ...word(at), ...word(value)]

/** As long as a processor needs a few milliseconds for, QEMU's emulation a tenth of a second, and an interpreter of instructions many seconds. */
const rounds = 10_000_000

/** To 64-bit mode with paging, where one page of 2 MiB is mapped: the one that all this is in. */
const toLongMode = [
  ...[0xfc, 0x31, 0xc0], // cld; xor eax, eax
  ...[0xbf, ...word(tables[0]), 0xb9, ...word(0x3000 / 4), 0xf3, 0xab], // mov edi, …; mov ecx, …; rep stosd
  ...store(tables[0], tables[1] + 3), // present, writable
  ...store(tables[1], tables[2] + 3),
  ...store(tables[2] + 8 * (address / 0x200000), address + 0x83), // present, writable, a page of 2 MiB
  ...[0xb8, ...word(tables[0]), 0x0f, 0x22, 0xd8], // mov eax, …; mov cr3, eax
  ...[0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x20, 0x0f, 0x22, 0xe0], // cr4 |= PAE
  ...[0xb9, ...word(0xc0000080), 0x0f, 0x32, 0x80, 0xcc, 0x01, 0x0f, 0x30] // EFER |= LME
]
const enablePaging = [0x0f, 0x20, 0xc0, 0x0d, ...word(0x80000001), 0x0f, 0x22, 0xc0] // cr0 |= PG | PE

/** A table of segments, with one of 64-bit code, and before it its size and address. */
const segments = (at: number) => [
  ...[...Elf.little(15, 2), ...word(at + 6)],
  ...[...word(0), ...word(0), ...word(0), ...word(0x00209a00)]
]

const work = [
  ...[0xbf, ...word(data), 0xf0, 0x48, 0x0f, 0xc7, 0x0f], // mov edi, …; lock cmpxchg16b [rdi]
  ...[0xb9, ...word(rounds), 0xff, 0xc9, 0x75, 0xfc] // mov ecx, …; 1: dec ecx; jnz 1b
]

const codeFor = (hypervisor: keyof typeof endings): ReadonlyArray<number> => {
  const loads = [0x0f, 0x01, 0x15] // lgdt [table]
  const jump = [0xea] // jmp 8:after
  const before = toLongMode.length + loads.length + 4 + enablePaging.length
  const table = address + before + jump.length + 6
  const after = table + segments(table).length
  return [
    ...[...toLongMode, ...loads, ...word(table), ...enablePaging],
    ...[...jump, ...word(after), ...Elf.little(8, 2)],
    ...[...segments(table), ...work, ...endings[hypervisor]]
  ]
}

/** The note that names the entry point: `Xen`, type 18, four bytes. */
const note = [
  ...[...Elf.little(4, 4), ...Elf.little(4, 4), ...Elf.little(18, 4)],
  ...[0x58, 0x65, 0x6e, 0, ...Elf.little(address, 4)]
]

/** The kernel for a hypervisor: a segment of notes, and one of code. */
export const probeKernel = (hypervisor: keyof typeof endings): Uint8Array => {
  const code = codeFor(hypervisor)
  const notes = Elf.headerSize(2)
  const place = { flags: 4, alignment: 4 } as const
  return Elf.executable(
    address,
    [
      { ...place, type: "load", flags: 5, offset: notes + note.length, address, size: code.length },
      { ...place, type: "note", offset: notes, address: address + 0x2000, size: note.length }
    ],
    [...note, ...code]
  )
}
