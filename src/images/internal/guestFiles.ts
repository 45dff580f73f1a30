/** What is inside a guest because it is vmtest's: first programs, the root shell for the driver, and what Debian can leave out. */
import { identityPath, vsockPort } from "../BootImage.ts"
import type { CpioEntry } from "../Cpio.ts"
import { withFolders } from "../Cpio.ts"
import * as VsockProgram from "./vsockProgram.ts"

/** On every guest's kernel command line. A guest is a throw-away: speed goes before defences against its neighbours. */
export const commandLine = "panic=-1 net.ifnames=0 mitigations=off quiet loglevel=4"

/** The modules of each initramfs, by what they are for: the guest's channel, disks, networks, entropy, the pointer. */
export const baseModules: ReadonlyArray<string> = [
  "virtio_pci",
  "virtio_console",
  "virtio_blk",
  "virtio_net",
  "virtio_rng",
  "virtio_input"
]

/** What an initramfs has for guests with certain devices only, by the name of the list of these modules. */
export const conditionalModules: Readonly<Record<Condition, string>> = {
  /** Virtio devices that are not on PCI. */
  mmio: "virtio_mmio",
  vsock: "vmw_vsock_virtio_transport"
}

/** When a module is loaded that not every guest needs. */
export type Condition = "mmio" | "vsock"

/** Besides: the ACPI power button, for a shutdown asked from outside. */
export const tinyModules: ReadonlyArray<string> = ["button", "evdev", "erofs", "overlay"]

/** Besides: the root. udev loads the rest. */
export const debianModules: ReadonlyArray<string> = ["erofs", "overlay", "button"]

/** Loaded before them if the kernel has it as a module: erofs needs it, but does not name it as a dependency. */
export const genericModules: ReadonlyArray<string> = ["crc32c_generic"]

const environment = "HOME=/root USER=root LOGNAME=root"

/**
 * The shell on the port `vmtest.0`, as a loop that keeps the port open: only one process may open it, and children of the
 * last shell may still hold it. Writing waits until the host has connected; reading ends when the host leaves.
 */
const shellLoop = (shell: string, port: string): string =>
  [
    `exec 3<>${port}`,
    "while :; do",
    '  echo "vmtest: shell ready" >&3',
    `  ${shell} <&3 >&3 2>/dev/console 3>&-`,
    "done"
  ].join("\n")

/** The program that opens sockets of vsock, in every guest. */
const vsockProgram = "/lib/vmtest/vsock"

/**
 * Where the ports' bus is not there, but vsock is, each connection of the host to vsock is a shell of its own. A bus of ports is a virtio console with the
 * feature "multiport"; numbers as in the virtio specification, 5.
 */
const shellOverVsock = (shell: string): string => `vm_way=
for vm_device in /sys/bus/virtio/devices/*; do
  [ ! -e $vm_device/device ] || {
    read -r vm_kind <$vm_device/device
    read -r vm_features <$vm_device/features
    case $vm_kind:$vm_features in
    0x0003:?1*) vm_way=ports; break ;;
    0x0013:*) vm_way=vsock ;;
    esac
  }
done
while [ "$vm_way" = vsock ]; do
  ${vsockProgram} listen ${vsockPort} ${shell} -c 'echo "vmtest: shell ready"; exec ${shell}' 2>/dev/console
  sleep 0.1
done`

/** Loads modules by the lists of the initramfs, in their order. `busybox` comes before programs that have no names of their own yet. */
const loadModules = (busybox: string): string => `load() {
  while read -r module; do
    ${busybox}insmod /lib/modules/$module.ko || echo "vmtest: could not load $module"
  done </lib/modules/$1
}
load order
[ ! -e /sys/bus/acpi/devices/LNRO0005:00 ] || load mmio
for device in /sys/bus/virtio/devices/*; do
  kind=
  [ ! -e $device/device ] || read -r kind <$device/device
  [ "$kind" != 0x0013 ] || load vsock
done`

/** Makes the guest the declared machine, before anything of its own runs; `root` is the folder of its root file system. */
const takeIdentity = (root: string): string => `if [ -e /${identityPath} ]; then
  vm_root=${root}
  . /${identityPath}
fi`

const tinyInit = `#!/bin/busybox sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ${environment} SHELL=/bin/sh
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=0755 tmpfs /run
${loadModules("")}
hostname vmtest
ip link set lo up
${takeIdentity("")}
# busybox's poweroff, halt and reboot signal process 1. All of this guest is in memory: there is nothing to unmount. From the file, which takes no
# process, the driver's shell knows it; who asked has time to answer.
end() {
  echo >/run/vmtest-down
  busybox sleep 0.2
  busybox $1 -f
}
trap 'end poweroff' USR1 USR2
trap 'end reboot' TERM
setsid /lib/vmtest/shell &
acpid -f -l /dev/null &
while :; do wait; done
`

