import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { MemoryFile } from "../../../src/backends/qemu/memoryFile.ts"
import { type PageSink, pageSize, Splitter } from "../../../src/backends/qemu/migrationStream.ts"

const u8 = (value: number) => Buffer.from([value])
const u32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
const u64 = (value: number) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}
const name = (text: string) => Buffer.concat([u8(text.length), Buffer.from(text)])
const page = (fill: number) => Buffer.alloc(pageSize, fill)

const size = 64 * pageSize
const header = Buffer.concat([Buffer.from("QEVM"), u32(3), u8(7), u32(7), Buffer.from("pc-q35x")])
const blocks = Buffer.concat([
  ...[u64((size + 2 * pageSize) | 4), name("memory"), u64(size), name("pc.bios"), u64(2 * pageSize), u64(0x10)]
])
const start = Buffer.concat([u8(1), u32(2), name("ram"), u32(0), u32(4), blocks, u8(0x7e), u32(2)])
const section = (type: number, ...items: ReadonlyArray<Buffer>) =>
  Buffer.concat([u8(type), u32(2), ...items, u64(0x10), u8(0x7e), u32(2)])
const first = (offset: number, block: string, content: Buffer) =>
  Buffer.concat([u64(offset | (content.length === 1 ? 2 : 8)), name(block), content])
const same = (offset: number, content: Buffer) =>
  Buffer.concat([u64(offset | (content.length === 1 ? 2 : 8) | 0x20), content])
const devices = Buffer.concat([u8(4), u32(9), name("serial"), Buffer.alloc(300_000, 7), u8(0)])

const bios = [first(0, "pc.bios", page(9)), same(pageSize, page(10))]
const stream = Buffer.concat([
  header,
  start,
  section(2, first(0, "memory", page(1)), same(pageSize, u8(0)), same(3 * pageSize, page(3)), ...bios),
  section(3, first(40 * pageSize, "memory", page(4)), same(0, page(5)), same(3 * pageSize, u8(0))),
  devices
])
/** What is left when the memory's pages are taken out. */
const stripped = Buffer.concat([header, start, section(2, ...bios), section(3), devices])

class Pages implements PageSink {
  readonly found = new Map<number, number | undefined>()
  readonly page = (offset: number, bytes: Uint8Array) => {
    this.found.set(offset / pageSize, bytes[0])
  }
  readonly zero = (offset: number) => {
    this.found.set(offset / pageSize, 0)
  }
}

const split = (bytes: Buffer, chunk: number) => {
  const pages = new Pages()
  const splitter = new Splitter("memory", pages)
  for (let at = 0; at < bytes.length; at += chunk) splitter.push(bytes.subarray(at, at + chunk))
  return { pages, splitter, rest: splitter.finish() }
}

describe("a migration stream", () => {
  it("is split into pages and the rest, wherever it is cut", () => {
    for (const chunk of [1, 7, 4096, 4097, 65536, stream.length]) {
      const { pages, rest, splitter } = split(stream, chunk)
      assert.isUndefined(splitter.problem)
      assert.strictEqual(splitter.memory, size)
      assert.deepStrictEqual(
        [...pages.found].sort(([a], [b]) => a - b),
        [
          ...[
            [0, 5],
            [1, 0],
            [3, 0],
            [40, 4]
          ]
        ] as Array<[number, number]>
      )
      assert.strictEqual(rest?.equals(stripped), true, `chunks of ${chunk}`)
    }
  })

  it("is refused when it is something else, or not whole", () => {
    const problem = (bytes: Buffer) => {
      const { rest, splitter } = split(bytes, 65536)
      assert.isUndefined(rest)
      return splitter.problem ?? ""
    }
    assert.match(problem(Buffer.from("GET / HTTP/1.1\r\n\r\n")), /no.* migration stream/)
    assert.match(problem(stream.subarray(0, 9000)), /ended within the memory/)
    assert.match(problem(Buffer.concat([header, start, section(2, first(size, "memory", page(1)))])), /beyond/)
    assert.match(problem(Buffer.concat([header, start, section(2, u64(0x40))])), /flags 40/)
    assert.match(problem(Buffer.concat([header, u8(9), u32(0)])), /section of type 9/)
    assert.match(problem(Buffer.concat([header, u8(1), u32(2), name("block"), u32(0), u32(4)])), /"block"/)
  })
})

describe("a memory file", () => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-memory-"))
  afterAll(() => Fs.rmSync(folder, { recursive: true, force: true }))

  it("has every page where it belongs, the last one given, and holes where there is nothing", () => {
    const path = Path.join(folder, "memory")
    const fd = Fs.openSync(path, "wx+")
    const count = 3000
    const expected = Buffer.alloc(count * pageSize)
    const memory = new MemoryFile(fd, count * pageSize)
    // A run longer than one write, small gaps, a large one, pages that come again, and one that becomes zero again.
    const give = (index: number, fill: number) => {
      if (fill === 0) memory.zero(index * pageSize)
      else memory.page(index * pageSize, page(fill))
      expected.fill(fill, index * pageSize, (index + 1) * pageSize)
    }
    for (let index = 0; index < 1100; index++) give(index, 1 + (index % 200))
    for (const index of [1105, 1107, 1103, 2900, 2999, 2998]) give(index, index % 256)
    for (const index of [5, 1104, 2900, 2901]) give(index, 0)
    give(1106, 8)
    memory.flush()
    Fs.closeSync(fd)
    const digest = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex")
    assert.strictEqual(digest(Fs.readFileSync(path)), digest(expected))
    assert.isBelow(Fs.statSync(path).blocks * 512, 1300 * pageSize)
  })
})
