import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { MachineShape } from "../../../src/backends/Backend.ts"
import type { Settings } from "../../../src/backends/qemu/machine.ts"
import * as scripted from "../../../src/backends/qemu/scripted.ts"
import { markOf } from "../../../src/backends/qemu/strays.ts"
import * as Image from "../../../src/images/Image.ts"
import { ImageStore } from "../../../src/images/ImageStore.ts"

const settings: Settings = { program: "unused", accelerator: "kvm", version: "7.2.0", extraArguments: [], timeScale: 1 }

const folder = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-scripted-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
)

const shapeOf = Effect.fnUntraced(function* (text: string, directory: string) {
  const store = yield* ImageStore
  const path = Path.join(directory, "run-web-vm")
  Fs.writeFileSync(path, text, { mode: 0o755 })
  const image = yield* store.resolve(Image.startScript({ path, timeout: "2 seconds" }))
  const shape: MachineShape = {
    ...{
      name: "web",
      image,
      memory: 2 ** 30,
      cpus: 1,
      networks: [],
      internet: false,
      forwards: [],
      allowReboot: false
    },
    directory
  }
  return shape
})

/** The processes of this machine that live. */
const alive = (directory: string) =>
  Fs.readdirSync("/proc").filter((pid) => {
    const [[name, value] = []] = Object.entries(markOf(directory))
    try {
      return /^\d+$/.test(pid) && Fs.readFileSync(`/proc/${pid}/environ`, "latin1").includes(`${name}=${value}\0`)
    } catch {
      return false
    }
  })

/** How a start fails, and that it leaves nothing. */
const failureOf = (text: string) =>
  Effect.gen(function* () {
    const directory = yield* folder
    const shape = yield* shapeOf(text, directory)
    const error = yield* Effect.flip(Effect.scoped(scripted.start(shape, settings, undefined)))
    for (let tries = 0; alive(directory).length > 0 && tries < 100; tries++) yield* Effect.sleep("20 millis")
    assert.deepStrictEqual(alive(directory), [])
    return error
  }).pipe(Effect.scoped, Effect.provide(ImageStore.layer))

describe("a start script that starts no QEMU", () => {
  it.live("is told with its own words, of both outputs, when it ends at once", () =>
    Effect.gen(function* () {
      const error = yield* failureOf("#!/bin/sh\necho looking for the disk\necho 'disk: no such thing' >&2\nexit 3\n")
      assert.strictEqual(error._tag, "StartFailed")
      assert.strictEqual(
        error.message,
        "web: could not start qemu: its start script ended with exit code 3\ndisk: no such thing\nlooking for the disk"
      )
    })
  )

  it.live("is told that QEMU has to be in the foreground, and what it left there is ended", () =>
    Effect.gen(function* () {
      const error = yield* failureOf(
        "#!/bin/sh\nsleep 1000 &\nsetsid sleep 1000 >/dev/null 2>&1 </dev/null &\nexit 0\n"
      )
      assert.include(error.message, "its start script ended with exit code 0, but must run QEMU in the foreground")
    })
  )

  it.live("is not waited for longer than it may take, and not asked to end", () =>
    Effect.gen(function* () {
      const error = yield* failureOf(
        "#!/bin/bash\ntrap '' TERM INT HUP\necho waiting for godot\nsleep 1000\nsleep 1000\n"
      )
      assert.include(error.message, "no QEMU answered within 2s; a start script must hand its arguments or $QEMU_OPTS")
      assert.include(error.message, "waiting for godot")
    })
  )

  it.live("is told as a runner's when it is one of microvm.nix", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const failed = Effect.fnUntraced(function* (before: string) {
        const path = Path.join(directory, "microvm-run")
        Fs.writeFileSync(path, `#!/bin/bash\n${before}\nexec qemu-system-x86_64 -no-such-option`, { mode: 0o755 })
        const store = yield* ImageStore
        const image = yield* store.resolve(Image.microvm({ runner: path, timeout: "2 seconds" }))
        const shape = { ...(yield* shapeOf("#!/bin/sh\n", directory)), image }
        return (yield* Effect.flip(Effect.scoped(scripted.start(shape, settings, undefined)))).message
      })
      assert.include(
        yield* failed("echo 'no tap device' >&2; exit 1"),
        "its runner ended with exit code 1\nno tap device"
      )
      assert.include(yield* failed(""), "-no-such-option: invalid option")
      assert.include(
        yield* failed("echo waiting for virtiofsd; sleep 1000"),
        "no QEMU answered within 2s; a runner must start QEMU as its last command, with the control socket that vmtest adds\nwaiting for virtiofsd"
      )
    }).pipe(Effect.scoped, Effect.provide(ImageStore.layer))
  )

  it.live("fails with the words of the kernel or the shell when it is no program", () =>
    Effect.gen(function* () {
      assert.include((yield* failureOf("#!/no/such/interpreter\n")).message, "not found")
      assert.include((yield* failureOf("{\n  this is no script\n")).message, "its start script ended with exit code 2")
    })
  )

  it.live("is told with QEMU's words when that ends after it has begun to listen", () =>
    Effect.gen(function* () {
      const error = yield* failureOf('#!/bin/sh\nexec qemu-system-x86_64 -m 64 "$@" -drive file=/none.raw,format=raw\n')
      assert.include(
        error.message,
        "its start script ended with exit code 1\nqemu-system-x86_64: -drive file=/none.raw"
      )
    })
  )

  it.live("is not a container's", () =>
    Effect.gen(function* () {
      const directory = yield* folder
      const shape = yield* shapeOf("#!/bin/sh\n", directory)
      const startScript = { ...shape.image.startScript!, container: true }
      const container = { ...shape, image: { ...shape.image, startScript } }
      const error = yield* Effect.flip(Effect.scoped(scripted.start(container, settings, undefined)))
      assert.deepStrictEqual(
        [error._tag, error.message],
        ["Unsupported", "the qemu backend does not support containers"]
      )
    }).pipe(Effect.scoped, Effect.provide(ImageStore.layer))
  )

  it.live("is started again without what its QEMU refuses", () =>
    Effect.gen(function* () {
      // A QEMU that takes no ports, and ends for another reason without them.
      const error = yield* failureOf(
        `#!/bin/sh
case "$*" in
*virtserialport*) echo "qemu: -device virtio-serial-pci,id=ports1,max_ports=16: PCI: no slot/function available" >&2; exit 1 ;;
esac
echo "qemu: no more $QEMU_VDE_SOCKET_1" >&2
exit 4
`
      )
      assert.include(error.message, "its start script ended with exit code 4\nqemu: no more")
      assert.notInclude(error.message, "no slot")
    })
  )
})
