import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { driverOf, offline } from "./driver/support.ts"

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), "utf8")

const document = read("docs/nixos-parity.md")
const rows = document
  .split("\n")
  .filter((line) => line.startsWith("| `") || line.startsWith("| the "))
  .map((line) => line.split(" | "))

describe("docs/nixos-parity.md", () => {
  it.effect("names only methods that there are", () =>
    Effect.gen(function* () {
      const { machines, service } = yield* driverOf({ a: offline() })
      const holders: Readonly<Record<string, object>> = { machine: machines.a!, driver: service }
      const named = [...document.matchAll(/`(machine|driver)\.([a-zA-Z]+)/g)]
      assert.isAbove(named.length, 60)
      for (const [, holder, method] of named) assert.property(holders[holder!], method!)
    })
  )

  it("has no row without a test or a reason", () => {
    assert.isAbove(rows.length, 60)
    for (const row of rows) {
      assert.lengthOf(row, 3, row.join(" | "))
      assert.match(row[2]!, /^`.+\.test\.ts` “.+”|^no test: /, row[0])
    }
  })

  it("names only tests that there are", () => {
    const tests = [...document.matchAll(/`([^`]+\.test\.ts)` “([^”]+)”/g)]
    assert.isAbove(tests.length, 60)
    for (const [, path, name] of tests) {
      assert.isTrue(existsSync(fileURLToPath(new URL(`../${path}`, import.meta.url))), path)
      assert.include(read(path!), `"${name}"`, path)
    }
  })
})
