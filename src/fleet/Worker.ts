/**
 * A worker: takes the jobs that its host can run, runs them in processes of their own, and tells what happens.
 *
 * Its word about a job counts while it can say that it lives: it refreshes its leases three times a lease, and if that fails for a whole lease it ends the
 * job's machines, because the job is given to another host then.
 *
 * **Example** (A worker in an application)
 *
 * ```ts
 * const worker = (store: Store.Store, facts: Job.Facts, executor: Worker.Command) =>
 *   Worker.run(store, { id: "w1", name: "builder1", slots: 2, memory: 8 * 2 ** 30, facts, about: {}, folder: "/var/tmp/fleet", executor })
 * ```
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import * as NodePath from "node:path"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import * as Queue from "effect/Queue"
import * as Bundle from "./Bundle.ts"
import { DatabaseUnusable } from "./FleetError.ts"
import * as Artefacts from "./internal/artefacts.ts"
import { isPassing, patiently } from "./internal/engine.ts"
import * as Executors from "./internal/executors.ts"
import * as Tracing from "./internal/tracing.ts"
import * as Wire from "./internal/wire.ts"
import * as Jobs from "./Job.ts"
import type { Claim, Store } from "./Store.ts"

/** How to start a process that runs jobs: one that runs `Executor.serve`. */
export type Command = Executors.Command

/** What a worker is. */
export interface WorkerOptions {
  /** Different from all other workers'. */
  readonly id: string
  /** For people: the host's name. */
  readonly name: string
  /** How many jobs run at once. */
  readonly slots: number
  /** Bytes that the machines of all jobs have together. */
  readonly memory: number
  readonly facts: Jobs.Facts
  /** More about it, for `vmtest fleet status`. */
  readonly about: Readonly<Record<string, string | number>>
  /** Where the folders of jobs are made. */
  readonly folder: string
  readonly executor: Command
  /** The client's own folder, if it is on this host: files are read where they are, and none are sent along. */
  readonly files?: string | undefined
  /** Default 30 seconds. */
  readonly lease?: Duration.Duration | undefined
  /** When this is done, no new job is taken, and the worker ends after those that run. */
  readonly drain?: Effect.Effect<void> | undefined
  /** When this is done, the jobs that run are given back. */
  readonly giveBack?: Effect.Effect<void> | undefined
}

/** Jobs that workers of this process ended, by what came of them: `done`, `lost`, `refused` (another host had the job), `returned`. */
export const jobsMetric = Metric.counter("vmtest_fleet_jobs", {
  description: "jobs that ended, by how",
  incremental: true
})

/** Jobs that run now. */
export const runningMetric = Metric.gauge("vmtest_fleet_running", { description: "jobs that run now" })

const count = (how: string) => Metric.update(Metric.withAttributes(jobsMetric, { how }), 1)

/** Another host has the job, or nobody wants it any more. */
class NotOurs {
  readonly _tag = "NotOurs"
}

/** The host could not run the job: its process ended. */
class Broken extends Error {
  readonly _tag = "Broken"
}

interface Running {
  readonly claim: Claim
  readonly job: Jobs.Job
  readonly executor: { current: Executors.Executor | undefined }
  readonly lost: Deferred.Deferred<never, NotOurs>
  readonly memory: number
}

/** How long events are collected before they are sent. */
const batchTime = "50 millis"

interface State {
  readonly store: Store
  readonly options: WorkerOptions
  readonly lease: Duration.Duration
  readonly running: Set<Running>
  /** Opened when a job begins or ends. */
  readonly changed: Latch.Latch
  draining: boolean
}

const freeMemory = ({ options, running }: State): number =>
  [...running].reduce((left, { memory }) => left - memory, options.memory)

