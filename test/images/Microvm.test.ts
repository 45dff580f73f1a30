import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Image from "../../src/images/Image.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import * as Microvm from "../../src/images/Microvm.ts"

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-runners-"))
afterAll(() => Fs.rmSync(folder, { recursive: true }))

const qemu = `set -eou pipefail

runtime_args=

exec -a "microvm@web" /nix/store/x/bin/qemu-system-x86_64 -name web -M 'q35,accel=kvm:tcg' -device virtio-rng-pci -serial chardev:stdio -cpu host,+x2apic \${runtime_args:-}
`

/** The folder of a runner. */
const runner = (
  name: string,
  { hypervisor, text = qemu }: { readonly hypervisor?: string; readonly text?: string } = {}
): string => {
  const path = Path.join(folder, name)
  Fs.mkdirSync(Path.join(path, "bin"), { recursive: true })
  Fs.mkdirSync(Path.join(path, "share", "microvm"), { recursive: true })
  Fs.writeFileSync(Path.join(path, "bin", "microvm-run"), `#!/bin/bash\n${text}`, { mode: 0o755 })
  if (hypervisor !== undefined) Fs.writeFileSync(Path.join(path, "share", "microvm", "hypervisor"), `${hypervisor}\n`)
  return path
}

const resolve = (image: Image.Image) =>
  Effect.flatMap(ImageStore, (store) => store.resolve(image)).pipe(Effect.provide(ImageStore.layer))

const refusal = (image: Image.Image) => Effect.flip(resolve(image))

