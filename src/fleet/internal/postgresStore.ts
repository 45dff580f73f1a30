/** The store in the tables of a Postgres database. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Digest from "../../host/Digest.ts"
import type { DatabaseUrl } from "../DatabaseUrl.ts"
import type { DatabaseUnusable } from "../FleetError.ts"
import { Job } from "../Job.ts"
import type { Batch, Demand, Store, StoredJob, StoredRun, StoredWorker, StoreOptions } from "../Store.ts"
import * as Engine from "./engine.ts"
import { mostLosses, partSize } from "./limits.ts"
import * as Migrations from "./migrations.ts"
import * as PostgresQueue from "./postgresQueue.ts"

type Query = Engine.Database["query"]

/** Hears a channel for as long as the scope is open; a lost connection is made again, and told as the empty text. */
const hear = (db: Engine.Database, channel: string, tell: (text: string) => Effect.Effect<unknown>) =>
  Effect.gen(function* () {
    const notes = yield* db.listen(channel)
    yield* tell("")
    return yield* Effect.forever(Effect.flatMap(Queue.take(notes), tell))
  }).pipe(
    Effect.scoped,
    Effect.catch(() => Effect.sleep("500 millis")),
    Effect.forever,
    Effect.forkScoped
  )

const runColumns = `id, title, owner, state, jobs, plan, (extract(epoch FROM created_at) * 1000)::float8 AS "createdAt"`

const runs = (query: Query): Pick<Store, "openRun" | "run" | "runs" | "endRun" | "cancel"> => ({
  openRun: ({ id, jobs, plan, title }) =>
    Effect.asVoid(
      query(`INSERT INTO vmtest.run (id, title, jobs, plan) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING`, [
        ...[id, title, jobs, plan]
      ])
    ),
  run: (id) =>
    Effect.map(query<StoredRun>(`SELECT ${runColumns} FROM vmtest.run WHERE id = $1`, [id]), (rows) => rows[0]),
  runs: query<StoredRun>(`SELECT ${runColumns} FROM vmtest.run ORDER BY created_at DESC, id LIMIT 1000`),
  endRun: (id) =>
    Effect.asVoid(
      query(`UPDATE vmtest.run SET state = 'done', ended_at = now() WHERE id = $1 AND state = 'open'`, [id])
    ),
  cancel: (id) =>
    Effect.map(
      query<{ readonly cancelled: boolean }>(
        `WITH ended AS (UPDATE vmtest.run SET state = 'cancelled', ended_at = now() WHERE id = $1 AND state = 'open' RETURNING id),
              jobs AS (UPDATE vmtest.job SET state = 'cancelled', ended_at = now()
                       WHERE run IN (SELECT id FROM ended) AND state IN ('pending', 'running') RETURNING id)
         SELECT true AS cancelled, pg_notify('vmtest_jobs', ''), pg_notify('vmtest_run_' || id, ''), (SELECT count(*) FROM jobs) FROM ended`,
        [id]
      ),
      (rows) => rows.length > 0
    )
})

const jobColumns = `id, state, attempt, events, worker, outcome, failure`

const orUndefined = <A extends object>(row: A): A =>
  Object.fromEntries(Object.entries(row).map(([key, value]) => [key, value ?? undefined])) as A

