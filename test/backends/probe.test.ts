import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { probeKernel, qemuExitCode } from "../../src/backends/internal/probeKernel.ts"
import * as Probe from "../../src/backends/internal/vmmProbe.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-probes-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
)

describe("the probe of a hypervisor", () => {
  it.live("is a kernel that ends the machine, as QEMU finds, too", ({ skip }) =>
    Effect.gen(function* () {
      if (ChildProcess.spawnSync("qemu-system-x86_64", ["--version"]).error !== undefined) {
        return skip("qemu-system-x86_64 is not installed")
      }
      const kernel = Path.join(yield* folder, "kernel")
      for (const [hypervisor, exitCode] of [
        ["firecracker", 0],
        ["qemu", qemuExitCode]
      ] as const) {
        Fs.writeFileSync(kernel, probeKernel(hypervisor))
        const ended = ChildProcess.spawnSync(
          "qemu-system-x86_64",
          [
            ...[
              "-M",
              "q35",
              "-accel",
              "tcg",
              "-cpu",
              "max",
              "-m",
              "64",
              "-nodefaults",
              "-display",
              "none",
              "-no-reboot"
            ],
            ...["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", kernel]
          ],
          { timeout: 60_000, encoding: "utf8" }
        )
        assert.deepStrictEqual([hypervisor, ended.status, ended.stderr], [hypervisor, exitCode, ""])
      }
    }).pipe(Effect.scoped)
  )

  it.live("says how the hypervisor ended, or that it did not", () =>
    Effect.gen(function* () {
      const program = Path.join(yield* folder, "hypervisor")
      const said = (script: string, timeScale = 1) => {
        Fs.writeFileSync(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
        return Probe.run("firecracker", program, timeScale)
      }
      assert.isUndefined(yield* said("[ -s kernel ] && [ -s machine.json ]"))
      assert.strictEqual(
        yield* said("echo 'KVM_RUN: Bad address' >&2; exit 1"),
        "its probe guest ended with exit code 1: KVM_RUN: Bad address"
      )
      assert.strictEqual(yield* said("sleep 100", 0.05), "its probe guest did not end within 250ms")
      assert.include(yield* Probe.run("cloud-hypervisor", "/nowhere", 1), "/nowhere")
    }).pipe(Effect.scoped)
  )
})
