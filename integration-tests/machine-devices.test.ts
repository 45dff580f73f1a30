import * as Fs from "node:fs"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import * as Image from "../src/images/Image.ts"
import { Machine, machines } from "../src/vitest.ts"

/** A daemon of the kind that people test: it notes which USB devices come and go, as udev tells it. */
const image = Image.debian({
  kernel: "generic",
  units: {
    "watcher.service": `[Unit]
After=systemd-udevd.service
[Service]
ExecStart=/bin/sh -c 'exec udevadm monitor --udev --property --subsystem-match=usb/usb_device >/run/watched'
`
  },
  files: {
    "/etc/udev/rules.d/90-stick.rules":
      'ACTION=="add", SUBSYSTEM=="block", ENV{ID_BUS}=="usb", ENV{DEVTYPE}=="disk", RUN+="/bin/sh -c \'echo $env{ID_SERIAL_SHORT} >>/run/sticks\'"\n'
  }
})

class Box extends Machine<Box>()("box", {
  image,
  memory: "768 MiB",
  devices: [
    "tpm",
    "sound",
    "usb-tablet",
    { type: "watchdog", action: "none" },
    { type: "usb-storage", size: "16 MiB", name: "declared", serial: "FIRST" }
  ]
}) {}

const stick = (name: string) => ({ type: "usb-storage", size: "32 MiB", name }) as const

/**
 * `TPM2_PCR_Extend` of register 16, which anybody may, without a tool: the header (sessions, 65 bytes, command 0x182), the register, an empty
 * password, and one SHA-256 digest of 32 bytes. It fails unless the answer says success.
 */
const extendRegister = [
  "exec 3<>/dev/tpm0",
  String.raw`printf '\200\002\000\000\000\101\000\000\001\202\000\000\000\020\000\000\000\011\100\000\000\011\000\000\000\000\000\000\000\000\001\000\013vmtest-vmtest-vmtest-vmtest-1234' >&3`,
  "test \"$(dd bs=4096 count=1 <&3 2>/dev/null | od -An -tx1 -j6 -N4 | tr -d ' ')\" = 00000000"
].join("\n")

const WatchdogEvent = Schema.Struct({
  event: Schema.Literal("WATCHDOG"),
  data: Schema.Struct({ action: Schema.String })
})

machines(Box)("a machine with the generic kernel", (it) => {
  it.effect("has the devices of its declaration, and drivers for them", () =>
    Effect.gen(function* () {
      const box = yield* Box
      assert.notInclude(yield* box.succeed("uname -r"), "cloud")
      yield* box.waitForFile("/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_FIRST-0:0")
      assert.strictEqual(yield* box.succeed("cat /sys/block/sda/size"), `${(16 * 1024 * 1024) / 512}\n`)
      yield* box.waitForFile("/dev/watchdog0")
      assert.include(yield* box.succeed("cat /sys/class/watchdog/watchdog*/identity"), "i6300ESB")
      yield* box.waitForFile("/dev/snd/pcmC0D0p")
      assert.include(yield* box.succeed("cat /proc/asound/cards"), "HDA")
      yield* box.waitForFile("/dev/tpmrm0")
      assert.strictEqual(yield* box.succeed("cat /sys/class/tpm/tpm0/tpm_version_major"), "2\n")
      yield* box.waitUntilSucceeds("grep -q 'QEMU USB Tablet' /proc/bus/input/devices", { timeout: "3 minutes" })
    })
  )

  it.effect("keeps a text screen, which is read exactly, until the driver of its display is asked for", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.waitForText("box login:")
      yield* box.succeed("modprobe bochs")
      yield* box.waitForFile("/dev/fb0")
    })
  )

  it.effect("lets a daemon that watches USB devices see a stick come and go", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.waitForUnit("watcher")
      yield* box.waitForFile("/run/watched")
      const plugged = yield* box.hotplug(stick("STICK1"))
      assert.deepInclude(plugged, { name: "STICK1", mac: undefined })
      yield* box.waitForFile("/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_STICK1-0:0")
      yield* box.waitUntilSucceeds("grep -x STICK1 /run/sticks", { timeout: "3 minutes" })
      yield* box.waitUntilSucceeds(
        "grep -A 20 'add .*usb' /run/watched | grep -q 'ID_SERIAL_SHORT=STICK1\\|SERIAL.*STICK1'",
        { timeout: "3 minutes" }
      )
      yield* box.succeed("printf kept | dd of=/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_STICK1-0:0 conv=fsync 2>/dev/null")
      yield* box.unplug(plugged)
      yield* box.waitUntilFileIsGone("/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_STICK1-0:0")
      yield* box.waitUntilSucceeds("grep -q 'remove .*usb' /run/watched", { timeout: "3 minutes" })
    })
  )

  it.effect("takes keys by a USB keyboard that is plugged in", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const keyboard = yield* box.hotplug("usb-keyboard")
      yield* box.waitUntilSucceeds("grep -q 'QEMU USB Keyboard' /proc/bus/input/devices", { timeout: "3 minutes" })
      yield* box.succeed("systemctl stop getty@tty1", "cat </dev/tty1 >/run/typed & sleep 0.5")
      yield* box.sendChars("by USB\n")
      yield* box.waitUntilSucceeds("grep -qx 'by USB' /run/typed", { timeout: "2 minutes" })
      yield* box.unplug(keyboard)
    })
  )

  it.effect("has a watchdog that bites one who does not feed it", () =>
    Effect.gen(function* () {
      const box = yield* Box
      const bite = yield* Effect.forkChild(box.waitForQmpEvent(WatchdogEvent, { timeout: "5 minutes" }), {
        startImmediately: true
      })
      yield* box.succeed("exec 3>/dev/watchdog0; echo >&3; sleep 0.1")
      assert.strictEqual((yield* Fiber.join(bite)).data.action, "none")
    })
  )

  it.effect("is forked with what is on its stick and in its TPM, but not with what was plugged in", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.succeed("printf mine | dd of=/dev/sda conv=fsync 2>/dev/null")
      const register = "/sys/class/tpm/tpm0/pcr-sha256/16"
      const fresh = yield* box.succeed(`cat ${register}`)
      yield* box.succeed(extendRegister)
      const extended = yield* box.succeed(`cat ${register}`)
      assert.notStrictEqual(extended, fresh)
      const late = yield* box.hotplug(stick("late"))
      const refused = yield* Effect.flip(box.fork())
      assert.strictEqual(refused._tag, "SaveFailed")
      assert.include(refused.message, 'the device "late" was plugged in while the machine ran; unplug it first')
      yield* box.unplug(late)
      const fork = yield* box.fork()
      assert.strictEqual(
        yield* fork.succeed("dd if=/dev/sda bs=512 count=1 iflag=direct 2>/dev/null | head -c 4"),
        "mine"
      )
      assert.strictEqual(yield* fork.succeed(`cat ${register}`), extended)
      const other = yield* fork.hotplug(stick("other"))
      yield* fork.waitForFile("/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_other-0:0")
      yield* fork.unplug(other)
      yield* fork.crash()
    })
  )

  it.effect("lets a declared device on USB be pulled out, and is then saved no more", () =>
    Effect.gen(function* () {
      const box = yield* Box
      yield* box.unplug("declared")
      yield* box.waitUntilFileIsGone("/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_FIRST-0:0")
      const refused = yield* Effect.flip(box.snapshot())
      assert.include(refused.message, 'the declared device "declared" was unplugged')
    })
  )
})

