import { spawnSync } from "node:child_process"
import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import { quote } from "../../src/host/Quote.ts"

const shell = (script: string) => spawnSync("sh", ["-c", script]).stdout

describe("shell words", () => {
  it.prop(
    "are read back as they were",
    [Schema.Array(Schema.String)],
    ([words]) => {
      const clean = words.map((word) => Buffer.from(word).toString().replaceAll("\0", ""))
      const got = shell(`for x in ${clean.map((word) => `${quote(word)}`).join(" ")}; do printf '%s\\000' "$x"; done`)
      assert.strictEqual(got.toString("utf8"), clean.map((word) => `${word}\0`).join(""))
    },
    { arbitrary: { runs: 30 } }
  )

  it("are quoted only where they have to be", () => {
    assert.deepStrictEqual(["out/a-test_1", "", "$HOME", "it fails", "it's"].map(quote), [
      "out/a-test_1",
      "''",
      "'$HOME'",
      "'it fails'",
      "'it'\\''s'"
    ])
  })
})
