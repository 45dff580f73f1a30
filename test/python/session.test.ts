import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { ToolMissing } from "../../src/host/HostProcess.ts"
import { nameIn } from "../../src/python/internal/driverScripts.ts"
import { Interpreter } from "../../src/python/internal/interpreter.ts"
import { supervised } from "../../src/python/internal/session.ts"

describe("an interpreter that does not start", () => {
  it.live("fails the script with the error of its start", () =>
    Effect.gen(function* () {
      const missing = new ToolMissing({ tool: "python3", package: "python3" })
      const error = yield* Effect.flip(supervised(Layer.effect(Interpreter, Effect.fail(missing))))
      assert.strictEqual(error, missing)
    }).pipe(Effect.scoped)
  )

  it.live(
    "fails the script at once, too, if its start crashed",
    () =>
      Effect.gen(function* () {
        const crashed = Layer.effect(Interpreter, Effect.die(new Error("no entropy left")))
        const error = yield* Effect.flip(supervised(crashed))
        assert.include(error.message, "no entropy left")
      }).pipe(Effect.scoped),
    5_000
  )
})

describe("the name of a machine", () => {
  it("is that in its start script's path, in quotes or not", () => {
    for (const [command, name] of [
      ["/nix/store/x/bin/run-web-vm", "web"],
      ["/nix/store/x/bin/run-web-1-vm -m 64", "web-1"],
      ["'/a b/run-web-vm'", "web"],
      ['"/a b/run-web-vm" -m 64', "web"],
      ["cd '/a b'; QEMU_OPTS='-m 64' ./run-web-vm; true", "web"],
      ["run-web-vm", "web"],
      ["'run-web-vm'", "web"],
      ["qemu-system-x86_64 -m 64", "machine"],
      ["/nix/store/x/bin/run-web-nspawn", "machine"]
    ] as const) {
      assert.strictEqual(nameIn(command), name, command)
    }
  })
})
