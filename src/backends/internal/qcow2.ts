/**
 * An empty qcow2 image of a given size, to be laid over another one that QEMU's command line names.
 *
 * Written here because it is four clusters of mostly zero bytes, and `qemu-img` is in a package of its own. Source:
 * docs/interop/qcow2 in QEMU's sources.
 */
import * as Fs from "node:fs"

const cluster = 65536
/** What an entry of the first table stands for: a table of as many entries as a cluster holds, each of one cluster. */
const perEntry = (cluster / 8) * cluster
const magic = 0x514649fb

/** How large the disk in a file is, in bytes. Throws what the file system says. */
export const virtualSize = (path: string, format: "raw" | "qcow2"): number => {
  if (format === "raw") return Math.ceil(Fs.statSync(path).size / 512) * 512
  const head = Buffer.alloc(32)
  const file = Fs.openSync(path, "r")
  const read = Fs.readSync(file, head, 0, head.length, 0)
  Fs.closeSync(file)
  if (read < head.length || head.readUInt32BE(0) !== magic) throw new Error(`${path} is not a qcow2 image`)
  return Number(head.readBigUInt64BE(24))
}

/** The bytes of an image with nothing in it. */
export const empty = (size: number): Buffer => {
  const entries = Math.max(1, Math.ceil(size / perEntry))
  const tableClusters = Math.ceil((entries * 8) / cluster)
  // header, table of reference counts, one block of them, first table
  const clusters = 3 + tableClusters
  const image = Buffer.alloc(clusters * cluster)
  image.writeUInt32BE(magic, 0)
  image.writeUInt32BE(3, 4)
  image.writeUInt32BE(Math.log2(cluster), 20)
  image.writeBigUInt64BE(BigInt(size), 24)
  image.writeUInt32BE(entries, 36)
  image.writeBigUInt64BE(BigInt(3 * cluster), 40)
  image.writeBigUInt64BE(BigInt(cluster), 48)
  image.writeUInt32BE(1, 56)
  // Reference counts of 2⁴ bits; the length of this header.
  image.writeUInt32BE(4, 96)
  image.writeUInt32BE(104, 100)
  image.writeBigUInt64BE(BigInt(2 * cluster), cluster)
  for (let index = 0; index < clusters; index++) image.writeUInt16BE(1, 2 * cluster + 2 * index)
  return image
}