describe("Image.microvm", () => {
  it.effect("runs the text of the runner, with what is handed to it after QEMU's own arguments", () =>
    Effect.gen(function* () {
      const path = runner("web", { hypervisor: "qemu" })
      const { guest, startScript } = yield* resolve(Image.microvm(path))
      assert.strictEqual(guest, "script")
      const program = `${path}/bin/microvm-run`
      assert.strictEqual(startScript?.command, `exec /bin/bash -c "$(cat ${program})"' "$@"' ${program}`)
      assert.deepStrictEqual(startScript?.runner, { bus: "pci", serial: true, hostCpu: true })
      // The program itself is as good as its folder.
      assert.strictEqual((yield* resolve(Image.microvm(program))).startScript?.command, startScript?.command)
    })
  )

  it.effect("sees what the runner brings along", () =>
    Effect.gen(function* () {
      const text = "exec /nix/store/x/bin/qemu-system-x86_64 -M 'microvm,pcie=off' -device virtio-rng-device -cpu max\n"
      const { startScript } = yield* resolve(Image.microvm(runner("small", { text })))
      assert.deepStrictEqual(startScript?.runner, { bus: "device", serial: false, hostCpu: false })
    })
  )

  it.effect("is another image when the runner or its variables change", () =>
    Effect.gen(function* () {
      const path = runner("changing")
      const first = yield* resolve(Image.microvm(path))
      assert.strictEqual((yield* resolve(Image.microvm({ runner: path }))).digest, first.digest)
      assert.notStrictEqual((yield* resolve(Image.microvm({ runner: path, env: { A: "1" } }))).digest, first.digest)
      runner("changing", { text: `true\n${qemu}` })
      assert.notStrictEqual((yield* resolve(Image.microvm(path))).digest, first.digest)
    })
  )

  it.effect("names a hypervisor that has no backend, by its file or by what it starts", () =>
    Effect.gen(function* () {
      const error = yield* refusal(Image.microvm(runner("other", { hypervisor: "crosvm" })))
      assert.strictEqual(error._tag, "NoBackend")
      assert.strictEqual(
        error.message,
        `image runner ${folder}/other: needs the hypervisor crosvm, which vmtest has no backend for yet; use one for qemu (microvm.hypervisor = "qemu")`
      )
      const older = runner("older", { text: "exec /nix/store/y/bin/lkvm run\n" })
      const unnamed = yield* refusal(Image.microvm(older))
      assert.deepStrictEqual([unnamed._tag, "hypervisor" in unnamed && unnamed.hypervisor], ["NoBackend", "lkvm"])
    })
  )

  it.effect("is the machine that a runner for Firecracker describes in its configuration", () =>
    Effect.gen(function* () {
      const configuration = Path.join(folder, "firecracker-web.json")
      const drive = (path_on_host: string, is_read_only: boolean) => ({
        ...{ drive_id: path_on_host, path_on_host, is_root_device: false, is_read_only }
      })
      const write = (...drives: ReadonlyArray<object>) =>
        Fs.writeFileSync(
          configuration,
          JSON.stringify({
            "boot-source": {
              kernel_image_path: "/nix/store/k-dev/vmlinux",
              initrd_path: "/nix/store/i/initrd",
              boot_args: "console=ttyS0,115200 reboot=k panic=1 i8042.noaux root=fstab init=/nix/store/s/init"
            },
            "machine-config": { vcpu_count: 2, mem_size_mib: 512, smt: true },
            drives: [drive("/nix/store/e.erofs", true), ...drives],
            "network-interfaces": [],
            vsock: null
          })
        )
      write()
      const text = `exec -a "microvm@web" '/nix/store/f/bin/firecracker' '--config-file' '${configuration}' '--api-sock' 'web.sock' \${runtime_args:-}\n`
      const image = Image.microvm(runner("fc", { hypervisor: "firecracker", text }))
      const { builtAt: _, digest: __, ...found } = yield* resolve(image)
      assert.deepStrictEqual(found, {
        kernel: "/nix/store/k-dev/vmlinux",
        initrd: "/nix/store/i/initrd",
        cmdline: "reboot=k i8042.noaux root=fstab init=/nix/store/s/init",
        root: "/nix/store/e.erofs",
        hardware: { memory: 512 * 2 ** 20, cpus: 2 },
        guest: "disk"
      })
      assert.strictEqual(Microvm.hypervisorOf(image), "firecracker")
      write(drive("var.img", false))
      assert.include((yield* refusal(image)).message, "must have no volumes, got var.img")
      Fs.writeFileSync(configuration, "{}")
      assert.include((yield* refusal(image)).message, "must name a configuration of Firecracker")
    })
  )

  it.effect("is the machine that a runner for Cloud Hypervisor describes in its arguments", () =>
    Effect.gen(function* () {
      const words = (more: string) =>
        `exec -a "microvm@web" '/nix/store/c/bin/cloud-hypervisor' --cpus 'boot=4' --watchdog --kernel /nix/store/k-dev/vmlinux ` +
        `--initramfs /nix/store/i/initrd --cmdline 'earlyprintk=ttyS0 console=ttyS0 reboot=t panic=-1 init=/nix/store/s/init' ` +
        `--memory 'mergeable=on,shared=off,size=2G' --platform 'oem_strings=[a=b,c]' --console null --serial tty ` +
        `--disk 'path=/nix/store/e.erofs,readonly=on' ${more}--api-socket web.sock \${runtime_args:-}\n`
      const image = (more = "") => Image.microvm(runner("ch", { text: words(more) }))
      const { builtAt: _, digest: __, ...found } = yield* resolve(image())
      assert.deepStrictEqual(found, {
        kernel: "/nix/store/k-dev/vmlinux",
        initrd: "/nix/store/i/initrd",
        cmdline: "reboot=t init=/nix/store/s/init",
        root: "/nix/store/e.erofs",
        hardware: { memory: 2 ** 31, cpus: 4 },
        guest: "disk"
      })
      assert.strictEqual(Microvm.hypervisorOf(image()), "cloud-hypervisor")
      assert.include((yield* refusal(image("path=var.img,readonly=off "))).message, "must have no volumes, got var.img")
      assert.include((yield* refusal(image("--fs tag=ro,socket=s "))).message, "must have no shares")
    })
  )

  it.effect("is refused if it is not a runner", () =>
    Effect.gen(function* () {
      const none = Path.join(folder, "none")
      const said = (path: string) => Effect.map(refusal(Image.microvm(path)), ({ message }) => message)
      assert.strictEqual(
        yield* said(none),
        `image runner ${none}: runner must be a runner of microvm.nix, but ${none} does not exist`
      )
      assert.include(yield* said(folder), "has no bin/microvm-run; build config.microvm.declaredRunner")
      for (const text of ["echo hello\n", `${qemu}  \n`, `exec sh\n`, `${qemu}exec sleep 1\n`]) {
        assert.include(yield* said(runner("wrong", { text })), "does not end with the command that starts QEMU")
      }
      const options: object = { runnr: "a" }
      assert.include(
        (yield* refusal(Image.microvm(options as Image.MicrovmOptions))).message,
        'unknown option "runnr"; did you mean "runner"?'
      )
    })
  )
})