/** A file by its digest, kept for the next job. */
const cached = Effect.fnUntraced(function* ({ lease, options, store }: State, digest: string) {
  const file = NodePath.join(options.folder, "files", digest)
  if (Fs.existsSync(file)) return Fs.readFileSync(file)
  const bytes = yield* patiently(lease)(store.get(digest))
  if (bytes === undefined) return yield* Effect.fail(new Broken(`the database does not have the file ${digest}`))
  yield* Effect.sync(() => {
    Fs.mkdirSync(NodePath.dirname(file), { recursive: true })
    const draft = `${file}.${process.pid}.${Math.round(performance.now() * 1000)}`
    Fs.writeFileSync(draft, bytes)
    Fs.renameSync(draft, file)
  })
  return Buffer.from(bytes)
})

/** Puts the files of a job into a folder of its own. */
const prepare = Effect.fnUntraced(function* (state: State, { attempt, job: id }: Claim, job: Jobs.Job) {
  const root = NodePath.join(state.options.folder, `job-${id.replaceAll("/", "-")}-${attempt}`)
  const text = (yield* cached(state, job.bundle)).toString("utf8")
  yield* Effect.sync(() => Fs.mkdirSync(root, { recursive: true, mode: 0o700 }))
  for (const { digest, mode, path } of job.files) {
    const bytes = yield* cached(state, digest)
    const target = NodePath.join(root, path)
    if (!target.startsWith(`${root}/`)) return yield* Effect.fail(new Broken(`${path} is outside of the job's folder`))
    yield* Effect.sync(() => {
      Fs.mkdirSync(NodePath.dirname(target), { recursive: true })
      Fs.writeFileSync(target, bytes, { mode })
    })
  }
  const files = state.options.files ?? root
  const module = yield* Bundle.unpack(text, root, files)
  return { root, files, module, output: NodePath.join(root, ".vmtest-output") }
})

/** What is known now, and a little later: events come in bursts. An end is not waited for. */
const gathered = (executor: Executors.Executor): Effect.Effect<ReadonlyArray<Executors.Said>> =>
  Effect.gen(function* () {
    const first = yield* Queue.takeAll(executor.answers)
    const ended = first.some(({ _tag }) => _tag !== "Told" && _tag !== "Printed")
    // What was printed last may come just after the end.
    yield* Effect.sleep(ended ? "5 millis" : batchTime)
    return [...first, ...(yield* Queue.clear(executor.answers))]
  })

/** Takes what the process answers until the job is done, and sends it on in batches; gives the outcome. */
const follow = Effect.fnUntraced(function* (
  { lease, store }: State,
  { claim, job }: Running,
  executor: Executors.Executor,
  folders: Wire.Folders
) {
  let seq = 0
  while (true) {
    const answers = yield* gathered(executor)
    const lines = answers.flatMap((answer) =>
      answer._tag === "Told"
        ? [answer.line]
        : answer._tag === "Printed"
          ? [Wire.encode({ ...answer, _tag: "Output" }, folders)]
          : []
    )
    if (lines.length > 0) {
      seq += 1
      const ours = yield* patiently(lease)(store.append(claim, seq, `[${lines.join(",")}]`))
      if (!ours) return yield* Effect.fail(new NotOurs())
    }
    for (const answer of answers) {
      if (answer._tag === "Done") return answer.outcome
      if (answer._tag === "Stopped") return yield* Effect.fail(new NotOurs())
      if (answer._tag === "Gone")
        return yield* Effect.fail(new Broken(`the process that ran ${job.file} ended with ${answer.how}`))
    }
  }
})

/** Runs a job that was taken, and says what it came to. */
const perform = Effect.fnUntraced(
  function* (state: State, seat: Executors.Seat, running: Running) {
    const { claim, job } = running
    const { lease, store } = state
    const task = yield* prepare(state, claim, job)
    const executor = yield* Effect.mapError(seat.use(job.run), ({ message }) => new Broken(message))
    running.executor.current = executor
    yield* Queue.clear(executor.answers)
    const { file, options, tests } = job
    const trace = yield* Tracing.current
    yield* executor.order({
      _tag: "Run",
      lease: Duration.toMillis(lease),
      task: { ...task, file, options, tests, trace }
    })
    const told = yield* follow(state, running, executor, task)
    const { artefacts, leftOut } = yield* patiently(lease)(
      Artefacts.send(store, job.run, task.output, job.artefactLimit)
    )
    const outcome: Wire.Outcome = { ...JSON.parse(told), artefacts, leftOut }
    if (!(yield* patiently(lease)(store.finish(claim, JSON.stringify(outcome)))))
      return yield* Effect.fail(new NotOurs())
    // Its lease is over; that it cannot be kept any more means nothing.
    yield* Effect.sync(() => state.running.delete(running))
    yield* Effect.sync(() => Fs.rmSync(task.root, { recursive: true, force: true, maxRetries: 3 }))
  },
  (performed, _, seat, { lost }) =>
    Effect.raceFirst(performed, Deferred.await(lost)).pipe(
      // Its process may be in any state: it is ended, with all machines.
      Effect.onError(() => seat.discard)
    )
)

