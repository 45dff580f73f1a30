import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { MachineShape } from "../../../src/backends/Backend.ts"
import { findInvalid } from "../../../src/backends/internal/shapeCheck.ts"
import * as qemuCommand from "../../../src/backends/qemu/command.ts"
import { isNeededBy } from "../../../src/backends/qemu/vde.ts"
import type { Port } from "../../../src/network/Vlan.ts"

/** The place of a card that nobody plugs in. */
const port: Port = {
  ...{ vlan: 1, name: "web eth1" },
  plugIn: () => Effect.void,
  vde: Effect.succeed("/run/vde1.ctl"),
  impair: () => Effect.void,
  heal: Effect.void,
  counts: Effect.die("none")
}

const shape: MachineShape = {
  name: "web",
  image: {
    digest: "0",
    kernel: "/images/kernel",
    initrd: "/images/initrd",
    cmdline: "panic=-1 quiet",
    root: "/images/a,b.erofs",
    guest: "debian",
    builtAt: 0
  },
  memory: 512 * 1024 * 1024,
  cpus: 2,
  networks: [
    { device: "eth1", vlan: 3, mac: "52:54:00:12:03:01", port },
    { device: "eth2", vlan: 1, mac: "52:54:00:12:01:01", port }
  ],
  internet: false,
  forwards: [{ hostPort: 8080, guestPort: 80, protocol: "tcp" }],
  allowReboot: false,
  directory: "/run/web"
}

const plan = (change: Partial<MachineShape> = {}, more: Partial<qemuCommand.Plan> = {}): qemuCommand.Plan => ({
  shape: { ...shape, ...change },
  accelerator: "tcg",
  sockets: qemuCommand.socketsIn(shape),
  memory: { _tag: "Anonymous" },
  incoming: false,
  extra: [],
  ...more
})

const words = (change: Partial<MachineShape> = {}, more: Partial<qemuCommand.Plan> = {}) =>
  qemuCommand.command(plan(change, more))

/** What follows every use of an option. */
const values = (command: ReadonlyArray<string>, option: string) =>
  command.flatMap((word, index) => (word === option ? [command[index + 1] ?? ""] : []))

