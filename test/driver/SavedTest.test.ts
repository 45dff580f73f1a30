import * as Fs from "node:fs"
import * as Path from "node:path"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Backend } from "../../src/backends/Backend.ts"
import * as Mock from "../../src/backends/mock/Mock.ts"
import * as SavedTest from "../../src/driver/SavedTest.ts"
import { SoftFailures } from "../../src/driver/SoftFailure.ts"
import * as RunDirectory from "../../src/host/RunDirectory.ts"
import * as Image from "../../src/images/Image.ts"
import { ImageStore } from "../../src/images/ImageStore.ts"
import * as NetworkSpec from "../../src/network/NetworkSpec.ts"
import { temporaryFolder } from "./storeSupport.ts"
import { driverOf, imageStore, offline } from "./support.ts"

describe("the folder of a failed test", () => {
  it.live("is refused when the kernel of its image is not in the cache any more", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const there = Path.join(folder, "initrd")
      Fs.mkdirSync(folder, { recursive: true })
      Fs.writeFileSync(there, "")
      const image = {
        digest: "1",
        kernel: Path.join(folder, "kernel"),
        initrd: there,
        cmdline: "",
        guest: "tiny",
        builtAt: 0
      }
      const size = { memory: 2 ** 27, cpus: 1, disks: [], vlans: [] }
      const machine = {
        name: "a",
        guest: "a",
        number: 1,
        ...size,
        internet: false,
        allowReboot: false,
        description: "tiny",
        image
      }
      const saved = { format: 1, test: "t", savedAt: 0, host: { hypervisor: "mock 1" }, machines: [machine] }
      Fs.writeFileSync(Path.join(folder, "resume.json"), JSON.stringify(saved))
      const open = SavedTest.open(folder).pipe(
        Effect.provide(Mock.layer()),
        Effect.provideService(ImageStore, imageStore)
      )
      assert.match((yield* Effect.flip(open)).message, /the image of a \(tiny\) is no longer in the cache/)
      Fs.writeFileSync(image.kernel, "")
      assert.strictEqual((yield* open).test, "t")
    })
  )

  it.live("is refused when the disk that a machine boots from has changed, which is not in the cache", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const path = Path.join(folder, "disk.raw")
      Fs.writeFileSync(path, "one")
      const store = yield* ImageStore
      const image = yield* store.resolve(Image.disk({ path, cmdline: "quiet" }))
      const size = { memory: 2 ** 27, cpus: 1, disks: [], vlans: [], internet: false, allowReboot: false }
      const machine = { name: "a", guest: "a", number: 1, ...size, description: "disk", image }
      const saved = { format: 1, test: "t", savedAt: 0, host: { hypervisor: "mock 1" }, machines: [machine] }
      Fs.writeFileSync(Path.join(folder, "resume.json"), JSON.stringify(saved))
      const open = Effect.provide(SavedTest.open(folder), Mock.layer())
      assert.strictEqual((yield* open).test, "t")
      Fs.writeFileSync(path, "another disk")
      assert.match((yield* Effect.flip(open)).message, /the image of a \(disk\) has changed/)
    }).pipe(Effect.provide(ImageStore.layer))
  )

  it.live("goes on with the networks and the addresses that its test declared", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const networks = NetworkSpec.resolve({ lan: {}, dmz: { vlan: 7, mtu: 9000, hub: true } })!
      const card = { vlan: "dmz", mac: "52:54:00:aa:bb:cc", ipv4: "10.0.0.5/8", ipv6: "none" }
      const idle = offline({ autoStart: false, vlans: ["lan", card, { vlan: "dmz" }] })
      const declared = { lan: {}, dmz: { vlan: 7, mtu: 9000, hub: true } }
      const failed = yield* driverOf({ a: idle }, {}, false, { networks: declared })
      const { backend } = yield* Mock.make()
      const program = Effect.gen(function* () {
        yield* SavedTest.save({ folder, test: "t", handles: failed.handles(), networks, now: 0 })
        const soft = new SoftFailures()
        const driver = yield* SavedTest.resume(yield* SavedTest.open(folder), { output: folder, soft })
        assert.deepStrictEqual(driver.machines.a?.interfaces, failed.machines.a?.interfaces)
        assert.strictEqual(driver.machines.a?.interfaces[1]?.ipv4, "10.0.0.5")
        const { interfaces } = yield* driver.machine("b", offline({ autoStart: false, vlans: ["dmz"] }))
        assert.strictEqual(interfaces[0]?.mac, "52:54:00:12:07:02")
        const { message } = yield* Effect.flip(driver.machine("c", offline({ vlans: [2] })))
        assert.strictEqual(message, "c: unknown network 2; the networks are lan (1), dmz (7)")
      })
      yield* program.pipe(
        Effect.provideService(Backend, backend),
        Effect.provideService(ImageStore, imageStore),
        Effect.provideServiceEffect(RunDirectory.RunDirectory, RunDirectory.make({ base: folder })),
        Effect.provide(NodeServices.layer)
      )
    })
  )

  it.live("goes on with machines that are declared only now, and tells of subtests that fail softly", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const failed = yield* driverOf({ a: offline() })
      yield* failed.begin
      const { backend } = yield* Mock.make()
      const program = Effect.gen(function* () {
        yield* SavedTest.save({ folder, test: "t", handles: failed.handles(), now: 0 })
        const soft = new SoftFailures()
        const driver = yield* SavedTest.resume(yield* SavedTest.open(folder), { output: folder, soft })
        const late = yield* driver.machine("late", offline({ snapshot: false }))
        assert.strictEqual(yield* late.succeed("true"), "")
        yield* driver.subtest("passes", Effect.void, { softFail: true })
        assert.isUndefined(soft.take())
        yield* driver.subtest("the small print", Effect.fail(new Error("it was wrong")), { softFail: true })
        assert.include(soft.take()?.message, "it was wrong")
      })
      yield* program.pipe(
        Effect.provideService(Backend, backend),
        Effect.provideService(ImageStore, imageStore),
        Effect.provideServiceEffect(RunDirectory.RunDirectory, RunDirectory.make({ base: folder })),
        Effect.provide(NodeServices.layer)
      )
    })
  )
})
