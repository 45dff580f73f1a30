import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as scripted from "../src/backends/qemu/scripted.ts"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import { Deadlines } from "../src/guest/Deadlines.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import { image, runners } from "./microvmRunner.ts"
import { processesWith } from "./nixosScript.ts"

const env = { VMTEST_TEST: `microvm-${process.pid}` }

/** A test with a driver of its own, which leaves nothing running. */
const live = <E>(title: string, test: Effect.Effect<unknown, E, Driver | ImageStore | Scope.Scope>) =>
  it.live(
    title,
    () =>
      Effect.scoped(test).pipe(
        Effect.provide(Layer.mergeAll(DriverLayer.layer({ name: "microvm" }), ImageStore.layer)),
        Effect.tap(() => Effect.sync(() => assert.deepStrictEqual(processesWith(`VMTEST_TEST=${env.VMTEST_TEST}`), [])))
      ),
    // Five boots one after the other, on a host that may be busy.
    900_000
  )

const soon = { timeout: "5 minutes" } as const

describe("a machine from a runner of microvm.nix", () => {
  live(
    "does what any machine does, with a volume of its own, and reaches another one over a VLAN",
    Effect.gen(function* () {
      const make = yield* runners
      const driver = yield* Driver
      const before = "if [ ! -e data.img ]; then truncate -s 16M data.img; fi"
      const words = "-drive 'id=vda,format=raw,file=data.img,if=none' -device virtio-blk-pci,drive=vda"
      const runner = yield* make({ name: "mvm", before, words })
      const web = yield* driver.machine("web_1", { image: Image.microvm({ runner, env }), allowReboot: true })
      const client = yield* driver.machine("client", { image: Image.tiny(), memory: "192 MiB" })

      // Lanes on the ports that vmtest added: nothing is lost.
      const result = yield* web.execute("echo out; echo err >&2; exit 3")
      assert.deepStrictEqual(result, { exitCode: 3, stdout: "out\n", stderr: "err\n" })
      assert.strictEqual((yield* web.executeBytes("head -c 3000000 /dev/zero")).stdout.length, 3_000_000)
      assert.strictEqual(yield* web.succeed("ls /sys/class/virtio-ports | wc -l"), "31\n")
      yield* web.waitForConsoleText("connecting to host...", soon)

      // Its card on the VLAN is its only one.
      yield* web.succeed("ip link set eth0 up; ip address add 192.168.1.77/24 dev eth0")
      yield* client.waitUntilSucceeds("ping -c 1 -W 2 192.168.1.77", soon)
      yield* web.block(1)
      yield* client.fail("ping -c 1 -W 2 192.168.1.77")
      yield* web.unblock()
      yield* client.crash()

      // The volume that the runner made is in a snapshot, and outlives a reboot, which the runner's own words would end it by, and a crash.
      yield* web.succeed("echo before >/dev/vda; sync")
      const saved = yield* web.snapshot("before")
      yield* web.succeed("echo after >/dev/vda; sync; touch /tmp/after")
      yield* web.restore(saved)
      assert.strictEqual(yield* web.succeed("head -n 1 /dev/vda; ls /tmp/after 2>/dev/null || true"), "before\n")
      yield* web.reboot()
      assert.strictEqual(yield* web.succeed("head -n 1 /dev/vda"), "before\n")
      yield* web.crash()
      yield* web.start()
      assert.strictEqual(yield* web.succeed("head -n 1 /dev/vda"), "before\n")
      yield* web.shutdown(soon)
      assert.isFalse(yield* web.isUp())
    })
  )

  it.live("is given to scripts in TypeScript and in Python by --machine-config", () =>
    Effect.gen(function* () {
      const make = yield* runners
      const runner = yield* make({ name: "box" })
      const folder = Path.dirname(runner)
      const file = (name: string, value: string | object) => {
        Fs.writeFileSync(Path.join(folder, name), typeof value === "string" ? value : JSON.stringify(value))
        return name
      }
      const machines = [{ name: "box", backend: "microvm", runner: "box", allow_reboot: true, env }]
      const scripts = [
        file(
          "test.ts",
          `import { Effect } from "effect"
import type { Machine } from "vmtest"
export default ({ box }: Record<"box", Machine>) =>
  Effect.gen(function* () {
    console.log(yield* box.succeed("echo typescript on $(uname)"))
  })
`
        ),
        file(
          "test.py",
          'start_all()\nprint(box.succeed("echo python on $(uname)"))\nassert "microvm-run" in box.start_command._cmd\n'
        )
      ]
      const launcher = Path.join(import.meta.dirname, "../src/cli/Launcher.ts")
      const ended = yield* Effect.callback<{ readonly code: number | null; readonly said: string }>((resume) => {
        const config = file("machines.json", { machines, vlans: [1], global_timeout: 600 })
        const child = spawn(process.execPath, [launcher, "run", ...scripts, "--machine-config", config], {
          cwd: folder
        })
        let said = ""
        for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (said += chunk))
        child.on("close", (code) => resume(Effect.succeed({ code, said })))
      })
      assert.strictEqual(ended.code, 0, ended.said)
      for (const line of ["typescript on Linux", "python on Linux", "2 passed"]) assert.include(ended.said, line)
      assert.deepStrictEqual(processesWith(`VMTEST_TEST=${env.VMTEST_TEST}`), [])
    }).pipe(Effect.scoped, Effect.provide(ImageStore.layer))
  )

  live(
    "fails with what the console said last when no shell comes",
    Effect.gen(function* () {
      const make = yield* runners
      const driver = yield* Driver
      const runner = yield* make({ name: "mute" }, image({ backdoor: false }))
      const mute = yield* driver.machine("mute", { image: Image.microvm({ runner, env }), autoStart: false })
      const failed = yield* Effect.flip(mute.start())
      assert.strictEqual(failed._tag, "BootFailed")
      assert.include(failed.message, "its shell did not answer within 15s; it must run a root shell on /dev/hvc0")
      assert.include(failed.message, "no shell here")
      assert.isFalse(yield* mute.isUp())
    }).pipe(
      Effect.provideServiceEffect(
        Deadlines,
        Effect.map(Deadlines, (deadlines) => ({ ...deadlines, boot: Duration.seconds(5) }))
      )
    )
  )

  live(
    "fails with the words of a runner that ends at once, and names a hypervisor without a backend",
    Effect.gen(function* () {
      const make = yield* runners
      const driver = yield* Driver
      const before = "echo 'tap device vm-web does not exist' >&2; exit 1"
      const ends = Image.microvm({ runner: yield* make({ name: "ends", before }), env })
      const { message } = yield* Effect.flip((yield* driver.machine("ends", { image: ends, autoStart: false })).start())
      assert.include(message, "its runner ended with exit code 1")
      assert.include(message, "tap device vm-web does not exist")
      const other = Image.microvm(yield* make({ name: "other", hypervisor: "crosvm" }))
      const refused = yield* Effect.flip(driver.machine("other", { image: other, autoStart: false }))
      assert.include(refused.message, "needs the hypervisor crosvm, which vmtest has no backend for yet")
    })
  )

  it.live("is accepted by QEMU as a microvm machine, whose devices are not on PCI", () =>
    Effect.gen(function* () {
      const make = yield* runners
      const runner = yield* make({ name: "small", machine: "microvm", words: "-S" })
      const boot = yield* ImageStore.use((store) => store.resolve(Image.microvm({ runner, env })))
      const directory = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-microvm-state-"))),
        (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
      )
      const hypervisor = yield* scripted.start(
        {
          ...{ name: "small", image: boot, memory: 2 ** 28, cpus: 1, internet: false, forwards: [], directory },
          networks: [{ device: "eth1", vlan: 1, mac: "52:54:00:12:01:01", port: undefined }],
          allowReboot: false
        },
        { program: "unused", accelerator: "tcg", version: "7.2.0", extraArguments: [], timeScale: 3 },
        undefined
      )
      yield* hypervisor.kill
    }).pipe(Effect.scoped, Effect.provide(ImageStore.layer))
  )
})
