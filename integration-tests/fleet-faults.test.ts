/** What workers, clients and the database of a fleet do when one of them goes away. */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "vitest"
import { missing } from "../test/fleet/postgres.ts"
import { endAll, sleeper } from "../test/fleet/processes.ts"
import { proxy } from "../test/fleet/proxy.ts"
import { titled } from "../test/needs.ts"
import { fleets } from "./fleetSupport.ts"

/** A zombie is gone, whoever has not noticed it yet. */
const alive = (pid: number): boolean =>
  existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))

/** A test that prints 6 MB. */
const chatty = `import { Effect } from "effect"
import { test } from "vmtest"
export default test("chatty", {}, () =>
  Effect.gen(function* () {
    console.log("chatty on " + process.pid)
    for (let line = 0; line < 600; line++) {
      console.log(Array.from({ length: 700 }, () => Math.random().toString(36).slice(2)).join(" "))
      yield* Effect.sleep(10)
    }
  })
)
`

describe.skipIf(missing !== undefined)(titled("faults of a fleet", missing), () => {
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
    first.signal("SIGKILL")
    await first.ended
    await new Promise((resolve) => setTimeout(resolve, 500))
    assert.isFalse(alive(Number(pid)))
    await worker("--slots", "1", "--lease", "3 seconds")
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

  it("goes on when the connections are cut, and when they are slow", async () => {
    const { cluster, command, sql, worker } = start({
      "slow.ts": sleeper("slow", 5000),
      "next.ts": sleeper("next", 500)
    })
    const between = await proxy(cluster.port)
    try {
      const url = cluster.url(sql("SELECT current_database()")).replace(`:${cluster.port}/`, `:${between.port}/`)
      await worker("--slots", "1", "--url", url)
      const run = command("run", "slow.ts", "next.ts", "--url", url)
      await run.says(/slow on \d+/)
      await between.cut(3000)
      between.slow(150)
      assert.strictEqual(await run.ended, 0, run.said())
      assert.match(run.said(), /2 passed, 0 failed/)
      assert.strictEqual(sql("SELECT max(attempt) || ' ' || max(losses) FROM vmtest.job"), "1 0")
    } finally {
      between.close()
    }
  })

  it("ends what runs when the database is away for longer than a lease, and starts it again", async () => {
    const { cluster, command, sql, worker } = start({ "slow.ts": sleeper("slow", 60_000) })
    const between = await proxy(cluster.port)
    try {
      const url = cluster.url(sql("SELECT current_database()")).replace(`:${cluster.port}/`, `:${between.port}/`)
      await worker("--slots", "1", "--lease", "3 seconds", "--url", url)
      const run = command("run", "slow.ts")
      const [, pid] = /slow on (\d+)/.exec(await run.says(/slow on \d+/)) ?? []
      await between.cut(8000)
      // Its lease was over, so it has ended the test by itself, and takes it again now.
      assert.isFalse(alive(Number(pid)))
      await run.says(/its host was lost; it is started again/)
      run.signal("SIGINT")
      assert.strictEqual(await run.ended, 130)
    } finally {
      between.close()
    }
  })

  it("leaves jobs of another version alone, and says that nobody takes them", async () => {
    const { command, sql, worker } = start({ "quick.ts": sleeper("quick", 100) })
    await worker("--slots", "2")
    sql("INSERT INTO vmtest.run (id, title, jobs, plan) VALUES ('other', 'of version 3', 1, '{}')")
    sql("INSERT INTO vmtest.job (id, run, queue, element) VALUES ('other/0', 'other', 'v3.x86_64.any.0', '{}')")
    const run = command("run", "quick.ts")
    assert.strictEqual(await run.ended, 0, run.said())
    assert.strictEqual(sql("SELECT state || attempt FROM vmtest.job WHERE run = 'other'"), "pending0")
    const status = command("status")
    assert.strictEqual(await status.ended, 0)
    assert.match(
      status.said(),
      /no worker can run 1 waiting file that needs x86_64, any accelerator, no machines, protocol v3/
    )
  })

  it("waits for room when the disk of the database is full", async (context) => {
    const { cluster, command, sql, worker } = start({ "quick.ts": chatty, "next.ts": sleeper("next", 100) })
    const disk = mkdtempSync(join(tmpdir(), "vmtest-disk-"))
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=24m,mode=777", "tmpfs", disk]).status !== 0)
      return context.skip("a full disk needs the right to mount one")
    try {
      const database = sql("SELECT current_database()")
      mkdirSync(join(disk, "space"), { mode: 0o777 })
      spawnSync("chown", ["-R", "postgres", join(disk, "space")])
      cluster.sql(`CREATE TABLESPACE small LOCATION '${join(disk, "space")}'`)
      cluster.sql(`ALTER DATABASE ${database} SET TABLESPACE small`)
      const busy = await worker("--slots", "1")
      const run = command("run", "quick.ts", "next.ts")
      await run.says(/chatty on \d+/)
      // What is left is less than what the test prints.
      const free = Number(spawnSync("df", ["--output=avail", "-B1", disk], { encoding: "utf8" }).stdout.split("\n")[1])
      writeFileSync(join(disk, "filler"), Buffer.alloc(Math.max(0, free - 100_000)))
      const isFull = () => /No space left on device/.test(readFileSync(join(cluster.folder, "log"), "utf8"))
      for (let waited = 0; waited < 20_000 && !isFull(); waited += 100)
        await new Promise((resolve) => setTimeout(resolve, 100))
      assert.isTrue(isFull())
      await busy.says(/its disk is full .*trying again/)
      await new Promise((resolve) => setTimeout(resolve, 2000))
      rmSync(join(disk, "filler"))
      assert.strictEqual(await run.ended, 0, run.said().slice(-2000))
      assert.strictEqual(sql("SELECT max(attempt) FROM vmtest.job"), "1")
    } finally {
      endAll()
      cluster.sql(`DROP DATABASE ${sql("SELECT current_database()")} WITH (FORCE)`)
      cluster.sql("DROP TABLESPACE small")
      spawnSync("umount", ["-l", disk])
      rmSync(disk, { recursive: true, force: true })
    }
  })
})
