import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Mock from "../../src/backends/Mock.ts"
import * as SavedTest from "../../src/driver/SavedTest.ts"
import { temporaryFolder } from "./storeSupport.ts"

describe("the folder of a failed test", () => {
  it.live("is refused when the kernel of its image is not in the cache any more", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const there = Path.join(folder, "initrd")
      Fs.mkdirSync(folder, { recursive: true })
      Fs.writeFileSync(there, "")
      const image = {
        digest: "1",
        kernel: Path.join(folder, "kernel"),
        initrd: there,
        cmdline: "",
        guest: "tiny",
        builtAt: 0
      }
      const size = { memory: 2 ** 27, cpus: 1, disks: [], vlans: [] }
      const machine = {
        name: "a",
        guest: "a",
        number: 1,
        ...size,
        internet: false,
        allowReboot: false,
        description: "tiny",
        image
      }
      const saved = { format: 1, test: "t", savedAt: 0, host: { hypervisor: "mock 1" }, machines: [machine] }
      Fs.writeFileSync(Path.join(folder, "resume.json"), JSON.stringify(saved))
      const open = Effect.provide(SavedTest.open(folder), Mock.layer())
      assert.match((yield* Effect.flip(open)).message, /the image of a \(tiny\) is not in the cache any more/)
      Fs.writeFileSync(image.kernel, "")
      assert.strictEqual((yield* open).test, "t")
    })
  )
})