const jobs = (
  db: Engine.Database,
  settled: Set<string>
): Pick<Store, "jobs" | "events" | "append" | "finish" | "renew" | "hints"> => ({
  jobs: (run, ids) =>
    Effect.map(
      ids === undefined
        ? db.query<StoredJob>(`SELECT ${jobColumns} FROM vmtest.job WHERE run = $1 ORDER BY seq`, [run])
        : db.query<StoredJob>(`SELECT ${jobColumns} FROM vmtest.job WHERE id = ANY($1::text[]) ORDER BY seq`, [ids]),
      (rows) => rows.map(orUndefined)
    ),
  events: (job, attempt, seq) =>
    db.query<Batch>(
      `SELECT attempt, seq, body FROM vmtest.event WHERE job = $1 AND (attempt, seq) > ($2, $3) ORDER BY attempt, seq LIMIT 500`,
      [job, attempt, seq]
    ),
  // A batch that was written, but whose answer was lost, is written again: the second time changes nothing.
  append: ({ attempt, job }, seq, body) =>
    Effect.map(
      db.query(
        `WITH mine AS (UPDATE vmtest.job SET events = $3 WHERE id = $1 AND attempt = $2 AND state = 'running' RETURNING id, run),
              put AS (INSERT INTO vmtest.event (job, attempt, seq, body) SELECT id, $2, $3, $4 FROM mine ON CONFLICT DO NOTHING)
         SELECT pg_notify('vmtest_run_' || run, id) FROM mine`,
        [job, attempt, seq, body]
      ),
      (rows) => rows.length > 0
    ),
  finish: ({ attempt, job }, outcome) =>
    Effect.map(
      db.query(
        `WITH mine AS (UPDATE vmtest.job SET state = 'done', outcome = $3, ended_at = now(), leased_until = NULL
                       WHERE id = $1 AND attempt = $2 AND state IN ('running', 'done') RETURNING id, run)
         SELECT pg_notify('vmtest_run_' || run, id) FROM mine`,
        [job, attempt, outcome]
      ),
      (rows) => {
        if (rows.length > 0) settled.add(job)
        return rows.length > 0
      }
    ),
  renew: (claims, lease) =>
    claims.length === 0
      ? Effect.succeed([])
      : Effect.map(
          db.query<{ readonly id: string; readonly attempt: number }>(
            `UPDATE vmtest.job SET leased_until = clock_timestamp() + $3::float8 * interval '1 millisecond'
             FROM unnest($1::text[], $2::int[]) AS mine (job, number)
             WHERE id = mine.job AND attempt = mine.number AND state = 'running' RETURNING id, attempt`,
            [claims.map(({ job }) => job), claims.map(({ attempt }) => attempt), Duration.toMillis(lease)]
          ),
          (kept) =>
            claims.filter(({ attempt, job }) => !kept.some((one) => one.id === job && Number(one.attempt) === attempt))
        ),
  hints: (run) =>
    Effect.gen(function* () {
      const names = yield* Queue.unbounded<string>()
      yield* hear(db, `vmtest_run_${run}`, (job) => Queue.offer(names, job))
      return names
    })
})

/** The parts of a file: the first and last byte of each. */
const partsOf = (bytes: Uint8Array): ReadonlyArray<Uint8Array> =>
  Array.from({ length: Math.ceil(bytes.length / partSize) }, (_, index) =>
    bytes.subarray(index * partSize, (index + 1) * partSize)
  )

