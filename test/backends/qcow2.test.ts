import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { empty, virtualSize } from "../../src/backends/internal/qcow2.ts"

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-qcow2-"))
afterAll(() => Fs.rmSync(folder, { recursive: true, force: true }))

const hasQemuImg = Fs.existsSync("/usr/bin/qemu-img")

describe("an empty qcow2 image", () => {
  it("knows its size, as a raw one does", () => {
    const path = Path.join(folder, "a")
    Fs.writeFileSync(path, empty(123 * 512))
    assert.strictEqual(virtualSize(path, "qcow2"), 123 * 512)
    Fs.writeFileSync(path, Buffer.alloc(1000))
    assert.strictEqual(virtualSize(path, "raw"), 1024)
    assert.throws(() => virtualSize(path, "qcow2"), /is not a qcow2 image/)
  })

  it("is one to QEMU, of any size", ({ skip }) => {
    skip(!hasQemuImg, "there is no qemu-img")
    for (const size of [512, 2 ** 29, 2 ** 29 + 512, 10 * 2 ** 30, 5 * 2 ** 40]) {
      const path = Path.join(folder, `${size}`)
      Fs.writeFileSync(path, empty(size))
      const info = execFileSync("qemu-img", ["info", "--output=json", path], { encoding: "utf8" })
      assert.strictEqual(JSON.parse(info)["virtual-size"], size)
      assert.match(execFileSync("qemu-img", ["check", path], { encoding: "utf8" }), /No errors/)
    }
  })
})
