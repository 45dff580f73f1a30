import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NetworkSpec from "../../src/network/NetworkSpec.ts"
import type { Configuration } from "../../src/nixos/Configuration.ts"
import * as TestScript from "../../src/nixos/TestScript.ts"
import * as Setting from "../../src/python/Setting.ts"

const configurationOf = (script: string): Configuration => ({
  ...{ name: "a test", machines: [{ name: "web", startScript: "run-web-vm" }], vlans: [1, 7] },
  ...{ globalTimeout: undefined, sshBackdoor: false, script }
})

const networksOf = (name: string, language: "python" | "typescript", text: string) =>
  Effect.gen(function* () {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "vmtest-script-"))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true }))
    )
    const script = join(folder, name)
    writeFileSync(script, text)
    const setting = { ...Setting.usual, vlans: [1, 7] }
    const [test] = yield* TestScript.load(configurationOf(script), language, setting)
    return NetworkSpec.resolve(test?.networks)
  }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))

describe("the networks of a NixOS test", () => {
  for (const [name, language, text] of [
    ["test.py", "python", "pass"],
    ["test.ts", "typescript", 'import { Effect } from "effect"\nexport default () => Effect.void\n']
  ] as const) {
    it.effect(`are hubs, all of them: ${name}`, () =>
      Effect.gen(function* () {
        const networks = yield* networksOf(name, language, text)
        assert.strictEqual(networks?.length, 254)
        for (const vlan of [1, 7, 254]) assert.isTrue(NetworkSpec.of(networks, vlan).hub)
      })
    )
  }

  it.effect("are its own where it declares some", () =>
    Effect.gen(function* () {
      const text =
        'import { Effect } from "effect"\nimport { test } from "vmtest"\nexport default test("t", { networks: { lan: { vlan: 7 }, dmz: {} } }, () => Effect.void)\n'
      const networks = yield* networksOf("own.ts", "typescript", text)
      assert.deepStrictEqual(
        networks?.map(({ hub, name }) => [name, hub]),
        [
          ["lan", false],
          ["dmz", false]
        ]
      )
    })
  )
})