const files = (db: Engine.Database): Pick<Store, "missing" | "put" | "use" | "get"> => {
  const use: Store["use"] = (run, digests) =>
    Effect.asVoid(
      db.query(`INSERT INTO vmtest.blob_use (run, digest) SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING`, [
        run,
        digests
      ])
    )
  /** A file of one part, or of none, in one statement. */
  const putSmall = (run: string, digest: string, bytes: Uint8Array) =>
    Effect.asVoid(
      db.query(
        `WITH used AS (INSERT INTO vmtest.blob_use (run, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING),
              part AS (INSERT INTO vmtest.blob (digest, part, bytes) SELECT $2, 0, $3::bytea WHERE length($3::bytea) > 0 ON CONFLICT DO NOTHING)
         INSERT INTO vmtest.blob_head (digest, size, parts) VALUES ($2, length($3::bytea), least(length($3::bytea), 1)) ON CONFLICT DO NOTHING`,
        [run, digest, bytes]
      )
    )
  return {
    use,
    missing: (digests) =>
      Effect.map(
        db.query<{ readonly digest: string }>(
          `SELECT wanted.digest FROM unnest($1::text[]) AS wanted (digest)
           WHERE NOT EXISTS (SELECT FROM vmtest.blob_head WHERE digest = wanted.digest)`,
          [digests]
        ),
        (rows) => rows.map(({ digest }) => digest)
      ),
    put: Effect.fnUntraced(function* (run, digest, bytes) {
      const parts = partsOf(bytes)
      if (parts.length <= 1) return yield* putSmall(run, digest, bytes)
      // Used before it is there: nobody may prune a part of it meanwhile.
      yield* use(run, [digest])
      yield* Effect.forEach(
        parts,
        (part, index) =>
          db.query(`INSERT INTO vmtest.blob (digest, part, bytes) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, [
            ...[digest, index, part]
          ]),
        { discard: true }
      )
      // The head comes last: a file is whole or absent.
      yield* db.query(`INSERT INTO vmtest.blob_head (digest, size, parts) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, [
        digest,
        bytes.length,
        parts.length
      ])
    }),
    get: Effect.fnUntraced(function* (digest) {
      const [head] = yield* db.query<{ readonly parts: number }>(
        `SELECT parts FROM vmtest.blob_head WHERE digest = $1`,
        [digest]
      )
      if (head === undefined) return undefined
      const parts = yield* Effect.forEach(Array.from({ length: head.parts }), (_, index) =>
        db.query<{ readonly bytes: Uint8Array }>(`SELECT bytes FROM vmtest.blob WHERE digest = $1 AND part = $2`, [
          ...[digest, index]
        ])
      )
      const bytes = Buffer.concat(parts.flatMap((rows) => rows.map((row) => row.bytes)))
      return Digest.of(bytes) === digest ? bytes : undefined
    })
  }
}

const workers = (
  db: Engine.Database
): Pick<Store, "report" | "leave" | "workers" | "demand" | "tidy" | "prune" | "expire"> => ({
  // Workers of the first protocol named the queues that they take from; who knows that one only is to see none of a later one.
  report: ({ busy, facts, id, name, state }) =>
    Effect.asVoid(
      db.query(
        `INSERT INTO vmtest.worker (id, name, facts, queues, state, busy) VALUES ($1, $2, $3, '{}', $4, $5)
         ON CONFLICT (id) DO UPDATE SET facts = $3, state = $4, busy = $5, seen_at = now()`,
        [id, name, facts, state, busy]
      )
    ),
  leave: (id) => Effect.asVoid(db.query(`DELETE FROM vmtest.worker WHERE id = $1`, [id])),
  workers: Effect.map(
    db.query<StoredWorker>(
      `SELECT id, name, role, state, facts, busy, (extract(epoch FROM now() - seen_at) * 1000)::float8 AS "seenAgo"
       FROM vmtest.worker WHERE seen_at > now() - interval '1 minute' ORDER BY name, id`
    ),
    (rows) => rows.map(orUndefined)
  ),
  demand: db.query<Demand>(
    `SELECT queue, (count(*) FILTER (WHERE state = 'pending'))::int AS pending, (count(*) FILTER (WHERE state = 'running'))::int AS running,
            coalesce((extract(epoch FROM now() - min(created_at) FILTER (WHERE state = 'pending')) * 1000)::float8, 0) AS waited
     FROM vmtest.job WHERE state IN ('pending', 'running') GROUP BY queue ORDER BY queue`
  ),
  tidy: Effect.asVoid(
    db.query(
      `WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(${tidyLock}) AS mine),
            lapsed AS (UPDATE vmtest.job SET losses = losses + 1, leased_until = NULL, worker = NULL,
                         failure = 'the worker ' || coalesce((SELECT name FROM vmtest.worker WHERE id = job.worker), job.worker) || ' was not heard of any more',
                         state = CASE WHEN losses + 1 >= ${mostLosses} THEN 'failed' ELSE 'pending' END,
                         ended_at = CASE WHEN losses + 1 >= ${mostLosses} THEN now() END
                       WHERE (SELECT mine FROM turn) AND id IN (
                         SELECT id FROM vmtest.job WHERE state = 'running' AND leased_until < clock_timestamp() FOR UPDATE SKIP LOCKED)
                       RETURNING id, run, queue),
            gone AS (DELETE FROM vmtest.worker WHERE (SELECT mine FROM turn) AND seen_at < now() - interval '10 minutes')
       SELECT pg_notify('vmtest_jobs', queue), pg_notify('vmtest_run_' || run, id) FROM lapsed`
    )
  ),
  prune: Effect.fnUntraced(function* (olderThan) {
    const gone = yield* db.query(
      `DELETE FROM vmtest.run WHERE coalesce(ended_at, created_at) < now() - $1::float8 * interval '1 millisecond'
         AND NOT (state = 'open' AND EXISTS (SELECT FROM vmtest.job WHERE job.run = run.id AND job.state = 'running')) RETURNING id`,
      [Duration.toMillis(olderThan)]
    )
    yield* db.query(
      `DELETE FROM vmtest.blob_head WHERE used_at < now() - interval '1 hour' AND NOT EXISTS (SELECT FROM vmtest.blob_use u WHERE u.digest = blob_head.digest)`
    )
    yield* db.query(
      `DELETE FROM vmtest.blob WHERE NOT EXISTS (SELECT FROM vmtest.blob_head h WHERE h.digest = blob.digest)
         AND NOT EXISTS (SELECT FROM vmtest.blob_use u WHERE u.digest = blob.digest)`
    )
    return gone.length
  }),
  expire: (olderThan) =>
    Effect.map(
      db.query<{ readonly gone: number }>(`SELECT vmtest.expire($1::float8 * interval '1 millisecond') AS gone`, [
        Duration.toMillis(olderThan)
      ]),
      ([row]) => row?.gone ?? 0
    )
})

/** The queues that have waiting jobs: from one to the next in the index, for there may be thousands of jobs in each. */
const waitingQueues = (query: Query) =>
  query<{ readonly queue: string }>(
    `WITH RECURSIVE one AS (
       (SELECT queue FROM vmtest.job WHERE state = 'pending' ORDER BY queue LIMIT 1)
       UNION ALL
       SELECT (SELECT queue FROM vmtest.job WHERE state = 'pending' AND queue > one.queue ORDER BY queue LIMIT 1) FROM one WHERE one.queue IS NOT NULL)
     SELECT queue FROM one WHERE queue IS NOT NULL`
  )

/** `vmtest` in ASCII, and one more, so that it is not that of migrations. */
const tidyLock = String(0x766d74657374 + 1)

/** How many connections a client or a worker has: for statements, and one to listen. */
const connections = 5

/** Connects, and makes the tables or brings them up to date. */
export const make: (url: DatabaseUrl, options?: StoreOptions) => Effect.Effect<Store, DatabaseUnusable, Scope.Scope> =
  Effect.fnUntraced(function* (url: DatabaseUrl, { lease = Duration.seconds(30), worker }: StoreOptions = {}) {
    const name = worker === undefined ? "vmtest client" : `vmtest worker ${worker}`
    const db = yield* Engine.connect(url, { name, connections })
    yield* Migrations.migrate(db)
    const wake = Latch.makeUnsafe(false)
    const changes = Latch.makeUnsafe(false)
    const settled = new Set<string>()
    const known = new Set<string>()
    const grown = Latch.makeUnsafe(false)
    const learn = (names: ReadonlyArray<string>) => {
      const before = known.size
      for (const one of names) known.add(one)
      if (known.size > before) grown.openUnsafe()
    }
    const look = Effect.map(waitingQueues(db.query), (rows) => learn(rows.map(({ queue }) => queue)))
    if (worker !== undefined) {
      // The empty text may stand for any number that were not heard.
      yield* hear(db, "vmtest_jobs", (heard) =>
        Effect.gen(function* () {
          if (heard === "") yield* Effect.ignore(look)
          else learn([heard])
          wake.openUnsafe()
          changes.openUnsafe()
        })
      )
    }
    const own = workers(db)
    const queue = yield* Engine.jobQueue(
      yield* PostgresQueue.make(db, { worker, lease, wake, settled }),
      Job,
      mostLosses
    )
    return {
      ...{ shown: url.shown, queue, changes, known, grown },
      ...{ ...runs(db.query), ...jobs(db, settled), ...files(db), ...own },
      tidy: Effect.andThen(own.tidy, look)
    }
  })
