import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Job from "../../src/fleet/Job.ts"

const gibibyte = 2 ** 30

describe("queues", () => {
  const needs = { architecture: "x86_64", kvm: false, tools: [], memory: 0 }
  const facts: Job.Facts = { protocol: Job.protocol, architecture: "x86_64", accelerator: "tcg", tools: [] }

  it("have names that tell the protocol's version and what a file needs", () => {
    assert.strictEqual(Job.queueFor(needs), "v2.x86_64.any.0")
    assert.strictEqual(
      Job.queueFor({ ...needs, memory: 2.5 * gibibyte, tools: ["swtpm", "cloud-hypervisor", "swtpm"] }),
      "v2.x86_64.any.3g+cloud-hypervisor+swtpm"
    )
    assert.strictEqual(Job.queueFor({ ...needs, kvm: true, memory: 1.2 * gibibyte }), "v2.x86_64.kvm.1536m")
    assert.isUndefined(Job.queueFor({ ...needs, memory: 2000 * gibibyte }))
    assert.strictEqual(Job.describeQueue("v2.x86_64.kvm.3g+swtpm"), "x86_64, KVM, 3 GiB of memory, swtpm")
    assert.strictEqual(Job.describeQueue("v9.x86_64.any.0"), "x86_64, any accelerator, no machines, protocol v9")
  })

  const size = Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 1024 })))
  const tools = Schema.Array(Schema.Literals(Job.optionalTools))

  it.prop(
    "are served by a worker that has what a file needs, and by no other",
    {
      ...{ needed: size, had: size, kvm: Schema.Boolean, hasKvm: Schema.Boolean },
      ...{ tools, more: tools, isFull: Schema.Boolean, other: Schema.Boolean, arm: Schema.Boolean }
    },
    ({ arm, had, hasKvm, isFull, kvm, more, needed, other, tools }) => {
      const memory = needed * gibibyte
      const queue = Job.queueFor({ architecture: "x86_64", kvm, tools, memory }) ?? ""
      const host: Job.Facts = {
        protocol: other ? Job.protocol + 1 : Job.protocol,
        architecture: arm ? "aarch64" : "x86_64",
        accelerator: hasKvm ? "kvm" : "tcg",
        tools: isFull ? [...tools, ...more] : more
      }
      const fits = (Job.roundedUp(memory) ?? Number.POSITIVE_INFINITY) <= had * gibibyte
      const has = tools.every((tool) => host.tools.includes(tool))
      assert.strictEqual(Job.serves(host, had * gibibyte)(queue), fits && has && !other && !arm && (hasKvm || !kvm))
      assert.strictEqual(Job.fits(queue, had * gibibyte), fits)
      assert.isAtMost(Job.roundedUp(memory) ?? 0, Math.max(gibibyte / 2, 1.5 * memory))
    }
  )

  it("are not served by workers of before the version was a part of what they say", () => {
    const old = Job.factsOf(JSON.stringify({ architecture: "x86_64", accelerator: "kvm", tools: [], memory: gibibyte }))
    assert.isFalse(Job.serves(old, old.memory)("v2.x86_64.any.0"))
    assert.isTrue(Job.serves(old, old.memory)("v1.x86_64.any.0"))
    assert.isTrue(Job.serves(facts, 0)("v2.x86_64.any.0"))
  })
})
