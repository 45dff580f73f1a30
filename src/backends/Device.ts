/**
 * Devices that machines can have besides disks and network cards: USB, TPM, watchdog, sound, and any other of the hypervisor's.
 *
 * **Example** (A machine with a TPM, a watchdog and a USB stick)
 *
 * ```ts
 * const image = Image.debian({ kernel: "generic" })
 * const box = { image, devices: ["tpm", "watchdog", { type: "usb-storage", size: "64 MiB", name: "stick" }] }
 * ```
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Decode from "../host/Decode.ts"
import * as Fields from "../host/Fields.ts"
import * as Spelling from "../host/Spelling.ts"
import type { Port } from "../network/Vlan.ts"
import * as Limits from "./Limits.ts"

/** The size of a disk; decoded, a number of bytes: whole mebibytes. */
export const Size = Fields.size({ least: Limits.leastDisk, most: Limits.mostBytes, unit: Limits.leastDisk })

/** What a device is called in the test: its id in the hypervisor is `device-<name>`. */
const Name = Fields.text("a name of letters, digits and hyphens, at most 32 characters", /^[a-z0-9][a-z0-9-]{0,31}$/i)

/** What a disk tells its guest; QEMU passes on 20 characters of it. */
const Serial = Fields.text("a serial number of letters, digits, _ and -, at most 20 characters", /^[\w-]{1,20}$/)

const named = { name: Schema.optional(Name) }

/** The types that need no more than their name. */
const plainUsb = ["usb-keyboard", "usb-mouse", "usb-tablet"] as const
const plain = ["usb", ...plainUsb, "tpm", "sound"] as const
const ofType = <const T extends string>(type: T) => Schema.Struct({ type: Schema.Literal(type), ...named })

/** A USB stick, empty at first; `/dev/sda` in most guests. Its default serial number is its name. */
const UsbStorage = Schema.Struct({
  type: Schema.Literal("usb-storage"),
  size: Size,
  serial: Schema.optional(Serial),
  ...named
})

/** What a watchdog does when the guest has not fed it in time; as QEMU's `-action watchdog=`. */
export const WatchdogAction = Schema.Literals(["reset", "shutdown", "poweroff", "pause", "none", "inject-nmi"])

const Watchdog = Schema.Struct({
  type: Schema.Literal("watchdog"),
  /** Default `"reset"`, which ends a machine without `allowReboot`. */
  action: Schema.optional(WatchdogAction),
  ...named
})

const Property = Schema.Union([Schema.String, Schema.Finite, Schema.Boolean])

/** Any device of QEMU's (`qemu-system-x86_64 -device help`), with properties of its driver. */
const Driver = Schema.Struct({
  driver: Fields.text('the name of a driver of QEMU, such as "nvme"', /^[A-Za-z0-9][\w.+-]*$/),
  properties: Schema.optional(
    Schema.Record(Fields.text("the name of a property", /^[A-Za-z0-9][\w.-]*$/), Property).annotate({
      expected: 'an object of strings, numbers and booleans, such as { serial: "one" }'
    })
  ),
  ...named
}).check(
  Schema.makeFilter(({ properties }) =>
    properties !== undefined && "id" in properties ? "must have a name instead of the property id" : undefined
  )
)

/** A disk that is plugged in while the machine runs, on virtio. Its default serial number is its name. */
const Disk = Schema.Struct({ type: Schema.Literal("disk"), size: Size, serial: Schema.optional(Serial), ...named })

/** A network card that is plugged in while the machine runs. */
const Card = Schema.Struct({
  type: Schema.Literal("network-card"),
  /** The number or the name of its network. */
  vlan: Schema.Union([Fields.whole(1, Limits.mostVlan), Schema.String]).annotate({
    expected: `a number from 1 to ${Limits.mostVlan} or the name of a network`
  }),
  ...named
})

/**
 * A union of the types of devices that says which there are, and which is nearest, where a union of everything would say what is wrong with one
 * that was not meant.
 */
const oneOf = <D, E>(all: Schema.Codec<D, E>, types: ReadonlyArray<string>, short: ReadonlyArray<string>) => {
  const wrong = (type: unknown, known: ReadonlyArray<string>) => {
    const near = typeof type === "string" ? Spelling.near(type, known, aliases) : undefined
    return near === undefined ? `the types are ${known.join(", ")}` : `did you mean ${JSON.stringify(near)}?`
  }
  const problem = (value: unknown) => {
    if (typeof value === "string") {
      if (short.includes(value)) return undefined
      const advice = types.includes(value)
        ? `it needs more than its type: { type: ${JSON.stringify(value)}, … }`
        : wrong(value, short)
      return `must be a type of device, got ${JSON.stringify(value)}; ${advice}`
    }
    if (!Predicate.isObject(value) || (!("type" in value) && !("driver" in value))) {
      return `must be a device, such as ${JSON.stringify(short[0])}, { type: "usb-storage", size: "64 MiB" } or { driver: "nvme" }, got ${Decode.shown(value)}`
    }
    if (!("type" in value) || types.includes(String(value.type))) return undefined
    return {
      path: ["type"],
      issue: `must be a type of device, got ${Decode.shown(value.type)}; ${wrong(value.type, types)}`
    }
  }
  return Schema.declare<E>((_value): _value is E => true, { expected: "a device" })
    .check(Schema.makeFilter(problem))
    .pipe(Schema.decodeTo(all))
    .annotate({ expected: "a device" })
}

