/**
 * What clients and workers share: runs, their jobs in queues, what happens in them, and files by their digest.
 *
 * There are two: the tables of a Postgres database, and the memory of one process, which `vmtest run --workers` uses.
 *
 * **Example** (Who could run tests now)
 *
 * ```ts
 * const workers = Effect.scoped(Effect.flatMap(Store.postgres(url), (store) => store.workers))
 * ```
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Latch from "effect/Latch"
import type * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { DatabaseUnusable } from "./FleetError.ts"
import type { Claim, JobQueue } from "./internal/engine.ts"
import * as Memory from "./internal/memoryStore.ts"
import * as Postgres from "./internal/postgresStore.ts"
import type { Job } from "./Job.ts"

export type { Claim } from "./internal/engine.ts"

/** A run, as it is stored. Times are in milliseconds since the epoch. */
export interface StoredRun {
  readonly id: string
  readonly title: string
  /** The database role that offered it. */
  readonly owner: string
  readonly state: "open" | "done" | "cancelled"
  readonly jobs: number
  /** What the client needs to show it again. */
  readonly plan: string
  readonly createdAt: number
}

/** Where a job is. */
export interface StoredJob {
  readonly id: string
  /** `failed`: its hosts were lost, `failure` says how. */
  readonly state: "pending" | "running" | "done" | "failed" | "cancelled"
  /** How often it was started. */
  readonly attempt: number
  /** The number of the newest attempt's last batch of events. */
  readonly events: number
  readonly worker: string | undefined
  /** What a job that is done came to. */
  readonly outcome: string | undefined
  readonly failure: string | undefined
}

/** Some events of a job that came together. */
export interface Batch {
  readonly attempt: number
  /** From 1 in each attempt. */
  readonly seq: number
  readonly body: string
}

/** A worker, as it says of itself. */
export interface StoredWorker {
  readonly id: string
  readonly name: string
  /** The database role. */
  readonly role: string
  readonly state: "active" | "draining"
  /** JSON, which `Job.factsOf` reads. */
  readonly facts: string
  readonly busy: number
  /** How long ago it was heard of, in milliseconds. */
  readonly seenAgo: number
}

/** What waits in a queue. */
export interface Demand {
  readonly queue: string
  readonly pending: number
  readonly running: number
  /** How long the oldest has waited, in milliseconds. */
  readonly waited: number
}

/** What clients and workers share. */
export interface Store {
  /** What messages call it. */
  readonly shown: string
  readonly queue: JobQueue<Job>

  /** Makes a run; one that is there stays as it is. */
  readonly openRun: (run: Omit<StoredRun, "owner" | "state" | "createdAt">) => Effect.Effect<void, DatabaseUnusable>
  readonly run: (id: string) => Effect.Effect<StoredRun | undefined, DatabaseUnusable>
  /** The newest first. */
  readonly runs: Effect.Effect<ReadonlyArray<StoredRun>, DatabaseUnusable>
  readonly endRun: (id: string) => Effect.Effect<void, DatabaseUnusable>
  /** Takes what waits out of the queues and has what runs ended; false if the run has ended already. */
  readonly cancel: (id: string) => Effect.Effect<boolean, DatabaseUnusable>
  /** The jobs of a run: all, or these. */
  readonly jobs: (run: string, ids?: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<StoredJob>, DatabaseUnusable>
  /** What happened in a job after a batch of events. */
  readonly events: (job: string, attempt: number, seq: number) => Effect.Effect<ReadonlyArray<Batch>, DatabaseUnusable>
  /** The jobs of a run that something happened to, by id, until the scope closes; some may be missing, and the empty name means any. */
  readonly hints: (run: string) => Effect.Effect<Queue.Dequeue<string>, never, Scope.Scope>

  /** Those of the digests that are not there. */
  readonly missing: (digests: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<string>, DatabaseUnusable>
  /** Keeps a file for as long as the run is kept. */
  readonly put: (run: string, digest: string, bytes: Uint8Array) => Effect.Effect<void, DatabaseUnusable>
  /** Keeps a file that is there already for as long as the run is kept. */
  readonly use: (run: string, digests: ReadonlyArray<string>) => Effect.Effect<void, DatabaseUnusable>
  /** Undefined if it is not there, or not what its digest says. */
  readonly get: (digest: string) => Effect.Effect<Uint8Array | undefined, DatabaseUnusable>

  /** Adds events to a job; false if the claim is not the job's newest any more. */
  readonly append: (claim: Claim, seq: number, body: string) => Effect.Effect<boolean, DatabaseUnusable>
  /** Ends a job; false if the claim is not the job's newest any more. */
  readonly finish: (claim: Claim, outcome: string) => Effect.Effect<boolean, DatabaseUnusable>
  /** Keeps claims for another lease; gives those that are lost. */
  readonly renew: (
    claims: ReadonlyArray<Claim>,
    lease: Duration.Duration
  ) => Effect.Effect<ReadonlyArray<Claim>, DatabaseUnusable>
  /** Says what a worker is, and that it lives. */
  readonly report: (worker: Omit<StoredWorker, "role" | "seenAgo">) => Effect.Effect<void, DatabaseUnusable>
  readonly leave: (worker: string) => Effect.Effect<void, DatabaseUnusable>
  /** Those that were heard of within a minute. */
  readonly workers: Effect.Effect<ReadonlyArray<StoredWorker>, DatabaseUnusable>
  readonly demand: Effect.Effect<ReadonlyArray<Demand>, DatabaseUnusable>
  /** Opened when a job was offered, or one that runs was cancelled. */
  readonly changes: Latch.Latch
  /** The queues that had jobs since a worker's store was opened. */
  readonly known: ReadonlySet<string>
  /** Opened when there are more of them. */
  readonly grown: Latch.Latch
  /** Has jobs whose host is lost started again, and forgets workers that are gone. One worker at a time does it; others return at once. */
  readonly tidy: Effect.Effect<void, DatabaseUnusable>
  /** Removes runs that ended, or were left, longer ago than this, and files that no run has; gives how many runs. For the owner of the database. */
  readonly prune: (olderThan: Duration.Duration) => Effect.Effect<number, DatabaseUnusable>
  /** The same, for workers: of a run that ended less than a day ago nothing is removed, and one worker at a time does it. */
  readonly expire: (olderThan: Duration.Duration) => Effect.Effect<number, DatabaseUnusable>
}

/** Who opens a store. */
export interface StoreOptions {
  /** The worker that takes jobs; undefined for clients. */
  readonly worker?: string | undefined
  /** For how long a job is a worker's without a word of it. Default 30 seconds. */
  readonly lease?: Duration.Duration | undefined
}

/** The store in a database, whose tables are made if they are not there. Closed with the scope. */
export const postgres = Postgres.make

/** A store in the memory of this process. */
export const memory = Memory.make
