/**
 * QEMU's command line, as data: the same machine and places always give the same words, in the same order.
 *
 * What was measured on an emulated q35 stands beside the option it decided.
 */
import * as Effect from "effect/Effect"
import { qemuValue } from "../../host/Quote.ts"
import * as Addresses from "../../network/Addresses.ts"
import type { AcceleratorName } from "../Accelerator.ts"
import type { MachineShape, NetworkShape } from "../Backend.ts"
import { initrdIn } from "../internal/initrd.ts"
import * as Limits from "../Limits.ts"
import * as Devices from "./devices.ts"
import type { VdeCard } from "./vde.ts"

/** Where a machine's memory lives. A file can be shared with, and copied for, other machines. */
export type Memory =
  | { readonly _tag: "Anonymous" }
  | { readonly _tag: "File"; readonly path: string; readonly share: boolean }

/** The unix sockets of a machine; QEMU listens on each but `save`, where it is listened to. */
export interface Sockets {
  readonly qmp: string
  /** Where its state goes when it is saved, and where that of a saved machine comes from. */
  readonly save: string
  readonly load: string
  /** Where the emulator of a TPM listens. */
  readonly tpm: string
  /** Where the cards on VLANs listen for their cables, in their order. */
  readonly cards: ReadonlyArray<string>
  /** `ports[i]` is the virtio-serial port named `vmtest.<i>`. */
  readonly ports: ReadonlyArray<string>
}

export interface Plan {
  readonly shape: MachineShape
  readonly accelerator: AcceleratorName
  readonly sockets: Sockets
  readonly memory: Memory
  /** The cards that plug in through VDE. Default none: they wait at their sockets. */
  readonly vdes?: ReadonlyArray<VdeCard> | undefined
  /** It waits for the state of a saved machine, and starts on command. */
  readonly incoming: boolean
  /** More words for the end of the command line. */
  readonly extra: ReadonlyArray<string>
}

/** The bootstrap port and thirty for commands: ten commands at once, each with three ports. */
export const portCount = 31

/**
 * How many ports a bus has. QEMU tells the guest of them in a queue of 32 places and drops what does not fit; a port that
 * the host has open when the guest (re)boots takes two at the worst. With 30 on a bus, ports were lost.
 */
const portsPerBus = 15

/** `sun_path` has 108 bytes, one of them for the final NUL. */
export const longestSocketPath = 107

const mebibyte = 1024 * 1024

/** QEMU wants whole mebibytes to be on the safe side of every page size. */
export const roundMemory = (bytes: number): number => Math.ceil(bytes / mebibyte) * mebibyte

export const socketsIn = ({ directory, networks }: Pick<MachineShape, "directory" | "networks">): Sockets => ({
  qmp: `${directory}/qmp`,
  save: `${directory}/save`,
  load: `${directory}/load`,
  tpm: `${directory}/tpm`,
  cards: networks.map(({ device }) => `${directory}/${device}`),
  ports: Array.from({ length: portCount }, (_, index) => `${directory}/p${index}`)
})

/** What a machine changes of its image's disk: a qcow2 image in the machine's folder, created again for each start. */
export const overlayIn = (directory: string): string => `${directory}/disk.qcow2`

/** The words after the program's name. */
export const command = (plan: Plan): ReadonlyArray<string> => [
  ...["-name", `guest=${qemuValue(plan.shape.name)}`],
  // Nothing but what is named here: no default disk, display, monitor or configuration file.
  ...["-no-user-config", "-nodefaults", "-display", "none"],
  ...machine(plan),
  // First, so that they have the slot that they name.
  ...Devices.socketsOf(plan.shape),
  ...boot(plan.shape),
  ...(plan.shape.allowReboot ? [] : ["-no-reboot"]),
  ...panic,
  ...console,
  ...["-chardev", `socket,id=qmp,path=${qemuValue(plan.sockets.qmp)},server=on,wait=off`],
  ...["-mon", "chardev=qmp,mode=control"],
  ...["-device", "virtio-rng-pci"],
  ...disk(plan.shape),
  ...ownDisks(plan.shape),
  ...ports(plan.sockets),
  ...userNetwork(plan.shape),
  ...networks(plan.shape, plan.sockets, "pci", plan.vdes),
  ...screen,
  ...Devices.deviceWords(plan.shape.devices ?? [], plan.sockets.tpm),
  ...(plan.shape.qemuArguments ?? []),
  ...(plan.incoming ? ["-incoming", `unix:${plan.sockets.load}`] : []),
  ...plan.extra
]

/**
 * x86-64-v2, and a source of entropy. With `max` a Debian guest takes a tenth more time to its shell: its kernel and libc
 * choose what the longest instructions do best on silicon. What needs AVX gets it by `-cpu max` in the backend's `extraArguments`.
 */
export const emulatedCpu = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand"

