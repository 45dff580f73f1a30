import * as Fs from "node:fs"
import * as Path from "node:path"
import { PassThrough } from "node:stream"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { connect, type MachineShape, openShell, type StartOptions } from "../../../src/backends/Backend.ts"
import * as Api from "../../../src/backends/cloudhypervisor/api.ts"
import * as CloudHypervisor from "../../../src/backends/cloudhypervisor/CloudHypervisor.ts"
import * as Events from "../../../src/backends/cloudhypervisor/events.ts"
import { rewrite } from "../../../src/backends/cloudhypervisor/restore.ts"
import { versionOf } from "../../../src/backends/cloudhypervisor/version.ts"
import { rot } from "../../rot.ts"
import { playVsock } from "../../transport/guest.ts"
import * as Description from "../description.ts"
import type { Play } from "../playedVmm.ts"
import { eventually, folder, played, requestsOf, shapeIn } from "../vmmSupport.ts"

const description = Description.read(
  fileURLToPath(new URL("./description/cloud-hypervisor.yaml", import.meta.url)),
  "/api/v1"
)

const program = (directory: string, play?: Play) =>
  played(directory, "./cloudhypervisor/playedCloudHypervisor.ts", play)

const start = (directory: string, shape: MachineShape, play?: Play, options?: StartOptions) =>
  CloudHypervisor.make({
    program: program(directory, play),
    version: "53.0",
    inNamespace: (_, inside) => inside
  }).start(shape, options)

const asked = (shape: MachineShape) =>
  requestsOf(shape, description).map(({ method, path }) => `${method} ${path.replace("/api/v1/", "")}`)

const until = (console: { readonly stream: Stream.Stream<string> }, words: RegExp) => {
  let all = ""
  return console.stream.pipe(
    Stream.takeUntil((text) => {
      all += text
      return words.test(all)
    }),
    Stream.runDrain,
    Effect.timeout("5 seconds")
  )
}

/** While the effect runs, the virtiofsd of the PATH is one of this version that only listens, and writes down its words. */
const withPlayedVirtiofsd = <A, E, R>(directory: string, version: string, effect: Effect.Effect<A, E, R>) => {
  const before = process.env.PATH ?? ""
  return Effect.acquireUseRelease(
    Effect.sync(() => {
      const programs = Path.join(directory, "programs")
      Fs.mkdirSync(programs, { recursive: true })
      Fs.writeFileSync(
        Path.join(programs, "virtiofsd"),
        `#!/bin/sh
[ "$1" = --version ] && { echo "${version}"; exit; }
echo "$*" >words
echo $$ >served-by
for word; do
  case $word in
    --shared-dir=* | source=*) folder=\${word#*=} ;;
    --socket-path=*) socket=\${word#*=} ;;
  esac
done
[ -d "$folder" ] || { echo "no folder $folder" >&2; exit 1; }
exec "${process.execPath}" -e 'require("net").createServer().listen(process.argv[1])' "$socket"
`,
        { mode: 0o755 }
      )
      process.env.PATH = `${programs}:${before}`
    }),
    () => effect,
    () =>
      Effect.sync(() => {
        process.env.PATH = before
      })
  )
}

/** Our schemas, by the names of the description. */
const described = {
  CpusConfig: Api.CpusConfig,
  MemoryConfig: Api.MemoryConfig,
  PayloadConfig: Api.PayloadConfig,
  DiskConfig: Api.DiskConfig,
  NetConfig: Api.NetConfig,
  RngConfig: Api.RngConfig,
  VsockConfig: Api.VsockConfig,
  SerialConfig: Api.SerialConfig,
  ConsoleConfig: Api.ConsoleConfig,
  BalloonConfig: Api.BalloonConfig,
  FsConfig: Api.FsConfig,
  VmConfig: Api.VmConfig,
  VmSnapshotConfig: Api.VmSnapshotConfig,
  RestoreConfig: Api.RestoreConfig,
  VmmPingResponse: Api.VmmPingResponse
}

