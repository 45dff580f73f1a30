/** A tiny guest with the backdoor of NixOS tests, which boots in seconds, and the start script of a machine with it. */

import { quote } from "../src/host/Quote.ts"
import type { BootImage } from "../src/images/BootImage.ts"
import * as Image from "../src/images/Image.ts"

/** In the place of the shell of vmtest's own. */
const backdoor = `#!/bin/busybox sh
cd /tmp
while [ ! -c /dev/hvc0 ]; do sleep 0.02; done
exec </dev/hvc0 >/dev/hvc0
stty raw -echo
echo "Spawning backdoor root shell..."
PS1= exec sh
`

/** Busybox with a shell on `/dev/hvc0`. */
export const image = () => Image.tiny({ files: { "/lib/vmtest/shell": { content: backdoor, mode: 0o755 } } })

/** A start script of the form that nixpkgs' `qemu-vm.nix` makes: a disk in the machine's folder, and QEMU with what the driver adds. */
export const scriptOf = (boot: BootImage, name: string): string => `#!/bin/bash
export PATH=/usr/bin:/bin\${PATH:+:}$PATH
set -e
NIX_DISK_IMAGE=$(readlink -f "\${NIX_DISK_IMAGE:-./${name}.raw}")
test -e "$NIX_DISK_IMAGE" || truncate -s 16M "$NIX_DISK_IMAGE"
cd "$TMPDIR"
exec qemu-system-x86_64 -machine accel=kvm:tcg -cpu max -name ${name} -m 192 \\
    -net nic,netdev=user.0,model=virtio -netdev user,id=user.0,"$QEMU_NET_OPTS" \\
    -device virtio-net-pci,netdev=vlan1 -netdev vde,id=vlan1,sock="$QEMU_VDE_SOCKET_1" \\
    -drive file="$NIX_DISK_IMAGE",format=raw,if=virtio \\
    -kernel ${quote(boot.kernel)} -initrd ${quote(boot.initrd)} \\
    -append "${boot.cmdline} console=ttyS0 $QEMU_KERNEL_PARAMS" \\
    $QEMU_OPTS "$@"
`
