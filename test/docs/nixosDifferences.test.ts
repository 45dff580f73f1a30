import { assert, describe, it } from "@effect/vitest"
import { differences } from "../../scripts/proof/python/differences.ts"
import { read } from "./pages.ts"

describe("docs/nixos-parity.md", () => {
  it("has the reason of each difference from the original driver that the proof allows", () => {
    const page = read("docs/nixos-parity.md").toLowerCase().replace(/\s+/g, " ")
    const missing = [...new Set(Object.values(differences))].filter((reason) => !page.includes(reason.toLowerCase()))
    assert.deepStrictEqual(missing, [])
  })
})
