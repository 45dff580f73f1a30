import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as HostProcess from "../../src/host/HostProcess.ts"
import { driverMethods } from "../../src/python/internal/driverMethods.ts"
import { shim } from "../../src/python/internal/interpreter.ts"
import { machineMethods } from "../../src/python/internal/machineMethods.ts"
import * as Surface from "../../src/python/Surface.ts"

const Names = Schema.fromJsonString(Schema.Record(Schema.String, Schema.Array(Schema.String)))

const parity = fileURLToPath(new URL("../../docs/nixos-parity.md", import.meta.url))

/** A row of the tables that compare names: its names in the first column, the one for Python is the third. */
const isRow = (line: string) => line.startsWith("| `") || line.startsWith("| the ")

/** The names in the first column; what is in parentheses are their parameters. */
const namesIn = (column: string): ReadonlyArray<string> =>
  [...column.matchAll(/`([^`]+)`/g)].flatMap(([, code = ""]) => /^[A-Za-z_]\w*/.exec(code)?.[0] ?? [])

const expected = (line: string): string => {
  const cells = line.split(" | ")
  const [theirs = "", here = "", , ...rest] = cells
  const found = theirs.startsWith("| the interactive driver") ? Surface.prompt : Surface.described(namesIn(theirs))
  return [theirs, here, found, ...rest].join(" | ")
}

describe("the table of names", () => {
  it.effect("has the names that scripts find, and no others", () =>
    Effect.gen(function* () {
      const { stdout } = yield* HostProcess.check({ command: "python3", args: ["-I", shim, "--names"] })
      const found = yield* Schema.decodeUnknownEffect(Names)(stdout)
      for (const [holder, names] of Object.entries(Surface.names)) {
        const there = Object.entries(names).flatMap(([name, entry]: [string, Surface.Entry]) =>
          typeof entry === "object" && "instead" in entry ? [] : [name]
        )
        // Machines and VLANs have names of their own.
        const own = ["machine", "vlan1"].filter((name) => holder === "script" && there.includes(name))
        assert.deepStrictEqual([...(found[holder] ?? []), ...own].sort(), there.sort(), holder)
      }
      assert.sameMembers(Object.keys(found), Object.keys(Surface.names))
    })
  )

  it("says what docs/nixos-parity.md says of Python", () => {
    const text = readFileSync(parity, "utf8")
    const made = text
      .split("\n")
      .map((line) => (isRow(line) ? expected(line) : line))
      .join("\n")
    if (process.env.VMTEST_UPDATE_DOCS === "1") writeFileSync(parity, made)
    else assert.strictEqual(text, made)
  })

  it("has no name that is not in docs/nixos-parity.md", () => {
    const rows = readFileSync(parity, "utf8")
      .split("\n")
      .filter(isRow)
      .map((line) => namesIn(line.split(" | ")[0] ?? ""))
    for (const [holder, names] of Object.entries(Surface.names)) {
      // The names of a machine, of the driver, of its log and of scripts are rows of their own; those of other objects follow the name of their object.
      const isTop = ["machine", "driver", "script", "log"].includes(holder)
      const told = new Set(rows.filter(([first]) => isTop || first?.replace("vlans", "vlan") === holder).flat())
      const missing = Object.keys(names).filter((name) => !told.has(name))
      assert.deepStrictEqual(missing, [], holder)
    }
  })

  it("calls only methods that there are, and all of them", () => {
    const text = readFileSync(shim, "utf8")
    const called = new Set([
      ...[...text.matchAll(/self\._(?:do|ask|wait)\("(\w+)"/g)].map(([, name = ""]) => name),
      ...[...text.matchAll(/_machine\._(?:do|ask|wait)\("(\w+)"/g)].map(([, name = ""]) => name),
      ...[...text.matchAll(/call\(\s*(?:""|self\.name|self\._machine\.name),\s*"(\w+)"/g)].map(([, name = ""]) => name),
      ...[...text.matchAll(/self\._all\(commands, "(\w+)"/g)].map(([, name = ""]) => name)
    ])
    assert.sameMembers([...called], [...Object.keys(machineMethods), ...Object.keys(driverMethods)])
  })
})
