import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Zlib from "node:zlib"
import { assert, describe, it } from "@effect/vitest"
import { compressed, dependencies, index, loadOrder } from "../../src/images/internal/kernelModules.ts"
import { extractVmlinux } from "../../src/images/internal/vmlinux.ts"

const elf = Buffer.concat([Buffer.from("7f454c46", "hex"), Buffer.alloc(5000, "abcabcabd"), Buffer.from("the end")])

/** A bzImage as far as this matters: a header of one sector, then the payload where the header says it is. */
const bzImage = (payload: Buffer): Buffer => {
  const header = Buffer.alloc(1024)
  header.writeUInt8(1, 0x1f1)
  header.write("HdrS", 0x202)
  header.writeUInt32LE(16, 0x248)
  header.writeUInt32LE(payload.length + 4, 0x24c)
  const size = Buffer.alloc(4)
  size.writeUInt32LE(elf.length)
  return Buffer.concat([header, Buffer.alloc(16), payload, size, Buffer.from("setup code")])
}

/** One LZ4 block by hand: the first 13 bytes, a match that repeats its own output, and the rest as literals. */
const lz4 = (): Buffer => {
  const length = (value: number) => [...Array.from({ length: Math.floor(value / 255) }, () => 255), value % 255]
  const repeated = 5000 - 9
  const block = Buffer.from([
    (13 << 4) | 15,
    ...elf.subarray(0, 13),
    ...[9, 0],
    ...length(repeated - 4 - 15),
    7 << 4,
    ...Buffer.from("the end")
  ])
  const head = Buffer.alloc(8)
  head.writeUInt32BE(0x02214c18, 0)
  head.writeUInt32LE(block.length, 4)
  return Buffer.concat([head, block])
}

describe("the kernel in a bzImage", () => {
  for (const [name, payload] of [
    ["LZ4", lz4()],
    ["gzip", Zlib.gzipSync(elf)],
    ["zstd", Zlib.zstdCompressSync(elf)]
  ] as const) {
    it(`comes out of ${name}`, () => {
      assert.isTrue(extractVmlinux(bzImage(payload))?.equals(elf))
    })
  }

  it("stays where it is when the file or its compression is not known", () => {
    assert.isUndefined(extractVmlinux(Buffer.from("#!/bin/sh\n")))
    assert.isUndefined(extractVmlinux(bzImage(Buffer.from("BZh91AY&SY"))))
    assert.isUndefined(extractVmlinux(bzImage(Zlib.gzipSync(Buffer.from("not an ELF file")))))
  })
})

describe("kernel modules", () => {
  it("are found by name, and those that are packed by path", () => {
    const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-modules-"))
    const net = Path.join(folder, "6.1.0", "kernel", "net")
    Fs.mkdirSync(net, { recursive: true })
    for (const name of ["virtio-net.ko", "vsock.ko.xz", "modules.dep"]) Fs.writeFileSync(Path.join(net, name), "")
    assert.deepStrictEqual([...index(folder)], [["virtio_net", Path.join(net, "virtio-net.ko")]])
    assert.deepStrictEqual(compressed(folder), [Path.join(net, "vsock.ko.xz")])
    Fs.rmSync(folder, { recursive: true })
  })

  const needs: Readonly<Record<string, ReadonlyArray<string>>> = {
    virtio_pci: ["virtio", "virtio_ring"],
    virtio: ["virtio_ring"],
    virtio_ring: [],
    virtio_net: ["net_failover", "virtio"],
    net_failover: []
  }

  it("load after what they need, each once", () => {
    const { missing, order } = loadOrder(["virtio-net", "virtio_pci"], (name) => needs[name])
    assert.deepStrictEqual(order, ["net_failover", "virtio_ring", "virtio", "virtio_net", "virtio_pci"])
    assert.deepStrictEqual(missing, [])
  })

  it("that are not there are named", () => {
    assert.deepStrictEqual(loadOrder(["virtio_pci", "zfs"], (name) => needs[name]).missing, ["zfs"])
  })

  it("say what they need in their own file", () => {
    const file = Buffer.from("\x7fELF\0license=GPL\0depends=virtio-ring,virtio\0name=virtio_pci\0", "latin1")
    assert.deepStrictEqual(dependencies(file), ["virtio_ring", "virtio"])
    assert.deepStrictEqual(dependencies(Buffer.from("\0depends=\0")), [])
    assert.deepStrictEqual(dependencies(Buffer.from("nothing")), [])
  })
})
