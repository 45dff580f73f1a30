import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { trimTail } from "../../src/images/internal/tar.ts"

const inFolder = (body: (folder: string, archive: string) => void) => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-tar-"))
  body(folder, Path.join(folder, "a.tar"))
  Fs.rmSync(folder, { recursive: true, force: true })
}

const tar = (...args: ReadonlyArray<string>) => ChildProcess.execFileSync("tar", args).toString()

describe("the tail of a tar archive", () => {
  // A file that ends in zeros must not be taken for the end marks; long names bring headers of their own.
  const names = ["zeros", `${"long/".repeat(40)}name`]
  for (const format of ["gnu", "pax"]) {
    it(`is cut to the record of the end marks, and no member is lost (${format})`, () =>
      inFolder((folder, archive) => {
        for (const name of names) {
          Fs.mkdirSync(Path.dirname(Path.join(folder, name)), { recursive: true })
          Fs.writeFileSync(Path.join(folder, name), Buffer.alloc(9000))
        }
        tar("-C", folder, `--format=${format}`, "-cf", archive, ...names)
        const whole = tar("-tvf", archive)
        const size = Fs.statSync(archive).size
        Fs.appendFileSync(archive, Buffer.alloc(30_000))
        trimTail(archive)
        assert.strictEqual(Fs.statSync(archive).size, size)
        assert.strictEqual(tar("-tvf", archive), whole)
      }))
  }

  it("is brought to a whole record where it was shorter", () =>
    inFolder((folder, archive) => {
      Fs.writeFileSync(Path.join(folder, "a"), "a")
      tar("-C", folder, "--blocking-factor=1", "-cf", archive, "a")
      assert.isBelow(Fs.statSync(archive).size, 10240)
      trimTail(archive)
      assert.strictEqual(Fs.statSync(archive).size, 10240)
      assert.strictEqual(tar("-tf", archive), "a\n")
    }))
})
