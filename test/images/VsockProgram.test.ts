import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as VsockProgram from "../../src/images/internal/vsockProgram.ts"

const inFolder = <A>(use: (folder: string) => A): A => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-vsock-program-"))
  try {
    return use(folder)
  } finally {
    Fs.rmSync(folder, { recursive: true, force: true })
  }
}

describe("the program that opens sockets of vsock", () => {
  it("is what the instructions beside its bytes are", ({ skip }) => {
    if (ChildProcess.spawnSync("as", ["--version"]).error !== undefined) skip("as (binutils) is not installed")
    const instructions = VsockProgram.listing
      .split("\n")
      .map((line) => line.replace(/#.*/, "").replace(/^ +(?:[0-9a-f]{2} )+ */, "  "))
    inFolder((folder) => {
      const [source, object, binary] = ["s", "o", "bin"].map((name) => Path.join(folder, name)) as [
        string,
        string,
        string
      ]
      Fs.writeFileSync(source, `.intel_syntax noprefix\n.globl _start\n${instructions.join("\n")}\n`)
      ChildProcess.execFileSync("as", [source, "-o", object])
      ChildProcess.execFileSync("objcopy", ["--only-section=.text", "--output-target=binary", object, binary])
      const code = VsockProgram.program.subarray(64 + 56)
      assert.deepStrictEqual([...Fs.readFileSync(binary)], [...code])
    })
  })

  it("is a program of this system, which refuses what it was not made for", ({ skip }) => {
    if (process.platform !== "linux" || process.arch !== "x64") skip("it is a program for x86-64 Linux")
    inFolder((folder) => {
      const path = Path.join(folder, "vsock")
      Fs.writeFileSync(path, VsockProgram.program, { mode: 0o755 })
      const statusOf = (...args: ReadonlyArray<string>) => ChildProcess.spawnSync(path, args).status
      assert.strictEqual(statusOf(), 1)
      assert.strictEqual(statusOf("listen", "1024"), 1)
      // Nobody listens at that port of the host; where this is no guest there is no host.
      assert.strictEqual(statusOf("dial", "4294967290", "/bin/true"), 1)
    })
    assert.isBelow(VsockProgram.program.length, 512)
  })
})