describe("QEMU's command line", () => {
  it("starts from nothing", () => {
    const command = words()
    for (const word of ["-nodefaults", "-no-user-config", "-no-reboot"]) assert.include(command, word)
    assert.deepStrictEqual(values(command, "-display"), ["none"])
  })

  it("lets a guest reboot only where that was asked for", () => {
    assert.notInclude(words({ allowReboot: true }), "-no-reboot")
  })

  it("boots the image's kernel on the serial console", () => {
    const command = words()
    assert.deepStrictEqual(values(command, "-kernel"), ["/images/kernel"])
    assert.deepStrictEqual(values(command, "-initrd"), ["/images/initrd"])
    assert.match(values(command, "-append")[0] ?? "", /^console=ttyS0 .*no_timer_check.* panic=-1 quiet$/)
  })

  it("has the root as a disk that cannot be written, whatever its path", () => {
    const [root = ""] = values(words(), "-blockdev")
    assert.include(root, "read-only=on")
    assert.include(root, "file.filename=/images/a,,b.erofs")
    assert.deepStrictEqual(values(words({ image: { ...shape.image, root: undefined } }), "-blockdev"), [])
  })

  it("has the machine's own disks after it, each with a serial number", () => {
    const command = words({ disks: [{ path: "/run/a,b" }, { path: "/run/c" }] })
    assert.match(values(command, "-blockdev")[1] ?? "", /^driver=raw,node-name=own1,.*file\.filename=\/run\/a,,b$/)
    const disks = values(command, "-device").filter((device) => device.startsWith("virtio-blk-pci"))
    assert.deepStrictEqual(disks.slice(1), [
      "virtio-blk-pci,drive=own1,serial=disk1",
      "virtio-blk-pci,drive=own2,serial=disk2"
    ])
  })

  it("boots a user's disk by the firmware, and never writes to it", () => {
    const image = {
      ...shape.image,
      kernel: "",
      initrd: "",
      root: undefined,
      disk: { path: "/d.qcow2", format: "qcow2" }
    } as const
    const command = words({ image })
    assert.notInclude(command, "-kernel")
    assert.notInclude(command, "-append")
    const [overlay = ""] = values(command, "-blockdev")
    assert.include(overlay, "file.filename=/run/web/disk.qcow2")
    assert.include(overlay, "backing.driver=qcow2,backing.read-only=on")
    assert.include(overlay, "backing.file.filename=/d.qcow2")
  })

  it("has a port for the bootstrap shell and one for each stream of commands", () => {
    const ports = values(words(), "-device").filter((device) => device.startsWith("virtserialport"))
    assert.strictEqual(ports.length, qemuCommand.portCount)
    assert.isTrue(ports.every((port, index) => port.endsWith(`,name=vmtest.${index}`)))
    const places = ports.map((port) => /bus=(\w+)\.0,nr=(\d+)/.exec(port)?.slice(1) ?? [])
    assert.strictEqual(new Set(places.map(String)).size, ports.length)
    assert.isTrue(places.every(([, nr]) => Number(nr) >= 1 && Number(nr) <= 15))
  })

  it("keeps eth0 in, unless the machine is to reach out", () => {
    assert.include(values(words(), "-netdev")[0] ?? "", "restrict=on,hostfwd=tcp:127.0.0.1:8080-:80")
    assert.include(values(words({ internet: true, forwards: [] }), "-netdev")[0] ?? "", "restrict=off")
  })

  it("has the cards in the order of the guest's interfaces: eth0, then the VLANs as declared", () => {
    const cards = values(words(), "-device").filter((device) => device.startsWith("virtio-net-pci"))
    assert.deepStrictEqual(
      cards.map((card) => /netdev=(\w+)/.exec(card)?.[1]),
      ["user", "eth1", "eth2"]
    )
    assert.include(cards[1] ?? "", `id=${qemuCommand.cardId("eth1")},`)
    // QEMU ends with SIGSEGV when a fork whose card announced itself reboots.
    for (const card of cards) assert.match(card, /,guest_announce=off(,|$)/)
    // A guest's card can be set up for longer frames, unless it is QEMU's own network.
    assert.match(cards[0] ?? "", /,host_mtu=1500(,|$)/)
    assert.notInclude(cards[1] ?? "", "host_mtu")
    const [long = ""] = values(
      words({ networks: [{ device: "eth1", vlan: 1, mac: "52:54:00:12:01:01", mtu: 9000, port }] }),
      "-device"
    ).filter((device) => device.includes("id=card-eth1"))
    assert.match(long, /,host_mtu=9000(,|$)/)
  })

  it("plugs into the VLANs through VDE, for a QEMU that knows no better", () => {
    assert.deepStrictEqual(["6.0.0", "6.2.0", "7.1.9", "7.2.0", "7.2.22", "8.0.0", "10.1.0"].map(isNeededBy), [
      true,
      true,
      true,
      false,
      false,
      false,
      false
    ])
    const command = words({}, { vdes: [{ device: "eth1", vlan: 3, folder: "/run/vde,3.ctl" }] })
    assert.include(values(command, "-netdev"), "vde,id=eth1,sock=/run/vde,,3.ctl")
    const [card = ""] = values(command, "-device").filter((device) => device.includes("id=card-eth1"))
    assert.match(card, /,host_mtu=1500(,|$)/)
  })

  it("has a display and a pointer, whose memory and place a saved machine can count on", () => {
    const devices = values(words(), "-device")
    assert.include(devices, "VGA,vgamem_mb=8")
    assert.include(devices, "virtio-tablet-pci")
  })

  it("rounds memory up to whole mebibytes, and can keep it in a file to share", () => {
    const memory = { _tag: "File", path: "/run/m", share: true } as const
    const command = words({ memory: 100 * 1024 * 1024 + 1 }, { memory })
    assert.deepStrictEqual(values(command, "-m"), ["101M"])
    assert.deepStrictEqual(values(command, "-object"), [
      `memory-backend-file,id=memory,size=${101 * 1024 * 1024},mem-path=/run/m,share=on`
    ])
  })

  it("takes the host's processor on KVM", () => {
    const command = words({}, { accelerator: "kvm" })
    assert.deepStrictEqual([values(command, "-accel"), values(command, "-cpu")], [["kvm"], ["host"]])
  })

  it("is the same for the same machine", () => {
    assert.deepStrictEqual(words(), words())
  })
})

describe("a shape that cannot be", () => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-test-"))
  const file = Path.join(folder, "file")
  Fs.writeFileSync(file, "")
  afterAll(() => Fs.rmSync(folder, { recursive: true }))
  const possible = { ...shape, directory: folder, image: { ...shape.image, kernel: file, initrd: file, root: file } }
  const cases: ReadonlyArray<readonly [what: string, field: string, change: Partial<MachineShape>]> = [
    ["a folder that is not there", "directory", { directory: "/nonexistent" }],
    ["a folder too deep for sockets", "directory", { directory: `/tmp/${"deep/".repeat(30)}` }],
    ["an image without its kernel", "image", { image: { ...possible.image, kernel: "/nonexistent" } }]
  ]
  for (const [what, field, change] of cases) {
    it(`has ${what}`, () => {
      const error = findInvalid({ ...possible, ...change })
      assert.strictEqual(error?.field, field)
      assert.include(error?.message, `web: ${field}`)
    })
  }

  it("has a folder too deep for the console of a start script, whose socket's name is the longest", () => {
    const directory = `/tmp/${"x".repeat(qemuCommand.longestSocketPath - "/tmp//load".length)}`
    const script = { ...possible, directory, image: { ...possible.image, guest: "script" as const } }
    assert.include(findInvalid(script)?.message, "makes socket paths of 108 bytes; the kernel takes 107")
    assert.include(findInvalid({ ...possible, directory })?.message, "is not a folder")
  })

  it("is told from one that can", () => {
    assert.isUndefined(findInvalid(possible))
  })
})
