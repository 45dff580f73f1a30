import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Accelerator from "../../src/backends/Accelerator.ts"
import * as probe from "../../src/backends/qemu/probe.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-test-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
)

/** A program that stands for QEMU. */
const pretend = (script: string) =>
  Effect.map(temporary, (folder) => {
    const path = Path.join(folder, "qemu-system-x86_64")
    Fs.writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
    return path
  })

/** Puts a program first on the PATH while an effect runs. */
const onPath = <A, E, R>(program: string, effect: Effect.Effect<A, E, R>) => {
  const before = process.env.PATH
  return Effect.acquireUseRelease(
    Effect.sync(() => {
      process.env.PATH = `${Path.dirname(program)}:${before}`
    }),
    () => effect,
    () =>
      Effect.sync(() => {
        process.env.PATH = before
      })
  )
}

const accel = (value: string) =>
  Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ VMTEST_ACCEL: value })))

describe("the probe", () => {
  it.live("believes in KVM when a guest ran", () =>
    Effect.gen(function* () {
      const verdict = yield* probe.runGuest(yield* pretend("exit 33"))
      assert.strictEqual(verdict.name, "kvm")
    })
  )

  it.live("finds its kernel also in a temporary folder whose name would end the option", () =>
    Effect.gen(function* () {
      // QEMU reads what follows a comma as another option.
      const program = yield* pretend(
        'for last; do :; done; case "$last" in *,*) exit 1 ;; esac; [ -s "$last" ] && exit 33'
      )
      const { TMPDIR: before } = process.env
      const odd = Fs.mkdtempSync(Path.join(Os.tmpdir(), "it's, 100% [odd] "))
      process.env.TMPDIR = odd
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          if (before === undefined) delete process.env.TMPDIR
          else process.env.TMPDIR = before
          Fs.rmSync(odd, { recursive: true })
        })
      )
      assert.strictEqual((yield* probe.runGuest(program)).name, "kvm")
      assert.deepStrictEqual(Fs.readdirSync(odd), [])
    }).pipe(Effect.scoped)
  )

  it.live("does not when QEMU gives up, and says what QEMU said", () =>
    Effect.gen(function* () {
      const verdict = yield* probe.runGuest(yield* pretend("echo 'failed to set MSR' >&2; kill -ABRT $$"))
      assert.strictEqual(verdict.name, "tcg")
      assert.include(verdict.reason, "signal SIGABRT: failed to set MSR")
    })
  )

  it.live("does not when KVM gives the guest up, and does not wait for a QEMU that only stops then", () =>
    Effect.gen(function* () {
      const said = ["KVM internal error. Suberror: 1", "extra data[0]: 0x1", "extra data[1]: 0x2", "emulation failure"]
      const program = yield* pretend(`printf '%s\\n' ${said.map((line) => `'${line}'`).join(" ")} >&2; exec sleep 60`)
      assert.deepStrictEqual(yield* probe.runGuest(program), {
        name: "tcg",
        reason: "/dev/kvm opens, but KVM gave a guest up: emulation failure"
      })
    })
  )

  it.live("gives a guest that never runs five seconds", () =>
    Effect.gen(function* () {
      const program = yield* pretend("exec sleep 60")
      const [elapsed, verdict] = yield* Effect.timed(probe.runGuest(program))
      assert.deepStrictEqual(verdict, {
        name: "tcg",
        reason: "/dev/kvm opens, but a guest did not come to its end on it within 5s"
      })
      assert.isBelow(Duration.toMillis(elapsed), 30_000)
    })
  )
})

describe("what is found", () => {
  it.live("is remembered until QEMU changes", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const calls = Path.join(folder, "calls")
      const program = yield* pretend(
        `echo "$*" >> ${calls}; case "$*" in --version) echo "QEMU emulator version 9.1.2 (Debian)";; *) exit 33;; esac`
      )
      const detect = onPath(program, Accelerator.detect({ folder }))
      const first = yield* detect
      assert.deepStrictEqual(first.qemu, { path: program, version: "9.1.2" })
      const called = Fs.readFileSync(calls, "utf8")
      const second = yield* detect
      assert.strictEqual(second.accelerator.name, first.accelerator.name)
      assert.strictEqual(Fs.readFileSync(calls, "utf8"), called)
      Fs.appendFileSync(program, "# upgraded\n")
      yield* detect
      assert.isAbove(Fs.readFileSync(calls, "utf8").length, called.length)
    })
  )

  it.live("survives a memory that is damaged, and a folder that cannot be written", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const program = yield* pretend(`case "$*" in --version) echo "QEMU emulator version 8.2.0";; *) exit 33;; esac`)
      Fs.writeFileSync(Path.join(folder, "accelerator.json"), '{"key":')
      for (const place of [folder, "/proc/nonexistent"]) {
        const { qemu } = yield* onPath(program, Accelerator.detect({ folder: place }))
        assert.strictEqual(qemu.version, "8.2.0")
      }
    })
  )

  it.live("is overruled by VMTEST_ACCEL", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      const program = yield* pretend("echo QEMU emulator version 8.2.0")
      for (const name of ["tcg", "kvm"] as const) {
        const { accelerator } = yield* onPath(program, Accelerator.detect({ folder })).pipe(accel(name))
        assert.deepStrictEqual(accelerator, { name, reason: `VMTEST_ACCEL=${name}`, source: "environment" })
      }
      const error = yield* Effect.flip(onPath(program, Accelerator.detect({ folder })).pipe(accel("hvf")))
      assert.include(error.message, `VMTEST_ACCEL must be auto, kvm or tcg, got "hvf"`)
    })
  )

  it.live("is an error for a QEMU that is too old or says nothing", () =>
    Effect.gen(function* () {
      const folder = yield* temporary
      for (const [says, wanted] of [
        ["echo QEMU emulator version 4.2.1", "vmtest needs version 6.0 or newer, found 4.2"],
        ["echo hello", "it did not print its version: hello"]
      ] as const) {
        const error = yield* Effect.flip(onPath(yield* pretend(says), Accelerator.detect({ folder })))
        assert.include(error.message, wanted)
      }
    })
  )
})
