/**
 * Running test files on the workers of a fleet.
 *
 * Each file is bundled, loaded once to know its tests, and offered as one job. What happens in it is reported as if it ran here, and the files that its tests
 * leave are written to the output folder of this host.
 *
 * **Example** (Run files on a fleet from an application)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Fleet } from "vmtest/fleet"
 *
 * const program = Effect.gen(function* () {
 *   const fleet = yield* Fleet.Fleet
 *   const results = yield* fleet.run(["tests/web.ts"], { output: "vmtest-output" })
 *   for (const { name, status } of results) yield* Effect.log(`${name}: ${status}`)
 * }).pipe(Effect.provide(Fleet.layer({ url: "postgres://ci@db.example.org/vmtest?sslmode=require" })))
 * ```
 *
 * @since 0.1.0
 */
import { randomBytes } from "node:crypto"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { InvalidPattern } from "../driver/Selection.ts"
import type { TestResult } from "../driver/TestResult.ts"
import type { InvalidMachine } from "../machine/MachineSpec.ts"
import * as DatabaseUrl from "./DatabaseUrl.ts"
import {
  type DatabaseUnusable,
  type FileNotPortable,
  NobodyServes,
  NoSuchRun,
  type RunCancelled
} from "./FleetError.ts"
import { patiently } from "./internal/engine.ts"
import * as Following from "./internal/following.ts"
import * as Planning from "./internal/planning.ts"
import * as Tracing from "./internal/tracing.ts"
import * as Jobs from "./Job.ts"
import * as Store from "./Store.ts"

/** How files are run. */
export interface RunOptions {
  /** The output folder. */
  readonly output: string
  /** Only tests whose name or tags match one of these, as `--grep` takes them. Default: all. */
  readonly names?: ReadonlyArray<string> | undefined
  /** Whether a test is wanted: by its file, its name, and how many of that name the file has before it. Default: all. */
  readonly select?: ((file: string, name: string, nth: number) => boolean) | undefined
  /** Files that go with the test files: paths in the working folder, which folders are sent whole. */
  readonly files?: ReadonlyArray<string> | undefined
  /** Milliseconds: replaces the timeout of every test. */
  readonly timeout?: number | undefined
  /** Milliseconds: how long a wait may take if neither it nor its test sets a timeout. */
  readonly waitTimeout?: number | undefined
  /** How often a test that failed is run again. Default 0. */
  readonly retries?: number | undefined
  /** Default true. */
  readonly snapshots?: boolean | undefined
  /** Default false. */
  readonly evidence?: boolean | undefined
  /** Default false. */
  readonly capture?: boolean | undefined
  /** Bytes: how large all files may be together that the tests of one file leave. Default 64 MiB. */
  readonly artefactLimit?: number | undefined
  /** Whether to wait for a worker if none can run a file. Default false: that is an error. */
  readonly wait?: boolean | undefined
  /** Is told the name of the run once its jobs are offered, for `attach` and `cancel`. */
  readonly onOffered?: ((run: string) => Effect.Effect<void>) | undefined
  /** Is told what scripts print. Default: it goes to the same stream here. */
  readonly onOutput?: ((stream: "stdout" | "stderr", text: string) => Effect.Effect<void>) | undefined
}

/** Why a run has no results. */
export type RunError =
  | FileNotPortable
  | InvalidPattern
  | InvalidMachine
  | NobodyServes
  | DatabaseUnusable
  | RunCancelled

/** A client of a fleet. */
export interface FleetService {
  /** Runs test files, and gives what came of each test, in their order. Interruption cancels the run. */
  readonly run: (
    files: ReadonlyArray<string>,
    options: RunOptions
  ) => Effect.Effect<ReadonlyArray<TestResult>, RunError>
  /** Follows a run from its beginning; interruption leaves it as it is. */
  readonly attach: (
    run: string,
    options: Pick<RunOptions, "output" | "onOutput">
  ) => Effect.Effect<ReadonlyArray<TestResult>, NoSuchRun | DatabaseUnusable | RunCancelled>
  /** Ends a run; false if it has ended already. */
  readonly cancel: (run: string) => Effect.Effect<boolean, NoSuchRun | DatabaseUnusable>
  readonly status: Effect.Effect<Status, DatabaseUnusable>
  /** Removes runs that ended, or were left, longer ago than this; gives how many. */
  readonly prune: (olderThan: Duration.Input) => Effect.Effect<number, DatabaseUnusable>
}

/** What a fleet has and does. */
export interface Status {
  readonly workers: ReadonlyArray<Store.StoredWorker>
  readonly queues: ReadonlyArray<Store.Demand & { readonly needs: string; readonly workers: number }>
  /** The newest first. */
  readonly runs: ReadonlyArray<Store.StoredRun>
}

