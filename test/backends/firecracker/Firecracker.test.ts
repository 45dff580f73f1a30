import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { connect, type MachineShape, openShell, type StartOptions } from "../../../src/backends/Backend.ts"
import * as Api from "../../../src/backends/firecracker/api.ts"
import * as Firecracker from "../../../src/backends/firecracker/Firecracker.ts"
import { losesVsock, versionOf } from "../../../src/backends/firecracker/version.ts"
import * as Vsock from "../../../src/transport/Vsock.ts"
import { rot } from "../../rot.ts"
import { playVsock } from "../../transport/guest.ts"
import * as Description from "../description.ts"
import type { Play } from "../playedVmm.ts"
import { eventually, folder, played, requestsOf, shapeIn } from "../vmmSupport.ts"

const description = Description.read(fileURLToPath(new URL("./description/firecracker.yaml", import.meta.url)))

const program = (directory: string, play?: Play) => played(directory, "./firecracker/playedFirecracker.ts", play)

const start = (
  directory: string,
  shape: MachineShape,
  play?: Play,
  options?: StartOptions,
  version = "1.16.1",
  timeScale = 1
) =>
  Firecracker.make({ program: program(directory, play), version, timeScale, inNamespace: (_, inside) => inside }).start(
    shape,
    options
  )

const isAlive = (pid: number | undefined): boolean => {
  try {
    return pid !== undefined && process.kill(pid, 0)
  } catch {
    return false
  }
}

/** The state of a process, as `ps` has it. */
const stateOf = (pid: number | undefined) => /\) (\w)/.exec(Fs.readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1]

const answers = (shape: MachineShape) =>
  Vsock.connect({ machine: shape.name, socket: Path.join(shape.directory, "v.sock"), port: 1024 }).pipe(
    Effect.as(true),
    Effect.timeoutOrElse({ duration: "300 millis", orElse: () => Effect.succeed(false) }),
    Effect.scoped
  )

/** Our schemas, by the names of the description. */
const described = {
  MachineConfiguration: Api.MachineConfiguration,
  Balloon: Api.Balloon,
  BootSource: Api.BootSource,
  Drive: Api.Drive,
  NetworkInterface: Api.NetworkInterface,
  Vsock: Api.Vsock,
  EntropyDevice: Api.EntropyDevice,
  InstanceActionInfo: Api.InstanceActionInfo,
  Vm: Api.Vm,
  SnapshotCreateParams: Api.SnapshotCreateParams,
  MemoryBackend: Api.MemoryBackend,
  NetworkOverride: Api.NetworkOverride,
  SnapshotLoadParams: Api.SnapshotLoadParams,
  FirecrackerVersion: Api.FirecrackerVersion
}

describe("Firecracker's requests", () => {
  it("have the fields that the description has, and all that it requires", () => {
    const { action, bootSource, createSnapshot, drive, machineConfig, networkInterface, state, vsock } = Api
    assert.strictEqual(description.version, "1.16.1")
    for (const [definition, { fields }] of Object.entries(described)) {
      const known = description.fieldsOf(definition)
      assert.deepStrictEqual(
        Object.keys(fields).filter((field) => !known.includes(field)),
        [],
        definition
      )
    }
    const requests = [
      machineConfig({ vcpu_count: 1, mem_size_mib: 128 }),
      bootSource({ kernel_image_path: "kernel", boot_args: "" }),
      drive({ drive_id: "disk1", path_on_host: "disk1", is_root_device: false, is_read_only: false }),
      networkInterface({ iface_id: "eth1", host_dev_name: "tap0", guest_mac: "52:54:00:12:01:01", mtu: 9000 }),
      vsock({ guest_cid: 3, uds_path: "v.sock" }),
      Api.entropy,
      Api.version,
      action("SendCtrlAltDel"),
      state("Paused"),
      createSnapshot({ snapshot_type: "Full", snapshot_path: "state", mem_file_path: "memory" })
    ]
    for (const { body, method, path } of requests) assert.isUndefined(description.check(method, path, body))
  })
})

