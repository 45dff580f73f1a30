/** Real workers and clients on a real Postgres. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "vitest"
import { collector } from "../test/fleet/collector.ts"
import { missing } from "../test/fleet/postgres.ts"
import { project, sleeper, vmtest } from "../test/fleet/processes.ts"
import { titled } from "../test/needs.ts"
import { fleets } from "./fleetSupport.ts"

describe.skipIf(missing !== undefined)(titled("a fleet", missing), () => {
  const start = fleets()

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

  it("is a Layer for applications, and for tests", async () => {
    const { folder, url, worker } = start({
      "quick.ts": sleeper("quick", 50),
      "app.ts": `import { Effect } from "effect"
import { test } from "vmtest"
import { Fleet } from "vmtest/fleet"
export default test("app", {}, () =>
  Effect.gen(function* () {
    const fleet = yield* Fleet.Fleet
    const results = yield* fleet.run(["quick.ts"], { output: "out" })
    const { workers } = yield* fleet.status
    console.log(JSON.stringify(results.map(({ name, status }) => [name, status])), workers.length)
  }).pipe(Effect.provide(Fleet.layer({ url: process.env.VMTEST_FLEET_URL ?? "" })))
)
`
    })
    await worker("--slots", "1")
    const app = vmtest(["run", "app.ts"], { cwd: folder, env: { VMTEST_FLEET_URL: url } })
    assert.strictEqual(await app.ended, 0, app.said())
    assert.include(app.said(), '[["quick","passed"]] 1')
  })

  it("has one trace for client, worker and tests", async () => {
    const { command, worker } = start({ "quick.ts": sleeper("quick", 50) })
    const collected = await collector()
    try {
      const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collected.url, OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" }
      await worker(env, "--slots", "1")
      const run = command(env, "run", "quick.ts")
      assert.strictEqual(await run.ended, 0, run.said())
      await collected.has("vmtest.test")
      await collected.has("vmtest.fleet.job")
      await collected.has("vmtest.fleet.run")
      const traces = ["vmtest.fleet.run", "vmtest.fleet.job", "vmtest.test"].map(
        (name) => collected.spans.get(name)?.traceId
      )
      assert.lengthOf(new Set(traces), 1, traces.join(" "))
    } finally {
      collected.close()
    }
  })
})

describe("vmtest run --workers", () => {
  it("runs files in several processes, with the same output, and refuses what needs one process", async () => {
    const { folder, remove } = project({ "a.ts": sleeper("first", 4000), "b.ts": sleeper("second", 4000) })
    try {
      const run = vmtest(["run", "--workers", "2", "a.ts", "b.ts"], { cwd: folder })
      assert.strictEqual(await run.ended, 0, run.said())
      const pids = [...run.said().matchAll(/on (\d+)/g)].map(([, pid]) => pid)
      assert.lengthOf(new Set([...pids, String(run.pid)]), 3)
      assert.match(run.said(), /2 passed, 0 failed/)
      const one = vmtest(["run", "--workers", "2", "--keep-state", "a.ts"], { cwd: folder })
      assert.strictEqual(await one.ended, 2)
      assert.match(one.said(), /--keep-state cannot be used with --workers/)
    } finally {
      remove()
    }
  })
})
