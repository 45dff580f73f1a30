import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type { MachineShape } from "../../../src/backends/Backend.ts"
import type { DeviceShape } from "../../../src/backends/Device.ts"
import * as Devices from "../../../src/backends/qemu/devices.ts"
import * as Hotplug from "../../../src/backends/qemu/hotplug.ts"
import { QmpError } from "../../../src/transport/qmp/Qmp.ts"
import { qmpOf } from "../../transport/qmpOf.ts"

/** A QEMU that knows which devices it has, and lets them go when the test says so. */
const makeQemu = (there: ReadonlyArray<string> = [], hotplugged: ReadonlyArray<string> = []) => {
  const ids = new Set(["usb", ...there])
  const taken = new Set<string>()
  const said: Array<readonly [string, unknown]> = []
  const refuse = { driver: "" }
  const usb = { count: 0 }
  const answers: Readonly<Record<string, (args: Record<string, unknown>) => unknown>> = {
    "qom-list": ({ path }) => {
      const port = /^\/machine\/peripheral\/(hot\d)\/hot\d$/.exec(String(path))?.[1]
      if (path === "/machine/peripheral/usb/usb.0") {
        return Array.from({ length: usb.count }, (_, index) => ({ name: `child[${index}]`, type: "link<thing>" }))
      }
      if (port !== undefined) return taken.has(port) ? [{ name: "child[0]", type: "link<thing>" }] : []
      return [{ name: "type", type: "string" }, ...[...ids].map((name) => ({ name, type: "child<thing>" }))]
    },
    "qom-get": ({ path }) => hotplugged.includes(String(path).split("/").at(-1) ?? ""),
    device_add: ({ bus, driver, id }) => {
      if (driver === refuse.driver) {
        throw new QmpError({ machine: "box", command: "device_add", class: "GenericError", desc: "no such driver" })
      }
      ids.add(String(id))
      taken.add(String(bus))
    }
  }
  const qmp = qmpOf((command, args) =>
    Effect.try({
      try: () => {
        if (!command.startsWith("q")) said.push([command, args])
        return answers[command]?.(args)
      },
      catch: (error) => error as QmpError
    })
  )
  return { qmp, ids, taken, said, refuse, usb }
}

const disk = (name: string): DeviceShape => ({ name, kind: { type: "disk", size: 1024 ** 2 }, path: `/run/${name}` })

