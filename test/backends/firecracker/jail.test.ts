import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { connect, type MachineShape, openShell, type SavedMachine } from "../../../src/backends/Backend.ts"
import * as Firecracker from "../../../src/backends/firecracker/Firecracker.ts"
import * as Jail from "../../../src/backends/firecracker/jail.ts"
import { Hypervisor } from "../../../src/backends/HypervisorOptions.ts"
import type { inNamespace } from "../../../src/backends/internal/vmmNetwork.ts"
import * as Decode from "../../../src/host/Decode.ts"
import { titled } from "../../needs.ts"
import { playVsock } from "../../transport/guest.ts"
import * as Description from "../description.ts"
import type { Play } from "../playedVmm.ts"
import { folder, played, requestsOf, shapeIn } from "../vmmSupport.ts"

const description = Description.read(fileURLToPath(new URL("./description/firecracker.yaml", import.meta.url)))
const jailer = fileURLToPath(new URL("./playedJailer.sh", import.meta.url))

/** What keeps a jail from being made here: it is bind mounts in a mount namespace, and TAP devices. */
const missing = (() => {
  if (process.getuid?.() !== 0) return "a jail needs root"
  const tried = spawnSync("unshare", ["--mount", "--net", "sh", "-c", "mount --bind /tmp /tmp"], { encoding: "utf8" })
  return tried.status === 0 ? undefined : `root may not mount here: ${tried.stderr ?? tried.error?.message}`
})()

const jailed = { hypervisor: { jailer: { uid: 4321, gid: 8765 } } } as const

/** Without TAP devices: the machine's network namespace is a host's that the test must not fill. */
const withoutTaps: typeof inNamespace = (_, { args, command }) => {
  const words = [...args]
  for (let at = words.indexOf("tap"); at !== -1; at = words.indexOf("tap")) words.splice(at, 3)
  return { command, args: words }
}

const backend = (directory: string, play: Play = {}, inside = withoutTaps) => {
  const program = played(directory, "./firecracker/playedFirecracker.ts", play)
  return Firecracker.make({ program, jailer, version: "1.16.1", inNamespace: inside })
}

const jailOf = ({ directory }: MachineShape) => ({ directory: Path.join(directory, "jail") })

/** All paths in what Firecracker was asked. */
const pathsIn = (shape: MachineShape) =>
  requestsOf(jailOf(shape), description).flatMap(({ body }) =>
    [...JSON.stringify(body ?? {}).matchAll(/"\w*path\w*":"([^"]*)"/g)].map(([, path = ""]) => path)
  )

const withDisk = (directory: string, name: string, text: string): MachineShape => {
  const path = Path.join(directory, name, "disk1")
  Fs.mkdirSync(Path.dirname(path), { recursive: true })
  Fs.writeFileSync(path, text, { mode: 0o600 })
  return shapeIn(directory, name, { ...jailed, identity: "name=web", disks: [{ path }] })
}

const save = (directory: string, shape: MachineShape) =>
  Effect.gen(function* () {
    const control = yield* connect(yield* backend(directory, { print: "from the source" }).start(shape))
    const target = Path.join(directory, "saved")
    Fs.mkdirSync(target)
    return yield* control.save(target)
  })

describe("the option jailer", () => {
  it("is true, false, or whom it runs as", () => {
    const wrong = (jailer: unknown) => Decode.checker(Hypervisor)({ name: "firecracker", jailer })?.reason
    for (const jailer of [true, false, {}, { uid: 1000 }, { uid: 1000, gid: 1000 }]) assert.isUndefined(wrong(jailer))
    for (const jailer of ["yes", { uid: 0 }, { uid: 1.5 }, { user: 1 }]) assert.isDefined(wrong(jailer))
    assert.deepStrictEqual(Jail.ownerOf({ jailer: true }), { uid: 65534, gid: 65534 })
    assert.deepStrictEqual(Jail.ownerOf({ jailer: { uid: 1000 } }), { uid: 1000, gid: 65534 })
    assert.isUndefined(Jail.ownerOf({ jailer: false }))
    assert.isUndefined(Jail.ownerOf())
  })
})

describe("the jailer of a host", () => {
  const found = (path: string, version = "1.16.1") => Effect.map(Effect.flip(Jail.find(path, version)), String)

  it.live.skipIf(process.getuid?.() !== 0)(
    titled(
      "is refused where it is missing, or of another release",
      process.getuid?.() === 0 ? undefined : "it needs root"
    ),
    () =>
      Effect.gen(function* () {
        assert.strictEqual(yield* Jail.find(jailer, "1.16.1"), jailer)
        assert.include(yield* found("/nowhere/jailer"), "set VMTEST_JAILER to it, or put it on the PATH")
        assert.include(
          yield* found(jailer, "1.15.0"),
          "must have the version of Firecracker, which is 1.15.0, got 1.16.1"
        )
        assert.include(yield* found("/bin/true"), "could not find its version")
      })
  )

  it.effect("is refused without root", () =>
    Effect.gen(function* () {
      const { getuid } = process
      process.getuid = () => 1000
      const message = yield* Effect.ensuring(
        found(jailer),
        Effect.sync(() => {
          if (getuid !== undefined) process.getuid = getuid
        })
      )
      assert.include(message, "the jailer needs root; run vmtest as root")
    })
  )

  it.live("is looked for before anything starts, for machines that declare it", () =>
    Effect.gen(function* () {
      const { requires } = Firecracker.make({ program: "/bin/true", jailer: "/nowhere/jailer", version: "1.16.1" })
      if (requires === undefined) return assert.fail("it has no requirements")
      yield* requires({ balloon: 2 ** 20 })
      assert.include((yield* Effect.flip(requires({ jailer: true }))).message, "/nowhere/jailer")
    })
  )
})