describe("a Firecracker that boots", () => {
  it.live("is asked for everything in order, and what an earlier one left is not in its way", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      Fs.writeFileSync(Path.join(directory, "disk.raw"), "disk")
      const shape = shapeIn(directory, "web", {
        cpus: 2,
        memory: 300 * 2 ** 20 + 1,
        disks: [{ path: Path.join(directory, "disk.raw") }],
        networks: [{ device: "eth1", vlan: 1, mac: "52:54:00:12:01:01", port: undefined }]
      })
      for (const name of ["api.sock", "v.sock"]) Fs.writeFileSync(Path.join(shape.directory, name), "")
      yield* start(directory, shape, { print: "hello" })
      const sent = requestsOf(shape, description)
      assert.deepStrictEqual(
        sent.map(({ method, path }) => `${method} ${path}`),
        [
          "GET /version",
          "PUT /machine-config",
          "PUT /boot-source",
          "PUT /drives/root",
          "PUT /drives/disk1",
          "PUT /network-interfaces/eth0",
          "PUT /network-interfaces/eth1",
          "PUT /vsock",
          "PUT /entropy",
          "PUT /actions"
        ]
      )
      assert.deepStrictEqual(sent[1]?.body, { vcpu_count: 2, mem_size_mib: 301 })
      assert.deepInclude(sent[2]?.body, {
        boot_args: "console=ttyS0 reboot=k panic=-1 no_timer_check cryptomgr.notests quiet"
      })
      assert.deepInclude(sent[3]?.body, { path_on_host: "root", is_read_only: true })
      assert.strictEqual(Fs.readFileSync(Path.join(shape.directory, "disk1"), "utf8"), "disk")
    }).pipe(Effect.scoped)
  )

  it.live("has huge pages and a balloon if they are declared, and says that it cannot be saved then", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const hypervisor = { hugePages: true, balloon: 64 * 2 ** 20 }
      const shape = shapeIn(directory, "web", { hypervisor })
      const machine = yield* start(directory, shape)
      const sent = requestsOf(shape, description)
      const bodyOf = (path: string) => sent.find((one) => one.path === path)?.body
      assert.deepStrictEqual(bodyOf("/machine-config"), { vcpu_count: 1, mem_size_mib: 128, huge_pages: "2M" })
      assert.deepStrictEqual(bodyOf("/balloon"), { amount_mib: 64, deflate_on_oom: true })
      const target = Path.join(directory, "saved")
      Fs.mkdirSync(target)
      const control = yield* connect(machine)
      assert.match(
        (yield* Effect.flip(control.save(target))).message,
        /firecracker cannot save a machine with hugePages$/
      )
      assert.isTrue(yield* answers(shape))
    }).pipe(Effect.scoped)
  )

  it.live("has a console both ways, a shell over vsock, and leaves nothing", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = shapeIn(directory, "web")
      const pid = yield* Effect.gen(function* () {
        const machine = yield* start(directory, shape, { guest: "the test" })
        yield* playVsock({}, Path.join(shape.directory, "v.sock"))
        const shell = yield* openShell(machine)
        assert.strictEqual((yield* shell.execute("uname")).exitCode, 0)
        yield* machine.console.write("ls\n")
        yield* machine.console.stream.pipe(
          Stream.takeUntil((text) => text.includes("typed ls")),
          Stream.runDrain,
          Effect.timeout("5 seconds")
        )
        assert.include(yield* machine.console.log, "Linux version")
        return machine.pid
      }).pipe(Effect.scoped)
      assert.isFalse(isAlive(pid))
      assert.deepStrictEqual(
        Fs.readdirSync(shape.directory).filter((name) => name.includes(".sock") && !/\.(err|out)$/.test(name)),
        []
      )
    }).pipe(Effect.scoped)
  )

  it.live("fails with the stage and Firecracker's own words, and leaves no process", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const taken = {
        status: 400,
        body: { fault_message: "Network config error: Open tap device failed: Resource busy (os error 16)" }
      }
      const broken = shapeIn(directory, "image")
      const kernel = Path.join(directory, "bzImage")
      Fs.writeFileSync(kernel, "MZ")
      const cases: ReadonlyArray<
        readonly [name: string, Play, change: Partial<MachineShape>, stage: string, words: string]
      > = [
        [
          "tap",
          { refuse: { "PUT /network-interfaces/eth0": taken } },
          {},
          "PUT /network-interfaces/eth0",
          "Resource busy"
        ],
        ["bzimage", {}, { image: { ...broken.image, kernel } }, "PUT /actions", "Invalid Elf magic number"],
        ["odd", { refuse: { "PUT /vsock": { status: 500, body: "odd" } } }, {}, "PUT /vsock", '"odd"']
      ]
      for (const [name, play, change, stage, words] of cases) {
        const shape = shapeIn(directory, name, change)
        const error = yield* Effect.flip(Effect.scoped(start(directory, shape, play)))
        assert.strictEqual(error._tag, "StartFailed")
        if (error._tag !== "StartFailed") return
        assert.strictEqual(error.stage, stage)
        assert.include(error.message, words)
        assert.isFalse(Fs.existsSync(Path.join(shape.directory, "api.sock")))
        requestsOf(shape, description)
      }
    }).pipe(Effect.scoped)
  )

  it.live("fails when a request is not answered in time", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const hang = { hang: ["PUT /actions"] }
      const error = yield* Effect.flip(
        Effect.scoped(start(directory, shapeIn(directory, "web"), hang, {}, "1.16.1", 0.05))
      )
      assert.deepInclude(error, { _tag: "StartFailed", stage: "PUT /actions" })
      assert.include(error.message, "did not answer PUT /actions within 1s 500ms")
    }).pipe(Effect.scoped)
  )

  it.live("waits for an interface that comes late", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      yield* start(directory, shapeIn(directory, "web"), { late: 700 })
    }).pipe(Effect.scoped)
  )
})