/** Runs a job as the queue wants it: a success ends it, a failure is the loss of this host, an interruption gives it back. */
const serve = (state: State, seat: Executors.Seat, job: Jobs.Job, claim: Claim) => {
  const running: Running = {
    ...{ claim, job, memory: job.memory, executor: { current: undefined } },
    lost: Deferred.makeUnsafe<never, NotOurs>()
  }
  // Two slots took at the same moment what only one of them has memory for.
  if (freeMemory(state) < job.memory) return Effect.interrupt
  const note = (change: () => void) =>
    Effect.suspend(() => {
      change()
      state.changed.openUnsafe()
      return Metric.update(runningMetric, state.running.size)
    })
  return note(() => state.running.add(running)).pipe(
    Effect.andThen(Effect.logInfo(`${job.file}: started${claim.attempt === 1 ? "" : ` as attempt ${claim.attempt}`}`)),
    Effect.andThen(perform(state, seat, running)),
    Effect.withSpan("vmtest.fleet.job", {
      ...Tracing.below(job.trace),
      attributes: { "vmtest.file": job.file, "vmtest.run": job.run, "vmtest.attempt": claim.attempt }
    }),
    Effect.tap(() => Effect.andThen(count("done"), Effect.logInfo(`${job.file}: done`))),
    Effect.catch((error) => {
      if (error instanceof NotOurs)
        return Effect.logWarning(
          `${job.file}: another host has it now, or it was cancelled; its machines are ended`
        ).pipe(
          Effect.andThen(count("refused")),
          // Says nothing of the job: the fence would refuse it, or nobody wants it.
          Effect.andThen(Effect.interrupt)
        )
      const reason =
        error instanceof DatabaseUnusable && isPassing(error) ? "the database was not there" : error.message
      return Effect.logWarning(`${job.file}: ${reason}`).pipe(
        Effect.andThen(count("lost")),
        Effect.andThen(Effect.fail(new Broken(`${reason} (on ${state.options.name})`)))
      )
    }),
    Effect.onInterrupt(() => count("returned")),
    Effect.ensuring(note(() => state.running.delete(running)))
  )
}

/** How long a slot has to be idle before its process is made anew for any run. */
const idleTime = "300 millis"

/** One slot: takes a job, runs it, takes the next one. */
const slot = Effect.fnUntraced(function* (state: State, command: Command) {
  const { options, store } = state
  const seat = yield* Executors.seat(command)
  yield* Effect.ignore(seat.refresh)
  while (!state.draining) {
    let claimed = false
    state.changed.closeUnsafe()
    const queues = Jobs.queuesFor(options.facts, freeMemory(state))
    // What fits has changed: another list of queues is waited for.
    const again: Effect.Effect<void> = Effect.suspend(() =>
      Effect.andThen(
        state.changed.await,
        Effect.suspend(() => (claimed ? Effect.never : Effect.void))
      )
    )
    const refresh = Effect.sleep(idleTime).pipe(
      Effect.andThen(Effect.suspend(() => (claimed ? Effect.void : Effect.ignore(seat.refresh)))),
      Effect.andThen(Effect.never)
    )
    yield* store.queue
      .take(queues, (job, claim) => {
        claimed = true
        return serve(state, seat, job, claim)
      })
      .pipe(
        Effect.raceFirst(again),
        Effect.raceFirst(refresh),
        Effect.sandbox,
        // A job that failed is the queue's matter; a database that is not there will be.
        Effect.catch((cause) => (Cause.hasInterruptsOnly(cause) ? Effect.void : Effect.sleep("200 millis")))
      )
  }
}, Effect.scoped)

