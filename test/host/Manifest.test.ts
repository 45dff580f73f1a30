import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Schema from "effect/Schema"
import { afterEach, assert, beforeEach, describe, it } from "vitest"
import * as Manifest from "../../src/host/Manifest.ts"

const Toy = Schema.Struct({ color: Schema.String })

describe("a manifest", () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "vmtest-manifest-"))
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  it("is read as it was written, once or again", () => {
    for (const color of ["red", "blue"]) {
      Manifest.write(folder, { color })
      assert.deepStrictEqual(Manifest.read(folder, Toy), { value: { color } })
    }
  })

  for (const name of ["manifest.json", "manifest.sha256"]) {
    it(`is not believed when ${name} lost any part of its end, or any of its bytes changed`, () => {
      Manifest.write(folder, { color: "red" })
      const file = join(folder, name)
      const whole = readFileSync(file)
      for (let at = 0; at < whole.length; at++) {
        truncateSync(file, at)
        assert.deepStrictEqual(Manifest.read(folder, Toy), { problem: "manifest.json was changed" }, `cut to ${at}`)
        const changed = Buffer.from(whole)
        changed[at]! ^= 1
        writeFileSync(file, changed)
        assert.deepStrictEqual(Manifest.read(folder, Toy), { problem: "manifest.json was changed" }, `changed at ${at}`)
        writeFileSync(file, whole)
      }
      assert.deepStrictEqual(Manifest.read(folder, Toy), { value: { color: "red" } })
    })
  }
})
