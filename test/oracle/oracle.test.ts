import { readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { needs } from "../needs.ts"
import { compare } from "./compare.ts"
import { generate } from "./generator.ts"
import { isInstalled, Oracle } from "./Oracle.ts"
import { runLine, runScenario } from "./Scenario.ts"

const lines = (file: string): ReadonlyArray<string> =>
  readFileSync(new URL(file, import.meta.url), "utf8")
    .trim()
    .split("\n")

const scenarios = lines("scenarios.jsonl")
const expected = lines("expected.jsonl")
/** A bug of OTP 25, fixed later: a simple_one_for_one child whose restart says ignore. */
const otpBug = 23
/** A deliberate difference: a worker that raises `shutdown` crashes. */
const raisedShutdown = 28

const erlang = isInstalled()

describe("the hand-made scenarios", () => {
  it.each(scenarios.map((line, i) => [JSON.parse(line).id as string, i] as const))("%s", (_, i) => {
    const trace = runLine(scenarios[i] as string)
    if (i === otpBug || i === raisedShutdown) assert.notStrictEqual(trace, expected[i])
    else assert.strictEqual(trace, expected[i])
  })

  it("drops a dynamic child whose restart says ignore, as OTP does since the fix", () => {
    const { steps } = JSON.parse(runLine(scenarios[otpBug] as string))
    assert.deepStrictEqual(steps[2].tree, [{ sup: "", count: [1, 0, 0, 0], kids: [] }])
    assert.deepStrictEqual(steps.at(-1).ev, [["exit", "", 1, "shutdown"]])
  })
})

describe("a transient worker that raises shutdown", () => {
  const at = (trace: string | undefined) => JSON.parse(trace as string).steps[1]

  it("has crashed, so it is restarted", () => {
    const step = at(runLine(scenarios[raisedShutdown] as string))
    assert.deepStrictEqual(step.ev, [
      ["terminate", "a", 1, ["shutdown", "$stack"]],
      ["exit", "a", 1, ["shutdown", "$stack"]],
      ["start", "a", 2]
    ])
  })

  it("has ended in order for OTP, so it is not", () => {
    assert.deepStrictEqual(at(expected[raisedShutdown]).ev, [
      ["terminate", "a", 1, ["shutdown", "$stack"]],
      ["exit", "a", 1, ["shutdown", "$stack"]]
    ])
  })

  it("is the only difference of its scenario", () => {
    const scenario = JSON.parse(scenarios[raisedShutdown] as string)
    assert.strictEqual(runScenario(scenario, { orderlyRaise: true }), expected[raisedShutdown])
  })
})

describe("the generator", () => {
  it("gives the same scenario for the same seed and number", () => {
    assert.deepStrictEqual(generate(7, 3), generate(7, 3))
    assert.notDeepEqual(generate(7, 3), generate(7, 4))
  })

  it("reaches every operation, strategy and restart type", () => {
    const all = JSON.stringify(Array.from({ length: 300 }, (_, i) => generate(1, i)))
    for (const word of [
      ...["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"],
      ...["permanent", "transient", "temporary", "any_significant", "all_significant", "brutal_kill", "infinity"],
      ...["kill", "exit", "raise", "start_child", "terminate_child", "restart_child", "delete_child", "get_childspec"],
      ...["which_children", "count_children", "send", "stop", "advance", "batch", "hang", "delay", "ignore", "info"]
    ]) {
      assert.include(all, `"${word}"`)
    }
  })

  it("makes scenarios that run the same way twice", () => {
    for (let i = 0; i < 50; i++) assert.strictEqual(runScenario(generate(2, i)), runScenario(generate(2, i)))
  })
})

describe("real Erlang/OTP", () => {
  needs(erlang, "escript is not installed (Debian: erlang-base)")
  it("gives the recorded traces of the hand-made scenarios", { timeout: 60_000 }, async () => {
    const oracle = new Oracle()
    const traces = await Promise.all(scenarios.map((line) => oracle.run(JSON.parse(line))))
    oracle.close()
    assert.deepStrictEqual(traces, [...expected])
  })

  it("agrees with vmtest on random scenarios", { timeout: 120_000 }, async () => {
    const { differ, mismatch, raised } = await compare(300, 20251)
    assert.isUndefined(mismatch, JSON.stringify(mismatch, null, 1))
    // Scenarios with the one deliberate difference are among them, and show it.
    assert.isAbove(raised, 0)
    assert.isAbove(differ, 0)
  })
})
