import { assert, describe, it } from "@effect/vitest"
import * as ExitCode from "../../src/cli/ExitCode.ts"
import { read } from "./pages.ts"

describe("docs/nixos.md", () => {
  it("has every exit code of nixos-test-driver in its table, and that of SIGKILL", () => {
    const [, table = ""] =
      /\| what ended it \| exit code \|.*\n\|[-|]+\n((?:\|.*\n)+)/.exec(read("docs/nixos.md")) ?? []
    const rows = table.split("\n").map((row) => /^\| .* \| (\d+)(,.*)? \| .*\|$/.exec(row)?.[1])
    const codes = new Set(rows.filter((code) => code !== undefined).map(Number))
    assert.sameMembers([...codes], [...Object.values(ExitCode), 137])
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"]) assert.include(table, `| ${signal}`)
  })
})
