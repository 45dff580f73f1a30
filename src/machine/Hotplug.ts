/**
 * Devices that come and go while a machine runs.
 *
 * **Example** (A USB stick, put in and pulled out)
 *
 * ```ts
 * const stick = yield* box.hotplug({ type: "usb-storage", size: "64 MiB", name: "stick" })
 * yield* box.waitForFile("/dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_stick-0:0")
 * yield* box.unplug(stick)
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import type { NetworkShape } from "../backends/Backend.ts"
import { type ControlError, PlugFailed, unsupported } from "../backends/BackendError.ts"
import * as Device from "../backends/Device.ts"
import { guard } from "../guest/Action.ts"
import * as Arguments from "../guest/Arguments.ts"
import type { Guest, Unavailable } from "../guest/Guest.ts"
import { type InvalidArgument, WaitTimeout } from "../guest/MachineError.ts"
import type { PollingConditionFailed } from "../guest/PollingCondition.ts"
import { timeoutOf, WaitOptions } from "../guest/Timeout.ts"
import * as Disk from "../host/Disk.ts"
import * as Addresses from "../network/Addresses.ts"
import * as NetworkSpec from "../network/NetworkSpec.ts"
import type { Port } from "../network/Vlan.ts"

type HotplugFailure = Unavailable | ControlError | PollingConditionFailed | PlugFailed | InvalidArgument

/** A device that was plugged in. */
export interface Plugged {
  /** What it is called: the `name` that was given, else one like `usb-storage-hot1`. */
  readonly name: string
  /** What was plugged in. */
  readonly device: Device.Pluggable
  /** Of a network card: its address, by which the guest finds it. */
  readonly mac: string | undefined
}

/** Plugging and unplugging. */
export interface HotplugMethods {
  /**
   * Plugs in a device, and returns when the hypervisor has it; its guest notices it a moment later, which a test can wait for. It stays until it is
   * unplugged or the machine ends, also over reboots of the guest. A network card gets no address in its guest.
   */
  readonly hotplug: (device: Device.Pluggable) => Effect.Effect<Plugged, HotplugFailure>
  /**
   * Takes out a device that was plugged in, or a declared one on USB, by what `hotplug` returned or by its name, and waits until the guest has
   * let it go. What was stored on it is gone.
   */
  readonly unplug: (
    device: Plugged | string,
    options?: WaitOptions
  ) => Effect.Effect<void, HotplugFailure | WaitTimeout>
}

const AnyPlugged = Schema.declare<Plugged>(
  (value): value is Plugged => Predicate.hasProperty(value, "name") && Predicate.hasProperty(value, "device"),
  { expected: "what hotplug returned" }
)

/** What its methods take. */
export const parameters = Arguments.of<HotplugMethods>({
  hotplug: Arguments.takes({ device: Device.Pluggable }),
  unplug: Arguments.takes({
    device: Schema.Union([Schema.String, AnyPlugged]).annotate({
      expected: "what hotplug returned, or the name of a device"
    }),
    options: Schema.optional(WaitOptions)
  })
})

/** What a machine can plug into. */
export interface Surroundings {
  /** The machine's number in its networks. */
  readonly number: number
  /** The networks that the test declares; undefined if it declares none. */
  readonly networks?: ReadonlyArray<NetworkSpec.NetworkSpec> | undefined
  /** The place of a card on a VLAN; undefined for a machine without other machines. */
  readonly port: (vlan: number, card: string) => Effect.Effect<Port | undefined>
  /** Its declared cards on VLANs. */
  readonly cards: ReadonlyArray<NetworkShape>
}

/** `52:54:00:ff:<count>:<node>`: none of those that declared cards have by default. */
const macOf = (count: number, node: number): string => Addresses.mac(count & 0xff, node, 0xff - 0x12)

/** Makes a sparse file for what is stored on a device: always a new one, because a device of the same name may still be there. */
const emptyFile = (directory: string, name: string, size: number): string => {
  const path = Path.join(Fs.mkdtempSync(Path.join(directory, "hot-")), name)
  Disk.emptyFile(path, size)
  return path
}