describe("Cloud Hypervisor's requests", () => {
  it("have the fields that the description has", () => {
    for (const [definition, { fields }] of Object.entries(described)) {
      const known = description.fieldsOf(definition)
      assert.deepStrictEqual(
        Object.keys(fields).filter((field) => !known.includes(field)),
        [],
        definition
      )
    }
    for (const { body, method, path } of [Api.ping, Api.boot, Api.pause, Api.resume, Api.reboot, Api.powerButton]) {
      assert.isUndefined(description.check(method, path, body))
    }
  })
})

describe("Cloud Hypervisor's events", () => {
  it("are found wherever reads cut them", () => {
    const text = ["starting", "rebooting"]
      .map((event) => `${JSON.stringify({ timestamp: {}, source: "vm", event, properties: null }, null, 2)}\n\n`)
      .join("nonsense\n\n")
    for (let cut = 0; cut <= text.length; cut++) {
      const source = new PassThrough()
      const heard: Array<string> = []
      Events.listen(source, (event) => heard.push(event))
      source.emit("data", Buffer.from(text.slice(0, cut)))
      source.emit("data", Buffer.from(text.slice(cut)))
      assert.deepStrictEqual(heard, ["vm starting", "vm rebooting"])
    }
  })
})

describe("a Cloud Hypervisor that boots", () => {
  it.live("is given its machine at once, and what an earlier one left is not in its way", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      Fs.writeFileSync(Path.join(directory, "disk.raw"), "disk")
      const shape = shapeIn(directory, "web", {
        cpus: 2,
        memory: 300 * 2 ** 20 + 1,
        disks: [{ path: Path.join(directory, "disk.raw") }],
        networks: [{ device: "eth1", vlan: 1, mac: "52:54:00:12:01:01", mtu: 9000, port: undefined }]
      })
      for (const name of ["api.sock", "v.sock", "serial.sock"]) Fs.writeFileSync(Path.join(shape.directory, name), "")
      yield* start(directory, shape)
      assert.deepStrictEqual(asked(shape), ["GET vmm.ping", "PUT vm.create", "PUT vm.boot"])
      const created = requestsOf(shape, description)[1]?.body
      assert.deepInclude(created, {
        cpus: { boot_vcpus: 2, max_vcpus: 2 },
        memory: { size: 301 * 2 ** 20 },
        disks: [
          { id: "root", path: "root", readonly: true, image_type: "Raw" },
          { id: "disk1", path: "disk1", readonly: false, image_type: "Raw", serial: "disk1" }
        ]
      })
      assert.strictEqual(Fs.readFileSync(Path.join(shape.directory, "disk1"), "utf8"), "disk")
    }).pipe(Effect.scoped)
  )

  it.live("has what is declared of huge pages, a balloon and a second console", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = shapeIn(directory, "web", { hypervisor: { hugePages: true, balloon: 2 ** 26, hvc0: true } })
      yield* start(directory, shape)
      const created = requestsOf(shape, description)[1]?.body
      assert.deepInclude(created, {
        memory: { size: 2 ** 27, hugepages: true, hugepage_size: 2 ** 21 },
        balloon: { size: 2 ** 26, deflate_on_oom: true },
        console: { mode: "File", file: "hvc0.log" }
      })
      assert.notProperty(created, "fs")
    }).pipe(Effect.scoped)
  )

  for (const [version, words] of [
    ["virtiofsd 1.13.2", "--socket-path=share1.sock --shared-dir="],
    ["virtiofsd version 7.2.22 (Debian 1:7.2+dfsg-7)", "-f --socket-path=share1.sock -o source="]
  ] as const) {
    it.live(`has folders of the host by ${version}, and says that it cannot be saved then`, () =>
      Effect.gen(function* () {
        const directory = yield* folder
        const shape = shapeIn(directory, "web", { hypervisor: { hvc0: true, shares: { work: directory } } })
        const machine = yield* withPlayedVirtiofsd(directory, version, start(directory, shape))
        assert.strictEqual(Fs.readFileSync(Path.join(shape.directory, "words"), "utf8"), `${words}${directory}\n`)
        assert.deepInclude(requestsOf(shape, description)[1]?.body, {
          memory: { size: 2 ** 27, shared: true },
          fs: [{ tag: "work", socket: "share1.sock", num_queues: 1, queue_size: 1024 }]
        })
        const target = Path.join(directory, "saved")
        Fs.mkdirSync(target)
        const control = yield* connect(machine)
        assert.match(
          (yield* Effect.flip(control.save(target))).message,
          /cloud-hypervisor cannot save a machine with shares$/
        )
        const gone = shapeIn(directory, "gone", { hypervisor: { shares: { work: "/nowhere" } } })
        const { message } = yield* Effect.flip(withPlayedVirtiofsd(directory, version, start(directory, gone)))
        assert.include(message, "virtiofsd of the share work ended with exit code 1")
        assert.include(message, "no folder /nowhere")
      }).pipe(Effect.scoped)
    )
  }

  it.live("ends when a folder of the host is not served any more, and says so", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = shapeIn(directory, "web", { hypervisor: { shares: { work: directory } } })
      const machine = yield* withPlayedVirtiofsd(directory, "virtiofsd 1.13.2", start(directory, shape))
      process.kill(Number(Fs.readFileSync(Path.join(shape.directory, "served-by"), "utf8")), "SIGKILL")
      const { because, signal } = yield* Effect.timeout(machine.exited, "10 seconds")
      assert.deepStrictEqual(
        { because, signal },
        { because: "virtiofsd of the share work ended with signal SIGKILL", signal: "SIGKILL" }
      )
    }).pipe(Effect.scoped)
  )

  it.live("has folders of the host by the virtiofsd of this host", ({ skip }) =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = shapeIn(directory, "web", { hypervisor: { shares: { work: directory } } })
      const started = yield* Effect.result(start(directory, shape))
      if (Result.isSuccess(started)) return assert.isTrue(Fs.existsSync(Path.join(shape.directory, "share1.sock")))
      assert.include(started.failure.message, "virtiofsd")
      return skip(started.failure.message)
    }).pipe(Effect.scoped)
  )

  it.live("has a console both ways from its first line on, a shell over vsock, and leaves nothing", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = shapeIn(directory, "web")
      yield* Effect.gen(function* () {
        const machine = yield* start(directory, shape, { guest: "the test" })
        yield* playVsock({}, Path.join(shape.directory, "v.sock"))
        const shell = yield* openShell(machine)
        assert.strictEqual((yield* shell.execute("uname")).exitCode, 0)
        yield* until(machine.console, /Linux version/)
        yield* machine.console.write("ls\n")
        yield* until(machine.console, /typed ls/)
        // Of much at once the end comes only to whoever connects again.
        yield* machine.console.write("flood\n")
        yield* until(machine.console, /flood ebbs/)
        assert.strictEqual((yield* machine.console.log).match(/flood /g)?.length, 100)
        yield* machine.console.write("on\n")
        yield* until(machine.console, /typed on/)
      }).pipe(Effect.scoped)
      assert.deepStrictEqual(
        Fs.readdirSync(shape.directory).filter((name) => name.includes(".sock") && !/\.(err|out)$/.test(name)),
        []
      )
    }).pipe(Effect.scoped)
  )
})

