import { assert, describe, it } from "@effect/vitest"
import type { MachineShape } from "../../../src/backends/Backend.ts"
import { socketsIn } from "../../../src/backends/qemu/command.ts"
import {
  type Additions,
  commandOf,
  problemOf,
  type ScriptPlan,
  wordsOf
} from "../../../src/backends/qemu/scriptCommand.ts"
import { cardsOn } from "../../../src/backends/qemu/scripted.ts"
import type { StartScript } from "../../../src/images/BootImage.ts"

const script: StartScript = {
  ...{ command: "'/nix/store/x/bin/run-web-vm'", takes: "arguments", env: { NIX_DISK_IMAGE: "/disk.qcow2" } },
  ...{ ports: true, graphic: false, accelerated: false, timeout: 1000, container: false }
}

const shape: MachineShape = {
  name: "web",
  image: { ...{ digest: "0", kernel: "", initrd: "", cmdline: "", root: undefined }, guest: "script", builtAt: 0 },
  memory: 2 ** 30,
  cpus: 1,
  networks: [
    { device: "eth1", vlan: 3, mac: "52:54:00:12:03:01", port: undefined },
    { device: "eth2", vlan: 1, mac: "52:54:00:12:01:01", port: undefined }
  ],
  internet: false,
  forwards: [],
  allowReboot: false,
  directory: "/run/web",
  shared: "/run/shared"
}

const vdes = [
  { device: "eth1", vlan: 3, folder: "/run/vde3.ctl" },
  { device: "eth2", vlan: 1, folder: "/run/vde1.ctl" }
]

const all: Additions = { ports: true, emulate: true }

const plan = (change: Partial<ScriptPlan> = {}): ScriptPlan => ({
  ...{ shape, script, sockets: socketsIn(shape), vdes, additions: all, incoming: false, extra: [] },
  ...change
})

