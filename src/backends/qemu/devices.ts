/** A machine's own devices in QEMU's words: at its start, and while it runs. */
import { qemuValue } from "../../host/Quote.ts"
import type { MachineShape } from "../Backend.ts"
import type { DeviceShape, Kind } from "../Device.ts"
import { isUsb, typeOf } from "../Device.ts"

/** The id of a device of the test's. */
export const idOf = (name: string): string => `device-${name}`

/** The id of what is behind it: a block device, the host's end of a card. */
export const backOf = (name: string): string => `back-${name}`

/** Properties of a device, as QMP takes them and as words have them. */
export type Properties = Readonly<Record<string, string | number | boolean>>

/** The USB controller. */
export const usb = "usb"

/** The ports that are kept free for devices that are plugged in. QEMU's q35 lets devices come and go only behind such ports. */
export const ports: ReadonlyArray<string> = Array.from({ length: 6 }, (_, index) => `hot${index + 1}`)

/** Ports and controller are the functions of one slot, so that they take no more of the root bus. */
const slot = "0x1c"

/** Most ports of a controller (`p2`, `p3`) that QEMU takes. A socket is one of each: the machine has as many, and uses one less. */
const usbPorts = 15

/** The ports and the controller. */
const sockets: ReadonlyArray<string> = [
  ...ports.flatMap((id, index) => [
    "-device",
    `pcie-root-port,id=${id},chassis=${index + 1},addr=${slot}.${index}${index === 0 ? ",multifunction=on" : ""}`
  ]),
  "-device",
  `qemu-xhci,id=${usb},p2=${usbPorts},p3=${usbPorts},addr=${slot}.7`
]

/** Those of a machine that has use for them: they cost 8 ms of each start. */
export const socketsOf = ({
  devices = [],
  hotplug = false
}: Pick<MachineShape, "devices" | "hotplug">): ReadonlyArray<string> => (hotplug || devices.length > 0 ? sockets : [])

const onUsb = { bus: `${usb}.0` }

const types: Readonly<Record<string, string>> = {
  "usb-storage": "usb-storage",
  "usb-keyboard": "usb-kbd",
  "usb-mouse": "usb-mouse",
  "usb-tablet": "usb-tablet",
  watchdog: "i6300esb",
  sound: "ich9-intel-hda",
  tpm: "tpm-crb",
  disk: "virtio-blk-pci",
  "network-card": "virtio-net-pci"
}

/** The name of the driver in QEMU. */
export const driverOf = (kind: Kind): string => types[typeOf(kind)] ?? typeOf(kind)

const given = ({ card, kind }: DeviceShape): Properties => {
  if ("driver" in kind) return kind.properties ?? {}
  switch (kind.type) {
    case "usb-storage":
      return { removable: true }
    // As for the other cards; see `card` in command.ts.
    case "network-card":
      return { romfile: "", guest_announce: false, ...(card?.mtu === undefined ? {} : { host_mtu: card.mtu }) }
    default:
      return {}
  }
}

/** Driver and properties; where it is on USB, or its caller says otherwise, with its bus. */
export const propertiesOf = (device: DeviceShape, bus?: string): Properties => {
  const { card, kind, name, path } = device
  return {
    ...(isUsb(kind) ? onUsb : bus === undefined ? {} : { bus }),
    ...given(device),
    ...(path === undefined ? {} : { drive: backOf(name), serial: "serial" in kind ? (kind.serial ?? name) : name }),
    ...(card === undefined ? {} : { netdev: backOf(name), mac: card.mac })
  }
}

/** The block device of a file, as QMP takes it. */
export const blockOf = ({ name, path }: DeviceShape): Readonly<Record<string, unknown>> => ({
  driver: "raw",
  "node-name": backOf(name),
  discard: "unmap",
  cache: { "no-flush": true },
  file: { driver: "file", filename: path }
})

const valueOf = (value: string | number | boolean): string =>
  typeof value === "boolean" ? (value ? "on" : "off") : qemuValue(`${value}`)

const words = (driver: string, properties: Properties): ReadonlyArray<string> => [
  "-device",
  [driver, ...Object.entries(properties).map(([key, value]) => `${key}=${valueOf(value)}`)].join(",")
]

/** What a device needs of the host, before it. */
const backing = (device: DeviceShape, tpm: string): ReadonlyArray<string> => {
  const { kind, name, path } = device
  const back = backOf(name)
  if (path !== undefined) {
    const file = `file.driver=file,file.filename=${qemuValue(path)}`
    return ["-blockdev", `driver=raw,node-name=${back},discard=unmap,cache.no-flush=on,${file}`]
  }
  switch (typeOf(kind)) {
    case "tpm":
      return [
        ...["-chardev", `socket,id=chr-${back},path=${qemuValue(tpm)}`],
        ...["-tpmdev", `emulator,id=${back},chardev=chr-${back}`]
      ]
    // Nobody hears it, and it takes as long as if somebody did.
    case "sound":
      return ["-audiodev", `none,id=${back}`]
    case "watchdog":
      return ["-action", `watchdog=${"action" in kind ? (kind.action ?? "reset") : "reset"}`]
    default:
      return []
  }
}

/** The words for the devices of a declaration; `tpm` is where the TPM's emulator listens. */
export const deviceWords = (devices: ReadonlyArray<DeviceShape>, tpm: string): ReadonlyArray<string> =>
  devices.flatMap((device) => {
    const { kind, name } = device
    const id = idOf(name)
    switch (typeOf(kind)) {
      // It is there with any device.
      case "usb":
        return []
      case "tpm":
        return [...backing(device, tpm), ...words("tpm-crb", { id, tpmdev: backOf(name) })]
      case "sound":
        return [
          ...backing(device, tpm),
          ...words(driverOf(kind), { id }),
          ...words("hda-duplex", { bus: `${id}.0`, audiodev: backOf(name) })
        ]
      default:
        return [...backing(device, tpm), ...words(driverOf(kind), { id, ...propertiesOf(device) })]
    }
  })
