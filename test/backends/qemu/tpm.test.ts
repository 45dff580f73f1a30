import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { MachineShape } from "../../../src/backends/Backend.ts"
import * as Tpm from "../../../src/backends/qemu/tpm.ts"

const shapeIn = (directory: string) =>
  ({
    name: "box",
    directory,
    devices: [{ name: "tpm1", kind: { type: "tpm" } }]
  }) as Partial<MachineShape> as MachineShape

/** A folder of a machine, in one with a comma; `swtpm` on the PATH is this script, if one is given. */
const place = (script?: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const root = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-tpm,mode=0-"))
      const path = process.env.PATH
      if (script !== undefined) {
        Fs.writeFileSync(Path.join(root, "swtpm"), `#!/bin/sh\n${script}\n`, { mode: 0o700 })
        process.env.PATH = `${root}:${path}`
      }
      return { root, path }
    }),
    ({ path, root }) =>
      Effect.sync(() => {
        process.env.PATH = path
        Fs.rmSync(root, { recursive: true })
      })
  )

describe("the emulator of a TPM", () => {
  it.live("is told of places that no comma cuts short", () =>
    Effect.gen(function* () {
      const { root } = yield* place('echo "$@" >said; : >tpm; exec sleep 60')
      yield* Tpm.start(shapeIn(root), Path.join(root, "tpm"))
      assert.strictEqual(
        Fs.readFileSync(Path.join(root, "said"), "utf8"),
        "socket --tpm2 --tpmstate dir=tpm-state,mode=0600 --ctrl type=unixio,path=tpm\n"
      )
    }).pipe(Effect.scoped)
  )

  it.live("that ends before it listens is a failure at once, with what it printed", () =>
    Effect.gen(function* () {
      const { root } = yield* place("echo no such option >&2; exit 3")
      const failed = yield* Effect.flip(Tpm.start(shapeIn(root), Path.join(root, "tpm")))
      assert.deepStrictEqual(failed, {
        _tag: "TpmFailed",
        reason: "its TPM's swtpm ended with exit code 3",
        output: "no such option"
      })
    }).pipe(Effect.scoped, Effect.timeout("5 seconds"))
  )
})
