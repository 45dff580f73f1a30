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
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import { DatabaseUnusable } from "./FleetError.ts"
import { isPassing } from "./internal/engine.ts"
import * as Executors from "./internal/executors.ts"
import { Broken, freeMemory, NotOurs, perform, type Running, type State } from "./internal/performing.ts"
import * as Tracing from "./internal/tracing.ts"
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
  /** Whether the client is on this host: tests find files where they are, and none need be sent along. Default false. */
  readonly beside?: boolean | undefined
  /** Whether it takes every job, for there is no other worker: what the host lacks, its tests say. Default false. */
  readonly only?: boolean | undefined
  /** How long runs are kept that have ended; undefined for ever. The database keeps them for a day at least. */
  readonly retention?: Duration.Duration | undefined
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

/** Runs a job as the queue wants it: a success ends it, a failure is the loss of this host, an interruption gives it back. */
const serve = (state: State, seat: Executors.Seat, job: Jobs.Job, claim: Claim) => {
  const running: Running = {
    ...{ claim, job, memory: job.memory, executor: { current: undefined } },
    lost: Deferred.makeUnsafe<never, NotOurs>()
  }
  // Two slots took at the same moment what only one of them has memory for.
  const alone = state.options.only === true && state.running.size === 0
  if (freeMemory(state) < job.memory && !alone) return Effect.interrupt
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

/** Whether a queue's jobs can be run now. */
const served = (state: State): ((queue: string) => boolean) => {
  const { facts, only = false } = state.options
  const free = freeMemory(state)
  return only ? (queue) => Jobs.fits(queue, free) || state.running.size === 0 : Jobs.serves(facts, free)
}

/** How long a slot has to be idle before its process is made anew for any run. */
const idleTime = "300 millis"

/** One slot: takes a job, runs it, takes the next one. */
const slot = Effect.fnUntraced(function* (state: State, command: Command) {
  const { store } = state
  const seat = yield* Executors.seat(command)
  yield* Effect.ignore(seat.refresh)
  while (!state.draining) {
    let claimed = false
    state.changed.closeUnsafe()
    const queues = [...store.known].filter(served(state))
    // What fits or is there has changed: another list of queues is waited for.
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
    facts: JSON.stringify({ ...facts, ...about, slots, memory })
  })
}

/** How often workers look for old runs. */
const expireInterval = "1 hour"

/** Has old runs removed. A role that may not do it, such as after an update, says so. */
const expiring = ({ options, store }: State): Effect.Effect<void> => {
  const { retention } = options
  if (retention === undefined) return Effect.void
  return store.expire(retention).pipe(
    Effect.tap((count) =>
      count === 0 ? Effect.void : Effect.logInfo(`removed ${count} old ${count === 1 ? "run" : "runs"}`)
    ),
    Effect.catch(({ message }) => Effect.logWarning(`could not remove old runs: ${message}`)),
    Effect.andThen(Effect.sleep(expireInterval)),
    Effect.forever
  )
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
    yield* Effect.forkScoped(expiring(state))
    yield* store.grown.await.pipe(
      Effect.andThen(
        Effect.sync(() => {
          store.grown.closeUnsafe()
          state.changed.openUnsafe()
        })
      ),
      Effect.forever,
      Effect.forkScoped
    )
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
