/**
 * A kernel of a few instructions, which ends its hypervisor: whoever runs it to its end can run guests on this host. It boots by PVH, as Linux does: the
 * processor is in 32-bit mode then. Sources: Xen's `public/elfnote.h` and `docs/misc/pvh.pandoc`.
 */
import * as Elf from "../../host/Elf.ts"

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

/** The note that names the entry point: `Xen`, type 18, four bytes. */
const note = [
  ...[...Elf.little(4, 4), ...Elf.little(4, 4), ...Elf.little(18, 4)],
  ...[0x58, 0x65, 0x6e, 0, ...Elf.little(address, 4)]
]

/** The kernel for a hypervisor: a segment of notes, and one of code. */
export const probeKernel = (hypervisor: keyof typeof codes): Uint8Array => {
  const code = codes[hypervisor]
  const notes = Elf.headerSize(2)
  const place = { flags: 4, alignment: 4 } as const
  return Elf.executable(
    address,
    [
      { ...place, type: "load", flags: 5, offset: notes + note.length, address, size: code.length },
      { ...place, type: "note", offset: notes, address: address + 0x1000, size: note.length }
    ],
    [...note, ...code]
  )
}
