import { assert, describe, it } from "@effect/vitest"
import { toJavaScript } from "../../src/cli/internal/typedLine.ts"

const spaceless = (code: string) => code.replaceAll(/\s+/g, " ").trim()

describe("a line of the prompt in TypeScript", () => {
  it("loses its types", () => {
    assert.strictEqual(
      spaceless(toJavaScript("const x: number = yield* web.f<string>() as never\n")),
      "const x = yield* web.f();"
    )
    assert.strictEqual(spaceless(toJavaScript("interface A { readonly a: 1 }\n")), "")
    assert.strictEqual(spaceless(toJavaScript("await f(x!)\n")), "await f(x);")
  })

  it("is left alone if it is JavaScript already, or nothing that can be understood", () => {
    for (const code of [
      "1 + 1\n",
      "yield* a; await b\n",
      "for (const x of [1]) {}\n",
      "1 2\n",
      "const x: = 1\n",
      "\n"
    ]) {
      assert.strictEqual(toJavaScript(code), code)
    }
  })

  it("continues in the next line where only its end is missing", () => {
    for (const code of ["const f = (n: number) => {\n", "const x: Array<\n", "f(a as string,\n"]) {
      assert.strictEqual(toJavaScript(code), "(")
    }
  })
})
