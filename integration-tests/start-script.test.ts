import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Driver } from "../src/driver/Driver.ts"
import * as DriverLayer from "../src/driver/DriverLayer.ts"
import { Deadlines } from "../src/guest/Deadlines.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"
import type { Machine } from "../src/machine/Machine.ts"
import { image, processesWith, scripts } from "./nixosScript.ts"

const name = "start-script"

const env = { VMTEST_TEST: `${process.pid}` }

/** A test with a driver of its own, which leaves nothing running. */
const live = <E>(title: string, test: Effect.Effect<unknown, E, Driver | ImageStore | Scope.Scope>) =>
  it.live(
    title,
    () =>
      Effect.scoped(test).pipe(
        Effect.provide(Layer.mergeAll(DriverLayer.layer({ name }), ImageStore.layer)),
        Effect.tap(() => Effect.sync(() => assert.deepStrictEqual(processesWith(`VMTEST_TEST=${process.pid}`), [])))
      ),
    // A processor of QEMU's longest kind, with its own firmware, three times one after the other.
    900_000
  )

/** Who the guest is, as it knows itself. */
const whoIs = (machine: Machine) =>
  Effect.map(machine.succeed("hostname; ip -4 -o address show dev eth1; cat /etc/machine-id"), (said) => {
    const [host = "", network = "", id = ""] = said.split("\n")
    return { host, address: /inet (\S+)\//.exec(network)?.[1], id }
  })

const removedAfter = (path: string) =>
  Effect.addFinalizer(() => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true })))

const soon = { timeout: "5 minutes" } as const

