import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Disk from "../../src/host/Disk.ts"

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-test-"))
afterAll(() => Fs.rmSync(folder, { recursive: true }))

describe("an empty file", () => {
  it("has its size, takes no place, and only its owner may read it", () => {
    const path = Path.join(folder, "disk")
    Disk.emptyFile(path, 2 ** 30)
    const { blocks, mode, size } = Fs.statSync(path)
    assert.deepStrictEqual([size, blocks, mode & 0o777], [2 ** 30, 0, 0o600])
  })

  it("replaces what was written, also by less", () => {
    const path = Path.join(folder, "used")
    Fs.writeFileSync(path, "x".repeat(10_000))
    Disk.emptyFile(path, 4096)
    assert.isTrue(Fs.readFileSync(path).equals(Buffer.alloc(4096)))
    assert.strictEqual(Fs.statSync(path).blocks, 0)
  })

  it("fails in a folder that is not there, with the system's words", () => {
    assert.throws(() => Disk.emptyFile(Path.join(folder, "none", "disk"), 1), /ENOENT/)
  })
})