describe("a Firecracker that runs", () => {
  it.live("tells why it ended", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      for (const [typed, cause] of [
        ["reboot", "reset"],
        ["poweroff", "power-off"],
        ["panic", "panic"]
      ] as const) {
        const machine = yield* start(directory, shapeIn(directory, typed))
        yield* machine.console.write(`${typed}\n`)
        assert.strictEqual((yield* Effect.timeout(machine.exited, "10 seconds")).cause, cause)
      }
      const pressed = yield* start(directory, shapeIn(directory, "pressed"))
      const { powerdown } = yield* connect(pressed)
      yield* powerdown
      assert.deepInclude(yield* pressed.exited, { cause: "power-off", exitCode: 0 })
      const killed = yield* start(directory, shapeIn(directory, "killed"))
      yield* killed.kill
      assert.deepInclude(yield* killed.exited, { cause: "host", signal: "SIGKILL" })
    }).pipe(Effect.scoped)
  )

  it.live("stands still by a signal where a pause would lose vsock, and by a request elsewhere", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = shapeIn(directory, "web")
      const machine = yield* start(directory, shape)
      const control = yield* connect(machine)
      assert.isTrue(yield* answers(shape))
      yield* control.pause
      assert.strictEqual(stateOf(machine.pid), "T")
      yield* control.pause
      yield* control.resume
      assert.isTrue(yield* answers(shape))
      assert.notInclude(JSON.stringify(requestsOf(shape, description)), '"path":"/vm"')

      const sound = shapeIn(directory, "sound")
      const other = yield* connect(yield* start(directory, sound, {}, {}, "1.15.1"))
      yield* other.pause
      yield* other.resume
      assert.deepStrictEqual(
        requestsOf(sound, description)
          .filter(({ path }) => path === "/vm")
          .map(({ body }) => body),
        [{ state: "Paused" }, { state: "Resumed" }]
      )
    }).pipe(Effect.scoped)
  )

  it.live("goes on when it is resumed, though nobody waited for its pause", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = shapeIn(directory, "web")
      const control = yield* connect(yield* start(directory, shape, {}, {}, "1.15.1"))
      const pausing = yield* Effect.forkChild(control.pause, { startImmediately: true })
      yield* Fiber.interrupt(pausing)
      yield* control.resume
      const states = requestsOf(shape, description).filter(({ path }) => path === "/vm")
      assert.deepStrictEqual(
        states.map(({ body }) => body),
        [{ state: "Paused" }, { state: "Resumed" }]
      )
    }).pipe(Effect.scoped)
  )

  it.live("keeps vsock when it was held for a save that did not come", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = shapeIn(directory, "web")
      const control = yield* connect(yield* start(directory, shape))
      yield* Effect.scoped(Effect.flatMap(control.exclusive, ({ pause }) => pause))
      assert.isTrue(yield* answers(shape))
      assert.deepStrictEqual(
        Fs.readdirSync(shape.directory).filter((name) => name.startsWith("unlock-")),
        []
      )
    }).pipe(Effect.scoped)
  )

  it.live("has no reset, no hotplug and no cable on a card without a VLAN", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const control = yield* connect(yield* start(directory, shapeIn(directory, "web")))
      for (const attempt of [control.reset, control.unplug("disk"), control.setLink("eth0", false)]) {
        assert.strictEqual((yield* Effect.flip(attempt))._tag, "Unsupported")
      }
    }).pipe(Effect.scoped)
  )
})

