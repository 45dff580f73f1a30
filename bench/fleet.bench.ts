/**
 * What a fleet costs: `npm run bench:fleet`. A Postgres of its own, a worker of two slots, and the same files run locally by turns. `--quick` leaves out the
 * suite of 30 files.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as DatabaseUrl from "../src/fleet/DatabaseUrl.ts"
import * as Fleet from "../src/fleet/Fleet.ts"
import type { Job } from "../src/fleet/Job.ts"
import * as Store from "../src/fleet/Store.ts"
import { missing, startCluster } from "../test/fleet/postgres.ts"
import { endAll, project, vmtest } from "../test/fleet/processes.ts"
import { type Case, median, progress, report } from "./harness.ts"

const quick = process.argv.includes("--quick")

if (missing !== undefined) {
  progress(missing)
  process.exit(1)
}

const percentile = (values: ReadonlyArray<number>, share: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN

const nothing = (run: string): Job => ({
  ...{
    run,
    file: "nothing.ts",
    path: "nothing.ts",
    bundle: "",
    root: "/",
    cwd: "",
    files: [],
    tests: [],
    memory: 0,
    artefactLimit: 0
  },
  options: { retries: 0, snapshots: true, evidence: false, capture: false, failFast: false, detailed: false }
})

const cluster = await startCluster()
const url = cluster.createDatabase("bench")
const store = (worker?: string) =>
  Effect.flatMap(DatabaseUrl.parse(url), (parsed) => Store.postgres(parsed, { worker, lease: Duration.seconds(30) }))

/** Milliseconds from the end of a job to the start of the next one, with so many queued; and how many transactions the database writes for each. */
const between = (queued: number) =>
  Effect.gen(function* () {
    const client = yield* store()
    const worker = yield* store("bench")
    const run = `q${queued}`
    yield* client.openRun({ id: run, title: run, jobs: queued, plan: "{}" })
    yield* Effect.forEach(
      Array.from({ length: queued }, (_, index) => index),
      (index) => client.queue.offer(run, `${run}/${index}`, nothing(run)),
      { concurrency: 8, discard: true }
    )
    // Statistics of commits are up to ten seconds late; the number of the next transaction that writes is not.
    const commits = () =>
      Effect.sync(() => Number(cluster.sql("SELECT pg_snapshot_xmax(pg_current_snapshot())", "bench")))
    const gaps: Array<number> = []
    let ended: number | undefined
    yield* Effect.sleep("1 second")
    const before = yield* commits()
    for (let index = 0; index < Math.min(queued, 300); index++) {
      yield* worker.queue.take([run, "bench.none"], (_, claim) =>
        Effect.gen(function* () {
          if (ended !== undefined) gaps.push(performance.now() - ended)
          yield* worker.finish(claim, "{}")
          ended = performance.now()
        })
      )
    }
    yield* Effect.sleep("1 second")
    const each = ((yield* commits()) - before) / Math.min(queued, 300)
    yield* client.cancel(run)
    return { gap: median(gaps), each }
  }).pipe(Effect.scoped)

/** How late the lines of a test come that prints the time, in milliseconds. */
const lateness = (folder: string) =>
  Effect.gen(function* () {
    const late: Array<number> = []
    process.chdir(folder)
    const fleet = Fleet.make(yield* store())
    yield* fleet.run(["clock.ts"], {
      output: "out",
      onOutput: (_, text) =>
        Effect.sync(() => {
          const now = performance.timeOrigin + performance.now()
          for (const [, time] of text.matchAll(/time (\d+)/g)) late.push(now - Number(time))
        })
    })
    return percentile(late, 0.95)
  }).pipe(Effect.scoped)

const clock = `import { Effect } from "effect"
import { test } from "vmtest"
export default test("clock", {}, () =>
  Effect.repeat(
    Effect.andThen(Effect.sync(() => console.log("time " + Date.now())), Effect.sleep(20)),
    { times: 200 }
  )
)
`
/** A test on a guest that works for so many seconds. */
const guest = (name: string, seconds: number) => `import { Effect } from "effect"
import { Image, test } from "vmtest"
export default test("${name}", { machines: { m: { image: Image.tiny() } } }, ({ m }) => m.succeed("sleep ${seconds}"))
`

