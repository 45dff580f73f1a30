import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as ExitReason from "../../src/actors/ExitReason.ts"

describe("ExitReason", () => {
  it("counts normal, shutdown and shutdown with a detail as normal, and nothing else", () => {
    const { normal, shutdown, kill, killed, noProcess } = ExitReason
    const abnormal = [kill, killed, noProcess, ExitReason.custom("normal"), ExitReason.crashed(Cause.die("x"))]
    for (const reason of [normal, shutdown, ExitReason.shutdownWith(1)]) assert.isTrue(ExitReason.isNormal(reason))
    for (const reason of abnormal) assert.isFalse(ExitReason.isNormal(reason))
  })

  it("finds the reason given to Process.exit in a cause", () => {
    const cause = Cause.die(new ExitReason.ExitDefect(ExitReason.shutdown))
    assert.strictEqual(ExitReason.fromCause(cause), ExitReason.shutdown)
  })

  it("takes an interruption by nobody's signal for a kill, and anything else for a crash", () => {
    assert.strictEqual(ExitReason.fromCause(Cause.interrupt(1))._tag, "Killed")
    const cause = Cause.fail("no")
    assert.deepStrictEqual(ExitReason.fromCause(cause), ExitReason.crashed(cause))
  })

  it("compares by tag and detail", () => {
    assert.isTrue(ExitReason.equals(ExitReason.custom("a"), ExitReason.custom("a")))
    assert.isFalse(ExitReason.equals(ExitReason.custom("a"), ExitReason.custom("b")))
    assert.isFalse(ExitReason.equals(ExitReason.kill, ExitReason.killed))
    assert.isTrue(ExitReason.equals({ _tag: "Normal" }, ExitReason.normal))
  })

  it("reads as one line", () => {
    assert.strictEqual(ExitReason.format(ExitReason.crashed(Cause.die(new Error("boom")))), "crashed: Error: boom")
    assert.strictEqual(ExitReason.format(ExitReason.shutdownWith("done")), "shutdown: done")
    assert.strictEqual(ExitReason.format(ExitReason.badReturn(7)), "bad return value: 7")
  })
})
