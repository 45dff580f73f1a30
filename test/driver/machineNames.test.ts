import { assert, describe, it } from "@effect/vitest"
import { misspelt } from "../../src/driver/internal/machineNames.ts"

const names = ["web", "db-1"]

describe("the names of machines in the text of a body", () => {
  it("are found where the body takes its machines apart", () => {
    for (const [source, wrong] of [
      ["({ wbe }) => wbe.succeed('true')", "wbe"],
      ["({ other }) => other.succeed('true')", "other"],
      ['({web,\n  "db-1": db, wb: b}) => 3', "wb"],
      ["({ web, 'db-2': db }, driver) => 3", "db-2"],
      ["function ({ wbe }) { return wbe }", "wbe"],
      ["function* body({ wbe = 3 }) {}", "wbe"],
      ["async ({ ...rest }) => rest", undefined],
      ['({ web, "db-1": db }) => db', undefined],
      ["({ web, ...others }) => web", undefined],
      ["({ web: { succeed } }) => succeed('true')", undefined],
      ["({}) => 3", undefined]
    ] as const)
      assert.strictEqual(misspelt(source, names), wrong, source)
  })

  it("are found where the body uses a property of its machines that is nearly a name", () => {
    const inside = (line: string) => `(machines, driver) => Effect.gen(function* () {\n  ${line}\n})`
    for (const [line, wrong] of [
      ["yield* machines.wbe.succeed('true')", "wbe"],
      ["const x = yield* machines.wbe.succeed('true'); return x", "wbe"],
      ["yield* Effect.all([machines.web.start, machines['db_1'].start])", "db_1"],
      ["yield* machines.web.succeed('true')", undefined],
      ["yield* machines['db-1'].succeed('true')", undefined],
      ["return Object.keys(machines).length + machines.toString().length", undefined],
      ["return machines.unlike", undefined],
      ["return other.machines.wbe", undefined],
      ["const machines = { wbe: 1 }; return machines.wbe", undefined],
      ["const { machines } = other; return machines.wbe", undefined],
      ["return others.map((machines) => machines.wbe)", undefined],
      ["return others.map(machines => machines.wbe)", undefined],
      ["function inner(a, machines) { return machines.wbe }", undefined],
      ["if ('db-2' in machines) yield* machines['db-2'].start()", undefined],
      ["return Object.hasOwn(machines, 'wbe') ? machines.wbe : machines.web", undefined],
      ["for (const one in machines.all) yield* machines.wbe.start()", "wbe"]
    ] as const)
      assert.strictEqual(misspelt(inside(line), names), wrong, line)
    assert.strictEqual(misspelt("m => m.wbe.start", names), "wbe")
    assert.strictEqual(misspelt("async function (m) { return m.wbe }", names), "wbe")
    assert.strictEqual(misspelt("$m => $m.wbe.start", names), "wbe")
  })

  it("are none in the text of what has no such parameter", () => {
    for (const source of ["() => program", "", "(_, driver) => driver.wbe", "function () { [native code] }"])
      assert.isUndefined(misspelt(source, names), source)
  })
})
