import * as ChildProcess from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { type CpioEntry, encode, withFolders } from "../../src/images/Cpio.ts"

const cpio = (args: ReadonlyArray<string>, archive: Uint8Array): Buffer =>
  ChildProcess.execFileSync("cpio", ["--quiet", ...args], { input: archive, maxBuffer: 1 << 26 })

const Name = Schema.String.pipe(Schema.check(Schema.isPattern(/^[a-z0-9][a-z0-9._ -]{0,12}$/)))
const Members = Schema.Array(
  Schema.Struct({ steps: Schema.NonEmptyArray(Name), data: Schema.Uint8Array, mode: Schema.Literals([0o644, 0o755]) })
)

describe("cpio", () => {
  it.prop(
    "is read back by cpio itself, whatever the files",
    { members: Members },
    ({ members }) => {
      // A name cannot be a file and a folder at once.
      const entries = withFolders(
        members.map(
          ({ data, mode, steps }, index): CpioEntry => ({
            path: [`d${index}`, ...steps].join("/"),
            type: "file",
            mode,
            data
          })
        )
      )
      const archive = encode(entries)
      const listed = cpio(["--list"], archive)
        .toString()
        .split("\n")
        .filter((line) => line !== "")
      assert.deepStrictEqual(
        listed,
        entries.map(({ path }) => path)
      )
      const file = entries.find(({ type }) => type === "file")
      if (file?.type === "file") {
        const content = cpio(["--extract", "--to-stdout", file.path.replace(/[[\]*?\\]/g, "\\$&")], archive)
        assert.deepStrictEqual(new Uint8Array(content), new Uint8Array(file.data))
      }
    },
    60_000
  )

  it("keeps modes and links, and belongs to root", () => {
    const archive = encode(
      withFolders([
        { path: "bin/sh", type: "link", target: "busybox" },
        { path: "tmp", type: "folder", mode: 0o1777 },
        { path: "bin/busybox", type: "file", mode: 0o755, data: Buffer.from("x") }
      ])
    )
    const lines = cpio(["--list", "--verbose", "--numeric-uid-gid"], archive).toString()
    assert.match(lines, /^lrwxrwxrwx\s+1 0\s+0\s.* bin\/sh -> busybox$/m)
    assert.match(lines, /^drwxrwxrwt\s+2 0\s+0\s.* tmp$/m)
    assert.match(lines, /^-rwxr-xr-x\s+1 0\s+0\s.* bin\/busybox$/m)
  })

  it("lets a later entry replace an earlier one, and gives equal bytes for equal entries", () => {
    const file = (text: string): CpioEntry => ({ path: "etc/motd", type: "file", mode: 0o644, data: Buffer.from(text) })
    const once = encode(withFolders([file("ours"), file("theirs")]))
    assert.deepStrictEqual(once, encode(withFolders([file("theirs")])))
  })
})
