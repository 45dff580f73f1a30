/** What workers, clients and the database of a fleet do when one of them goes away. */
import { existsSync, readFileSync } from "node:fs"
import { assert, describe, it } from "vitest"
import { missing } from "../test/fleet/postgres.ts"
import { sleeper } from "../test/fleet/processes.ts"
import { fleets } from "./fleetSupport.ts"

/** A zombie is gone, whoever has not noticed it yet. */
const alive = (pid: number): boolean =>
  existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))

describe.skipIf(missing !== undefined)(`faults of a fleet${missing === undefined ? "" : ` (${missing})`}`, () => {
  const start = fleets()

  it("drains on SIGTERM, and gives the running file back on the second", async () => {
    const { command, worker } = start({ "slow.ts": sleeper("slow", 8000), "quick.ts": sleeper("quick", 1000) })
    const first = await worker("--slots", "1", "--name", "first")
    const quick = command("run", "quick.ts")
    await quick.says(/quick on \d+/)
    first.signal("SIGTERM")
    assert.strictEqual(await quick.ended, 0, quick.said())
    assert.strictEqual(await first.ended, 0, first.said())

    const second = await worker("--slots", "1", "--name", "second")
    const slow = command("run", "slow.ts")
    await slow.says(/slow on \d+/)
    second.signal("SIGTERM")
    await second.says(/taking no more files/)
    second.signal("SIGTERM")
    assert.strictEqual(await second.ended, 0, second.said())
    await worker("--slots", "1", "--name", "third")
    assert.strictEqual(await slow.ended, 0, slow.said())
    assert.match(slow.said(), /its host was lost; it is started again/)
  })

  it("starts a file again whose worker was killed, and leaves nothing behind", async () => {
    const { command, sql, worker } = start({ "slow.ts": sleeper("slow", 6000) })
    const first = await worker("--slots", "1", "--lease", "3 seconds")
    const run = command("run", "slow.ts")
    const [, pid] = /slow on (\d+)/.exec(await run.says(/slow on \d+/)) ?? []
    await worker("--slots", "1", "--lease", "3 seconds")
    first.signal("SIGKILL")
    await first.ended
    await new Promise((resolve) => setTimeout(resolve, 500))
    assert.isFalse(alive(Number(pid)))
    assert.strictEqual(await run.ended, 0, run.said())
    assert.strictEqual(sql("SELECT attempt || ' ' || losses || ' ' || state FROM vmtest.job"), "2 1 done")
  })

  it("ends the tests of a frozen worker by themselves, and refuses what it says late", async () => {
    const { command, sql, worker } = start({ "slow.ts": sleeper("slow", 10_000) })
    const frozen = await worker("--slots", "1", "--lease", "3 seconds", "--name", "frozen")
    const run = command("run", "slow.ts")
    await run.says(/slow on \d+/)
    frozen.signal("SIGSTOP")
    const other = await worker("--slots", "1", "--lease", "3 seconds", "--name", "other")
    assert.strictEqual(await run.ended, 0, run.said())
    frozen.signal("SIGCONT")
    await frozen.says(/slow\.ts: another host has it now/)
    assert.strictEqual(sql("SELECT attempt || ' ' || losses || ' ' || state FROM vmtest.job"), "2 1 done")
    assert.strictEqual(sql("SELECT count(DISTINCT attempt) FROM vmtest.event"), "2")
    other.signal("SIGTERM")
    frozen.signal("SIGTERM")
    assert.deepStrictEqual(await Promise.all([other.ended, frozen.ended]), [0, 0])
  })

  it("can be left and attached to, and cancelled", async () => {
    const { command, sql, worker } = start({ "slow.ts": sleeper("slow", 4000), "long.ts": sleeper("long", 60_000) })
    await worker("--slots", "2")
    const run = command("run", "slow.ts")
    const [, id = ""] = /called (\w+)/.exec(await run.says(/slow on \d+/)) ?? []
    run.signal("SIGKILL")
    const attached = command("attach", id)
    assert.strictEqual(await attached.ended, 0, attached.said())
    assert.match(attached.said(), /slow on \d+[\s\S]*1 passed, 0 failed/)

    const long = command("run", "long.ts")
    const [, other = ""] = /called (\w+)/.exec(await long.says(/long on \d+/)) ?? []
    const cancel = command("cancel", other)
    assert.strictEqual(await cancel.ended, 0)
    assert.strictEqual(await long.ended, 2)
    assert.match(long.said(), new RegExp(`the run ${other} was cancelled`))
    const interrupted = command("run", "long.ts")
    await interrupted.says(/long on \d+/)
    interrupted.signal("SIGINT")
    assert.strictEqual(await interrupted.ended, 130)
    assert.strictEqual(
      sql("SELECT string_agg(state, ' ' ORDER BY created_at) FROM vmtest.run"),
      "done cancelled cancelled"
    )
    const missingRun = command("attach", "nothing")
    assert.strictEqual(await missingRun.ended, 2)
    assert.match(missingRun.said(), /there is no run "nothing"/)
  })

  it("goes on when Postgres is restarted", async () => {
    const { cluster, command, sql, worker } = start({
      "slow.ts": sleeper("slow", 4000),
      "next.ts": sleeper("next", 100)
    })
    await worker("--slots", "1")
    const run = command("run", "slow.ts", "next.ts")
    await run.says(/slow on \d+/)
    cluster.stop()
    cluster.start()
    assert.strictEqual(await run.ended, 0, run.said())
    assert.match(run.said(), /2 passed, 0 failed/)
    assert.strictEqual(sql("SELECT max(attempt) FROM vmtest.job"), "1")
  })
})
