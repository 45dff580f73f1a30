/** Firecracker in a real jail. Its guest only waits, so that this needs a KVM on which a few instructions run; guests with a shell are in `nested/jailed.ts`. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { Backend, connect } from "../src/backends/Backend.ts"
import * as Environment from "../src/backends/Environment.ts"
import * as Firecracker from "../src/backends/firecracker/Firecracker.ts"
import { probeKernel } from "../src/backends/internal/probeKernel.ts"
import * as Probe from "../src/backends/internal/vmmProbe.ts"
import * as Bridge from "../src/network/Bridge.ts"
import { folder, shapeIn } from "../test/backends/vmmSupport.ts"
import { titled } from "../test/needs.ts"

const jailer = { uid: 4321, gid: 8765 }

const programs = Effect.all({ program: Environment.program("firecracker"), jailer: Environment.program("jailer") })
const firecracker = Effect.flatMap(programs, (found) => Effect.provide(Backend, Firecracker.layer(found)))

/** Not `Backends.probe`, which asks QEMU for KVM: Firecracker can run a guest of a few instructions where QEMU cannot. */
const probe = Effect.gen(function* () {
  const { requires } = yield* firecracker
  yield* requires?.({ jailer }) ?? Effect.void
  const problem = yield* Probe.run("firecracker", (yield* programs).program, 1)
  if (problem !== undefined) return yield* Effect.fail(new Error(problem))
})

const found = await Effect.runPromise(Effect.result(probe))
const missing = Result.isFailure(found) ? found.failure.message : undefined

/** The probe's kernel without its first two instructions, which end it: a guest that waits. */
const waiting = () => {
  const kernel = probeKernel("firecracker")
  return kernel.fill(0x90, kernel.length - 7, kernel.length - 3)
}

const mounts = () => Fs.readFileSync("/proc/self/mountinfo", "utf8")

describe.skipIf(missing !== undefined)(titled("Firecracker in a jail", missing), () => {
  it.live(
    "boots on a VLAN, is another user, is saved and forked, and leaves nothing",
    () =>
      Effect.gen(function* () {
        const before = mounts()
        const { start } = yield* firecracker
        const directory = yield* folder
        Fs.writeFileSync(Path.join(directory, "kernel"), waiting())
        Fs.writeFileSync(Path.join(directory, "root.erofs"), Buffer.alloc(2 ** 20))
        yield* Effect.scoped(
          Effect.gen(function* () {
            const bridges = yield* Bridge.make
            const vlan = yield* bridges.vlan({ vlan: 1, directory })
            const shapeOf = Effect.fnUntraced(function* (name: string, text: string) {
              const path = Path.join(directory, name, "disk1")
              Fs.mkdirSync(Path.dirname(path))
              Fs.writeFileSync(path, Buffer.alloc(2 ** 20, text), { mode: 0o600 })
              const port = yield* vlan.port(`${name} eth1`)
              const networks = [{ device: "eth1", vlan: 1, mac: "52:54:00:12:01:01", port }]
              return shapeIn(directory, name, { hypervisor: { jailer }, identity: "", disks: [{ path }], networks })
            })
            const first = yield* start(yield* shapeOf("web", "a"))
            assert.match(Fs.readFileSync(`/proc/${first.pid}/status`, "utf8"), /^Uid:\s+4321\s+4321\s+4321\s+4321$/m)
            assert.notInclude(Fs.readdirSync(`/proc/${first.pid}/root/`), "etc")
            const control = yield* connect(first)
            const target = Path.join(directory, "saved")
            Fs.mkdirSync(target)
            const from = yield* control.save(target)
            assert.strictEqual(Fs.statSync(Path.join(target, "memory")).size, 2 ** 27)
            for (const name of ["fork1", "fork2"]) {
              const fork = yield* shapeOf(name, "b")
              const { pid } = yield* start(fork, { from })
              assert.strictEqual(Fs.readFileSync(fork.disks?.[0]?.path ?? "", "latin1")[0], "a")
              assert.include(Fs.readFileSync(`/proc/${pid}/maps`, "utf8"), "/memory")
            }
            assert.include(Fs.readFileSync(Path.join(directory, "fork1", "firecracker.log"), "utf8"), "/snapshot/load")
            yield* control.pause
            yield* control.resume
            assert.strictEqual(mounts(), before)
          })
        )
        for (const name of ["web", "fork1", "fork2"]) {
          const left = Fs.readdirSync(Path.join(directory, name))
          assert.deepStrictEqual(
            left.filter((file) => ["chroot", "jail", "saving"].includes(file)),
            []
          )
        }
        assert.strictEqual(mounts(), before)
      }).pipe(Effect.scoped),
    60_000
  )
})
