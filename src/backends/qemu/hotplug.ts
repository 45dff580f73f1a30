/** Devices that come and go while a QEMU runs. */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type { QmpFailure, QmpService } from "../../transport/qmp/Qmp.ts"
import * as QmpCommands from "../../transport/qmp/QmpCommands.ts"
import type { MachineShape } from "../Backend.ts"
import { PlugFailed } from "../BackendError.ts"
import { type DeviceShape, isUsb, typeOf } from "../Device.ts"
import * as Limits from "../Limits.ts"
import * as Devices from "./devices.ts"

/** How a device that was told to go is looked for. Without end: a guest may take its time. */
export const goneSchedule = Schedule.spaced("20 millis")

/** How a file whose device has just gone is closed: its last requests may still be under way. */
export const closeSchedule = Schedule.spaced("20 millis").pipe(Schedule.upTo({ duration: "5 seconds" }))

const Children = Schema.Array(Schema.Struct({ name: Schema.String, type: Schema.String }))

/** The ids of all devices that have one. */
const peripherals = (qmp: QmpService): Effect.Effect<ReadonlyArray<string>, QmpFailure> =>
  Effect.map(qmp.execute("qom-list", { path: "/machine/peripheral" }, Children), (children) =>
    children.flatMap(({ name, type }) => (type.startsWith("child<") ? [name] : []))
  )

/** How many devices are on the bus of a port or controller, as QEMU has it. The guest may know less or more. */
const countOn = (qmp: QmpService, id: string, bus: string): Effect.Effect<number, QmpFailure> =>
  Effect.map(
    qmp.execute("qom-list", { path: `/machine/peripheral/${id}/${bus}` }, Children),
    (children) => children.filter(({ name }) => name.startsWith("child[")).length
  )

/** A port with nothing in it: its bus has the port's name. */
const freePort = Effect.fnUntraced(function* (qmp: QmpService): Effect.fn.Return<string | undefined, QmpFailure> {
  for (const port of Devices.ports) {
    if ((yield* countOn(qmp, port, port)) === 0) return port
  }
  return undefined
})

/** The host's end of a device: its file, or its card's cable. */
const addBack = (qmp: QmpService, device: DeviceShape): Effect.Effect<void, QmpFailure> => {
  const { card, kind, name, path } = device
  if (path !== undefined) return Effect.asVoid(qmp.execute("blockdev-add", Devices.blockOf(device)))
  if (card === undefined) return Effect.void
  if (card.port === undefined) {
    // A hub of the VLAN's number is a network of this machine alone.
    return QmpCommands.netdevAdd(qmp, "hubport", Devices.backOf(name), { hubid: "vlan" in kind ? kind.vlan : 0 })
  }
  const addr = { type: "unix", path: card.socket }
  return QmpCommands.netdevAdd(qmp, "stream", Devices.backOf(name), { server: true, addr })
}

/** The VLAN's cable of a card that QEMU has. */
const plugCable = ({ card }: DeviceShape, refuse: (reason: string) => PlugFailed) =>
  card?.port === undefined
    ? Effect.void
    : Effect.mapError(card.port.plugIn(card.socket), ({ message }) => refuse(message))

const hasBack = ({ card, path }: DeviceShape): boolean => path !== undefined || card !== undefined

/** Succeeds if there is nothing to remove. The guest may have released an unplugged device late; then the next device of its name does this. */
const removeBack = (qmp: QmpService, name: string) => {
  const back = Devices.backOf(name)
  return qmp.execute("blockdev-del", { "node-name": back }).pipe(
    Effect.retry({
      schedule: closeSchedule,
      while: (error) => error._tag === "QmpError" && /in use/.test(error.desc)
    }),
    Effect.ignore,
    Effect.andThen(Effect.ignore(QmpCommands.netdevDel(qmp, back)))
  )
}

const failing = (machine: string, device: string, action: PlugFailed["action"]) => (error: QmpFailure | PlugFailed) =>
  error._tag === "QmpError" ? new PlugFailed({ machine, device, action, reason: error.desc }) : error