const names = Array.from({ length: 30 }, (_, index) => `guest${index}`)
const { folder, remove } = project({
  "clock.ts": clock,
  "one.ts": guest("one", 0),
  ...Object.fromEntries(names.map((name) => [`${name}.ts`, guest(name, 1)]))
})
const env = { VMTEST_FLEET_URL: url }

/** Milliseconds until the command has printed this, or has ended. */
const until = async (args: ReadonlyArray<string>, pattern?: RegExp): Promise<number> => {
  const began = performance.now()
  const command = vmtest(args, { cwd: folder, env })
  if (pattern !== undefined) await command.says(pattern, 300_000)
  const reached = performance.now() - began
  const code = await command.ended
  if (code !== 0) throw new Error(`${args.join(" ")} ended with ${code}\n${command.said()}`)
  return pattern === undefined ? performance.now() - began : reached
}

/** The medians of two things, measured by turns; what has to be warm is warm from the first turn, which is not measured, unless it is warm already. */
const byTurns = async (
  rounds: number,
  value: () => Promise<number>,
  baseline: () => Promise<number>,
  isWarm = false
) => {
  if (!isWarm) {
    await baseline()
    await value()
  }
  const [values, baselines]: [Array<number>, Array<number>] = [[], []]
  for (let round = 0; round < rounds; round++) {
    values.push(await value())
    baselines.push(await baseline())
  }
  return { value: median(values), baseline: median(baselines) }
}

const cases: Array<Case> = []
try {
  progress("10,000 queued jobs …")
  const few = await Effect.runPromise(between(100))
  const many = await Effect.runPromise(between(10_000))
  cases.push(
    {
      case: "next job, 10,000 queued (baseline: 100)",
      value: many.gap,
      baseline: few.gap,
      unit: "ms",
      goal: { of: "value", atMost: 50 }
    },
    {
      case: "transactions that write for each job, 10,000 queued",
      value: many.each,
      baseline: few.each,
      unit: "",
      goal: { of: "ratio", atMost: 1.2 }
    }
  )

  const worker = vmtest(["fleet", "worker", "--slots", "2"], { cwd: folder, env })
  await worker.says(/waiting for test files/)
  progress("events …")
  const late = await Effect.runPromise(lateness(folder))
  cases.push({ case: "events at the client, p95", value: late, unit: "ms", goal: { of: "value", atMost: 250 } })

  progress("first guest …")
  const first = /m: (forked|ready)/
  const start = await byTurns(
    5,
    async () => {
      // Idle: its process is a fresh one again.
      await new Promise((resolve) => setTimeout(resolve, 3000))
      return until(["fleet", "run", "one.ts"], first)
    },
    () => until(["run", "one.ts"], first)
  )
  cases.push({
    case: "to the first guest (baseline: vmtest run)",
    ...start,
    unit: "ms",
    goal: { of: "difference", atMost: 500 }
  })

  if (!quick) {
    progress("30 files …")
    const files = names.map((name) => `${name}.ts`)
    // Guests are warm by now, and a turn takes a minute.
    const suite = await byTurns(
      3,
      async () => {
        // Idle: its processes are fresh ones again.
        await new Promise((resolve) => setTimeout(resolve, 3000))
        return until(["fleet", "run", "-q", ...files])
      },
      () => until(["run", "-q", "-j", "2", ...files]),
      true
    )
    cases.push({
      case: "30 files of 1 s on a guest (baseline: vmtest run -j 2)",
      ...suite,
      unit: "ms",
      goal: { of: "ratio", atMost: 1.03 }
    })
  }
  worker.signal("SIGTERM")
  await worker.ended
} finally {
  endAll()
  process.chdir("/")
  cluster.remove()
  remove()
}
process.exitCode = report("fleet", cases) ? 0 : 1
process.exit()
