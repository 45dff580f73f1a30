/** Real workers and clients on a real Postgres. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, afterEach, assert, beforeAll, describe, it } from "vitest"
import { type Cluster, missing, startCluster } from "../test/fleet/postgres.ts"
import { type Command, endAll, project, sleeper, vmtest } from "../test/fleet/processes.ts"

/** A zombie is gone, whoever has not noticed it yet. */
const alive = (pid: number): boolean =>
  existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))

describe.skipIf(missing !== undefined)(`a fleet${missing === undefined ? "" : ` (${missing})`}`, () => {
  let cluster: Cluster
  let env: Record<string, string> = {}
  let count = 0
  const cleanups: Array<() => void> = []

  beforeAll(async () => {
    cluster = await startCluster()
  })
  afterAll(() => cluster?.remove())
  afterEach(() => {
    endAll()
    for (const cleanup of cleanups.splice(0)) cleanup()
  })

  /** A database and a folder of its own for each test. */
  const start = (files: Readonly<Record<string, string>>) => {
    count += 1
    env = { VMTEST_FLEET_URL: cluster.createDatabase(`fleet${count}`) }
    const { folder, remove } = project(files)
    cleanups.push(remove)
    const command = (...args: Array<string>) => vmtest(["fleet", ...args], { cwd: folder, env })
    const worker = async (...args: Array<string>): Promise<Command> => {
      const started = command("worker", ...args)
      await started.says(/waiting for test files/)
      return started
    }
    return { folder, command, worker, sql: (text: string) => cluster.sql(text, `fleet${count}`) }
  }

  it("runs files as a local run does: progress, results, artefacts, exit code", async () => {
    const { command, folder, worker } = start({
      "web.ts": `import { Effect } from "effect"
import { Image, test } from "vmtest"
export default [
  test("boots", { machines: { web: { image: Image.tiny() } } }, ({ web }) =>
    Effect.gen(function* () {
      yield* web.succeed("echo from the guest > /tmp/note")
      yield* web.copyFromMachine("/tmp/note")
    })
  ),
  test("fails", {}, () =>
    Effect.gen(function* () {
      yield* Effect.fail(new Error("on purpose"))
    })
  )
]
`
    })
    await worker("--slots", "1")
    const run = command("run", "web.ts")
    assert.strictEqual(await run.ended, 1, run.said())
    const said = run.said()
    assert.match(said, /boots \(web\)/)
    assert.match(said, /web: (ready after|forked in)/)
    assert.match(said, /✔ boots/)
    assert.match(said, /✘ fails failed/)
    // The failure points to the file here, not to where the worker had it.
    assert.include(said, `web.ts:12:`)
    assert.include(said, "> 12 |")
    assert.include(said, "1 passed, 1 failed")
    assert.strictEqual(readFileSync(join(folder, "vmtest-output", "boots", "note"), "utf8"), "from the guest\n")
  })

  it("says at once what no worker can run, and what does not bundle, and offers nothing", async () => {
    const { command, sql, worker } = start({
      "large.ts": `import { Image, test } from "vmtest"
import { Effect } from "effect"
export default test("large", { machines: { big: { image: Image.tiny(), memory: "3 GiB" } } }, () => Effect.void)
`,
      "broken.ts": `import { nothing } from "./nowhere.ts"\nexport default nothing\n`,
      "empty.ts": "export default 1\n"
    })
    await worker("--memory", "2 GiB")
    const large = command("run", "large.ts")
    assert.strictEqual(await large.ended, 2)
    assert.match(
      large.said(),
      /no worker can run this file:\n {2}large\.ts needs x86_64, any accelerator, 3 GiB of memory/
    )
    const broken = command("run", "broken.ts")
    assert.strictEqual(await broken.ended, 2)
    assert.match(
      broken.said(),
      /broken\.ts: it could not be bundled: Could not resolve ".\/nowhere\.ts" \(broken\.ts:1:25\)/
    )
    const empty = command("run", "empty.ts")
    assert.strictEqual(await empty.ended, 2)
    assert.match(empty.said(), /empty\.ts: its default export must be a test/)
    assert.strictEqual(sql("SELECT count(*) FROM vmtest.run"), "0")
  })

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
    const { command, sql, worker } = start({ "slow.ts": sleeper("slow", 4000), "next.ts": sleeper("next", 100) })
    await worker("--slots", "1")
    const run = command("run", "slow.ts", "next.ts")
    await run.says(/slow on \d+/)
    cluster.stop()
    cluster.start()
    assert.strictEqual(await run.ended, 0, run.said())
    assert.match(run.said(), /2 passed, 0 failed/)
    assert.strictEqual(sql("SELECT max(attempt) FROM vmtest.job"), "1")
  })

  it("sends files along", async () => {
    const { command, folder, worker } = start({
      "fixture.txt": "beside the test\n",
      "reads.ts": `import { readFileSync } from "node:fs"
import { Effect } from "effect"
import { test } from "vmtest"
export default test("reads", {}, () =>
  Effect.sync(() => console.log(readFileSync(new URL("fixture.txt", import.meta.url), "utf8") + import.meta.filename))
)
`
    })
    await worker("--slots", "1")
    const run = command("run", "reads.ts", "--with", "fixture.txt")
    assert.strictEqual(await run.ended, 0, run.said())
    assert.include(run.said(), "beside the test\n")
    assert.isFalse(existsSync(join(folder, "vmtest-output")))
  })
})