describe("a Cloud Hypervisor that runs", () => {
  it.live("tells why it ended; a guest that may not reboot is ended when it does", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      for (const [typed, cause] of [
        ["poweroff", "power-off"],
        ["reboot", "reset"],
        ["panic", "panic"],
        ["halt", "panic"]
      ] as const) {
        const machine = yield* start(directory, shapeIn(directory, typed))
        yield* until(machine.console, /Linux version/)
        yield* machine.console.write(`${typed}\n`)
        assert.strictEqual((yield* Effect.timeout(machine.exited, "10 seconds")).cause, cause, typed)
      }
      const failing = yield* start(directory, shapeIn(directory, "failing"))
      yield* until(failing.console, /Linux version/)
      yield* failing.console.write("fail\n")
      const { because, cause } = yield* Effect.timeout(failing.exited, "10 seconds")
      assert.deepStrictEqual(
        [cause, because],
        [
          undefined,
          "its hypervisor could not run the guest: VcpuRun(Failed to run vcpu: Unexpected exit reason on vcpu run: InternalError"
        ]
      )
      const pressed = yield* start(directory, shapeIn(directory, "pressed"))
      yield* Effect.flatMap(connect(pressed), ({ powerdown }) => powerdown)
      assert.deepInclude(yield* pressed.exited, { cause: "power-off", exitCode: 0 })
      const reset = yield* start(directory, shapeIn(directory, "reset"))
      yield* Effect.flatMap(connect(reset), ({ reset }) => reset)
      assert.deepInclude(yield* reset.exited, { cause: "host", signal: "SIGKILL" })
    }).pipe(Effect.scoped)
  )

  it.live(
    "keeps its machine and its console when its guest may reboot, tells of that, and not of a reset from outside",
    () =>
      Effect.gen(function* () {
        const directory = yield* folder
        const machine = yield* start(directory, shapeIn(directory, "web", { allowReboot: true }))
        const control = yield* connect(machine)
        let resets = 0
        yield* Effect.forkScoped(
          Stream.runForEach(control.resets ?? Stream.empty, () => Effect.sync(() => resets++)),
          { startImmediately: true }
        )
        yield* control.reset
        yield* until(machine.console, /Linux version[\s\S]*Linux version/)
        assert.strictEqual(resets, 0)
        yield* machine.console.write("reboot\n")
        yield* until(machine.console, /Linux version[\s\S]*Linux version[\s\S]*Linux version/)
        yield* eventually(() => resets === 1)
        yield* until(machine.console, /Linux version/)
        yield* machine.console.write("panic\n")
        assert.strictEqual((yield* Effect.timeout(machine.exited, "10 seconds")).cause, "panic")
      }).pipe(Effect.scoped)
  )

  it.live("pauses once, however often it is asked to, and has no hotplug", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = shapeIn(directory, "web")
      const control = yield* connect(yield* start(directory, shape))
      yield* control.pause
      yield* control.pause
      yield* control.resume
      yield* control.resume
      assert.deepStrictEqual(asked(shape).slice(3), ["PUT vm.pause", "PUT vm.resume"])
      assert.strictEqual((yield* Effect.flip(control.unplug("disk")))._tag, "Unsupported")
      assert.strictEqual((yield* Effect.flip(control.setLink("eth0", true)))._tag, "Unsupported")
    }).pipe(Effect.scoped)
  )
})

