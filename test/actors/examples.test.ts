import { readdirSync, readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as Report from "../../src/actors/Report.ts"

interface Example {
  readonly program: Effect.Effect<unknown>
  readonly expected: unknown
}

const folder = new URL("../../examples/actors/", import.meta.url)
const doc = readFileSync(new URL("../../docs/actors.md", import.meta.url), "utf8")

describe("docs/actors.md", () => {
  for (const file of readdirSync(folder)) {
    it.live(`examples/actors/${file} gives what it says, and is in the text`, () =>
      Effect.gen(function* () {
        const { expected, program } = (yield* Effect.promise(() => import(new URL(file, folder).href))) as Example
        const quietly = Effect.provideService(program, Report.Reports, "quiet")
        assert.deepStrictEqual(yield* ActorSystem.scoped(quietly), expected)
        const code = readFileSync(new URL(file, folder), "utf8").split("\nexport const expected")[0] as string
        assert.include(doc, `\`\`\`ts\n${code.trim()}\n`)
      })
    )
  }
})
