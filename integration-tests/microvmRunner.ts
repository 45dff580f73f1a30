/** A tiny guest with the backdoor of NixOS tests, and runners of the form that microvm.nix makes for it. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import { quote } from "../src/host/Quote.ts"
import type { BootImage } from "../src/images/BootImage.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"

/** In place of vmtest's own shell: that of the backdoor, and the names of the ports, which udev would give them. */
const backdoor = `#!/bin/busybox sh
cd /root
mkdir -p /dev/virtio-ports
while [ ! -e /dev/hvc0 ]; do sleep 0.02; done
for port in /sys/class/virtio-ports/*; do
  read -r name <"$port/name" && [ -n "$name" ] && ln -s "../\${port##*/}" "/dev/virtio-ports/$name"
done 2>/dev/null
exec <>/dev/hvc0 >&0 2>/dev/console
stty raw -echo
echo "connecting to host..." >&2
echo "Spawning backdoor root shell..."
exec sh
`

/** Busybox with that backdoor. `backdoor: false` has no shell at all. */
export const image = (options: { readonly backdoor?: boolean } = {}) =>
  Image.tiny({
    files: {
      "/lib/vmtest/shell": {
        content: options.backdoor === false ? '#!/bin/busybox sh\necho "no shell here"\n' : backdoor,
        mode: 0o755
      }
    }
  })

/** What a runner does otherwise than the usual one. */
export interface RunnerOptions {
  readonly name: string
  /** Default `qemu`. Undefined leaves the file out, as older runners do. */
  readonly hypervisor?: string | undefined
  /** The machine of QEMU. Default `q35`: microvm.nix's own default, `microvm`, hangs in a third of its boots where it is emulated. */
  readonly machine?: string
  /** Shell text before QEMU: the volumes, `preStart`. */
  readonly before?: string
  /** More words of its command line (`microvm.qemu.extraArgs`). */
  readonly words?: string
}

/** The last command of the runner: words as \`lib.escapeShellArgs\` quotes them. */
const commandOf = (boot: BootImage, { machine = "q35", name, words = "" }: RunnerOptions): string => {
  const isPci = !machine.startsWith("microvm")
  const bus = isPci ? "pci" : "device"
  const options = isPci ? "" : ",pcie=off,pic=off,pit=off,rtc=on,usb=off"
  return [
    `exec -a "microvm@${name}" qemu-system-x86_64 -name ${name}`,
    `-M '${machine},accel=kvm:tcg,acpi=on,mem-merge=on${options}' -m 192M -smp 1 -nodefaults -no-user-config -no-reboot`,
    `-kernel ${quote(boot.kernel)} -initrd ${quote(boot.initrd)}`,
    `-chardev 'stdio,id=stdio,signal=off' -device virtio-rng-${bus} `,
    `-serial chardev:stdio -enable-kvm -cpu 'host,+x2apic,-sgx' ${isPci ? "" : "-device i8042 "}`,
    `-append 'earlyprintk=ttyS0 console=ttyS0 reboot=t panic=-1 ${boot.cmdline}' -nographic`,
    `-qmp 'unix:${name}.sock,server,nowait' ${words} \${runtime_args:-}`
  ].join(" ")
}

/** Makes runners in a folder that is removed with the scope. */
export const runners = Effect.gen(function* () {
  const store = yield* ImageStore
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-microvm-"))),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
  )
  return Effect.fnUntraced(function* (options: RunnerOptions, guest = image()) {
    const boot = yield* store.resolve(guest)
    const runner = Path.join(folder, options.name)
    const write = (path: string, text: string, mode = 0o644) => {
      Fs.mkdirSync(Path.dirname(Path.join(runner, path)), { recursive: true })
      Fs.writeFileSync(Path.join(runner, path), text, { mode })
    }
    const script = (text: string) => `#!/bin/bash\n${text}\n`
    write(
      "bin/microvm-run",
      script(`set -eou pipefail\n${options.before ?? ""}\nruntime_args=\n\n${commandOf(boot, options)}`),
      0o755
    )
    write("bin/microvm-shutdown", script(`[ -S ${options.name}.sock ] || exit 0\n# over QMP: ctrl-alt-delete`), 0o755)
    write("share/microvm/tap-flags", "vnet_hdr\n")
    const { hypervisor = "qemu" } = options
    if (!("hypervisor" in options) || options.hypervisor !== undefined)
      write("share/microvm/hypervisor", `${hypervisor}\n`)
    return runner
  })
})
