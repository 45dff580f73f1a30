/**
 * The archive format of an initramfs: cpio "newc" (Documentation/driver-api/early-userspace/buffer-format.rst in Linux).
 *
 * A kernel unpacks archives that follow each other, compressed or not, each at a multiple of four bytes; a later one may add files.
 *
 * **Example** (an initramfs with one more file)
 *
 * ```ts
 * const more = Cpio.append(initrd, [{ path: "hello", type: "file", mode: 0o644, data: Buffer.from("hello\n") }])
 * ```
 *
 * @since 0.1.0
 */

/** One member; all belong to root. */
export type CpioEntry =
  | { readonly path: string; readonly type: "folder"; readonly mode: number }
  | { readonly path: string; readonly type: "file"; readonly mode: number; readonly data: Uint8Array }
  | { readonly path: string; readonly type: "link"; readonly target: string }

const types = { folder: 0o040000, file: 0o100000, link: 0o120000 } as const

const padding = (length: number): Uint8Array => new Uint8Array((4 - (length % 4)) % 4)

const member = (inode: number, path: string, mode: number, links: number, data: Uint8Array): Array<Uint8Array> => {
  const name = Buffer.from(`${path}\0`)
  const fields = [inode, mode, 0, 0, links, 0, data.length, 0, 0, 0, 0, name.length, 0]
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`)
  return [header, name, padding(header.length + name.length), data, padding(data.length)]
}

/** Paths are relative, without a leading `./`; the folders of a member must come before it. Times are 0, so equal entries give equal bytes. */
export const encode = (entries: Iterable<CpioEntry>): Uint8Array => {
  const parts: Array<Uint8Array> = []
  let inode = 1
  for (const entry of entries) {
    const data =
      entry.type === "file" ? entry.data : entry.type === "link" ? Buffer.from(entry.target) : new Uint8Array()
    const mode = types[entry.type] | (entry.type === "link" ? 0o777 : entry.mode)
    parts.push(...member(inode++, entry.path, mode, entry.type === "folder" ? 2 : 1, data))
  }
  parts.push(...member(0, "TRAILER!!!", 0, 1, new Uint8Array()))
  return Buffer.concat(parts)
}

/** Puts the missing parent folders (mode 0755) before the entries, and orders all by path. A later entry wins over an earlier one of its path. */
export const withFolders = (entries: Iterable<CpioEntry>): Array<CpioEntry> => {
  const all = new Map<string, CpioEntry>()
  for (const entry of entries) {
    const steps = entry.path.split("/").slice(0, -1)
    for (let depth = 1; depth <= steps.length; depth++) {
      const path = steps.slice(0, depth).join("/")
      if (!all.has(path)) all.set(path, { path, type: "folder", mode: 0o755 })
    }
    all.set(entry.path, entry)
  }
  return [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
}

/** An archive, compressed or not, followed by one with these entries. */
export const append = (archive: Uint8Array, entries: Iterable<CpioEntry>): Uint8Array =>
  Buffer.concat([archive, padding(archive.length), encode(withFolders(entries))])
