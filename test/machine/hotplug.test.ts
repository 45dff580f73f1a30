import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { Capability, ControlService, Hypervisor } from "../../src/backends/Backend.ts"
import { PlugFailed } from "../../src/backends/BackendError.ts"
import type { DeviceShape } from "../../src/backends/Device.ts"
import * as Hotplug from "../../src/machine/Hotplug.ts"
import * as NetworkSpec from "../../src/network/NetworkSpec.ts"
import type { QmpService } from "../../src/transport/qmp/Qmp.ts"
import { controlOf, guestOn, hostShell } from "./support.ts"

const qmp: QmpService = {
  machine: "box",
  version: "9.0.0",
  execute: () => Effect.die("no QMP here"),
  events: Stream.empty,
  waitForEvent: () => Effect.die("no QMP here"),
  hmp: () => Effect.die("no QMP here"),
  closed: Effect.never
}

const taken = (device: string) =>
  new PlugFailed({ machine: "box", device, action: "plug in", reason: "it has a device of this name already" })

/** A machine that has what was plugged in, by its name, and files of that in a folder. */
const makeBox = (
  changes: Partial<ControlService> = {},
  port: Hotplug.Surroundings["port"] = () => Effect.succeed(undefined),
  networks: Hotplug.Surroundings["networks"] = undefined
) =>
  Effect.gen(function* () {
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "vmtest-hotplug-"))),
      (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
    )
    const plugged = new Map<string, DeviceShape>()
    const { guest } = yield* guestOn(hostShell("bash"), {
      backend: {
        name: "qemu",
        capabilities: new Set<Capability>(["hotplug"]),
        timeScale: 1,
        fingerprint: Effect.succeed({}),
        start: () => Effect.die("no machines here")
      },
      hypervisor: Effect.succeed({ directory } as Partial<Hypervisor> as Hypervisor),
      control: Effect.succeed({
        ...controlOf(qmp),
        plug: (device) =>
          Effect.suspend(() => {
            if (plugged.has(device.name)) return taken(device.name)
            plugged.set(device.name, device)
            return Effect.void
          }),
        unplug: (name) => Effect.sync(() => void plugged.delete(name)),
        ...changes
      })
    })
    const fileOf = (name: string) => plugged.get(name)?.path ?? "none"
    return { ...Hotplug.make(guest, { number: 7, networks, port, cards: [] }), directory, plugged, fileOf }
  })

const disk = { type: "disk", size: "1 MiB", name: "extra" } as const

describe("plugging in", () => {
  it.effect("leaves the file of a device alone whose name another one is refused for", () =>
    Effect.gen(function* () {
      const { directory, fileOf, hotplug, unplug } = yield* makeBox()
      const plugged = yield* hotplug(disk)
      const file = fileOf("extra")
      Fs.writeFileSync(file, "hello")
      const twice = yield* Effect.flip(hotplug(disk))
      assert.strictEqual(twice._tag, "PlugFailed")
      assert.strictEqual(Fs.readFileSync(file, "utf8"), "hello")
      assert.lengthOf(Fs.readdirSync(directory), 1)
      yield* unplug(plugged)
      assert.deepStrictEqual(Fs.readdirSync(directory), [])
      yield* hotplug(disk)
      assert.strictEqual(Fs.readFileSync(fileOf("extra")).toString("hex", 0, 5), "0000000000")
    })
  )

  it.effect("that nobody waits for any more is done, and its device is unplugged with its file", () =>
    Effect.gen(function* () {
      const begun = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const { directory, hotplug, unplug } = yield* makeBox({
        plug: () => Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(go))
      })
      const plugging = yield* Effect.forkChild(hotplug(disk))
      yield* Deferred.await(begun)
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(plugging), { startImmediately: true })
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(interrupting)
      assert.lengthOf(Fs.readdirSync(directory), 1)
      yield* unplug("extra")
      assert.deepStrictEqual(Fs.readdirSync(directory), [])
    })
  )

  it.effect("a card is on a network by its name, and on none that the test does not have", () =>
    Effect.gen(function* () {
      const asked: Array<number> = []
      const networks = NetworkSpec.resolve({ lan: {}, dmz: { vlan: 7, mtu: 9000 } })
      const port = (number: number) =>
        Effect.as(
          Effect.sync(() => asked.push(number)),
          undefined
        )
      const { directory, hotplug, plugged } = yield* makeBox({}, port, networks)
      const mac = "52:54:00:ff:01:07"
      const { mac: given } = yield* hotplug({ type: "network-card", vlan: "dmz", name: "wire" })
      assert.deepStrictEqual(asked, [7])
      assert.strictEqual(given, mac)
      assert.deepStrictEqual(plugged.get("wire")?.kind, { type: "network-card", vlan: 7, name: "wire" })
      assert.deepStrictEqual(plugged.get("wire")?.card, {
        ...{ mac, port: undefined, mtu: 9000 },
        socket: `${directory}/card-1`
      })
      const failed = yield* Effect.flip(hotplug({ type: "network-card", vlan: "dmzz", name: "other" }))
      assert.strictEqual(
        failed.message,
        'box: could not plug in "other" (network-card): unknown network "dmzz"; did you mean "dmz"?'
      )
    })
  )
})

describe("unplugging", () => {
  it.live("says what was last seen of a device that its guest does not let go", () =>
    Effect.gen(function* () {
      const { hotplug, unplug } = yield* makeBox({ unplug: () => Effect.never })
      yield* hotplug(disk)
      const late = yield* Effect.flip(unplug("extra", { timeout: "20 millis" }))
      assert.strictEqual(late._tag, "WaitTimeout")
      assert.match(
        late.message,
        /^box: waited \S+ for the guest to let go of "extra"; last seen: qemu still has it; the guest was asked to let it go$/
      )
    })
  )
})
