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
import type { BackendName } from "../backends/BackendName.ts"
import type { InvalidTest } from "../driver/InvalidTest.ts"
import type { InvalidPattern } from "../driver/Selection.ts"
import type { TestCase } from "../driver/TestCase.ts"
import type { TestResult } from "../driver/TestResult.ts"
import type { InvalidMachine } from "../machine/MachineSpec.ts"
import * as DatabaseUrl from "./DatabaseUrl.ts"
import {
  type DatabaseUnusable,
  type FileNotPortable,
  NobodyServes,
  NoSuchRun,
  OtherVersion,
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
  /** Files that go with the test files: paths in the working folder, which folders are sent whole. */
  readonly files?: ReadonlyArray<string> | undefined
  /** The config file whose machines the tests may name. Its other settings are not read. Default: none. */
  readonly config?: string | undefined
  /** The module that declares the machines of scripts in Python. */
  readonly machines?: string | undefined
  /** The hypervisor of machines that declare none. Default: that of the worker. */
  readonly backend?: BackendName | undefined
  /** What guests run on; `kvm` asks for workers that have it. Default: what the worker has. */
  readonly accel?: "auto" | "kvm" | "tcg" | undefined
  /** What random numbers of tests and of impairments follow from. Default: none. */
  readonly seed?: number | undefined
  /** The least severe messages of Effect's logger that workers print. Default `Info`. */
  readonly logLevel?: Jobs.JobOptions["logLevel"] | undefined
  /** Whether the first test that fails ends the run. Default false. */
  readonly failFast?: boolean | undefined
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

/** Why a run could not be planned: nothing was asked of the database, and nothing was offered. */
export type PlanError = FileNotPortable | InvalidPattern | InvalidTest | InvalidMachine

/** Why a run that was planned has no results. */
export type OfferError = NobodyServes | DatabaseUnusable | RunCancelled | OtherVersion

/** Why a run has no results. */
export type RunError = PlanError | OfferError

/** A test that is wanted: its index among all tests of the files, and the test with what is changed in it (its timeouts, its number if it is repeated). */
export interface Chosen {
  readonly index: number
  readonly test: TestCase
}

/** Test files that are ready to be offered. */
export type Plan = Planning.Plan

/**
 * Bundles and loads test files, and finds out what they need. Asks nothing of the database. `choose` decides which of all tests are wanted; by default those
 * of `names`.
 */
export const plan = <E = never, R = never>(
  files: ReadonlyArray<string>,
  options: RunOptions,
  choose?: (tests: ReadonlyArray<TestCase>) => Effect.Effect<ReadonlyArray<Chosen>, E, R>
): Effect.Effect<Plan, PlanError | E, R> => Planning.make(files, options, process.cwd(), choose)

/** A client of a fleet. */
export interface FleetService {
  /** Runs test files, and gives what came of each test, in their order. Interruption cancels the run. */
  readonly run: (
    files: ReadonlyArray<string>,
    options: RunOptions
  ) => Effect.Effect<ReadonlyArray<TestResult>, RunError>
  /** The same with a plan that was made before. */
  readonly offer: (plan: Plan, options: RunOptions) => Effect.Effect<ReadonlyArray<TestResult>, OfferError>
  /** Follows a run from its beginning; interruption leaves it as it is. */
  readonly attach: (
    run: string,
    options: Pick<RunOptions, "output" | "onOutput">
  ) => Effect.Effect<ReadonlyArray<TestResult>, NoSuchRun | DatabaseUnusable | RunCancelled | OtherVersion>
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

/** Whether a worker takes from a queue, if it has nothing else to do. */
const canServe = (queue: string) => (worker: Store.StoredWorker) => {
  const facts = Jobs.factsOf(worker.facts)
  return Jobs.serves(facts, facts.memory)(queue)
}

/** Fails if no worker takes from the queue of a job. */
const checkServed = Effect.fnUntraced(function* (store: Store.Store, jobs: ReadonlyArray<Planning.Planned>) {
  const workers = living(yield* store.workers)
  const unserved = jobs.filter(({ queue }) => !workers.some(canServe(queue)))
  if (unserved.length === 0) return
  return yield* new NobodyServes({
    files: unserved.map(({ job }) => job.file),
    needs: unserved.map(({ queue }) => Jobs.describeQueue(queue)),
    workers: workers.map(describeWorker)
  })
})

/** A worker in a line. */
export const describeWorker = ({ facts, name }: Store.StoredWorker): string => {
  const { accelerator, architecture, memory, protocol, tools } = Jobs.factsOf(facts)
  const gibibytes = Math.floor((memory / 2 ** 30) * 10) / 10
  const other = protocol === Jobs.protocol ? [] : [`protocol v${protocol}`]
  return `${name}: ${[architecture, accelerator, `${gibibytes} GiB of memory`, ...tools, ...other].join(", ")}`
}

/** Sends what the database does not have, and offers the jobs. */
const offerJobs = Effect.fnUntraced(function* (store: Store.Store, id: string, plan: Planning.Plan) {
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
export const make = (store: Store.Store): FleetService => {
  const offer: FleetService["offer"] = (planned, options) =>
    Effect.gen(function* () {
      if (planned.jobs.length === 0) return []
      if (options.wait !== true) yield* checkServed(store, planned.jobs)
      const id = yield* newName
      const cancel = Effect.ignore(patiently("5 seconds")(store.cancel(id)))
      return yield* patiently(patience)(offerJobs(store, id, planned)).pipe(
        Effect.andThen(options.onOffered?.(id) ?? Effect.void),
        Effect.andThen(Following.follow(store, id, planned.shown, options)),
        Effect.onInterrupt(() => cancel)
      )
    }).pipe(Effect.withSpan("vmtest.fleet.run", { attributes: { "vmtest.files": planned.jobs.length } }))
  return {
    offer,
    run: (files, options) => Effect.flatMap(plan(files, options), (made) => offer(made, options)),
    ...others(store)
  }
}

/** What a client does besides running. */
const others = (store: Store.Store): Omit<FleetService, "run" | "offer"> => ({
  attach: Effect.fnUntraced(function* (run, options) {
    const found = yield* store.run(run)
    if (found === undefined) return yield* new NoSuchRun({ run })
    const { protocol = 1, ...shown } = JSON.parse(found.plan) as Partial<Planning.ShownPlan>
    if (protocol !== Jobs.protocol) return yield* new OtherVersion({ run, protocol, known: Jobs.protocol })
    return yield* Following.follow(store, run, { protocol, root: "", files: [], ...shown }, options)
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
        workers: living(workers).filter(canServe(one.queue)).length
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