/** Plugs a device in. One at a time. */
export const plug = (qmp: QmpService, machine: string, device: DeviceShape) => {
  const { kind, name } = device
  const shown = `${JSON.stringify(name)} (${typeOf(kind)})`
  const refuse = (reason: string) => new PlugFailed({ machine, device: shown, action: "plug in", reason })
  return Effect.gen(function* () {
    const id = Devices.idOf(name)
    const there = yield* peripherals(qmp)
    if (there.includes(id)) return yield* refuse("it has a device of this name already")
    if (!there.includes(Devices.usb)) return yield* refuse("it has no ports for that; declare it with hotplug: true")
    if (isUsb(kind) && (yield* countOn(qmp, Devices.usb, `${Devices.usb}.0`)) >= Limits.mostUsb) {
      return yield* refuse(`it has ${Limits.mostUsb} devices on USB, the most that fit; unplug one of them first`)
    }
    const bus = isUsb(kind) ? undefined : yield* freePort(qmp)
    if (bus === undefined && !isUsb(kind)) {
      return yield* refuse(`its ${Devices.ports.length} ports for such devices are taken; unplug one of them first`)
    }
    const added = addBack(qmp, device).pipe(
      Effect.andThen(QmpCommands.deviceAdd(qmp, Devices.driverOf(kind), id, Devices.propertiesOf(device, bus))),
      Effect.andThen(plugCable(device, refuse)),
      Effect.onError(() => removeBack(qmp, name))
    )
    // Half a device would keep its name taken. QMP's own timeouts bound it.
    yield* Effect.uninterruptible(hasBack(device) ? Effect.andThen(removeBack(qmp, name), added) : added)
  }).pipe(Effect.mapError(failing(machine, shown, "plug in")))
}

/** QEMU's word for a device that it has told the guest of before. */
const underWay = /already in the process of unplug/

/** Takes a device out, and waits until the guest has let it go. */
export const unplug = (qmp: QmpService, machine: string, name: string) => {
  const id = Devices.idOf(name)
  const shown = JSON.stringify(name)
  return Effect.gen(function* () {
    const devices = yield* peripherals(qmp)
    if (!devices.includes(id)) {
      const names = devices.flatMap((one) =>
        one.startsWith(Devices.idOf("")) ? [one.slice(Devices.idOf("").length)] : []
      )
      const there = names.length === 0 ? "none that can be unplugged" : names.join(", ")
      const reason = `it does not have this device; it has ${there}`
      return yield* new PlugFailed({ machine, device: shown, action: "unplug", reason })
    }
    yield* QmpCommands.deviceDel(qmp, id).pipe(
      Effect.catchIf(
        (error) => error._tag === "QmpError" && underWay.test(error.desc),
        () => Effect.void
      )
    )
    yield* Effect.repeat(peripherals(qmp), { schedule: goneSchedule, while: (ids) => ids.includes(id) })
    yield* removeBack(qmp, name)
  }).pipe(Effect.mapError(failing(machine, shown, "unplug")))
}

/** Devices of the command line that no test names. */
const own = /^(card-|ports\d|hot\d|usb$)/

const Flag = Schema.Boolean

/** How a machine's devices differ from its command line: no other machine could load its state. Undefined if they do not. */
export const changes = Effect.fnUntraced(function* (
  qmp: QmpService,
  { devices = [] }: MachineShape
): Effect.fn.Return<string | undefined, QmpFailure> {
  const there = (yield* peripherals(qmp)).filter((id) => !own.test(id))
  const nameOf = (id: string) =>
    JSON.stringify(id.startsWith(Devices.idOf("")) ? id.slice(Devices.idOf("").length) : id)
  for (const id of there) {
    const path = `/machine/peripheral/${id}`
    if (yield* qmp.execute("qom-get", { path, property: "hotplugged" }, Flag)) {
      return `the device ${nameOf(id)} was plugged in while the machine ran; unplug it first`
    }
  }
  const gone = devices.find(({ kind, name }) => typeOf(kind) !== "usb" && !there.includes(Devices.idOf(name)))
  return gone === undefined ? undefined : `the declared device ${JSON.stringify(gone.name)} was unplugged`
})