class Left extends Machine<Left>()("left", { image: Image.tiny(), memory: "128 MiB", hotplug: true }) {}

class Right extends Machine<Right>()("right", {
  image: Image.tiny({ modules: ["nvme"] }),
  memory: "128 MiB",
  devices: [{ driver: "nvme", properties: { serial: "whole" }, name: "fast" }],
  qemuArguments: ["-device", "edu"],
  vlans: [1, 2]
}) {}

machines(Left, Right)("a machine", (it) => {
  it.effect("has any device of QEMU's by the name of its driver, and what else its command line asks for", () =>
    Effect.gen(function* () {
      const right = yield* Right
      assert.strictEqual(yield* right.succeed("tr -d ' ' </sys/class/nvme/nvme0/serial"), "whole\n")
      yield* right.succeed("grep -q 0x11e8 /sys/bus/pci/devices/*/device")
    })
  )

  it.effect("is given disks while it runs, up to the ports that are kept free, and gives them back", () =>
    Effect.gen(function* () {
      const left = yield* Left
      const disk = yield* left.hotplug({ type: "disk", size: "8 MiB", name: "extra" })
      yield* left.waitForFile("/sys/block/vda")
      assert.strictEqual(yield* left.succeed("cat /sys/block/vda/serial /sys/block/vda/size"), `extra${16384}\n`)
      yield* left.succeed("printf hello | dd of=/dev/vda conv=fsync 2>/dev/null")
      const twice = yield* Effect.flip(left.hotplug({ type: "disk", size: "8 MiB", name: "extra" }))
      assert.strictEqual(twice._tag, "PlugFailed")
      assert.include(twice.message, 'left: could not plug in "extra" (disk): it has a device of this name already')
      // Past the guest's page cache: what the host has.
      const direct = "dd if=/dev/vda bs=512 count=1 iflag=direct 2>/dev/null | head -c 5"
      assert.strictEqual(yield* left.succeed(direct), "hello")
      const more = yield* Effect.all(
        Array.from({ length: 5 }, () => left.hotplug({ type: "disk", size: "1 MiB" })),
        { concurrency: "unbounded" }
      )
      yield* left.waitForFile("/sys/block/vdf")
      const full = yield* Effect.flip(left.hotplug({ type: "disk", size: "1 MiB" }))
      assert.include(full.message, "its 6 ports for such devices are taken; unplug one of them first")
      yield* Effect.forEach([disk, ...more], (one) => left.unplug(one))
      yield* left.waitUntilFileIsGone("/sys/block/vda")
      const again = yield* left.hotplug({ type: "disk", size: "8 MiB", name: "extra" })
      yield* left.waitForFile("/sys/block/vda")
      assert.strictEqual(yield* left.succeed(`${direct} | tr '\\0' .; cat /sys/block/vda/serial`), ".....extra")
      yield* left.unplug(again.name)
    })
  )

  it.effect("is given a card on a network that it was not on, and is reached over it", () =>
    Effect.gen(function* () {
      const [left, right] = [yield* Left, yield* Right]
      const card = yield* left.hotplug({ type: "network-card", vlan: 2 })
      // The last octet is the machine's number.
      assert.match(card.mac ?? "", /^52:54:00:ff:[0-9a-f]{2}:01$/)
      yield* left.waitForFile("/sys/class/net/eth2")
      assert.strictEqual(yield* left.succeed("cat /sys/class/net/eth2/address"), `${card.mac}\n`)
      yield* left.succeed("ip addr add 192.168.2.77/24 dev eth2; ip link set eth2 up")
      yield* right.waitUntilSucceeds("ping -c 1 -W 1 192.168.2.77", { timeout: "2 minutes" })
      // It is no card of the declaration.
      const undeclared = yield* Effect.flip(left.block(2))
      assert.include(undeclared.message, "card must be one that this machine declares (eth1 on VLAN 1), got 2")
      yield* left.block()
      yield* left.fail("ping -c 1 -W 2 192.168.1.2")
      yield* left.succeed("ping -c 3 -W 2 -I eth2 192.168.2.2")
      yield* left.unblock()
      yield* left.unplug(card)
      yield* left.waitUntilFileIsGone("/sys/class/net/eth2")
    })
  )

  it.effect("is told what is wrong with a device that it cannot have or does not have", () =>
    Effect.gen(function* () {
      const left = yield* Left
      const unknown = yield* Effect.flip(left.hotplug({ driver: "flux-capacitor" }))
      assert.strictEqual(unknown._tag, "PlugFailed")
      assert.include(unknown.message, `could not plug in "flux-capacitor-hot`)
      assert.include(unknown.message, "'flux-capacitor' is not a valid device model name")
      const none = yield* Effect.flip(left.unplug("nothing"))
      assert.strictEqual(
        none.message,
        'left: could not unplug "nothing": it does not have this device; it has none that can be unplugged'
      )
    })
  )

  it.effect("is saved once nothing is plugged in any more", () =>
    Effect.gen(function* () {
      const left = yield* Left
      const disk = yield* left.hotplug({ type: "disk", size: "1 MiB", name: "late" })
      yield* left.waitForFile("/sys/block/vda")
      assert.strictEqual((yield* Effect.flip(left.snapshot()))._tag, "SaveFailed")
      yield* left.unplug(disk)
      const snapshot = yield* left.snapshot()
      yield* left.restore(snapshot)
      yield* left.hotplug({ type: "disk", size: "1 MiB", name: "late" })
      yield* left.waitForFile("/sys/block/vda")
    })
  )
})

