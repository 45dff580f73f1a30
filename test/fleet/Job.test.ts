import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Job from "../../src/fleet/Job.ts"

const gibibyte = 2 ** 30

describe("queues", () => {
  const needs = { architecture: "x86_64", kvm: false, tools: [], memory: 0 }
  const facts: Job.Facts = { architecture: "x86_64", accelerator: "tcg", tools: [] }

  it("have names that tell the protocol's version and what a file needs", () => {
    assert.strictEqual(Job.queueFor(needs), "v1.x86_64.any.0")
    assert.strictEqual(Job.queueFor({ ...needs, memory: 2.5 * gibibyte, tools: ["swtpm"] }), "v1.x86_64.any.3g+swtpm")
    assert.strictEqual(Job.queueFor({ ...needs, kvm: true, memory: 1.2 * gibibyte }), "v1.x86_64.kvm.1536m")
    assert.isUndefined(Job.queueFor({ ...needs, memory: 2000 * gibibyte }))
    assert.strictEqual(Job.describeQueue("v1.x86_64.kvm.3g+swtpm"), "x86_64, KVM, 3 GiB of memory, swtpm")
    assert.strictEqual(Job.describeQueue("v9.x86_64.any.0"), "x86_64, any accelerator, no machines, protocol v9")
  })

  it.prop(
    "are served by a worker that has what a file needs, and by no other",
    {
      needed: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 1024 }))),
      had: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 1024 }))),
      kvm: Schema.Boolean,
      hasKvm: Schema.Boolean,
      tpm: Schema.Boolean,
      hasTpm: Schema.Boolean
    },
    ({ had, hasKvm, hasTpm, kvm, needed, tpm }) => {
      const memory = needed * gibibyte
      const queue = Job.queueFor({ architecture: "x86_64", kvm, tools: tpm ? ["swtpm"] : [], memory })
      const host: Job.Facts = {
        architecture: "x86_64",
        accelerator: hasKvm ? "kvm" : "tcg",
        tools: hasTpm ? ["swtpm", "vde_switch"] : []
      }
      const served = Job.queuesFor(host, had * gibibyte).includes(queue ?? "")
      const fits = (Job.roundedUp(memory) ?? Number.POSITIVE_INFINITY) <= had * gibibyte
      assert.strictEqual(served, fits && (hasKvm || !kvm) && (hasTpm || !tpm))
      assert.isAtMost(Job.roundedUp(memory) ?? 0, Math.max(gibibyte / 2, 1.5 * memory))
    }
  )

  it("are each named once", () => {
    const all = Job.queuesFor({ ...facts, accelerator: "kvm", tools: Job.optionalTools }, 1024 * gibibyte)
    assert.lengthOf(new Set(all), all.length)
  })
})