const removeFile = (path: string | undefined) =>
  path === undefined ? Effect.void : Disk.removeTree(Path.dirname(path))

/** The hot-plug methods of a guest. */
export const make = (guest: Guest, { networks, number, port }: Surroundings): HotplugMethods => {
  /** One at a time: each takes a free port. */
  const one = Semaphore.makeUnsafe(1)
  let count = 0
  /** The files of the devices that are plugged in, by their names. */
  const files = new Map<string, string>()

  const able = Effect.suspend(() =>
    guest.backend.capabilities.has("hotplug") ? Effect.void : unsupported(guest.backend.name, "hotplug")
  )

  /** The device with what is behind it: its file, the switch of its card. */
  const backed = Effect.fnUntraced(function* (kind: Device.Kind, directory: string) {
    count += 1
    const name = kind.name ?? Device.defaultName(kind, `-hot${count}`)
    const device = `${JSON.stringify(name)} (${Device.typeOf(kind)})`
    const failed = (reason: string) => new PlugFailed({ machine: guest.name, device, action: "plug in", reason })
    const network =
      "vlan" in kind
        ? yield* Effect.mapError(Effect.fromResult(NetworkSpec.find(networks, kind.vlan)), failed)
        : undefined
    const card =
      network === undefined
        ? undefined
        : {
            mac: macOf(count, number),
            port: yield* port(network.vlan, name),
            socket: Path.join(directory, `card-${count}`),
            mtu: network.mtu
          }
    const size = Device.storageOf(kind)
    const path =
      size === 0
        ? undefined
        : yield* Disk.attempt(
            () => emptyFile(directory, name, size),
            (reason) => failed(`its file could not be made: ${reason}`)
          )
    const plugged = network === undefined ? kind : { ...kind, vlan: network.vlan }
    const shape: Device.DeviceShape = { name, kind: plugged, path, card }
    return shape
  })

  const plug = Effect.fnUntraced(function* (device: Device.Pluggable) {
    yield* able
    const kind = Device.kindOf(Result.getOrThrow(Schema.decodeUnknownResult(Device.Pluggable)(device)))
    const { directory } = yield* guest.hypervisor
    const control = yield* guest.control
    const shape = yield* backed(kind, directory)
    // A device that QEMU has must be known by its file, even if nobody waits for it any more.
    yield* Effect.uninterruptible(
      Effect.gen(function* () {
        yield* Effect.onError(control.plug(shape), () => removeFile(shape.path))
        if (shape.path === undefined) return
        // That of a device of the same name whose guest let it go after the wait for that.
        yield* removeFile(files.get(shape.name))
        files.set(shape.name, shape.path)
      })
    )
    return { name: shape.name, device, mac: shape.card?.mac } satisfies Plugged as Plugged
  })

  const unplug = Effect.fnUntraced(function* (name: string, options: WaitOptions | undefined) {
    yield* able
    const control = yield* guest.control
    const timeout = yield* timeoutOf(guest, options)
    const started = yield* Clock.currentTimeMillis
    yield* control.unplug(name).pipe(
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: Effect.fnUntraced(function* () {
          return yield* new WaitTimeout({
            machine: guest.name,
            awaited: `the guest to let go of ${JSON.stringify(name)}`,
            waited: Duration.millis((yield* Clock.currentTimeMillis) - started),
            lastSeen: `${guest.backend.name} still has it; the guest was asked to let it go`,
            console: yield* guest.consoleTail
          })
        })
      })
    )
    yield* removeFile(files.get(name))
    files.delete(name)
  })

  return Arguments.checked<HotplugMethods>(guest.name, parameters, {
    hotplug: (device) => {
      const what = Device.typeOf(Device.kindOf(device as typeof Device.Pluggable.Type))
      const action = { name: "hotplug", doing: `plugging in ${what}`, attributes: { device: what } }
      return guard(guest, action, one.withPermit(plug(device)))
    },
    unplug: (device, options) => {
      const name = typeof device === "string" ? device : device.name
      const action = { name: "unplug", doing: `unplugging ${JSON.stringify(name)}`, attributes: { device: name } }
      return guard(guest, action, unplug(name, options))
    }
  })
}
