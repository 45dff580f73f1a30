/**
 * Programs and kernels of a few instructions, as ELF files for x86-64 (elf(5)).
 *
 * **Example** (A program whose one segment is the whole file)
 *
 * ```ts
 * const size = Elf.headerSize(1) + code.length
 * const segment = { type: "load", flags: 5, offset: 0, address: 0x400000, size, alignment: 0x1000 } as const
 * const file = Elf.executable(0x400000 + Elf.headerSize(1), [segment], code)
 * ```
 *
 * @since 0.1.0
 */

/** A part of the file, and where it is loaded. */
export interface Segment {
  /** `load` is loaded, `note` describes the file. */
  readonly type: "load" | "note"
  /** 4 to read, 2 to write, 1 to run; their sum. */
  readonly flags: number
  /** Bytes from the beginning of the file. */
  readonly offset: number
  /** Of its first byte, in memory. */
  readonly address: number
  /** Bytes. */
  readonly size: number
  /** Bytes. */
  readonly alignment: number
}

const types = { load: 1, note: 4 } as const
const sizes = { file: 64, segment: 56 } as const

/** A number as so many bytes, the lowest first. */
export const little = (value: number, bytes: number): ReadonlyArray<number> =>
  Array.from({ length: bytes }, (_, index) => Math.floor(value / 256 ** index) % 256)

/** Bytes before the content of a file with so many segments. */
export const headerSize = (segments: number): number => sizes.file + segments * sizes.segment

const header = ({ address, alignment, flags, offset, size, type }: Segment): ReadonlyArray<number> => [
  ...[...little(types[type], 4), ...little(flags, 4), ...little(offset, 8), ...little(address, 8)],
  ...[...little(address, 8), ...little(size, 8), ...little(size, 8), ...little(alignment, 8)]
]

/** A file that is entered at an address. The content follows the headers; offsets of segments count these, too. */
export const executable = (
  entry: number,
  segments: ReadonlyArray<Segment>,
  content: ReadonlyArray<number>
): Uint8Array =>
  Uint8Array.from([
    ...[0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    // ET_EXEC for EM_X86_64, the version, and its entry point.
    ...[...little(2, 2), ...little(62, 2), ...little(1, 4), ...little(entry, 8)],
    // The headers of segments follow; there are no sections.
    ...[...little(sizes.file, 8), ...little(0, 8), ...little(0, 4), ...little(sizes.file, 2)],
    ...[...little(sizes.segment, 2), ...little(segments.length, 2), ...little(0, 6)],
    ...segments.flatMap(header),
    ...content
  ])