describe("a machine from a start script of NixOS", () => {
  live(
    "does what any machine does",
    Effect.gen(function* () {
      const { make } = yield* scripts
      const path = yield* make({ name: "nix", address: "192.168.1.7" })
      const driver = yield* Driver
      const web = yield* driver.machine("web_1", { image: Image.startScript({ path, env }), allowReboot: true })

      // Commands, over lanes that the shell on hvc0 started: nothing is lost, whatever the amount.
      const result = yield* web.execute("echo out; echo err >&2; exit 3")
      assert.deepStrictEqual(result, { exitCode: 3, stdout: "out\n", stderr: "err\n" })
      const { stdout } = yield* web.executeBytes("head -c 3000000 /dev/zero")
      assert.strictEqual(stdout.length, 3_000_000)
      assert.strictEqual(yield* web.succeed("ls /sys/class/virtio-ports | wc -l"), "31\n")

      // Its own name and address, whatever the test calls it.
      const first = yield* whoIs(web)
      assert.deepStrictEqual([first.host, first.address], ["nix", "192.168.1.7"])
      assert.notInclude(yield* web.succeed("cat /etc/hosts"), "vmtest")

      // Waits, the console, copies, the screen, the keyboard, a port.
      yield* web.waitForUnit("backdoor.service", soon)
      yield* web.waitForConsoleText("connecting to host...", soon)
      yield* web.succeed("(sleep 1; touch /tmp/late) >/dev/null 2>&1 &")
      yield* web.waitForFile("/tmp/late", soon)
      const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-script-copy-"))
      yield* removedAfter(folder)
      Fs.writeFileSync(Path.join(folder, "file"), "from the host\n")
      yield* web.copyFromHost(folder, "/srv/copied")
      const back = yield* web.copyFromMachine("/srv/copied/file", "start-script")
      yield* removedAfter(Path.dirname(back))
      assert.strictEqual(Fs.readFileSync(back, "utf8"), "from the host\n")
      yield* web.succeed("printf 'a text on the screen\\n' >/dev/tty1")
      yield* web.waitForText("a text on the screen", soon)
      yield* web.sendKey("ctrl-alt-f2")
      yield* web.succeed("ip link set lo up; ip link set eth0 up; ip address replace 10.0.2.15/24 dev eth0")
      assert.isAbove(yield* web.forwardPort({ guestPort: 80 }), 0)

      // Snapshots, with the disk that the script made.
      yield* web.succeed("echo before >/dev/vdb; sync")
      const before = yield* web.snapshot("before")
      yield* web.succeed("echo after >/dev/vdb; sync; touch /tmp/after")
      const fork = yield* web.fork({ from: before })
      assert.strictEqual(yield* fork.succeed("head -n 1 /dev/vdb; ls /tmp/after 2>/dev/null || true"), "before\n")
      const forked = yield* whoIs(fork)
      assert.deepStrictEqual([forked.host, forked.address], [first.host, first.address])
      assert.notStrictEqual(forked.id, first.id)
      const refused = yield* Effect.flip(web.fork({ identity: true }))
      assert.include(refused.message, "identity must be false")
      assert.strictEqual(yield* web.succeed("head -n 1 /dev/vdb"), "after\n")
      yield* web.restore(before)
      assert.strictEqual(yield* web.succeed("head -n 1 /dev/vdb; ls /tmp/after 2>/dev/null || true"), "before\n")
      assert.deepStrictEqual(yield* whoIs(web), first)
      yield* fork.crash()

      // A reboot, a crash with a start after it, and a shutdown. The disk outlives them all.
      yield* web.reboot()
      assert.strictEqual(yield* web.succeed("head -n 1 /dev/vdb; ls /tmp/late 2>/dev/null || true"), "before\n")
      yield* web.crash()
      assert.isFalse(yield* web.isUp())
      yield* web.start()
      assert.strictEqual(yield* web.succeed("head -n 1 /dev/vdb"), "before\n")
      yield* web.shutdown(soon)
      assert.isFalse(yield* web.isUp())
    })
  )

  live(
    "reaches another one, of a raw command line, over a VLAN; what QEMU cannot save is told in its words",
    Effect.gen(function* () {
      const { make } = yield* scripts
      const store = yield* ImageStore
      const boot = yield* store.resolve(image())
      const driver = yield* Driver
      // It stays, and traps what would end it.
      const words = "-drive file=fat:rw:$TMPDIR/xchg,format=raw,if=virtio"
      const run = (qemu: string) => `trap '' TERM INT HUP\n${qemu} &\nwait`
      const path = yield* make({ name: "left", address: "192.168.1.1", shares: true, run, words })
      const left = yield* driver.machine("left", { image: Image.startScript({ path, env }), autoStart: false })
      const command = `qemu-system-x86_64 -cpu max -m 384 -net none -netdev vde,id=lan,sock=$QEMU_VDE_SOCKET_1 -device virtio-net-pci,netdev=lan,mac=52:54:00:12:01:02 -device virtio-rng-pci -drive file=${boot.root},format=raw,if=virtio,readonly=on -kernel ${boot.kernel} -initrd ${boot.initrd} -append "${boot.cmdline} own.name=right own.address=192.168.1.2 console=ttyS0"`
      // Its one card is eth0, so its unit sets no address; and it has nothing but hvc0.
      const right = yield* driver.machine("right", { image: Image.startScript({ command, env, ports: false }) })
      yield* Effect.all([left.start(), right.start()], { concurrency: 2 })
      assert.strictEqual(yield* right.succeed("ls /sys/class/virtio-ports | wc -l"), "1\n")
      yield* right.succeed("ip link set eth0 up; ip address add 192.168.1.2/24 dev eth0")
      yield* left.waitUntilSucceeds("ping -c 1 -W 2 192.168.1.2", soon)
      yield* right.block(1)
      yield* left.fail("ping -c 1 -W 2 192.168.1.2")
      yield* right.unblock()
      yield* left.waitUntilSucceeds("ping -c 1 -W 2 192.168.1.2", soon)

      // The kernel of Debian's cloud images has no 9p; QEMU refuses to save a folder as a disk in the same way.
      const forbidden = yield* Effect.flip(left.snapshot())
      assert.strictEqual(forbidden._tag, "SaveFailed")
      assert.match(forbidden.message, /could not save the machine to .* does not support live migration/)
      const [, shared = ""] = /the shared folder is (\S+)/.exec(yield* left.getConsoleLog()) ?? []
      assert.strictEqual(Fs.statSync(shared).mode & 0o777, 0o700)
      assert.strictEqual(yield* left.succeed("echo still here"), "still here\n")
      yield* left.crash()
      yield* right.shutdown(soon)
    })
  )

  live(
    "fails with what the console said last when no shell comes",
    Effect.gen(function* () {
      const { make } = yield* scripts
      const path = yield* make({ name: "mute" }, image({ backdoor: false }))
      const driver = yield* Driver
      // Debian's images are quiet.
      const loud = { ...env, QEMU_KERNEL_PARAMS: "loglevel=7" }
      const mute = yield* driver.machine("mute", { image: Image.startScript({ path, env: loud }), autoStart: false })
      const failed = yield* Effect.flip(mute.start())
      assert.strictEqual(failed._tag, "BootFailed")
      assert.include(failed.message, "its shell did not answer within 30s; it must run a root shell on /dev/hvc0")
      // The kernel's own lines.
      assert.match(failed.message, /\nconsole:\n(?: {2}.*\n)* {2}\[ *\d+\.\d{6}\] /)
      assert.isFalse(yield* mute.isUp())
    }).pipe(
      Effect.provideServiceEffect(
        Deadlines,
        Effect.map(Deadlines, (deadlines) => ({ ...deadlines, boot: Duration.seconds(10) }))
      )
    )
  )

  live(
    "fails with the words of a QEMU that ends at once, and ends one that left for the background",
    Effect.gen(function* () {
      const driver = yield* Driver
      const startOf = Effect.fnUntraced(function* (machine: string, command: string) {
        const started = yield* driver.machine(machine, { image: Image.startScript({ command, env }), autoStart: false })
        return yield* Effect.map(Effect.flip(started.start()), ({ message }) => message)
      })
      assert.include(yield* startOf("unknown", "qemu-system-x86_64 -frobnicate"), "-frobnicate: invalid option")
      assert.include(
        yield* startOf("background", "exec setsid --fork qemu-system-x86_64 -m 64 -S"),
        "must run QEMU in the foreground"
      )
    })
  )
})
