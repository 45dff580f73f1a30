/** A guest with the backdoor of NixOS tests, and start scripts of the form that nixpkgs' `qemu-vm.nix` makes for it. */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Effect from "effect/Effect"
import { empty } from "../src/backends/internal/qcow2.ts"
import { quote } from "../src/host/Quote.ts"
import type { BootImage } from "../src/images/BootImage.ts"
import * as Image from "../src/images/Image.ts"
import { ImageStore } from "../src/images/ImageStore.ts"

/** The unit that gives the driver its shell, as guests of NixOS tests have it, and its program. */
const backdoor = `[Unit]
Description=A root shell on /dev/hvc0
Requires=dev-hvc0.device dev-ttyS0.device
After=dev-hvc0.device dev-ttyS0.device

[Service]
Environment=USER=root HOME=/root
KillSignal=SIGHUP
ExecStart=/usr/lib/backdoor

[Install]
WantedBy=multi-user.target
`

const backdoorProgram = `#!/bin/bash
source /etc/profile
cd /tmp
exec </dev/hvc0 >/dev/hvc0
while ! exec 2>/dev/ttyS0; do sleep 0.1; done
echo "connecting to host..." >&2
stty -F /dev/hvc0 raw -echo
echo "Spawning backdoor root shell..."
PS1= exec bash --norc /dev/hvc0
`

/** The name and the address come from the guest's own system: here from its kernel's command line. */
const own = `[Unit]
DefaultDependencies=no
Before=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/lib/own

[Install]
WantedBy=sysinit.target
`

const ownProgram = `#!/bin/bash
for word in $(cat /proc/cmdline); do
  case $word in
  own.name=*)
    echo "\${word#*=}" >/proc/sys/kernel/hostname
    echo "\${word#*=}" >/etc/hostname ;;
  own.address=?*)
    ip link set eth1 up
    ip address add "\${word#*=}/24" dev eth1
    ip address add "2001:db8:1::\${word##*.}/64" dev eth1 nodad ;;
  esac
done
# As QEMU's user network gives it.
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
exit 0
`

/** Debian with that backdoor and `more`, and without the shell of vmtest's own. `backdoor: false` has neither. */
export const image = ({
  backdoor: has = true,
  ...more
}: { readonly backdoor?: boolean } & Pick<Image.DebianOptions, "files" | "kernel" | "packages" | "units"> = {}) =>
  Image.debian({
    ...more,
    units: { ...(has ? { "backdoor.service": backdoor } : {}), "own.service": own, ...more.units },
    files: {
      ...more.files,
      "/usr/lib/backdoor": { content: backdoorProgram, mode: 0o755 },
      "/usr/lib/own": { content: ownProgram, mode: 0o755 },
      // dev-hvc0.device is there once udev has seen it.
      "/etc/systemd/system/systemd-udev-trigger.service.d/zz-all.conf":
        "[Service]\nExecStart=\nExecStart=-udevadm trigger --action=add --subsystem-match=tty --subsystem-match=block --subsystem-match=net --subsystem-match=input\n"
    },
    setup: "ln -sf /dev/null /etc/systemd/system/vmtest-shell.service"
  })

/** What a start script does otherwise than the usual one. */
export interface ScriptOptions {
  readonly name: string
  readonly address?: string
  /** How it runs QEMU: `exec` by default. */
  readonly run?: (qemu: string) => string
  /** The folders that it shares over 9p. Default none, which a snapshot can be taken of. */
  readonly shares?: boolean
  /** More words of its command line, before what it is handed. */
  readonly words?: string
  /** UEFI firmware, the variables that it begins with, and a kernel that it can start, which is not that of an image. */
  readonly efi?: { readonly firmware: string; readonly variables: string; readonly kernel: string }
}

/** Where Debian's package `ovmf` has firmware. */
export const ovmf = { firmware: "/usr/share/OVMF/OVMF_CODE_4M.fd", variables: "/usr/share/OVMF/OVMF_VARS_4M.fd" }

/** The words that give a machine its firmware; the file of the variables is made like the disk. */
const flashes = ({ firmware }: NonNullable<ScriptOptions["efi"]>): string =>
  `-drive if=pflash,format=raw,unit=0,readonly=on,file=${quote(firmware)} \\
    -drive if=pflash,format=raw,unit=1,readonly=off,file="$NIX_EFI_VARS" \\
    `

