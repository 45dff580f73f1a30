import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Backend } from "../../src/backends/Backend.ts"
import * as Backends from "../../src/backends/Backends.ts"
import * as Environment from "../../src/backends/Environment.ts"

/** With environment variables, until the effect ends. */
const withVariables = <A, E, R>(variables: Readonly<Record<string, string>>, effect: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const before = Object.keys(variables).map((name) => [name, process.env[name]] as const)
      Object.assign(process.env, variables)
      return before
    }),
    () => effect,
    (before) =>
      Effect.sync(() => {
        for (const [name, value] of before) {
          if (value === undefined) delete process.env[name]
          else process.env[name] = value
        }
      })
  )

const build = (layer: Layer.Layer<Backend, Backends.HostBackendError>) =>
  Effect.scoped(Effect.map(Layer.build(layer), () => "built"))

const refused = (layer: Layer.Layer<Backend, Backends.HostBackendError>, variables: Readonly<Record<string, string>>) =>
  Effect.map(withVariables(variables, Effect.flip(build(layer))), ({ message }) => message)

describe("the hypervisors of a host", () => {
  it.effect("are refused with what to do where their program is not there", () =>
    Effect.gen(function* () {
      assert.strictEqual(
        yield* refused(Backends.layer("firecracker"), { VMTEST_FIRECRACKER: "/nowhere/firecracker" }),
        "could not find /nowhere/firecracker, which VMTEST_FIRECRACKER names; install firecracker, and set VMTEST_FIRECRACKER to its program or put it on the PATH"
      )
      assert.include(
        yield* refused(Backends.layer("cloud-hypervisor"), { PATH: "/nowhere", VMTEST_CLOUD_HYPERVISOR: "" }),
        "could not find cloud-hypervisor on the PATH"
      )
    })
  )

  it.effect("are refused where the program is another one, or too old", () =>
    Effect.gen(function* () {
      const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-backends-"))
      const program = (version: string) => {
        const path = Path.join(folder, "firecracker")
        Fs.writeFileSync(path, `#!/bin/sh\necho '${version}'\n`, { mode: 0o755 })
        return { VMTEST_FIRECRACKER: path }
      }
      assert.include(
        yield* refused(Backends.layer("firecracker"), program("Firecracker v1.12.0")),
        "Firecracker must be at least 1.13.0, got 1.12.0"
      )
      assert.include(yield* refused(Backends.layer("firecracker"), program("hello")), 'printed "hello"')
      Fs.rmSync(folder, { recursive: true })
    })
  )

  it.effect("are chosen by VMTEST_BACKEND, which must name one", () =>
    Effect.gen(function* () {
      const variables = { VMTEST_BACKEND: "firecracker", VMTEST_FIRECRACKER: "/nowhere/firecracker" }
      assert.include(yield* refused(Backends.byDefault, variables), "/nowhere/firecracker")
      assert.strictEqual(
        yield* refused(Backends.byDefault, { VMTEST_BACKEND: "xen" }),
        'VMTEST_BACKEND must be qemu, firecracker or cloud-hypervisor, got "xen"'
      )
    })
  )
})

describe("the program of a hypervisor", () => {
  const named = (value: string) => withVariables({ VMTEST_FIRECRACKER: value }, Environment.program("firecracker"))

  it.effect("has an absolute path, since it runs in the folder of its machine", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* named("bin/fc"), Path.resolve("bin/fc"))
      assert.strictEqual(yield* named("fc"), "fc")
      assert.strictEqual(yield* named(""), "firecracker")
    })
  )
})

describe("VMTEST_TIME_SCALE", () => {
  const scale = (value: string) => withVariables({ VMTEST_TIME_SCALE: value }, Environment.timeScale)

  it.effect("is a factor of at least 1, which is the default", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* scale(""), 1)
      assert.strictEqual(yield* scale("2.5"), 2.5)
      for (const value of ["0", "-1", "ten", "NaN", "1001"]) {
        assert.strictEqual(
          (yield* Effect.flip(scale(value))).message,
          `VMTEST_TIME_SCALE must be a number from 1 to 1000, got "${value}"`
        )
      }
    })
  )
})