/**
 * No difference beyond noise was seen for one or two virtual processors (two cost a third more of the host's), the size of
 * the translation cache (32 MiB to 512 MiB), qboot for SeaBIOS, the older `pc` machine, or a machine without HPET, SMBus,
 * SATA and i8042; so the machine stays as stock as it can be.
 */
const machine = ({ accelerator, memory, shape }: Plan): ReadonlyArray<string> => [
  ...["-machine", "q35,vmport=off,memory-backend=memory"],
  ...["-accel", accelerator === "tcg" ? "tcg,thread=multi" : "kvm"],
  ...["-cpu", accelerator === "tcg" ? emulatedCpu : "host"],
  ...["-smp", `${shape.cpus}`],
  ...["-m", `${roundMemory(shape.memory) / mebibyte}M`],
  ...["-object", memoryBackend(memory, roundMemory(shape.memory))]
]

const memoryBackend = (memory: Memory, size: number): string =>
  memory._tag === "Anonymous"
    ? `memory-backend-ram,id=memory,size=${size}`
    : `memory-backend-file,id=memory,size=${size},mem-path=${qemuValue(memory.path)},share=${memory.share ? "on" : "off"}`

/**
 * The kernel parameters for this hardware. They come before those of the image, so that an image can override them.
 *
 * - `no_timer_check`: the kernel counts timer interrupts for some milliseconds and panics ("IO-APIC + timer doesn't work")
 *   when too few come, which happens to an emulated guest on a busy host. KVM guests leave the check out by themselves.
 * - `cryptomgr.notests`: the self-tests of ciphers take 0.35 s of the 2 s until init, emulated.
 *
 * `tsc=reliable` must not be there: on a busy host a kernel that boots emulated can take its counter for seven times slower
 * than it is, and its clock then runs seven times too fast, until it compares the counter with the HPET and changes to that.
 */
const kernelArguments = "no_timer_check cryptomgr.notests"

const boot = (shape: MachineShape): ReadonlyArray<string> =>
  shape.image.kernel === ""
    ? []
    : [
        ...["-kernel", shape.image.kernel],
        ...(shape.image.initrd === "" ? [] : ["-initrd", initrdIn(shape) ?? shape.image.initrd]),
        ...["-append", `console=ttyS0 ${kernelArguments} ${shape.image.cmdline}`.trim()]
      ]

/** Standard input and output are the serial console: there from the first byte, held up rather than dropped when full. */
const console: ReadonlyArray<string> = [
  ...["-chardev", "stdio,id=console,signal=off"],
  ...["-device", "isa-serial,chardev=console"]
]

/**
 * A guest whose kernel has the driver tells of its panic with this device. QEMU only reports it: the kernel prints its trace meanwhile. The
 * images that vmtest builds do not load the driver, because their consoles tell.
 */
const panic: ReadonlyArray<string> = ["-device", "pvpanic", "-action", "panic=none"]

/**
 * /dev/vda: the image's root, which nobody writes, or a disk, whose changes go to an overlay. That one needs no flush: it is
 * gone with the machine.
 */
const disk = ({ directory, image }: MachineShape): ReadonlyArray<string> => {
  const device = ["-device", "virtio-blk-pci,drive=disk"]
  if (image.disk !== undefined) {
    const { format, path } = image.disk
    const overlay = [
      "driver=qcow2,node-name=disk,discard=unmap,cache.no-flush=on",
      `file.driver=file,file.filename=${qemuValue(overlayIn(directory))}`,
      `backing.driver=${format},backing.read-only=on`,
      `backing.file.driver=file,backing.file.filename=${qemuValue(path)}`
    ]
    return ["-blockdev", overlay.join(","), ...device]
  }
  return image.root === undefined
    ? []
    : [
        "-blockdev",
        `driver=raw,node-name=disk,read-only=on,file.driver=file,file.filename=${qemuValue(image.root)}`,
        ...device
      ]
}

/**
 * What the guest flushes is in the host's page cache, which outlives QEMU; that it also reaches the host's disk would take time and
 * help nobody, because the file is gone with the test.
 */
const ownDisks = ({ disks = [] }: MachineShape): ReadonlyArray<string> =>
  disks.flatMap(({ path }, index) => [
    "-blockdev",
    `driver=raw,node-name=own${index + 1},discard=unmap,cache.no-flush=on,file.driver=file,file.filename=${qemuValue(path)}`,
    ...["-device", `virtio-blk-pci,drive=own${index + 1},serial=disk${index + 1}`]
  ])

/**
 * A display with memory for 1600x1200 in true colour, and a pointer that is put somewhere rather than pushed; the keyboard is the
 * machine's own, on PS/2. Neither costs anything in a boot.
 */
const screen: ReadonlyArray<string> = ["-device", "VGA,vgamem_mb=8", "-device", "virtio-tablet-pci"]

