import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { MachineShape } from "../../src/backends/Backend.ts"
import type { StartScript } from "../../src/images/BootImage.ts"
import * as StartChanges from "../../src/machine/StartChanges.ts"

const startScript: StartScript = {
  ...{ command: "exec run-web-vm", takes: "QEMU_OPTS", env: { A: "1", B: "2" } },
  ...{ ports: true, graphic: false, accelerated: false, timeout: 1000, container: false }
}

const shape: MachineShape = {
  name: "web",
  image: {
    digest: "0",
    kernel: "",
    initrd: "",
    cmdline: "",
    root: undefined,
    startScript,
    guest: "script",
    builtAt: 0
  },
  ...{ memory: 1, cpus: 1, networks: [], internet: false, forwards: [], allowReboot: true, directory: "/run/web" }
}

const changed = (changes: StartChanges.Changes) =>
  StartChanges.apply(shape).pipe(Effect.provideService(StartChanges.StartChanges, () => Effect.succeed(changes)))

describe("the changes of one start", () => {
  it.effect("are none where nobody gives any, nor for a machine without a start script", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* StartChanges.apply(shape), shape)
      const { startScript: _, ...image } = shape.image
      const plain = { ...shape, image }
      const start = StartChanges.apply(plain)
      const any = () => Effect.succeed({ command: "x", allowReboot: false })
      assert.strictEqual(yield* Effect.provideService(start, StartChanges.StartChanges, any), plain)
    })
  )

  it.effect("are other variables, one taken away, another command, and whether it may reboot", () =>
    Effect.gen(function* () {
      const other = yield* changed({ env: { A: null, C: "3" }, allowReboot: false })
      assert.deepStrictEqual(other.image.startScript, { ...startScript, env: { A: null, B: "2", C: "3" } })
      assert.isFalse(other.allowReboot)
      const command = yield* changed({ command: "qemu-system-x86_64 -m 64" })
      assert.strictEqual(command.image.startScript?.command, "qemu-system-x86_64 -m 64")
      // A command line of the caller's takes arguments.
      assert.strictEqual(command.image.startScript?.takes, "arguments")
    })
  )
})
