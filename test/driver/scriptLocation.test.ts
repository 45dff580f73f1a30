import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { isScript } from "../../src/driver/internal/scriptLocation.ts"

const fixture = fileURLToPath(new URL("fixtures/steps.ts", import.meta.url))

const lineOf = (mark: string) =>
  readFileSync(fixture, "utf8")
    .split("\n")
    .findIndex((line) => line.endsWith(`// ${mark}`)) + 1

describe("the line of a script", () => {
  const [unwatched, plain, nested, atOnce, joined, after, trail] = JSON.parse(
    execFileSync(process.execPath, ["--disable-warning=ExperimentalWarning", fixture], { encoding: "utf8" })
  )

  it("is the one whose Effect failed, though it failed with a plain string", () => {
    assert.deepStrictEqual(plain, { file: "steps.ts", line: lineOf("plain") })
  })

  it("is the innermost of the script's own", () => {
    assert.deepStrictEqual(nested, { file: "steps.ts", line: lineOf("helper") })
  })

  it("is that of the fiber that failed, when several run at once", () => {
    assert.deepStrictEqual(atOnce, { file: "steps.ts", line: lineOf("plain") })
    assert.deepStrictEqual(joined, { file: "steps.ts", line: lineOf("helper") })
  })

  it("is followed by those that called it, and only by those", () => {
    assert.deepStrictEqual(
      trail,
      ["helper", "inner", "the last call"].map((mark) => ({ file: "steps.ts", line: lineOf(mark) }))
    )
  })

  it("is noted only while somebody watches", () => {
    assert.isNull(unwatched)
    assert.isNull(after)
  })

  it("is never one of Node's, of a package's or of ours", () => {
    assert.isFalse(isScript("node:internal/timers"))
    assert.isFalse(isScript("/a/node_modules/effect/dist/Effect.js"))
    assert.isFalse(isScript(fileURLToPath(new URL("../../src/driver/Driver.ts", import.meta.url))))
    assert.isTrue(isScript("/home/me/script.ts"))
  })
})