/** Keeps the leases of what runs, and ends what is lost. */
const renewing = ({ lease, running, store }: State) => {
  const interval = Duration.divideUnsafe(lease, 3)
  let heard = 0
  const lose = (lost: ReadonlyArray<Running>) => {
    for (const one of lost) Deferred.doneUnsafe(one.lost, Effect.fail(new NotOurs()))
  }
  return Effect.gen(function* () {
    const began = yield* Clock.currentTimeMillis
    const mine = [...running]
    const lost = yield* store
      .renew(
        mine.map(({ claim }) => claim),
        lease
      )
      .pipe(
        Effect.timeoutOrElse({
          duration: interval,
          orElse: () => Effect.fail({ message: "the database does not answer" })
        })
      )
    heard = began
    lose(mine.filter(({ claim }) => lost.includes(claim)))
    const millis = began + Duration.toMillis(lease) - (yield* Clock.currentTimeMillis)
    yield* Effect.forEach(mine, ({ executor }) => executor.current?.order({ _tag: "Lease", millis }) ?? Effect.void)
    yield* store.tidy
    yield* Effect.raceFirst(store.changes.await, Effect.sleep(interval))
    store.changes.closeUnsafe()
  }).pipe(
    Effect.catch((problem) =>
      Effect.gen(function* () {
        yield* Effect.logWarning(problem.message)
        const silent = (yield* Clock.currentTimeMillis) - heard
        if (heard > 0 && silent >= Duration.toMillis(lease)) lose([...running])
        yield* Effect.sleep("500 millis")
      })
    ),
    Effect.forever
  )
}

/** Says that the worker lives. */
const beating = ({ draining, options, running, store }: State) => {
  const { about, facts, id, memory, name, slots } = options
  return store.report({
    ...{ id, name, state: draining ? "draining" : "active", busy: running.size },
    queues: Jobs.queuesFor(facts, memory),
    facts: JSON.stringify({ ...facts, ...about, slots, memory })
  })
}

/** Takes jobs until it is drained. Fails if the database cannot be used at the start. */
export const run = (store: Store, options: WorkerOptions): Effect.Effect<void, DatabaseUnusable> =>
  Effect.gen(function* () {
    const lease = options.lease ?? Duration.seconds(30)
    const state: State = {
      ...{ store, options, lease, draining: false },
      running: new Set(),
      changed: Latch.makeUnsafe(false)
    }
    yield* Effect.sync(() => Fs.mkdirSync(options.folder, { recursive: true, mode: 0o700 }))
    yield* beating(state)
    yield* Effect.addFinalizer(() => Effect.ignore(Effect.timeoutOption(store.leave(options.id), "2 seconds")))
    yield* Effect.forkScoped(
      Effect.forever(
        Effect.suspend(() =>
          Effect.andThen(Effect.ignore(beating(state)), Effect.sleep(Duration.divideUnsafe(lease, 3)))
        )
      )
    )
    yield* Effect.forkScoped(renewing(state))
    const slots = yield* Effect.forEach(Array.from({ length: options.slots }), () =>
      Effect.forkChild(slot(state, options.executor))
    )
    yield* (options.drain ?? Effect.never).pipe(
      Effect.andThen(
        Effect.sync(() => {
          state.draining = true
          state.changed.openUnsafe()
        })
      ),
      Effect.andThen(Effect.ignore(beating(state))),
      Effect.forkScoped
    )
    yield* Effect.forEach(slots, Fiber.await, { concurrency: "unbounded" }).pipe(
      Effect.raceFirst(
        Effect.andThen(
          options.giveBack ?? Effect.never,
          Effect.suspend(() => Fiber.interruptAll(slots))
        )
      )
    )
  }).pipe(Effect.scoped)
