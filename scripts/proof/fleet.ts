/**
 * A fleet whose workers are killed: 200 test files over three workers, of which one is ended by SIGKILL 30 times. Each file must have one result, the
 * results must be those of a local run, no file may be started more than twice, and nothing may be left of workers, their processes and their guests. Before
 * that the tests of `integration-tests/fleet-faults.test.ts`.
 *
 * `npm run proof -- fleet`; `--quick` makes 40 files and 5 kills; `--kills` is without those tests, as is `--quick`.
 */
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { missing, startCluster } from "../../test/fleet/postgres.ts"
import { type Command, endAll, project, sleeper, vmtest } from "../../test/fleet/processes.ts"

const quick = process.argv.includes("--quick")
const [files, kills, guests] = quick ? [40, 5, 2] : [200, 30, 6]

if (missing !== undefined) {
  console.log(`cannot prove anything: ${missing}`)
  process.exit(1)
}

const problems: Array<string> = []
const expect = (what: string, is: unknown, wanted: unknown) => {
  const [said, should] = [JSON.stringify(is), JSON.stringify(wanted)]
  console.log(`${said === should ? "ok" : "WRONG"}: ${what}: ${said}${said === should ? "" : `, not ${should}`}`)
  if (said !== should) problems.push(what)
}

const pause = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

const name = (index: number) => `t${String(index).padStart(3, "0")}`

/** A guest's file: every so many files have one. */
const booter = (title: string): string => `import { Effect } from "effect"
import { Image, test } from "vmtest"
export default test(${JSON.stringify(title)}, { machines: { m: { image: Image.tiny() } } }, ({ m }) =>
  Effect.gen(function* () {
    yield* m.succeed("sleep 1")
  })
)
`

/** One in 20 fails on purpose: a failure is a result, and is not run again. */
const failer = (title: string): string => `import { Effect } from "effect"
import { test } from "vmtest"
export default test(${JSON.stringify(title)}, {}, () =>
  Effect.gen(function* () {
    yield* Effect.sleep(500)
    yield* Effect.fail(new Error("on purpose"))
  })
)
`

const every = Math.floor(files / guests)
const tests: Record<string, string> = {}
for (let index = 0; index < files; index++) {
  const title = name(index)
  tests[`${title}.ts`] =
    index % every === every - 1 ? booter(title) : index % 20 === 7 ? failer(title) : sleeper(title, 1500)
}

/** The processes whose environment has this word: workers, what runs their files, and guests. */
const left = (mark: string): ReadonlyArray<string> =>
  readdirSync("/proc").flatMap((pid) => {
    try {
      if (!readFileSync(`/proc/${pid}/environ`, "latin1").includes(mark)) return []
      if (/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"))) return []
      return [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").slice(0, 100)}`]
    } catch {
      return []
    }
  })

const main = async () => {
  if (!quick && !process.argv.includes("--kills")) {
    const vitest = ["vitest", "run", "--project", "long", "integration-tests/fleet-faults.test.ts"]
    expect("the tests of faults end with", spawnSync("npx", vitest, { stdio: "inherit" }).status, 0)
  }
  const cluster = await startCluster()
  const { folder, remove } = project(tests)
  try {
    const env = { VMTEST_FLEET_URL: cluster.createDatabase("proof"), VMTEST_PROOF: `fleet-${process.pid}` }
    const sql = (text: string) => cluster.sql(text, "proof")
    const command = (...args: ReadonlyArray<string>) => vmtest(args, { cwd: folder, env })
    const workers = new Map<string, Command>()
    const start = (worker: string) => {
      const args = ["fleet", "worker", "--name", worker, "--slots", "3", "--lease", "5 seconds"]
      workers.set(worker, command(...args))
    }
    for (const worker of ["one", "two", "three"]) start(worker)
    await Promise.all([...workers.values()].map((worker) => worker.says(/waiting for test files/, 120_000)))

    const began = performance.now()
    const run = command("fleet", "run", ...Object.keys(tests), "--json", "events.jsonl", "--no-snapshot")
    const done = { is: false }
    void run.ended.then(() => {
      done.is = true
    })
    await run.says(/called/, 120_000)
    let killed = 0
    while (killed < kills && !done.is) {
      await pause(1200)
      // Not one that has a file in its second attempt: who loses that as well ends it, as it should. Nor one that was killed and whose leases are not over.
      const pids = [...workers.values()].map(({ pid }) => pid)
      const victim = sql(
        `SELECT w.name FROM vmtest.worker w JOIN vmtest.job j ON j.worker = w.id
         WHERE j.state = 'running' AND (w.facts::json->>'pid')::int IN (${pids})
         GROUP BY w.id, w.name HAVING max(j.attempt) = 1 ORDER BY random() LIMIT 1`
      )
      const process = workers.get(victim)
      if (process === undefined) continue
      process.signal("SIGKILL")
      await process.ended
      killed += 1
      start(victim)
    }
    const code = await run.ended
    const seconds = Math.round((performance.now() - began) / 1000)
    console.log(`${files} files over 3 workers, ${killed} workers killed, in ${seconds} s`)
    expect("workers killed", killed, kills)
    expect("exit code", code, 1)

    const records: ReadonlyArray<Record<string, unknown>> = readFileSync(join(folder, "events.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
    const results = records
      .filter(({ type }) => type === "test-ended")
      .map(({ name: test, status }) => `${test} ${status}`)
      .sort()
    const wanted = Object.entries(tests)
      .map(([file, text]) => `${file.slice(0, -3)} ${text.includes("on purpose") ? "failed" : "passed"}`)
      .sort()
    expect("results, each once", results.length, wanted.length)
    expect(
      "results that a local run has not",
      results.filter((one) => !wanted.includes(one)),
      []
    )
    expect(
      "results of a local run that are missing",
      wanted.filter((one) => !results.includes(one)),
      []
    )
    expect("states of the jobs", sql("SELECT string_agg(DISTINCT state, ',') FROM vmtest.job"), "done")
    expect("most losses of a job", sql("SELECT max(losses) FROM vmtest.job"), "1")
    console.log(`files that were started again: ${sql("SELECT count(*) FROM vmtest.job WHERE losses > 0")}`)
    for (const worker of workers.values()) worker.signal("SIGTERM")
    expect("how the workers end", await Promise.all([...workers.values()].map((worker) => worker.ended)), [0, 0, 0])
    await pause(1000)
    expect("processes that are left", left(env.VMTEST_PROOF), [])
    if (problems.length > 0) console.log(run.said().slice(-3000))
  } finally {
    endAll()
    cluster.remove()
    remove()
  }
  console.log(problems.length === 0 ? "proved" : `failed: ${problems.join("; ")}`)
  process.exit(problems.length === 0 ? 0 : 1)
}

await main()
