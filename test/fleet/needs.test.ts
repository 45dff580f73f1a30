import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { test } from "../../src/driver/TestCase.ts"
import * as Needs from "../../src/fleet/internal/needs.ts"
import type * as Job from "../../src/fleet/Job.ts"
import * as Image from "../../src/images/Image.ts"
import type { MachineOptions } from "../../src/machine/MachineSpec.ts"

const image = Image.tiny()
let count = 0
const having = (machines: Readonly<Record<string, MachineOptions>>) =>
  test(`number ${++count}`, { machines }, () => Effect.void)

describe("what tests need of a worker", () => {
  const expects = (
    what: ReadonlyArray<ReturnType<typeof having>>,
    how: Parameters<typeof Needs.of>[2],
    wanted: Partial<Job.Needs>
  ) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(Needs.of(what, yield* Needs.check(what), how), {
        ...{ architecture: "x86_64", kvm: false, tools: [], memory: 2 ** 30 },
        ...wanted
      })
    })

  it.effect("is the memory of the largest of them", () =>
    Effect.gen(function* () {
      const small = having({ a: { image, memory: "512 MiB" } })
      const large = having({ a: { image, memory: "512 MiB" }, b: { image, memory: "1 GiB" } })
      yield* expects([small, large, having({ a: { image, memory: "512 MiB" } })], {}, { memory: 1.5 * 2 ** 30 })
      yield* expects([having({})], { accel: "kvm", backend: "firecracker" }, { memory: 0 })
    })
  )

  it.effect("is KVM where that is asked for, or where a hypervisor has nothing else", () =>
    Effect.gen(function* () {
      yield* expects([having({ a: { image } })], { accel: "kvm" }, { kvm: true })
      yield* expects([having({ a: { image } })], { accel: "tcg" }, {})
      yield* expects([having({ a: { image } })], { backend: "firecracker" }, { kvm: true, tools: ["firecracker"] })
      yield* expects(
        [having({ a: { image, backend: "cloud-hypervisor" }, b: { image, backend: "qemu" } })],
        { backend: "firecracker" },
        { kvm: true, tools: ["cloud-hypervisor"], memory: 2 * 2 ** 30 }
      )
    })
  )

  it.effect("are the programs that devices and hypervisors need", () =>
    Effect.gen(function* () {
      const kernel = Image.debian({ kernel: "generic" })
      yield* expects([having({ a: { image: kernel, devices: ["tpm"] } })], {}, { tools: ["swtpm"] })
      yield* expects(
        [having({ a: { image, backend: { name: "firecracker", jailer: true } } })],
        {},
        { kvm: true, tools: ["firecracker", "jailer"] }
      )
      yield* expects(
        [having({ a: { image, backend: { name: "cloud-hypervisor", shares: { work: "/srv" } } } })],
        {},
        { kvm: true, tools: ["cloud-hypervisor", "virtiofsd"] }
      )
    })
  )
})