describe.skipIf(missing !== undefined)(titled("a Firecracker in a jail", missing), () => {
  it.live("finds all files of its machine inside, is another user, and leaves nothing", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = withDisk(directory, "web", "disk")
      const hidden = Path.join(directory, "root.erofs")
      Fs.chmodSync(hidden, 0o600)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const machine = yield* backend(directory, { guest: "the test", print: "hello" }).start(shape)
          const jail = jailOf(shape).directory
          const words = Fs.readFileSync(Path.join(jail, "jailer.args"), "utf8")
          assert.match(
            words,
            /^--id vmtest --exec-file \S+ --uid 4321 --gid 8765 --chroot-base-dir \S+\/web\/chroot -- --api-sock api.sock --enable-pci /
          )
          assert.deepStrictEqual(pathsIn(shape), ["kernel", "initrd", "root", "disk1", "v.sock"])
          for (const name of ["kernel", "initrd", "root", "disk1", "api.sock"]) {
            assert.isTrue(Fs.existsSync(Path.join(jail, name)), name)
          }
          const owner = (path: string) => Fs.statSync(path).uid
          assert.strictEqual(owner(Path.join(shape.directory, "disk1")), 4321)
          assert.strictEqual(owner(Path.join(shape.directory, "initrd")), 4321)
          // Only its copy is the jail's.
          assert.strictEqual(owner(hidden), 0)
          assert.strictEqual(Fs.readFileSync(Path.join(jail, "root"), "utf8"), "root")
          assert.strictEqual(owner(Path.join(jail, "root")), 4321)
          // Its log is where those of all machines are, and no mount is in the host's namespace.
          assert.include(Fs.readFileSync(Path.join(shape.directory, "firecracker.log"), "utf8"), "Running Firecracker")
          assert.notInclude(Fs.readFileSync("/proc/self/mountinfo", "utf8"), directory)
          yield* playVsock({}, Path.join(jail, "v.sock"))
          const shell = yield* openShell(machine)
          assert.strictEqual((yield* shell.execute("uname")).exitCode, 0)
        })
      )
      assert.deepStrictEqual(
        Fs.readdirSync(shape.directory).filter((name) => ["jail", "chroot", "saving"].includes(name)),
        []
      )
      // A machine that starts again finds no device of its last jail.
      yield* Effect.scoped(backend(directory).start(shape))
    }).pipe(Effect.scoped)
  )

  it.live("is saved to a folder outside, and forks find what was saved inside", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const from: SavedMachine = yield* save(directory, withDisk(directory, "web", "written"))
      for (const name of ["memory", "state"]) {
        const { uid } = Fs.lstatSync(Path.join(from.directory, name))
        assert.strictEqual(uid, 0)
      }
      for (const name of ["fork1", "fork2"]) {
        const fork = withDisk(directory, name, "")
        const machine = yield* backend(directory).start(fork, { from })
        assert.deepStrictEqual(pathsIn(fork), ["state", "memory"])
        assert.strictEqual(Fs.readFileSync(Path.join(fork.directory, "disk1"), "utf8"), "written")
        assert.include(yield* machine.console.log, "from the source")
      }
      const free = { ...withDisk(directory, "free", ""), hypervisor: undefined }
      const refused = yield* Effect.flip(Effect.scoped(backend(directory).start(free, { from })))
      assert.include(refused.message, "it was saved with options")
    }).pipe(Effect.scoped)
  )

  it.live("fails with the words of the jailer, or of what fills the jail", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const words = (inside: typeof inNamespace) =>
        Effect.map(
          Effect.flip(Effect.scoped(backend(directory, {}, inside).start(withDisk(directory, "web", "")))),
          String
        )
      const replaced =
        (from: RegExp, to: string): typeof inNamespace =>
        (shape, program) => {
          const { args, command } = withoutTaps(shape, program)
          return { command, args: args.map((word) => word.replace(from, to)) }
        }
      assert.include(yield* words(replaced(/^--gid$/, "--grid")), "Found argument '--grid' which wasn't expected")
      assert.include(yield* words(replaced(/^.*\/kernel$/, "/nowhere")), "mount: ")
      assert.deepStrictEqual(
        Fs.readdirSync(Path.join(directory, "web")).filter((name) => name === "chroot"),
        []
      )
    }).pipe(Effect.scoped)
  )
})
