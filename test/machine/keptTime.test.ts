import { assert, describe, it } from "@effect/vitest"
import { aheadOf } from "../../src/machine/internal/keptTime.ts"

describe("the clock of a guest that is saved", () => {
  it("is the host's where it differs by less than two seconds, or than the answer took", () => {
    assert.strictEqual(aheadOf("1000.250000\n", 1_000_000, 1_000_040), 0)
    assert.strictEqual(aheadOf("999\n", 1_000_000, 1_000_004), 0)
    assert.strictEqual(aheadOf("1007.9\n", 1_000_000, 1_008_000), 0)
  })

  it("stays as far away as a test has set it", () => {
    assert.strictEqual(aheadOf("87400.010\n", 1_000_000, 1_000_020), 86_400_000)
    assert.strictEqual(aheadOf("900,010\n", 1_000_000, 1_000_020), -100_000)
  })

  it("is left alone where the guest does not say what it shows", () => {
    for (const printed of ["", "\n", "sh: date: not found\n"]) {
      assert.isUndefined(aheadOf(printed, 1_000_000, 1_000_020), JSON.stringify(printed))
    }
  })
})