/** The client, as a service. */
export class Fleet extends Context.Service<Fleet, FleetService>()("vmtest/fleet/Fleet") {}

/** How long a client waits for a database that has gone away, before it gives up. */
export const patience = Duration.seconds(60)

/** Letters and digits, so that it can be a part of channels and file names. */
const newName = Effect.sync(() => randomBytes(6).toString("hex"))

const living = (workers: ReadonlyArray<Store.StoredWorker>) => workers.filter(({ state }) => state === "active")

/** Fails if no worker takes from the queue of a job. */
const checkServed = Effect.fnUntraced(function* (store: Store.Store, jobs: ReadonlyArray<Planning.Planned>) {
  const workers = living(yield* store.workers)
  const unserved = jobs.filter(({ queue }) => !workers.some(({ queues }) => queues.includes(queue)))
  if (unserved.length === 0) return
  return yield* new NobodyServes({
    files: unserved.map(({ job }) => job.file),
    needs: unserved.map(({ queue }) => Jobs.describeQueue(queue)),
    workers: workers.map(describeWorker)
  })
})

/** A worker in a line. */
export const describeWorker = ({ facts, name }: Store.StoredWorker): string => {
  const { accelerator, architecture, memory, tools } = JSON.parse(facts) as Jobs.Facts & { readonly memory: number }
  const gibibytes = Math.floor((memory / 2 ** 30) * 10) / 10
  return `${name}: ${[architecture, accelerator, `${gibibytes} GiB of memory`, ...tools].join(", ")}`
}

/** Sends what the database does not have, and offers the jobs. */
const offer = Effect.fnUntraced(function* (store: Store.Store, id: string, plan: Planning.Plan) {
  const missing = yield* store.missing([...plan.blobs.keys()])
  yield* store.openRun({ id, title: plan.title, jobs: plan.jobs.length, plan: JSON.stringify(plan.shown) })
  yield* store.use(id, [...plan.blobs.keys()])
  yield* Effect.forEach(missing, (digest) => store.put(id, digest, plan.blobs.get(digest) ?? Buffer.alloc(0)), {
    concurrency: 4,
    discard: true
  })
  const trace = yield* Tracing.current
  yield* Effect.forEach(
    plan.jobs,
    ({ job, queue }, index) =>
      store.queue.offer(queue, `${id}/${index}`, { ...job, run: id, ...(trace === undefined ? {} : { trace }) }),
    { concurrency: 8, discard: true }
  )
})

/** A client of what is stored; `follow` also takes events, which go to the Reporter of who calls. */
export const make = (store: Store.Store): FleetService => ({
  run: (files, options) =>
    Effect.gen(function* () {
      const plan = yield* Planning.make(files, options, process.cwd())
      if (options.wait !== true) yield* checkServed(store, plan.jobs)
      const id = yield* newName
      const cancel = Effect.ignore(patiently("5 seconds")(store.cancel(id)))
      return yield* patiently(patience)(offer(store, id, plan)).pipe(
        Effect.andThen(options.onOffered?.(id) ?? Effect.void),
        Effect.andThen(Following.follow(store, id, plan.shown, options)),
        Effect.onInterrupt(() => cancel)
      )
    }).pipe(Effect.withSpan("vmtest.fleet.run", { attributes: { "vmtest.files": files.length } })),
  attach: Effect.fnUntraced(function* (run, options) {
    const found = yield* store.run(run)
    if (found === undefined) return yield* new NoSuchRun({ run })
    return yield* Following.follow(store, run, JSON.parse(found.plan) as Planning.ShownPlan, options)
  }),
  cancel: Effect.fnUntraced(function* (run) {
    if ((yield* store.run(run)) === undefined) return yield* new NoSuchRun({ run })
    return yield* store.cancel(run)
  }),
  status: Effect.gen(function* () {
    const workers = yield* store.workers
    const queues = yield* store.demand
    const runs = yield* store.runs
    return {
      workers,
      runs,
      queues: queues.map((one) => ({
        ...one,
        needs: Jobs.describeQueue(one.queue),
        workers: living(workers).filter((worker) => worker.queues.includes(one.queue)).length
      }))
    }
  }),
  prune: (olderThan) => store.prune(Duration.fromInputUnsafe(olderThan))
})

/** Where the fleet is. */
export interface FleetOptions extends DatabaseUrl.UrlOptions {
  /** For example `postgres://ci@db.example.org/vmtest?sslmode=require`. */
  readonly url: string
}

/** A client of the fleet in a database; connects when the layer is built. */
export const layer = ({ url, ...options }: FleetOptions): Layer.Layer<Fleet, DatabaseUnusable> =>
  Layer.effect(
    Fleet,
    DatabaseUrl.parse(url, options).pipe(
      Effect.flatMap((parsed) => Store.postgres(parsed)),
      Effect.map(make)
    )
  )
