/** `VMTEST_UPDATE_DOCS=1 npx vitest run --project unit test/docs/errors.test.ts` writes what the classes say into the page. */
import { writeFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { count, errorClasses } from "./errorClasses.ts"
import { inner, regenerated } from "./errorsPage.ts"
import { read, root } from "./pages.ts"

const page = "docs/errors.md"

describe(page, () => {
  it.effect("has every error once, as its class describes it", () =>
    Effect.gen(function* () {
      const classes = yield* Effect.promise(() => errorClasses)
      assert.lengthOf(classes, count)
      const { named, text } = regenerated(read(page), classes)
      if ((process.env.VMTEST_UPDATE_DOCS ?? "") !== "") writeFileSync(`${root}${page}`, text)
      else assert.strictEqual(read(page), text)
      const wanted = classes.map(({ name }) => name).filter((name) => !inner.has(name))
      assert.deepStrictEqual(named.toSorted(), wanted.toSorted())
    })
  )
})