describe("a saved Firecracker", () => {
  const save = (directory: string, shape: MachineShape) =>
    Effect.gen(function* () {
      const machine = yield* start(directory, shape, { print: "from the source" })
      const control = yield* connect(machine)
      const target = Path.join(directory, `saved-${shape.name}`)
      Fs.mkdirSync(target)
      return { from: yield* control.save(target), control, machine }
    })

  it.live("continues in several forks beside its source, each with its own disk and sockets", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      // Where a driver puts them: in the machine's folder, under the name that the hypervisor opens.
      const disk = (name: string, text: string) => {
        const path = Path.join(directory, name, "disk1")
        Fs.mkdirSync(Path.dirname(path), { recursive: true })
        Fs.writeFileSync(path, text)
        return { path }
      }
      const networks = [{ device: "eth1", vlan: 1, mac: "52:54:00:12:01:01", port: undefined }]
      const shape = shapeIn(directory, "web", { disks: [disk("web", "written")], networks })
      const { from } = yield* save(directory, shape)
      assert.isTrue(yield* answers(shape))
      for (const name of ["fork1", "fork2"]) {
        const fork = shapeIn(directory, name, { disks: [disk(name, "")], networks })
        const machine = yield* start(directory, fork, {}, { from })
        assert.isTrue(yield* answers(fork))
        assert.strictEqual(Fs.readFileSync(Path.join(fork.directory, "disk1"), "utf8"), "written")
        assert.include(yield* machine.console.log, "from the source")
        assert.isAbove(machine.console.inherited ?? 0, 0)
        const load = requestsOf(fork, description)[1]
        assert.strictEqual(load?.path, "/snapshot/load")
        assert.deepInclude(load?.body, { resume_vm: true })
      }
      assert.strictEqual(Fs.readFileSync(shape.disks?.[0]?.path ?? "", "utf8"), "written")
    }).pipe(Effect.scoped)
  )

  it.live("closes the connections of the host, which Firecracker does not", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = shapeIn(directory, "web")
      const machine = yield* start(directory, shape, { guest: "the test" })
      const control = yield* connect(machine)
      yield* playVsock({}, Path.join(shape.directory, "v.sock"))
      const shell = yield* openShell(machine)
      yield* shell.execute("uname")
      const target = Path.join(directory, "saved")
      Fs.mkdirSync(target)
      const lost = yield* Effect.forkChild(shell.lost, { startImmediately: true })
      yield* control.save(target)
      yield* eventually(() => lost.pollUnsafe() !== undefined)
      assert.strictEqual((yield* shell.execute("uname")).exitCode, 0)
    }).pipe(Effect.scoped)
  )

  it.live("stays paused when it was, though its process was stopped", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = shapeIn(directory, "web")
      const control = yield* connect(yield* start(directory, shape))
      yield* control.pause
      const target = Path.join(directory, "saved")
      Fs.mkdirSync(target)
      yield* control.save(target)
      const states = () =>
        requestsOf(shape, description)
          .filter(({ path }) => path === "/vm")
          .map(({ body }) => body)
      assert.deepStrictEqual(states(), [{ state: "Paused" }])
      yield* control.resume
      assert.deepStrictEqual(states(), [{ state: "Paused" }, { state: "Resumed" }])
      assert.isTrue(yield* answers(shape))
    }).pipe(Effect.scoped)
  )

  it.live("fails to load with Firecracker's own words, and says whether the snapshot is at fault", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = shapeIn(directory, "web")
      const { from } = yield* save(directory, shape)
      const load = (name: string, play: Play, change: Partial<MachineShape> = {}) =>
        Effect.flip(Effect.scoped(start(directory, shapeIn(directory, name, change), play, { from })))

      const taken = {
        status: 400,
        body: { fault_message: "Load snapshot error: Open tap device failed: Resource busy (os error 16)" }
      }
      const busy = yield* load("busy", { refuse: { "PUT /snapshot/load": taken } })
      assert.deepInclude(busy, { _tag: "LoadFailed", damaged: false, stage: "PUT /snapshot/load" })
      assert.include(busy.message, "Resource busy")

      const killed = yield* load("killed", { die: ["PUT /snapshot/load"] })
      assert.deepInclude(killed, { _tag: "LoadFailed", damaged: false })
      assert.include(killed.message, "signal SIGKILL")

      const other = yield* load("other", {}, { memory: 2 ** 28 })
      assert.include(other.message, "it was saved with memory 134217728, but this machine has 268435456")

      const state = Path.join(from.directory, "state")
      const content = "x".repeat(Fs.statSync(state).size)
      rot(state, content)
      const damaged = yield* load("damaged", {})
      assert.deepInclude(damaged, { _tag: "LoadFailed", damaged: true, stage: "PUT /snapshot/load" })
      assert.include(damaged.message, "CRC64 validation failed")
      const memory = Path.join(from.directory, "memory")
      Fs.utimesSync(memory, 1, 1)
      const changed = yield* load("changed", {})
      assert.deepInclude(changed, { _tag: "LoadFailed", damaged: true })
      assert.include(changed.message, "its memory was changed after it was saved")
      // A copy is written at another time.
      Fs.copyFileSync(memory, `${memory}.copy`)
      Fs.renameSync(`${memory}.copy`, memory)
      assert.include((yield* load("copied", {})).message, "CRC64 validation failed")
    }).pipe(Effect.scoped)
  )
})