/** What other tools call them. */
const aliases: Spelling.Aliases = {
  disk: "usb-storage",
  "usb-stick": "usb-storage",
  "usb-kbd": "usb-keyboard",
  keyboard: "usb-keyboard",
  mouse: "usb-mouse",
  tablet: "usb-tablet",
  "tpm-crb": "tpm",
  tpm2: "tpm",
  i6300esb: "watchdog",
  audio: "sound",
  hda: "sound",
  card: "network-card",
  nic: "network-card"
}

/** A device of a declaration: a type, `{ type, … }`, or `{ driver, properties? }` for any other of QEMU's. */
export const Device = oneOf(
  Schema.Union([Schema.Literals([...plain, "watchdog"]), ...plain.map(ofType), Watchdog, UsbStorage, Driver]),
  [...plain, "watchdog", "usb-storage"],
  [...plain, "watchdog"]
)

/** A device of a declaration, as it is declared. */
export type Device = typeof Device.Encoded

/** A device that can be plugged in while the machine runs: a type, `{ type, … }`, or `{ driver, properties? }` for any other of QEMU's. */
export const Pluggable = oneOf(
  Schema.Union([Schema.Literals(plainUsb), ...plainUsb.map(ofType), Disk, Card, UsbStorage, Driver]),
  [...plainUsb, "disk", "network-card", "usb-storage"],
  plainUsb
)

/** A device that can be plugged in, as a script gives it. */
export type Pluggable = typeof Pluggable.Encoded

type Whole<D> = Exclude<D, string>

/** What a device is, once its shorthand is written out. */
export type Kind = Whole<typeof Device.Type> | Whole<typeof Pluggable.Type>

/** A device of a machine's shape. */
export interface DeviceShape {
  readonly name: string
  readonly kind: Kind
  /** The file of what is stored on it, which exists before; of storage only. */
  readonly path?: string | undefined
  /** Of a network card, whose `vlan` is a number: its address, its place on the VLAN, where it listens for the VLAN's cable, and bytes of its longest packet. */
  readonly card?:
    | {
        readonly mac: string
        readonly port: Port | undefined
        readonly socket: string
        readonly mtu?: number | undefined
      }
    | undefined
}

/** A type alone stands for a device of that type. */
export const kindOf = (device: typeof Device.Type | typeof Pluggable.Type): Kind =>
  typeof device === "string" ? { type: device } : device

/** `usb-storage`, or the driver's name. */
export const typeOf = (kind: Kind): string => ("driver" in kind ? kind.driver : kind.type)

/** The name of a device that was given none: its type and an ending, such as `usb-storage1`. */
export const defaultName = (kind: Kind, ending: string): string =>
  `${typeOf(kind).replace(/[^a-z0-9-]/gi, "-")}${ending}`

/** Names for devices that have none: `usb-storage1`, `usb-storage2`, … by their types, without those that others were given. */
export const nameAll = (devices: ReadonlyArray<typeof Device.Type>): ReadonlyArray<DeviceShape> => {
  const kinds = devices.map(kindOf)
  const taken = new Set(kinds.flatMap(({ name }) => name ?? []))
  const counts = new Map<string, number>()
  return kinds.map((kind) => {
    const type = typeOf(kind)
    let count = (counts.get(type) ?? 0) + 1
    if (kind.name === undefined) while (taken.has(defaultName(kind, `${count}`))) count += 1
    counts.set(type, count)
    const name = kind.name ?? defaultName(kind, `${count}`)
    taken.add(name)
    return { name, kind }
  })
}

/** Bytes of what is stored on a device; 0 for one that stores nothing. */
export const storageOf = (kind: Kind): number => ("size" in kind ? kind.size : 0)

/** Whether it keeps what was written to it while the machine is off. */
export const isLasting = (kind: Kind): boolean => storageOf(kind) > 0 || typeOf(kind) === "tpm"

/** Whether it is on the machine's USB. Only one of QEMU's controllers is named like that, too. */
export const isUsb = (kind: Kind): boolean => typeOf(kind).startsWith("usb-") && typeOf(kind) !== "usb-ehci"

/** How many slots of the machine's bus it takes. */
export const slotsOf = (kind: Kind): number => (isUsb(kind) || ["usb", "tpm"].includes(typeOf(kind)) ? 0 : 1)