describe("a device that is plugged in", () => {
  it.effect("takes the first port that is free, and its file or its cable first", () =>
    Effect.gen(function* () {
      const { qmp, said, taken } = makeQemu()
      taken.add("hot1")
      yield* Hotplug.plug(qmp, "box", disk("one"))
      assert.deepStrictEqual(
        said.map(([command]) => command),
        // What a device of this name left behind, whose guest let it go late, is removed first.
        ["blockdev-del", "netdev_del", "blockdev-add", "device_add"]
      )
      assert.deepInclude(said[3]?.[1] as object, {
        driver: "virtio-blk-pci",
        id: "device-one",
        bus: "hot2",
        drive: "back-one",
        serial: "one"
      })
    })
  )

  it.effect("is on USB without a port, if it is a USB device", () =>
    Effect.gen(function* () {
      const { qmp, said, taken } = makeQemu()
      for (const port of Devices.ports) taken.add(port)
      yield* Hotplug.plug(qmp, "box", { name: "mouse", kind: { type: "usb-mouse" } })
      assert.deepStrictEqual(said, [["device_add", { driver: "usb-mouse", id: "device-mouse", bus: "usb.0" }]])
      const full = yield* Effect.flip(Hotplug.plug(qmp, "box", disk("late")))
      assert.include(full.message, 'box: could not plug in "late" (disk): its 6 ports for such devices are taken')
    })
  )

  it.effect("is not on USB if QEMU would add a hub of its own for it", () =>
    Effect.gen(function* () {
      const { qmp, said, usb } = makeQemu()
      const mouse = { name: "mouse", kind: { type: "usb-mouse" } } as const
      usb.count = 13
      yield* Hotplug.plug(qmp, "box", mouse)
      usb.count = 14
      const full = yield* Effect.flip(Hotplug.plug(qmp, "box", { ...mouse, name: "late" }))
      assert.strictEqual(
        full.message,
        'box: could not plug in "late" (usb-mouse): it has 14 devices on USB, the most that fit; unplug one of them first'
      )
      assert.lengthOf(said, 1)
    })
  )

  it.effect("leaves nothing behind if QEMU refuses it", () =>
    Effect.gen(function* () {
      const { qmp, refuse, said } = makeQemu()
      refuse.driver = "virtio-blk-pci"
      const error = yield* Effect.flip(Hotplug.plug(qmp, "box", disk("one")))
      assert.strictEqual(error.message, 'box: could not plug in "one" (disk): no such driver')
      assert.deepStrictEqual(said.at(-2), ["blockdev-del", { "node-name": "back-one" }])
    })
  )

  it.effect("is there as a whole if whoever plugs it in is interrupted", () =>
    Effect.gen(function* () {
      const { ids, qmp, said } = makeQemu()
      const adding = yield* Deferred.make<void>()
      const slow = qmpOf((command, args) =>
        command === "blockdev-add"
          ? Effect.andThen(Deferred.succeed(adding, undefined), Effect.sleep("1 second")).pipe(
              Effect.andThen(qmp.execute(command, args))
            )
          : qmp.execute(command, args)
      )
      const plugging = yield* Effect.forkChild(Hotplug.plug(slow, "box", disk("one")))
      yield* Deferred.await(adding)
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(plugging), { startImmediately: true })
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(
        said.slice(2).map(([command]) => command),
        ["blockdev-add", "device_add"]
      )
      assert.isTrue(ids.has("device-one"))
    })
  )

  it.effect("needs a machine that has ports", () =>
    Effect.gen(function* () {
      const { ids, qmp } = makeQemu()
      ids.delete("usb")
      const error = yield* Effect.flip(Hotplug.plug(qmp, "box", disk("one")))
      assert.include(error.message, "it has no ports for that; declare it with hotplug: true")
    })
  )

  it.effect("cannot have the name of another", () =>
    Effect.gen(function* () {
      const { qmp, said } = makeQemu(["device-one"])
      const error = yield* Effect.flip(Hotplug.plug(qmp, "box", disk("one")))
      assert.include(error.message, "it has a device of this name already")
      assert.deepStrictEqual(said, [])
    })
  )
})

describe("a device that is unplugged", () => {
  it.effect("is waited for until its guest has let it go, and what was behind it is closed then", () =>
    Effect.gen(function* () {
      const { ids, qmp, said } = makeQemu(["device-one"])
      const unplugging = yield* Effect.forkChild(Hotplug.unplug(qmp, "box", "one"), { startImmediately: true })
      yield* TestClock.adjust("1 second")
      assert.isUndefined(unplugging.pollUnsafe())
      assert.deepStrictEqual(said, [["device_del", { id: "device-one" }]])
      ids.delete("device-one")
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(unplugging)
      assert.deepInclude(said, ["blockdev-del", { "node-name": "back-one" }])
    })
  )

  it.effect("is named with those that there are, if there is none of that name", () =>
    Effect.gen(function* () {
      const { qmp } = makeQemu(["device-one", "hot1", "card-eth1"])
      const error = yield* Effect.flip(Hotplug.unplug(qmp, "box", "two"))
      assert.strictEqual(error.message, 'box: could not unplug "two": it does not have this device; it has one')
    })
  )
})

describe("a machine that is saved", () => {
  const shape = {
    devices: [{ name: "stick", kind: { type: "usb-storage", size: 1 } }]
  } as Partial<MachineShape> as MachineShape
  it.effect("has the devices of its command line, and no others", () =>
    Effect.gen(function* () {
      const same = makeQemu(["device-stick", "hot1", "usb", "ports0", "card-user"])
      assert.isUndefined(yield* Hotplug.changes(same.qmp, shape))
      const more = makeQemu(["device-stick", "device-late"], ["device-late"])
      assert.strictEqual(
        yield* Hotplug.changes(more.qmp, shape),
        'the device "late" was plugged in while the machine ran; unplug it first'
      )
      // By a QMP command of the test's own.
      const other = makeQemu(["device-stick", "mine"], ["mine"])
      assert.include(yield* Hotplug.changes(other.qmp, shape), '"mine" was plugged in')
      const less = makeQemu([])
      assert.strictEqual(yield* Hotplug.changes(less.qmp, shape), 'the declared device "stick" was unplugged')
    })
  )
})
