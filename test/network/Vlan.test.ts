import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Vlan from "../../src/network/Vlan.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-test-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
)

describe("a VLAN's switch", () => {
  it.live("listens in a private folder, and leaves nothing but its log", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const pid = yield* Effect.scoped(
        Effect.gen(function* () {
          const vlan = yield* Vlan.make({ vlan: 3, directory })
          assert.strictEqual(Fs.statSync(vlan.socket).mode & 0o777, 0o700)
          assert.isTrue(Fs.statSync(Path.join(vlan.socket, "ctl")).isSocket())
          return vlan.pid
        })
      )
      assert.isFalse(Fs.existsSync(`/proc/${pid}`))
      assert.deepStrictEqual(Fs.readdirSync(directory), ["vde3.log"])
    })
  )

  it.live("is not made twice, and the first one lives on", () =>
    Effect.gen(function* () {
      const directory = yield* temporary
      const first = yield* Vlan.make({ vlan: 1, directory })
      const error = yield* Effect.flip(Effect.scoped(Vlan.make({ vlan: 1, directory })))
      assert.include(error.message, "VLAN 1: its folder exists already")
      assert.isTrue(Fs.existsSync(Path.join(first.socket, "ctl")))
    })
  )

  it.live("needs a folder with a short path, that is there", () =>
    Effect.gen(function* () {
      const long = yield* Effect.flip(Effect.scoped(Vlan.make({ vlan: 1, directory: `/tmp/${"x".repeat(90)}` })))
      assert.include(long.message, "at most 85 bytes")
      const missing = yield* Effect.flip(Effect.scoped(Vlan.make({ vlan: 1, directory: "/nonexistent" })))
      assert.include(missing.message, "no such folder")
    })
  )
})
