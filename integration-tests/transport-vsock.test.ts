/** Guests that have vsock and no virtio ports, as those of Firecracker and Cloud Hypervisor: both images find their way by themselves. */
import { assert, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import { Shell } from "../src/transport/Shell.ts"
import { awkward } from "./transport/awkward.ts"
import { cancel, endless } from "./transport/cancelled.ts"
import { inward, outward } from "./transport/lossless.ts"
import { has, overVsockAlone, vsockDevice } from "./transport/reach.ts"

const MiB = 1024 * 1024

/** The tiny image has few of the programs that these commands use. */
const some = awkward.filter((_, i) => i % 5 === 0)

const images = [
  { kind: "tiny", image: Image.tiny(), commands: some.filter(({ bash }) => bash !== true) },
  { kind: "debian", image: Image.debian(), commands: some }
]

for (const { commands, image, kind } of images) {
  const name = `a ${kind} guest without virtio ports`
  if (!has(vsockDevice)) {
    it(name, ({ skip }) => skip(`${vsockDevice} is not on the PATH: cargo install ${vsockDevice}`))
    continue
  }
  layer(Layer.provide(overVsockAlone(image), ImageStore.layer), { excludeTestServices: true, timeout: "10 minutes" })(
    name,
    (it) => {
      it.effect(
        "has its shell on vsock, ten commands at once, and loads no more than it needs",
        () =>
          Effect.gen(function* () {
            const shell = yield* Shell
            const ten = yield* Effect.forEach(
              Array.from({ length: 10 }, (_, i) => i),
              (i) => shell.execute(`echo ${i}; exit ${i}`, { timeout: "60 seconds" }),
              { concurrency: "unbounded" }
            )
            assert.deepStrictEqual(
              ten,
              ten.map((_, i) => ({ exitCode: i, stdout: `${i}\n`, stderr: "" }))
            )
            const { stdout } = yield* shell.execute("cat /proc/modules")
            assert.match(stdout, /^vmw_vsock_virtio_transport /m)
            assert.notMatch(stdout, /^virtio_mmio /m)
          }),
        600_000
      )

      it.effect(
        "carries whatever commands say, and ends those that are cancelled",
        () =>
          Effect.gen(function* () {
            const shell = yield* Shell
            for (const { command, exitCode, name, options } of commands) {
              const got = yield* shell.execute(command, { timeout: "60 seconds", ...options })
              if (typeof exitCode === "number") assert.strictEqual(got.exitCode, exitCode, `${name}: ${got.stderr}`)
            }
            const amount = { out: 4 * MiB, in: MiB, single: 1000 }
            for (const passages of [yield* outward(shell, amount), yield* inward(shell, amount)]) {
              for (const { guest, host, what } of passages) assert.strictEqual(host, guest, what)
            }
            for (const command of Object.values(endless)) yield* cancel(shell, command)
          }),
        600_000
      )
    }
  )
}
