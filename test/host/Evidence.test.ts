import { assert, describe, it } from "@effect/vitest"
import { panicIn } from "../../src/host/Evidence.ts"

describe("a panic on a console", () => {
  it("is found with its reason, wherever it is told", () => {
    const reason = "VFS: Unable to mount root fs on unknown-block(0,0)"
    const first = `[    1.512] Kernel panic - not syncing: ${reason}\r\n`
    assert.strictEqual(panicIn(first), reason)
    assert.strictEqual(panicIn(`${first}[    1.6] Call Trace:\n[    1.7]  dump_stack_lvl+0x38/0x4d\n`), reason)
    assert.strictEqual(panicIn(`[    1.9] ---[ end Kernel panic - not syncing: ${reason} ]---\n`), reason)
  })

  it("is none after a reboot or a power-off in order", () => {
    const panic = "Kernel panic - not syncing: sysrq triggered crash\n"
    assert.isUndefined(panicIn(""))
    assert.isUndefined(panicIn("web login: \n"))
    assert.isUndefined(panicIn(`${panic}[    9.1] reboot: Restarting system\n`))
    assert.isUndefined(panicIn(`${panic}[    9.1] reboot: Power down\n`))
    assert.strictEqual(panicIn(`[    9.1] reboot: Restarting system\n${panic}`), "sysrq triggered crash")
  })
})