describe("a saved Cloud Hypervisor", () => {
  const save = (directory: string, shape: MachineShape) =>
    Effect.gen(function* () {
      const machine = yield* start(directory, shape, { print: "from the source" })
      yield* until(machine.console, /from the source/)
      const target = Path.join(directory, `saved ${shape.name}`)
      Fs.mkdirSync(target)
      return yield* Effect.flatMap(connect(machine), ({ save }) => save(target))
    })

  it.live("continues in several forks beside its source, each with its own disk, sockets and TAP devices", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      // Where a driver puts them: in the machine's folder, under the name that the hypervisor opens.
      const disk = (name: string, text: string) => {
        const path = Path.join(directory, name, "disk1")
        Fs.mkdirSync(Path.dirname(path), { recursive: true })
        Fs.writeFileSync(path, text)
        return { path }
      }
      const shape = shapeIn(directory, "web", { disks: [disk("web", "written")] })
      const from = yield* save(directory, shape)
      assert.deepStrictEqual(asked(shape).slice(3), ["PUT vm.pause", "PUT vm.snapshot", "PUT vm.resume"])
      const taps = new Set<string>()
      for (const name of ["fork1", "fork2"]) {
        const fork = shapeIn(directory, name, { disks: [disk(name, "")] })
        const machine = yield* start(directory, fork, {}, { from })
        yield* until(machine.console, /from the source[\s\S]*Linux version/)
        assert.deepStrictEqual(asked(fork), ["GET vmm.ping", "PUT vm.restore", "PUT vm.resume"])
        assert.strictEqual(Fs.readFileSync(Path.join(fork.directory, "disk1"), "utf8"), "written")
        const { net } = JSON.parse(Fs.readFileSync(Path.join(fork.directory, "restore", "config.json"), "utf8"))
        assert.notProperty(net[0], "host_mac")
        taps.add(net[0].tap)
      }
      assert.strictEqual(taps.size, 2)
    }).pipe(Effect.scoped)
  )

  it.live("fails to load with its own words, and says whether the snapshot is at fault", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const from = yield* save(directory, shapeIn(directory, "web"))
      const load = (name: string, play: Play) =>
        Effect.flip(Effect.scoped(start(directory, shapeIn(directory, name), play, { from })))
      const busy = ["Error from API", "The VM could not be restored", "Cannot open tap: Resource busy (os error 16)"]
      const taken = yield* load("taken", { refuse: { "PUT /api/v1/vm.restore": { status: 500, body: busy } } })
      assert.deepInclude(taken, { _tag: "LoadFailed", damaged: false, stage: "PUT /api/v1/vm.restore" })
      assert.include(taken.message, busy.join(": "))
      const killed = yield* load("killed", { die: ["PUT /api/v1/vm.resume"] })
      assert.deepInclude(killed, { _tag: "LoadFailed", damaged: false })
      assert.include(killed.message, "signal SIGKILL")
      const state = Path.join(from.directory, "state.json")
      const content = "x".repeat(Fs.statSync(state).size)
      rot(state, content)
      assert.deepInclude(yield* load("damaged", {}), {
        ...{ _tag: "LoadFailed", damaged: true, stage: "PUT /api/v1/vm.restore" }
      })
      Fs.writeFileSync(state, content)
      Fs.utimesSync(state, 1, 1)
      assert.include((yield* load("changed", {})).message, "its state.json was changed after it was saved")
      Fs.rmSync(state)
      const short = yield* load("short", {})
      assert.deepInclude(short, { _tag: "LoadFailed", damaged: true })
      assert.include(short.message, "its state.json has no bytes")
    }).pipe(Effect.scoped)
  )

  it("gives a fork its own TAP devices, and leaves everything else as it was", () => {
    const card = { device: "eth1", mac: "", tapName: "tap7", tap: undefined }
    const text = JSON.stringify({
      cpus: { boot_vcpus: 1 },
      net: [
        { id: "eth1", tap: "tap1", mac: "m", host_mac: "h" },
        { id: "other", tap: "tap2" }
      ]
    })
    assert.deepStrictEqual(JSON.parse(rewrite(text, [card]) ?? ""), {
      cpus: { boot_vcpus: 1 },
      net: [
        { id: "eth1", tap: "tap7", mac: "m" },
        { id: "other", tap: "tap2" }
      ]
    })
    assert.isUndefined(rewrite("{", [card]))
  })
})

describe("the Cloud Hypervisor backend", () => {
  it.live("finds the version, refuses an old one, and has a fingerprint", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      assert.strictEqual(yield* versionOf(program(directory)), "53.0")
      const old = Path.join(directory, "old")
      Fs.writeFileSync(old, "#!/bin/sh\necho cloud-hypervisor v49.0\n", { mode: 0o755 })
      assert.include((yield* Effect.flip(versionOf(old))).message, "must be at least 50, got 49.0")
      const { fingerprint } = CloudHypervisor.make({ program: "/bin/true", version: "53.0" })
      assert.deepInclude(yield* fingerprint, { hypervisor: "Cloud Hypervisor 53.0" })
    }).pipe(Effect.scoped)
  )
})
