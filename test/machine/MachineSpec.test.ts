import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Image from "../../src/images/Image.ts"
import * as MachineSpec from "../../src/machine/MachineSpec.ts"

const image = Image.tiny()
const GiB = 1024 ** 3

const check = (name: string, options: Partial<MachineSpec.MachineOptions> = {}) =>
  MachineSpec.check(name, { image, ...options }).pipe(
    Effect.provideService(MachineSpec.HostLimits, { memory: 8 * GiB, cpus: 4 })
  )

const refused = (name: string, options: Partial<MachineSpec.MachineOptions>, option: string, words: string) =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(check(name, options))
    assert.strictEqual(error._tag, "InvalidMachine")
    assert.strictEqual(error.option, option)
    assert.include(error.message, words)
    assert.include(error.message, JSON.stringify(name))
  })

describe("a machine's declaration", () => {
  it.effect("needs only an image", () =>
    Effect.gen(function* () {
      const spec = yield* check("web")
      assert.deepStrictEqual(spec, {
        name: "web",
        image,
        memory: GiB,
        cpus: 1,
        disks: [],
        vlans: [1],
        autoStart: true,
        warmUp: undefined,
        snapshot: true,
        allowReboot: false,
        internet: false,
        forwards: []
      })
    })
  )

  it.effect("takes sizes as text or as bytes", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* check("a", { memory: "512 MiB" })).memory, 512 * 1024 ** 2)
      assert.strictEqual((yield* check("a", { memory: "2GB" })).memory, 2e9)
      assert.strictEqual((yield* check("a", { memory: 268_435_456 })).memory, 268_435_456)
    })
  )

  it.effect("takes the sizes of disks, in whole mebibytes", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual((yield* check("a", { disks: ["1 GiB", 1_048_577] })).disks, [GiB, 2_097_152])
      yield* refused("a", { disks: [-1] }, "disks", '"-1"')
      yield* refused("a", { disks: [1000] }, "disks", "1 MiB")
    })
  )

  for (const name of ["", "-a", "a-", "a_b", "a b", "a.b", "é", "a".repeat(64)]) {
    it.effect(`refuses the name ${JSON.stringify(name)}`, () => refused(name, {}, "name", "not a valid host name"))
  }

  it.effect("takes every host name", () =>
    Effect.forEach(["a", "A1", "web-2", "0", "a".repeat(63)], (name) => check(name), { discard: true })
  )

  for (const [given, option, meant] of [
    [{ allowreboot: true }, "allowreboot", "the nearest is allowReboot, of image, memory, cpus"],
    [{ memorySize: 1024 }, "memorySize", "the nearest is memory,"],
    [{ imgae: image }, "imgae", "the nearest is image,"],
    [{ forwards: [{ hostPort: 1, guestport: 2 }] }, "forwards.guestport", "the nearest is guestPort,"],
    [{ warmUp: { run: () => Effect.void, kye: "1" } }, "warmUp.kye", "the nearest is key,"]
  ] as const) {
    it.effect(`refuses the misspelt ${option}`, () => refused("a", given as object, option, meant))
  }

  it.effect("refuses memory that makes no sense", () =>
    Effect.gen(function* () {
      yield* refused("a", { memory: 0 }, "memory", "not a size")
      yield* refused("a", { memory: -1 }, "memory", "not a size")
      yield* refused("a", { memory: Number.NaN }, "memory", "not a size")
      yield* refused("a", { memory: "lots" as "1 B" }, "memory", '"lots"')
      yield* refused("a", { memory: "1 MiB" }, "memory", "the least is 64 MiB")
    })
  )

  it.effect("refuses more than the host has", () =>
    Effect.gen(function* () {
      yield* refused("a", { memory: "9 GiB" }, "memory", "this host has 8 GiB")
      yield* refused("a", { cpus: 5 }, "cpus", "this host has 4")
    })
  )

  it.effect("refuses processors, networks and ports that make no sense", () =>
    Effect.gen(function* () {
      yield* refused("a", { cpus: 0 }, "cpus", "whole number")
      yield* refused("a", { cpus: 1.5 }, "cpus", "whole number")
      yield* refused("a", { vlans: [0] }, "vlans", "1 to 254")
      yield* refused("a", { vlans: [1, 1] }, "vlans", "twice")
      yield* refused("a", { forwards: [{ hostPort: 80, guestPort: 70000 }] }, "forwards", "70000")
    })
  )

  it.effect("refuses an image that is none", () =>
    Effect.gen(function* () {
      const withImage = (image: unknown) => ({ image: image as Image.Image })
      for (const none of ["debian", {}, { _tag: "Nope" }, null, 1]) {
        yield* refused("a", withImage(none), "image", "not an image")
      }
      yield* refused("a", withImage(Image.debian), "image", "call it: Image.debian({})")
      yield* refused("a", withImage(undefined), "image", "is missing")
    })
  )

  it.effect("refuses a warm-up that is none", () =>
    Effect.forEach(["prepare", { key: "1" }], (warmUp) =>
      refused("a", { warmUp: warmUp as never }, "warmUp", "neither a function nor")
    )
  )

  it.effect("refuses what should be an array and is none", () =>
    Effect.gen(function* () {
      yield* refused("a", { vlans: 1 as unknown as [] }, "vlans", "is 1, not an array")
      yield* refused("a", { forwards: 1 as unknown as [] }, "forwards", "is 1, not an array")
      yield* refused("a", { forwards: [80 as unknown as MachineSpec.Forward] }, "forwards", "has 80")
    })
  )

  it.effect("refuses names that differ only in case", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(MachineSpec.checkAll({ web: { image }, Web: { image } }))
      assert.include(error.message, 'differs from "web" only in case')
    })
  )

  it.effect("refuses machines that need more memory together than the host has", () =>
    Effect.gen(function* () {
      const of = (memory: "3 GiB" | "5 GiB") => ({ image, memory })
      yield* MachineSpec.checkAll({ a: of("3 GiB"), b: of("5 GiB") })
      const error = yield* Effect.flip(MachineSpec.checkAll({ a: of("3 GiB"), b: of("5 GiB"), c: of("3 GiB") }))
      assert.strictEqual(error.machine, "c")
      assert.include(error.message, "memory is 3 GiB, 11 GiB with the machines before it; this host has 8 GiB")
    }).pipe(Effect.provideService(MachineSpec.HostLimits, { memory: 8 * GiB, cpus: 4 }))
  )

  it.effect("accepts no machines at all", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* MachineSpec.checkAll({}), [])
    })
  )
})