describe("the Firecracker backend", () => {
  it.live("refuses what it cannot be, before anything starts", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const { image } = shapeIn(directory, "web")
      const port = { vlan: 1 } as unknown
      const cases: ReadonlyArray<readonly [Partial<MachineShape>, string]> = [
        [{ image: { ...image, kernel: "" } }, "must have a kernel to boot"],
        [{ hotplug: true }, "does not support hotplug"],
        [{ allowReboot: true }, "does not support reboot"],
        [{ forwards: [{ hostPort: 0, guestPort: 80, protocol: "tcp" }] }, "does not support forwards"],
        [{ internet: true }, "internet must be false"],
        [{ qemuArguments: ["-s"] }, "qemuArguments must be empty"],
        [{ networks: [{ device: "eth1", vlan: 1, mac: "", port: port as never }] }, 'must be on the fabric "bridge"'],
        [{ directory: `${directory}/${"x".repeat(100)}` }, "socket paths"],
        [
          { image: { ...image, initrd: "/nowhere/initrd" } },
          "image must have all of its files, but /nowhere/initrd does not exist"
        ],
        [{ disks: [{ path: "/nowhere/disk1" }] }, "disks must exist, but /nowhere/disk1 does not"]
      ]
      for (const [change, words] of cases) {
        const error = yield* Effect.flip(Effect.scoped(start(directory, shapeIn(directory, "web", change))))
        assert.include(error.message, words)
      }
    }).pipe(Effect.scoped)
  )

  it.live("finds the version, and refuses one without PCI", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      assert.strictEqual(yield* versionOf(program(directory)), "1.16.1")
      const old = Path.join(directory, "old")
      Fs.writeFileSync(old, "#!/bin/sh\necho Firecracker v1.12.1\n", { mode: 0o755 })
      assert.include((yield* Effect.flip(versionOf(old))).message, "must be at least 1.13.0, got 1.12.1")
      assert.deepStrictEqual(["1.15.1", "1.16.0", "1.16.1", "1.16.2", "1.17.0"].map(losesVsock), [
        false,
        true,
        true,
        false,
        false
      ])
    }).pipe(Effect.scoped)
  )

  it.live("has a fingerprint with its version", () =>
    Effect.gen(function* () {
      const { fingerprint } = Firecracker.make({ program: "/bin/true", version: "1.16.1" })
      assert.deepInclude(yield* fingerprint, { hypervisor: "Firecracker 1.16.1" })
    })
  )
})
