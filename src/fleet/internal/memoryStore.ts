/** The store in the memory of one process: the same queue, with Effect's own memory for it. Hosts are not lost here, so claims need no lease. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { DatabaseUnusable } from "../FleetError.ts"
import { Job } from "../Job.ts"
import type { Batch, Store, StoredJob, StoredRun, StoredWorker } from "../Store.ts"
import * as Engine from "./engine.ts"
import { mostLosses } from "./limits.ts"

interface Kept {
  job: StoredJob
  readonly queue: string
  readonly batches: Array<Batch>
}

/** What a job came to that nobody wanted any more. */
const skipped: unique symbol = Symbol("skipped")

/** A store that ends with this process. */
export const make: Effect.Effect<Store, never, Scope.Scope> = Effect.gen(function* () {
  const runs = new Map<string, StoredRun>()
  const jobs = new Map<string, Kept>()
  const blobs = new Map<string, Uint8Array>()
  const workers = new Map<string, StoredWorker>()
  const listeners = new Map<string, Queue.Queue<string>>()
  const changes = Latch.makeUnsafe(false)
  const known = new Set<string>()
  const grown = Latch.makeUnsafe(false)
  const engine = yield* Engine.jobQueue(yield* Engine.memoryQueueStore, Job, mostLosses)

  const runOf = (job: string) => job.split("/")[0] ?? ""
  const tell = (job: string) => {
    const listener = listeners.get(runOf(job))
    if (listener !== undefined) Queue.offerUnsafe(listener, job)
  }
  /** Changes a job if the claim is its newest; false otherwise. */
  const update = ({ attempt, job }: Engine.Claim, change: (kept: Kept) => Partial<StoredJob>) =>
    Effect.sync(() => {
      const kept = jobs.get(job)
      if (kept === undefined || kept.job.attempt !== attempt || kept.job.state !== "running") return false
      kept.job = { ...kept.job, ...change(kept) }
      tell(job)
      return true
    })

  const queue: Store["queue"] = {
    offer: (name, id, job) =>
      Effect.suspend(() => {
        if (jobs.has(id)) return Effect.void
        const state = { state: "pending", attempt: 0, events: 0 } as const
        const none = { worker: undefined, outcome: undefined, failure: undefined }
        jobs.set(id, { job: { id, ...state, ...none }, queue: name, batches: [] })
        known.add(name)
        grown.openUnsafe()
        return engine.offer(name, id, job)
      }),
    take: <B, E, R>(
      queues: ReadonlyArray<string>,
      f: (job: Job, claim: Engine.Claim) => Effect.Effect<B, E, R>
    ): Effect.Effect<B, E | DatabaseUnusable, R> => {
      const run = (job: Job, claim: Engine.Claim): Effect.Effect<B | typeof skipped, E, R> => {
        const kept = jobs.get(claim.job)
        // Cancelled while it waited.
        if (kept?.job.state === "cancelled") return Effect.succeed<typeof skipped>(skipped)
        if (kept !== undefined) kept.job = { ...kept.job, state: "running", attempt: claim.attempt, events: 0 }
        return Effect.tapError(f(job, claim), (error) =>
          update(claim, () => ({
            failure: error instanceof Error ? error.message : String(error),
            state: claim.attempt >= mostLosses ? "failed" : "pending"
          }))
        )
      }
      const next: Effect.Effect<B, E | DatabaseUnusable, R> = Effect.flatMap(
        engine.take(queues, (job, claim) => Effect.suspend(() => run(job, claim))),
        (ended) => (ended === skipped ? next : Effect.succeed(ended))
      )
      return next
    }
  }

  return {
    shown: "the memory of this process",
    queue,
    changes,
    known,
    grown,
    openRun: (run) =>
      Effect.map(Clock.currentTimeMillis, (createdAt) => {
        if (!runs.has(run.id)) runs.set(run.id, { ...run, owner: "", state: "open", createdAt })
      }),
    run: (id) => Effect.sync(() => runs.get(id)),
    runs: Effect.sync(() => [...runs.values()].reverse()),
    endRun: (id) =>
      Effect.sync(() => {
        const run = runs.get(id)
        if (run?.state === "open") runs.set(id, { ...run, state: "done" })
      }),
    cancel: (id) =>
      Effect.sync(() => {
        const run = runs.get(id)
        if (run?.state !== "open") return false
        runs.set(id, { ...run, state: "cancelled" })
        for (const kept of jobs.values()) {
          const open = kept.job.state === "pending" || kept.job.state === "running"
          if (runOf(kept.job.id) === id && open) kept.job = { ...kept.job, state: "cancelled" }
        }
        changes.openUnsafe()
        tell(id)
        return true
      }),
    jobs: (run, ids) =>
      Effect.sync(() =>
        [...jobs.values()]
          .map(({ job }) => job)
          .filter(({ id }) => (ids === undefined ? runOf(id) === run : ids.includes(id)))
      ),
    events: (job, attempt, seq) =>
      Effect.sync(() =>
        (jobs.get(job)?.batches ?? []).filter(
          (one) => one.attempt > attempt || (one.attempt === attempt && one.seq > seq)
        )
      ),
    hints: (run) =>
      Effect.gen(function* () {
        const names = yield* Queue.unbounded<string>()
        listeners.set(run, names)
        yield* Effect.addFinalizer(() => Effect.sync(() => listeners.delete(run)))
        yield* Queue.offer(names, "")
        return names
      }),
    missing: (digests) => Effect.sync(() => digests.filter((digest) => !blobs.has(digest))),
    put: (_, digest, bytes) => Effect.sync(() => void blobs.set(digest, bytes)),
    use: () => Effect.void,
    get: (digest) => Effect.sync(() => blobs.get(digest)),
    append: (claim, seq, body) =>
      update(claim, (kept) => {
        const known = kept.batches.some((one) => one.attempt === claim.attempt && one.seq === seq)
        if (!known) kept.batches.push({ attempt: claim.attempt, seq, body })
        return { events: seq }
      }),
    finish: (claim, outcome) => update(claim, () => ({ state: "done", outcome })),
    renew: (claims) =>
      Effect.sync(() =>
        claims.filter(({ attempt, job }) => {
          const kept = jobs.get(job)?.job
          return kept?.state !== "running" || kept.attempt !== attempt
        })
      ),
    report: (worker) => Effect.sync(() => void workers.set(worker.id, { ...worker, role: "", seenAgo: 0 })),
    leave: (id) => Effect.sync(() => void workers.delete(id)),
    workers: Effect.sync(() => [...workers.values()]),
    demand: Effect.sync(() =>
      [...new Set([...jobs.values()].map((kept) => kept.queue))].map((name) => {
        const states = [...jobs.values()].filter((kept) => kept.queue === name).map(({ job }) => job.state)
        const count = (state: string) => states.filter((one) => one === state).length
        return { queue: name, pending: count("pending"), running: count("running"), waited: 0 }
      })
    ),
    tidy: Effect.void,
    prune: () => Effect.succeed(0),
    expire: () => Effect.succeed(0)
  }
})
