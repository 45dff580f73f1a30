import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { alive, crashes, growth } from "./soak.ts"

// `npm run proof` does the same with 100,000 of each.
describe("soak", () => {
  it.live.each([
    ["5,000 processes at once", alive],
    ["a tree crashed 2,000 times", crashes]
  ] as const)("%s: nothing is lost, doubled or left, and memory is given back", ([name, part]) =>
    Effect.gen(function* () {
      const n = name.startsWith("5") ? 5000 : 2000
      const [counts, { share }] = yield* growth(part(n), part(n))
      for (const { what, counted, wanted } of counts) assert.strictEqual(counted, wanted, what)
      assert.isBelow(Math.abs(share), 0.05, "growth of the heap")
    })
  )
})