describe("the command of a start script", () => {
  it("hands on the control socket, the shell's console before the ports, and the serial console", () => {
    const line = wordsOf(plan()).join(" ")
    assert.include(line, "-qmp unix:/run/web/qmp,server=on,wait=off")
    assert.include(line, "-chardev socket,id=shell,path=/run/web/shell")
    assert.isBelow(
      line.indexOf("virtconsole,bus=shellbus.0,chardev=shell"),
      line.indexOf("virtio-serial-pci,id=ports1")
    )
    for (const words of [
      "-device virtio-rng-pci",
      "-serial stdio",
      "-no-reboot",
      "-nographic",
      "-machine accel=tcg",
      "guest_announce=off"
    ]) {
      assert.include(line, words)
    }
    // vmtest.0 has the shell of vmtest's own images; here it is on the console.
    assert.notInclude(line, "name=vmtest.0")
    for (const name of ["vmtest.1", "vmtest.30"]) assert.include(line, `name=${name}`)
  })

  it("leaves out what the machine does not want, or QEMU does not take", () => {
    const line = wordsOf(
      plan({
        shape: { ...shape, allowReboot: true },
        script: { ...script, graphic: true },
        additions: { ports: false, emulate: false }
      })
    ).join(" ")
    for (const words of ["-no-reboot", "-nographic", "virtserialport", "accel"]) assert.notInclude(line, words)
  })

  it("gives a runner of microvm.nix what it lacks, on the bus that its machine has", () => {
    const runner = { bus: "device", serial: true, hostCpu: true } as const
    const line = wordsOf(plan({ script: { ...script, runner }, shape: { ...shape, allowReboot: true } })).join(" ")
    for (const words of [
      "-device virtio-serial-device,id=shellbus -device virtconsole,bus=shellbus.0,chardev=shell",
      "-device virtio-serial-device,id=ports1,max_ports=16",
      "-netdev hubport,id=eth1,hubid=3 -device virtio-net-device,id=card-eth1,netdev=eth1,mac=52:54:00:12:03:01,guest_announce=off",
      "-action reboot=reset",
      "-machine accel=tcg -cpu max"
    ]) {
      assert.include(line, words)
    }
    for (const words of ["-serial chardev", "-serial stdio", "-pci", "romfile", "virtio-rng"])
      assert.notInclude(line, words)
    const other = wordsOf(
      plan({
        script: { ...script, runner: { bus: "pci", serial: false, hostCpu: false } },
        additions: { ports: false, emulate: true }
      })
    ).join(" ")
    for (const words of ["-serial chardev:stdio", "virtio-serial-pci,id=shellbus", "virtio-net-pci"]) {
      assert.include(other, words)
    }
    for (const words of ["-action", "-cpu", "ports1"]) assert.notInclude(other, words)
  })

  it("gives the script its folders, the switches, and the variables of the declaration", () => {
    const { env } = commandOf(plan())
    assert.deepStrictEqual(env, {
      TMPDIR: "/run/web/state",
      USE_TMPDIR: "1",
      SHARED_DIR: "/run/shared",
      QEMU_VDE_SOCKET_1: "/run/vde1.ctl",
      QEMU_VDE_SOCKET_3: "/run/vde3.ctl",
      VMTEST_MACHINE_FOLDER: "/run/web",
      NIX_DISK_IMAGE: "/disk.qcow2"
    })
  })

  it("runs in a shell, with its words as arguments or in QEMU_OPTS", () => {
    const { args = [], command } = commandOf(plan())
    assert.strictEqual(command, "sh")
    assert.deepStrictEqual(args.slice(0, 4), ["-c", `exec ${script.command} "$@"`, "sh", "-qmp"])
    const own = { ...script, takes: "QEMU_OPTS", env: { QEMU_OPTS: "-m 64" } } as const
    const inVariable = commandOf(plan({ script: own }))
    assert.deepStrictEqual(inVariable.args, ["-c", `exec ${script.command}`])
    const line = commandOf(plan({ script: { ...script, command: "cd /tmp; qemu -m 64" } }))
    assert.deepStrictEqual(line.args?.slice(0, 2), ["-c", 'cd /tmp; qemu -m 64 "$@"'])
    assert.match(inVariable.env?.QEMU_OPTS ?? "", /^-m 64 -qmp unix:/)
  })

  it("cannot hand on in QEMU_OPTS what the script's shell would take apart, and says what to change", () => {
    const own = { ...script, takes: "QEMU_OPTS" } as const
    assert.isUndefined(problemOf(plan({ script: own })))
    for (const directory of ["/run/r u,n/web", "/run/*/web", "/run/r?n/web", "/run/[a]/web", "/run/a\\b/web"]) {
      const there = { shape: { ...shape, directory }, sockets: socketsIn({ ...shape, directory }) }
      const problem = problemOf(plan({ ...there, script: own })) ?? ""
      assert.include(
        problem,
        `the machine's folder ${JSON.stringify(directory)} has one; set XDG_RUNTIME_DIR to a folder`
      )
      assert.isUndefined(problemOf(plan(there)))
    }
    const words = plan({ script: own, shape: { ...shape, qemuArguments: ["-fw_cfg", "name=opt/a,string=b c"] } })
    assert.include(problemOf(words) ?? "", `the argument "name=opt/a,string=b c" has one; remove it`)
    // A comma is not taken apart.
    assert.isUndefined(problemOf(plan({ script: own, shape: { ...shape, directory: "/run/a,b" } })))
  })

  it("finds the cards of a VLAN by the switch that QEMU says they are plugged into", () => {
    const network = [
      "virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56",
      " \\ user.0: index=0,type=user,net=10.0.2.0,restrict=off",
      "virtio-net-pci.1: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:01:07",
      " \\ vlan1: index=0,type=vde,sock=/run/vde1.ctl,fd=41",
      "e1: index=0,type=nic,model=e1000,macaddr=52:54:00:12:02:07",
      " \\ vlan2: index=0,type=vde,sock=/run/vde12.ctl,fd=42",
      ""
    ].join("\r\n")
    assert.deepStrictEqual(cardsOn("/run/vde1.ctl", network), ["virtio-net-pci.1"])
    assert.deepStrictEqual(cardsOn("/run/vde12.ctl", network), ["e1"])
    assert.deepStrictEqual(cardsOn("/run/vde2.ctl", network), [])
  })
})
