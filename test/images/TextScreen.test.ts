import { assert, describe, it } from "@effect/vitest"
import { withTextScreen } from "../../src/images/internal/textScreen.ts"

const entry = 0x1000000
const codeAt = 0x200

/** An ELF-64 program with one segment, which is loaded at `entry`. */
const kernel = (change: (bytes: Buffer) => void = () => {}): Buffer => {
  const bytes = Buffer.alloc(0x300, 0x90)
  bytes.fill(0, 0, codeAt)
  bytes.write("\x7fELF\x02\x01\x01", "latin1")
  bytes.writeBigUInt64LE(BigInt(entry), 24)
  bytes.writeBigUInt64LE(64n, 32)
  bytes.writeUInt16LE(56, 54)
  bytes.writeUInt16LE(1, 56)
  bytes.writeUInt32LE(1, 64)
  for (const [index, value] of [codeAt, 0, entry, 0x100, 0x100, 0x1000].entries()) {
    bytes.writeBigUInt64LE(BigInt(value), 72 + index * 8)
  }
  bytes.write("original", codeAt, "latin1")
  change(bytes)
  return bytes
}

describe("a kernel with a text screen", () => {
  const patched = withTextScreen(kernel())
  const headers = Number(patched.readBigUInt64LE(32))
  const added = headers + 56
  const bodyAt = Number(patched.readBigUInt64LE(added + 8))
  const body = patched.subarray(bodyAt, bodyAt + Number(patched.readBigUInt64LE(added + 32)))

  it("has one more segment, behind everything, at an address of its own", () => {
    assert.strictEqual(patched.readUInt16LE(56), 2)
    assert.isTrue(patched.subarray(headers, added).equals(kernel().subarray(64, 120)))
    assert.strictEqual(Number(patched.readBigUInt64LE(added + 24)), 0x100000)
    assert.isAtLeast(bodyAt, kernel().length)
  })

  it("is entered as before, goes there, and gets its first bytes back from there", () => {
    assert.strictEqual(Number(patched.readBigUInt64LE(24)), entry)
    assert.strictEqual(patched.toString("hex", codeAt, codeAt + 7), "b800001000ffe0")
    assert.strictEqual(patched.toString("latin1", codeAt + 7, codeAt + 8), "l")
    assert.isTrue(body.includes(Buffer.from("original")))
  })

  it("jumps to the bytes that are put back when there is a screen already", () => {
    const jump = body.readUInt8(4)
    assert.strictEqual(jump, 0x75)
    const target = 6 + body.readInt8(5)
    assert.strictEqual(body.toString("hex", target, target + 2), "48b8")
    assert.strictEqual(body.toString("latin1", target + 2, target + 10), "original")
  })

  it("is left alone when it is no such kernel", () => {
    const others: ReadonlyArray<readonly [string, Buffer]> = [
      ["a script", Buffer.from("#!/bin/sh\n".padEnd(100))],
      ["a 32-bit program", kernel((bytes) => bytes.writeUInt8(1, 4))],
      ["an entry outside the segments", kernel((bytes) => bytes.writeBigUInt64LE(0x2000000n, 24))],
      ["a segment where the detour would be", kernel((bytes) => bytes.writeBigUInt64LE(0x100000n, 88))],
      ["headers beyond the end", kernel((bytes) => bytes.writeBigUInt64LE(0x10000n, 32))]
    ]
    for (const [what, bytes] of others) assert.strictEqual(withTextScreen(bytes), bytes, what)
  })
})