const efiVariables = (name: string, { variables }: NonNullable<ScriptOptions["efi"]>): string =>
  `NIX_EFI_VARS=$(readlink -f "\${NIX_EFI_VARS:-./${name}-efi-vars.fd}")
if ! test -e "$NIX_EFI_VARS"; then
    cp ${quote(variables)} "$NIX_EFI_VARS"
    chmod 0644 "$NIX_EFI_VARS"
fi
`

/** A start script: where the disk is, the folders, and QEMU with what the driver adds. */
export const scriptOf = (boot: BootImage, options: ScriptOptions): string => {
  const { address = "", efi, name, run = (qemu) => `exec ${qemu}`, shares = false, words = "" } = options
  // qemu-img is a package of its own, so the empty disk is at hand already.
  const disk = Buffer.from(empty(64 * 1024 * 1024)).toString("base64")
  const share = (tag: string, path: string) =>
    `-virtfs local,path="${path}",security_model=none,mount_tag=${tag} \\\n    `
  const qemu = `qemu-system-x86_64 -machine accel=kvm:tcg -cpu max \\
    -name ${name} -m 384 -smp 1 \\
    -device virtio-rng-pci \\
    -net nic,netdev=user.0,model=virtio -netdev user,id=user.0,"$QEMU_NET_OPTS" \\
    -device virtio-net-pci,netdev=vlan1,mac=52:54:00:12:01:0${address.slice(-1) || "9"} -netdev vde,id=vlan1,sock="$QEMU_VDE_SOCKET_1" \\
    ${efi === undefined ? "" : flashes(efi)}${shares ? share("xchg", "$TMPDIR/xchg") + share("shared", "${SHARED_DIR:-$TMPDIR/xchg}") : ""}-drive file=${quote(boot.root ?? "")},format=raw,id=root,if=none,readonly=on -device virtio-blk-pci,drive=root \\
    -drive cache=writeback,file="$NIX_DISK_IMAGE",id=drive1,if=none,index=1,werror=report -device virtio-blk-pci,drive=drive1,serial=root \\
    -device virtio-tablet-pci ${words} \\
    -kernel ${quote(efi?.kernel ?? boot.kernel)} -initrd ${quote(boot.initrd)} \\
    -append "${boot.cmdline} own.name=${name} own.address=${address} console=tty0 console=ttyS0 $QEMU_KERNEL_PARAMS" \\
    $QEMU_OPTS "$@"`
  return `#!/bin/bash
export PATH=/usr/bin:/bin\${PATH:+:}$PATH
set -e

NIX_DISK_IMAGE=$(readlink -f "\${NIX_DISK_IMAGE:-./${name}.qcow2}")
if ! test -e "$NIX_DISK_IMAGE"; then
    echo "Disk image do not exist, creating the virtualisation disk image..."
    base64 -d >"$NIX_DISK_IMAGE" <<'end'
${disk}
end
    echo "Virtualisation disk image created."
fi
${efi === undefined ? "" : efiVariables(name, efi)}
if [ -z "$TMPDIR" ] || [ -z "$USE_TMPDIR" ]; then
    TMPDIR=$(mktemp -d nix-vm.XXXXXXXXXX --tmpdir)
fi
mkdir -p "$TMPDIR/xchg"
echo "the shared folder is $SHARED_DIR"
cd "$TMPDIR"

${run(qemu)}
`
}

/** What still runs that was started with this variable. */
export const processesWith = (variable: string): ReadonlyArray<string> =>
  Fs.readdirSync("/proc").filter((pid) => {
    try {
      return Fs.readFileSync(`/proc/${pid}/environ`, "latin1").includes(`${variable}\0`)
    } catch {
      return false
    }
  })

/** Writes start scripts into a folder that is removed with the scope. */
export const scripts = Effect.gen(function* () {
  const store = yield* ImageStore
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-script-"))),
    (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true, force: true }))
  )
  const write = (name: string, text: string, mode = 0o755): string => {
    const path = Path.join(folder, name)
    Fs.writeFileSync(path, text, { mode })
    return path
  }
  return {
    folder,
    write,
    /** The start script of a machine with that backdoor. */
    make: Effect.fnUntraced(function* (options: ScriptOptions, guest = image()) {
      return write(`run-${options.name}-vm`, scriptOf(yield* store.resolve(guest), options))
    })
  }
})
