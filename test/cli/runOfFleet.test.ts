import { readFileSync } from "node:fs"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as CommandLine from "../../src/cli/CommandLine.ts"
import { flags } from "../../src/cli/internal/grammar/run.ts"
import * as RunOfFleet from "../../src/cli/internal/runOfFleet.ts"

const options = Object.keys(flags) as ReadonlyArray<RunOfFleet.Option>

/** A value for each option that has one. */
const values: Partial<Record<RunOfFleet.Option, string>> = {
  ...{ globalTimeout: "1 minute", jobs: "2", workers: "2", pauseTimeout: "1 minute" },
  machineConfig: "machines.json"
}

const parsed = (args: ReadonlyArray<string>) =>
  Effect.map(CommandLine.parse(["fleet", "run", "a.ts", ...args]), (invocation) => {
    if (typeof invocation === "number" || invocation._tag !== "FleetRun") throw new Error(`${args} is not accepted`)
    return invocation
  }).pipe(Effect.provide(NodeServices.layer))

const none = { file: undefined, config: {} }

describe("the options of vmtest run on a fleet", () => {
  it("are all in the table of docs/fleet.md, with what becomes of them", () => {
    const text = readFileSync(new URL("../../docs/fleet.md", import.meta.url), "utf8")
    const rows = [...text.matchAll(/^\| `(--[a-z-]+)` \| (sent|local|refused) \|/gm)].map(
      ([, name, way]) => `${name} ${way}`
    )
    const wanted = options.map((option) => `${RunOfFleet.nameOf(option)} ${RunOfFleet.ways[option].way}`)
    assert.deepStrictEqual(rows.toSorted(), wanted.toSorted())
  })

  it.effect("are accepted, or refused with a reason", () =>
    Effect.gen(function* () {
      for (const option of options) {
        const way = RunOfFleet.ways[option]
        if (way.way !== "refused") continue
        const name = RunOfFleet.nameOf(option)
        const value = values[option]
        const invocation = yield* parsed(value === undefined ? [name] : [name, value])
        assert.strictEqual(RunOfFleet.refusalOf(invocation, none), `${name} cannot be used with a fleet: ${way.why}`)
      }
      const all = ["--seed", "1", "--accel", "kvm", "--backend", "firecracker", "--fail-fast", "--repeat-each", "2"]
      assert.isUndefined(RunOfFleet.refusalOf(yield* parsed([...all, "--shard", "1/2", "--list"]), none))
      assert.isUndefined(RunOfFleet.refusalOf(yield* parsed([]), none))
    })
  )

  it.effect("are refused where the config file has them, unless the command line takes them back", () =>
    Effect.gen(function* () {
      const read = { file: "vmtest.config.ts", config: { keepState: true, jobs: 3 } }
      assert.match(
        RunOfFleet.refusalOf(yield* parsed([]), read) ?? "",
        /^vmtest\.config\.ts: keepState cannot be used with a fleet: the state folder is on the worker/
      )
      assert.isUndefined(RunOfFleet.refusalOf(yield* parsed(["--no-keep-state"]), read))
      assert.match(
        RunOfFleet.refusalOf(yield* parsed([]), { ...read, config: { globalTimeout: "1 minute" } }) ?? "",
        /globalTimeout cannot be used/
      )
    })
  )
})
