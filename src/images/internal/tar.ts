/** The end of a tar archive (the format is in tar(5) of libarchive and in POSIX's pax). */
import * as Fs from "node:fs"

const block = 512
/** GNU tar reads a pipe in records of so much. */
const record = 20 * block

/** Octal text, or binary where that is too short. */
const sizeOf = (header: Buffer): number => {
  if ((header.readUInt8(124) & 0x80) !== 0) return Number(header.readBigUInt64BE(128))
  return Number.parseInt(header.toString("latin1", 124, 136).replace(/[\0 ]+$/, "") || "0", 8)
}

/**
 * Makes an archive end with the record that its end marks are in.
 *
 * What comes after that is never read: a tar at the end of a pipe has gone, and the writer is killed by SIGPIPE if it is a
 * moment late. mmdebstrap writes such archives, and such pipes.
 */
export const trimTail = (path: string): void => {
  const file = Fs.openSync(path, "r+")
  const header = Buffer.alloc(block)
  let position = 0
  while (Fs.readSync(file, header, 0, block, position) === block && header.some((byte) => byte !== 0)) {
    position += block + Math.ceil(sizeOf(header) / block) * block
  }
  // Longer or shorter: what is added are zeros.
  Fs.ftruncateSync(file, Math.ceil((position + 2 * block) / record) * record)
  Fs.closeSync(file)
}