/** How virtio devices are attached, as the names of their drivers end: `device` is a machine without PCI. */
export type Bus = "pci" | "device"

/** The ports from `first` on. The bootstrap port has a bus of its own. Port 0 of a bus is reserved for a console. */
export const ports = (sockets: Sockets, first = 0, by: Bus = "pci"): ReadonlyArray<string> => [
  ...Array.from({ length: 1 + Math.ceil((sockets.ports.length - 1) / portsPerBus) }, (_, bus) => [
    ...["-device", `virtio-serial-${by},id=ports${bus},max_ports=${portsPerBus + 1}`]
  ])
    .slice(first)
    .flat(),
  ...sockets.ports
    .slice(first)
    .flatMap((path, position) => [
      ...["-chardev", `socket,id=port${first + position},path=${qemuValue(path)},server=on,wait=off`],
      ...[
        "-device",
        `virtserialport,${placeOf(first + position)},chardev=port${first + position},name=vmtest.${first + position}`
      ]
    ])
]

const placeOf = (index: number): string =>
  `bus=ports${Math.ceil(index / portsPerBus)}.0,nr=${(index === 0 ? 0 : (index - 1) % portsPerBus) + 1}`

/**
 * `romfile=`: no network boot code for the firmware to look at. `guest_announce=off`: once a guest that was loaded has announced itself, QEMU 7.2
 * frees the timer of that, and dies of it (`timer_del` of nothing, in the card's reset) when the guest reboots. `host_mtu` is what the guest's card begins
 * with, and the most that its driver takes (VIRTIO_NET_F_MTU).
 */
const card = (
  netdev: string,
  mac: string,
  by: Bus = "pci",
  mtu: number | undefined = undefined
): ReadonlyArray<string> => [
  "-device",
  [
    `virtio-net-${by},id=card-${netdev},netdev=${netdev},mac=${mac}`,
    ...(by === "pci" ? ["romfile="] : []),
    "guest_announce=off",
    ...(mtu === undefined ? [] : [`host_mtu=${mtu}`])
  ].join(",")
]

/** eth0: no way out unless asked for, and the way in for forwarded ports, from this host only. */
const userNetwork = (shape: MachineShape): ReadonlyArray<string> => [
  "-netdev",
  [
    // Where there is no way out, an IPv6 router that says otherwise makes unreachable addresses time out instead of fail.
    `user,id=user${shape.internet ? "" : ",ipv6=off"},restrict=${shape.internet ? "off" : "on"}`,
    ...shape.forwards.map(
      ({ guestPort, hostPort, protocol }) => `hostfwd=${protocol}:127.0.0.1:${hostPort}-:${guestPort}`
    )
  ].join(","),
  ...card("user", Addresses.eth0Mac, "pci", Limits.mtu)
]

/** The id of a VLAN's card, as `set_link` wants it. */
export const cardId = (device: string): string => `card-${device}`

/** A socket at which QEMU waits for the cable of a card, as `-netdev stream` takes it. QEMU listens, so that it takes another cable when one is lost. */
export const socketOf = (path: string): string => `server=on,addr.type=unix,addr.path=${qemuValue(path)}`

const netdevOf = ({ device, lone, port, vlan }: NetworkShape, socket: string): string => {
  if (lone !== undefined) return `tap,id=${device},${lone.netdev}`
  // A hub of the VLAN's number is a network of this machine alone.
  if (port === undefined) return `hubport,id=${device},hubid=${vlan}`
  return port.tap === undefined ? `stream,id=${device},${socketOf(socket)}` : `tap,id=${device},${port.tap.netdev}`
}

/** A card on each VLAN. */
export const networks = (
  shape: MachineShape,
  sockets: Sockets,
  by: Bus = "pci",
  vdes: ReadonlyArray<VdeCard> = []
): ReadonlyArray<string> =>
  shape.networks.flatMap((network, index) => {
    const { device, mac, mtu } = network
    const vde = vdes.find((card) => card.device === device)
    if (vde !== undefined) {
      // vde_switch drops longer frames without a word; with this the guest's driver refuses to send them.
      return ["-netdev", `vde,id=${device},sock=${qemuValue(vde.folder)}`, ...card(device, mac, by, mtu ?? Limits.mtu)]
    }
    return ["-netdev", netdevOf(network, sockets.cards[index] ?? ""), ...card(device, mac, by, mtu)]
  })

/** Plugs the cables of all VLANs into a QEMU that runs, but for those that it has as TAPs. Fails with the reason. */
export const plugIn = (shape: MachineShape, sockets: Sockets): Effect.Effect<void, string> =>
  Effect.forEach(
    shape.networks,
    ({ port }, index) =>
      port === undefined || port.tap !== undefined
        ? Effect.void
        : Effect.mapError(port.plugIn(sockets.cards[index] ?? ""), ({ message }) => message),
    { concurrency: "unbounded", discard: true }
  )
