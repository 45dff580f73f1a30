import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Configuration from "../../src/nixos/Configuration.ts"

const decode = (value: unknown) => Configuration.fromJson("c.json", JSON.stringify(value))

const problem = (value: unknown) => Effect.map(Effect.flip(decode(value)), ({ message }) => message)

const whole = {
  vms: { web: { name: "web", start_script: "/nix/store/x/bin/run-web-vm" } },
  containers: {},
  vlans: [1, 2],
  global_timeout: 3600,
  enable_ssh_backdoor: false,
  test_script: "/nix/store/testScriptFile"
}

describe("a configuration", () => {
  it.effect("is read as nixpkgs writes it", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* decode(whole), {
        name: undefined,
        machines: [{ name: "web", startScript: "/nix/store/x/bin/run-web-vm" }],
        vlans: [1, 2],
        globalTimeout: 3600,
        sshBackdoor: false,
        script: "/nix/store/testScriptFile"
      })
    })
  )

  it.effect("of another version has fields that are ignored, and lacks fields", () =>
    Effect.gen(function* () {
      const future = {
        ...whole,
        vms: { web: { ...whole.vms.web, display: { port: 1 } } },
        schema_version: 9,
        hosts: [{}]
      }
      assert.deepStrictEqual(yield* decode(future), yield* decode(whole))
      const least = yield* decode({ test_script: "s", vms: { a: { start_script: "run-a-vm" } }, vlans: null })
      assert.deepStrictEqual([least.machines, least.vlans], [[{ name: "a", startScript: "run-a-vm" }], []])
    })
  )

  it.effect("that cannot be read is refused with what is wrong", () =>
    Effect.gen(function* () {
      const text = yield* Effect.flip(Configuration.fromJson("c.json", "{vms:"))
      assert.match(text.message, /^c\.json: is not JSON: /)
      assert.strictEqual(
        yield* problem(3),
        "c.json: the configuration must be an object with vms, vlans and test_script, got 3"
      )
      assert.strictEqual(yield* problem({ ...whole, vlans: "1" }), 'c.json: vlans must be an array of numbers, got "1"')
      assert.strictEqual(
        yield* problem({ ...whole, vlans: [1, 300] }),
        "c.json: vlans[1] must be a whole number from 1 to 254, got 300"
      )
      assert.strictEqual(
        yield* problem({ ...whole, vms: { web: { name: "web" } } }),
        "c.json: vms.web.start_script is missing: it must be a path"
      )
      assert.strictEqual(
        yield* problem({ ...whole, global_timeout: "1h" }),
        'c.json: global_timeout must be a number of seconds above 0, got "1h"'
      )
      assert.strictEqual(yield* problem({ vms: {} }), "c.json: test_script is missing")
      const missing = yield* Effect.flip(Configuration.load("/nonexistent.json"))
      assert.strictEqual(missing.message, "/nonexistent.json: does not exist")
      const folder = yield* Effect.flip(Configuration.load("/"))
      assert.match(folder.message, /^\/: cannot be used: .*EISDIR/)
    })
  )

  it.effect("is refused if a machine has a name that a folder cannot have, or two have the same", () =>
    Effect.gen(function* () {
      const start_script = "run-web-vm"
      const must =
        "c.json: the name of a machine must be a name of letters, digits and inner hyphens and underscores, at most 63 characters, got "
      for (const name of ["a/../../precious", "..", "a b", "-a", "a.b"]) {
        assert.strictEqual(yield* problem({ ...whole, vms: { web: { name, start_script } } }), `${must}"${name}"`)
        assert.strictEqual(yield* problem({ ...whole, vms: { [name]: { start_script } } }), `${must}"${name}"`)
      }
      assert.match(yield* problem({ ...whole, vms: { ["x".repeat(64)]: { start_script } } }), /at most 63 characters/)
      const twins = { x: { name: "web", start_script }, y: { name: "web", start_script } }
      assert.strictEqual(yield* problem({ ...whole, vms: twins }), 'c.json: has two machines with the name "web"')
      const old = { _tag: "StartScripts", vlans: [], globalTimeout: undefined, script: "s", containers: [] } as const
      const unnamed = yield* Effect.flip(Configuration.of({ ...old, names: undefined, startScripts: ["./a", "./b"] }))
      assert.strictEqual(unnamed.message, 'the command line: has two machines with the name "machine"')
      const outside = yield* Effect.flip(Configuration.of({ ...old, names: ["../x"], startScripts: ["./a"] }))
      assert.match(outside.message, /^the command line: the name of a machine must be .* got "\.\.\/x"$/)
    })
  )

  it.effect("with containers is not supported", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(
        decode({ ...whole, containers: { c: { name: "c", start_script: "run-c-nspawn" } } })
      )
      assert.strictEqual(error._tag, "Unsupported")
    })
  )

  it.effect("of a driver before 2026 has the names of its start scripts", () =>
    Effect.gen(function* () {
      const { machines, script } = yield* Configuration.of({
        _tag: "StartScripts",
        startScripts: ["/nix/store/x/bin/run-my-web-vm", "./start"],
        names: undefined,
        containers: [],
        vlans: [1, 1],
        globalTimeout: undefined,
        script: "s"
      })
      assert.deepStrictEqual([machines.map(({ name }) => name), script], [["my-web", "machine"], "s"])
      const named = yield* Configuration.of({
        ...{ _tag: "StartScripts", vlans: [], globalTimeout: undefined, script: "s", containers: [] },
        ...{ startScripts: ["./start"], names: ["web"] }
      })
      assert.deepStrictEqual(named.machines, [{ name: "web", startScript: "./start" }])
    })
  )
})