const tinyShell = `#!/bin/busybox sh
cd /root
link() {
  for port in /sys/class/virtio-ports/*; do
    read -r name <"$port/name" && [ -n "$name" ] && [ ! -e "/dev/virtio-ports/$name" ] &&
      ln -s "../\${port##*/}" "/dev/virtio-ports/$name"
  done
} 2>/dev/null
mkdir -p /dev/virtio-ports
${shellOverVsock("/bin/sh")}
while link; [ ! -e /dev/virtio-ports/vmtest.0 ]; do sleep 0.02; done
(for pass in 1 2 3 4 5; do sleep 0.5; link; done) </dev/null &
${shellLoop("sh", "/dev/virtio-ports/vmtest.0")}
`

const file = (path: string, text: string | Uint8Array, mode = 0o644): CpioEntry => ({
  path,
  type: "file",
  mode,
  data: typeof text === "string" ? Buffer.from(text) : text
})

/** A kernel module of an initramfs. */
export interface Module {
  readonly name: string
  readonly data: Uint8Array
  /** Undefined for one that every guest loads. */
  readonly when?: Condition | undefined
}

const moduleFiles = (modules: ReadonlyArray<Module>): Array<CpioEntry> => {
  const list = (name: string, when: Condition | undefined) =>
    file(
      `lib/modules/${name}`,
      modules
        .filter((module) => module.when === when)
        .map(({ name }) => `${name}\n`)
        .join("")
    )
  return [
    ...modules.map(({ data, name }) => file(`lib/modules/${name}.ko`, data)),
    ...[list("order", undefined), list("mmio", "mmio"), list("vsock", "vsock")]
  ]
}

const folder = (path: string, mode = 0o755): CpioEntry => ({ path, type: "folder", mode })