class Doomed extends Machine<Doomed>()("doomed", {
  image: Image.tiny({ kernel: "generic" }),
  devices: ["tpm"]
}) {}

/** The process of a machine's `swtpm`, which runs in the machine's folder. */
const swtpmOf = (machine: string): number | undefined =>
  Fs.readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .find((pid) => {
      const read = (path: string, how: (path: string) => string) =>
        Fs.existsSync(`/proc/${pid}/${path}`) ? how(`/proc/${pid}/${path}`) : ""
      return (
        read("comm", (path) => Fs.readFileSync(path, "utf8")).trim() === "swtpm" &&
        read("cwd", (path) => Fs.readlinkSync(path)).endsWith(`-${machine}`)
      )
    }) as number | undefined

machines(Doomed)("a machine whose TPM is lost", (it) => {
  it.effect("dies with it, and says why", () =>
    Effect.gen(function* () {
      const doomed = yield* Doomed
      const running = yield* Effect.forkChild(Effect.flip(doomed.succeed("echo up; sleep 600")), {
        startImmediately: true
      })
      yield* doomed.succeed("true")
      process.kill(Number(swtpmOf("doomed")), "SIGKILL")
      const error = yield* Fiber.join(running)
      assert.strictEqual(error._tag, "MachineDied")
      assert.include(
        error.message,
        'doomed died while the test was running "echo up; sleep 600": its TPM\'s swtpm ended with signal SIGKILL'
      )
      yield* doomed.start()
      assert.strictEqual(yield* doomed.succeed("echo again"), "again\n")
      // A machine that ends in order is not ended for its swtpm, which ends with it.
      yield* doomed.shutdown()
    })
  )
})