/** The whole of a tiny guest: `files` come last and may replace anything. */
export const tinyTree = (
  busybox: Uint8Array,
  modules: ReadonlyArray<Module>,
  files: ReadonlyArray<CpioEntry>
): Array<CpioEntry> =>
  withFolders([
    ...["dev", "proc", "sys", "run", "sbin", "usr/bin", "usr/sbin", "var/log", "var/tmp", "mnt"].map((path) =>
      folder(path)
    ),
    folder("root", 0o700),
    folder("tmp", 0o1777),
    file("bin/busybox", busybox, 0o755),
    file("init", tinyInit, 0o755),
    file("lib/vmtest/shell", tinyShell, 0o755),
    file("lib/vmtest/vsock", VsockProgram.program, 0o755),
    // busybox acpid runs this for the power button.
    file("etc/acpi/PWRF/00000080", "#!/bin/sh\nexec poweroff\n", 0o755),
    file("etc/passwd", "root::0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"),
    file("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    file("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ...moduleFiles(modules),
    ...files
  ])

/**
 * Device nodes that load their driver when they are opened, so they must be there before it is: name, major, minor.
 * Linux: Documentation/admin-guide/devices.txt.
 */
const nodes: ReadonlyArray<readonly [string, number, number]> = [
  ["net/tun", 10, 200],
  ["fuse", 10, 229],
  ["loop-control", 10, 237],
  ["vhost-net", 10, 238],
  ["vhost-vsock", 10, 241]
]

const debianInit = `#!/bin/busybox sh
fail() {
  echo "vmtest: $1" >/dev/console
  busybox poweroff -f
}
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
# systemd takes over what is mounted there.
busybox mount -t tmpfs -o mode=0755,nosuid,nodev run /run
exec </dev/console >/dev/console 2>&1
${loadModules("busybox ")}
busybox mkdir /dev/net
${nodes.map(([name, major, minor]) => `[ -e /dev/${name} ] || busybox mknod -m 0666 /dev/${name} c ${major} ${minor}`).join("\n")}
tries=0
while [ ! -b /dev/vda ]; do
  tries=$((tries + 1))
  [ $tries -lt 500 ] || fail "no root disk: /dev/vda did not appear within 10 s"
  busybox sleep 0.02
done
busybox mount -t erofs -o ro /dev/vda /ro || fail "cannot mount the root image"
# Half of the memory, as is usual for a tmpfs: one that could take it all would end in a panic before it is full.
busybox mount -t tmpfs -o mode=0755,size=50% tmpfs /rw
busybox mkdir /rw/upper /rw/work
busybox mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work overlay /new || fail "cannot mount the overlay"
# Each boot is a machine of its own.
read -r id </proc/sys/kernel/random/uuid
while [ "$id" != "\${id/-/}" ]; do id=\${id/-/}; done
echo "$id" >/new/etc/machine-id
${takeIdentity("/new")}
busybox umount /sys
busybox umount /proc
busybox mount --move /run /new/run
busybox mount --move /dev /new/dev
exec busybox switch_root /new /sbin/init
`

/** The initramfs of a debian guest. */
export const debianInitramfs = (busybox: Uint8Array, modules: ReadonlyArray<Module>): Array<CpioEntry> =>
  withFolders([
    ...["dev", "proc", "sys", "run", "ro", "rw", "new"].map((path) => folder(path)),
    file("bin/busybox", busybox, 0o755),
    file("init", debianInit, 0o755),
    ...moduleFiles(modules)
  ])

const debianShell = `#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin ${environment} SHELL=/bin/bash
cd /root
${shellOverVsock("/bin/bash --norc --noprofile")}
until
  for port in /sys/class/virtio-ports/*; do
    read -r name <"$port/name" && [ "$name" = vmtest.0 ] && break
  done
  [ "$name" = vmtest.0 ]
do
  sleep 0.05
done 2>/dev/null
port=/dev/\${port##*/}
${shellLoop("bash --norc --noprofile", "$port")}
`

const shellUnit = `[Unit]
Description=vmtest: root shell for the test driver
DefaultDependencies=no
# Files and kernel settings are in place by then. systemd answers, and orders what is asked of it by itself.
After=systemd-tmpfiles-setup.service systemd-sysctl.service
Before=shutdown.target
Conflicts=shutdown.target

[Service]
Type=exec
ExecStart=/usr/lib/vmtest/shell
Restart=always
RestartSec=0
# A command whose reader left ends by SIGPIPE, as everywhere else.
IgnoreSIGPIPE=no
# What a test started outlives the shell that started it.
KillMode=process
StandardOutput=journal
StandardError=journal+console
TasksMax=infinity
OOMScoreAdjust=-1000
OOMPolicy=continue
`

/** Started after the driver's shell, which so comes two seconds earlier under emulation. */
const late = ["systemd-udevd", "systemd-udev-trigger", "systemd-logind", "systemd-user-sessions", "getty@"]

const lateFile = (unit: string) => `/etc/systemd/system/${unit}.service.d/vmtest.conf`

/** The files that make the finding of devices late. */
export const lateDevices: ReadonlyArray<string> = ["systemd-udevd", "systemd-udev-trigger"].map(lateFile)

const afterShell = "[Unit]\nAfter=vmtest-shell.service\n"

/**
 * Coldplug only what has users in a guest: the initramfs has loaded the drivers of the usual devices, and those that are
 * plugged later send their own events. All of it costs 3 s under emulation, mostly for 64 virtual terminals.
 */
const trigger = `[Service]
ExecStart=
ExecStart=-udevadm trigger --action=add ${["block", "net", "input", "misc", "rtc", "virtio-ports"]
  .map((subsystem) => `--subsystem-match=${subsystem}`)
  .join(" ")}
`

/** The program that opens sockets of vsock, in every debian guest. */
export const debianProgram = { path: `/usr${vsockProgram}`, mode: 0o755, data: VsockProgram.program } as const

/** Files of every debian guest besides {@link debianProgram}, by absolute path; those in `executable` are programs. */
export const debianFiles: Readonly<Record<string, string>> = {
  "/usr/lib/vmtest/shell": debianShell,
  "/usr/lib/systemd/system/vmtest-shell.service": shellUnit,
  "/etc/systemd/system/systemd-udev-trigger.service.d/vmtest-subsystems.conf": trigger,
  ...Object.fromEntries(late.map((unit) => [lateFile(unit), afterShell])),
  "/etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
  // No name server: a name that is not in /etc/hosts fails at once and not after a timeout.
  "/etc/resolv.conf": ""
}

/** Subsystems with many devices that no driver waits for. */
const unplugged = ["tty", "vc", "vtconsole", "cpu", "memory", "machinecheck", "workqueue", "clocksource", "bdi"]

/**
 * What the generic kernel needs besides, or instead: all its devices are looked for at boot, because it has drivers for them. The driver of the
 * display is not loaded by itself: it would replace the text screen, which is read exactly.
 */
const genericFiles: Readonly<Record<string, string>> = {
  "/etc/systemd/system/systemd-udev-trigger.service.d/vmtest-subsystems.conf": `[Service]
ExecStart=
ExecStart=-udevadm trigger --action=add ${unplugged.map((subsystem) => `--subsystem-nomatch=${subsystem}`).join(" ")}
`,
  "/etc/modprobe.d/vmtest.conf": "blacklist bochs\n"
}

/** Files of every debian guest with this kernel. */
export const debianFilesOf = (kernel: "generic" | undefined): Readonly<Record<string, string>> =>
  kernel === "generic" ? { ...debianFiles, ...genericFiles } : debianFiles

export const executable: ReadonlySet<string> = new Set(["/usr/lib/vmtest/shell"])

/** Started by nothing, not even by hand: consoles that belong to the driver, and upkeep that a guest of minutes never needs. */
const masked = [
  ...["serial-getty@hvc0.service", "serial-getty@ttyS0.service", "modprobe@drm.service"],
  ...["e2scrub_reap.service", "e2scrub_all.timer", "apt-daily.timer", "apt-daily-upgrade.timer", "man-db.timer"],
  ...["dpkg-db-backup.timer", "fstrim.timer", "logrotate.timer", "systemd-pstore.service", "systemd-firstboot.service"]
]

/** Generators for disks and consoles that a guest has not; each costs 50 ms of a boot under emulation. */
const generators = [
  ...["cryptsetup", "getty", "gpt-auto", "hibernate-resume", "integritysetup", "rc-local", "system-update"],
  "veritysetup"
]

/** Not wanted at boot any more, though still there to be started. The image itself has done their work, or nothing needs it. */
const unwanted = [
  ...["dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount", "sys-kernel-config.mount"],
  ...["sys-kernel-debug.mount", "sys-kernel-tracing.mount", "proc-sys-fs-binfmt_misc.automount"],
  ...["kmod-static-nodes.service", "systemd-sysusers.service", "systemd-tmpfiles-setup-dev.service"],
  ...["systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-random-seed.service"],
  ...["systemd-journal-flush.service", "systemd-journal-catalog-update.service", "systemd-update-done.service"],
  ...["systemd-machine-id-commit.service", "systemd-boot-system-token.service", "systemd-hwdb-update.service"],
  ...["systemd-repart.service", "systemd-pcrphase.service", "systemd-pcrphase-sysinit.service"],
  // The root is an overlay, mounted read-write by the initramfs.
  ...[
    "systemd-remount-fs.service",
    "cryptsetup.target",
    "integritysetup.target",
    "veritysetup.target",
    "systemd-binfmt.service"
  ],
  ...["systemd-ask-password-console.path", "systemd-ask-password-wall.path", "systemd-initctl.socket"],
  "systemd-journald-audit.socket"
]

/** Run by sh inside a debian base once its packages are there. */
export const debianScript = (release: string): string => `set -e
depmod ${release}
passwd --quiet --delete root
cd /etc/systemd/system
mkdir -p multi-user.target.wants ../system-generators
ln -sf /usr/lib/systemd/system/vmtest-shell.service multi-user.target.wants/vmtest-shell.service
for unit in ${masked.join(" ")}; do ln -sf /dev/null $unit; done
for name in ${generators.join(" ")}; do ln -sf /dev/null ../system-generators/systemd-$name-generator; done
for unit in ${unwanted.join(" ")}; do rm -f /usr/lib/systemd/system/*.wants/$unit; done
# Without these, whole services have nothing to do: fstab and modules are empty, and the journal stays in memory.
rm -f /etc/fstab /etc/modules-load.d/modules.conf
rm -rf /var/log/journal
# What Debian's installer writes. systemd has it for services by itself, but logins would be in C, where a shell takes no umlauts.
echo LANG=C.UTF-8 >/etc/default/locale
`

/**
 * Run by sh inside every debian image at the very end. The tree is packed while mmdebstrap still keeps services from starting, with programs in place
 * of Debian's; it does not mind that they are gone.
 */
export const cleanScript = `if [ -e /sbin/start-stop-daemon.REAL ]; then mv -f /sbin/start-stop-daemon.REAL /sbin/start-stop-daemon; fi
if [ "$(tail -n 1 /usr/sbin/policy-rc.d 2>/dev/null)" = "exit 101" ]; then rm -f /usr/sbin/policy-rc.d; fi
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/lib/dpkg/*-old
rm -rf /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log /tmp/* /run/* /etc/apt/apt.conf.d/*mmdebstrap
echo uninitialized >/etc/machine-id
`

/** All of the above: an image or a base that was made with other text is another one. */
export const sourcesOf = (kernel: "generic" | undefined): ReadonlyArray<unknown> => [
  ...[tinyInit, tinyShell, debianInit, debianFilesOf(kernel), debianScript("release"), cleanScript],
  ...[conditionalModules, VsockProgram.listing]
]
