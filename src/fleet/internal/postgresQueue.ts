/**
 * The store of Effect's `PersistedQueue` in the tables of a fleet.
 *
 * Effect's own store for SQL is not used, for four reasons: it makes its table whenever it is opened, which the roles of a fleet may not do; a job that
 * is given back gets the number of its attempt again, which results are fenced by; it looks once a second, where a `NOTIFY` can wake it; and it looks
 * for each queue by itself.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import type * as Scope from "effect/Scope"
import type { DatabaseUnusable } from "../FleetError.ts"
import { type Claim, type Database, patiently, type QueueStore, queueError } from "./engine.ts"

/** Who takes jobs, and how. */
export interface Taker {
  /** Its id; undefined for who only offers. */
  readonly worker: string | undefined
  /** For how long a job is its own without a refresh. */
  readonly lease: Duration.Duration
  /** Opened when there may be a new job. */
  readonly wake: Latch.Latch
  /** Jobs that have ended in the database already; each is taken out once its queue has heard of it. */
  readonly settled: Set<string>
}

/** A job that was taken. */
interface Taken {
  readonly id: string
  readonly queue: string
  readonly element: string
  readonly attempt: number
}

/** How long nobody looks for new jobs if nothing tells of one. */
const pollInterval = "1 second"

/** Looks at the first job of each queue only: all jobs of all queues would have to be sorted, and there may be thousands. */
const claimOne = (db: Database, names: ReadonlyArray<string>, { lease, worker }: Taker) =>
  Effect.map(
    db.query<Taken>(
      `UPDATE vmtest.job SET state = 'running', attempt = attempt + 1, worker = $2, events = 0,
              leased_until = clock_timestamp() + $3::float8 * interval '1 millisecond'
       WHERE id = (SELECT next.id FROM unnest($1::text[]) AS wanted (queue) CROSS JOIN LATERAL (
                     SELECT id, seq FROM vmtest.job WHERE state = 'pending' AND job.queue = wanted.queue
                     ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED) AS next
                   ORDER BY next.seq LIMIT 1)
       RETURNING id, queue, element, attempt`,
      [names, worker, Duration.toMillis(lease)]
    ),
    (rows) => rows[0]
  )

/** Gives a job back as if it had not been started. */
export const giveBack = (db: Database, { attempt, job }: Claim): Effect.Effect<unknown, DatabaseUnusable> =>
  db.query(
    `WITH back AS (UPDATE vmtest.job SET state = 'pending', worker = NULL, leased_until = NULL
                   WHERE id = $1 AND attempt = $2 AND state = 'running' RETURNING queue)
     SELECT pg_notify('vmtest_jobs', queue) FROM back`,
    [job, attempt]
  )

/** Notes that the host of a job is lost. It is started again, or fails if it was lost too often. */
export const lose = (db: Database, { attempt, job }: Claim, most: number, reason: string) =>
  db.query(
    `WITH lost AS (UPDATE vmtest.job SET losses = losses + 1, leased_until = NULL, worker = NULL, failure = $4,
                     state = CASE WHEN losses + 1 >= $3 THEN 'failed' ELSE 'pending' END,
                     ended_at = CASE WHEN losses + 1 >= $3 THEN now() END
                   WHERE id = $1 AND attempt = $2 AND state = 'running' RETURNING id, run, queue, state)
     SELECT pg_notify('vmtest_jobs', queue), pg_notify('vmtest_run_' || run, id) FROM lost`,
    [job, attempt, most, reason]
  )

/** Ends a job, if nothing else has. */
const complete = (db: Database, { attempt, job }: Claim) =>
  db.query(
    `UPDATE vmtest.job SET state = 'done', ended_at = now() WHERE id = $1 AND attempt = $2 AND state = 'running'`,
    [job, attempt]
  )

/** The store; jobs are looked for while somebody takes. */
export const make: (db: Database, taker: Taker) => Effect.Effect<QueueStore, never, Scope.Scope> = Effect.fnUntraced(
  function* (db, taker) {
    const waiting = new Map<string, Array<Deferred.Deferred<Taken>>>()
    const asked = Latch.makeUnsafe(false)

    const handOver = (taken: Taken): boolean => {
      const first = waiting.get(taken.queue)?.shift()
      if (first === undefined) return false
      Deferred.doneUnsafe(first, Effect.succeed(taken))
      return true
    }
    const names = () => [...waiting].filter(([, takers]) => takers.length > 0).map(([name]) => name)

    const look = Effect.gen(function* () {
      taker.wake.closeUnsafe()
      const wanted = names()
      if (wanted.length === 0) {
        asked.closeUnsafe()
        return yield* asked.await
      }
      const taken = yield* claimOne(db, wanted, taker)
      if (taken === undefined) return yield* Effect.raceFirst(taker.wake.await, Effect.sleep(pollInterval))
      if (!handOver(taken)) return yield* giveBack(db, { job: taken.id, attempt: taken.attempt })
      // Who got it stops its waits for other queues now.
      yield* Effect.sleep("1 millis")
    })
    yield* look.pipe(
      Effect.catch(() => Effect.sleep("500 millis")),
      Effect.forever,
      Effect.forkScoped
    )

    return {
      offer: ({ element, id, name }) =>
        db
          .query(
            `WITH new AS (INSERT INTO vmtest.job (id, run, queue, element) VALUES ($1, split_part($1, '/', 1), $2, $3)
                          ON CONFLICT (id) DO NOTHING RETURNING queue)
             SELECT pg_notify('vmtest_jobs', queue) FROM new`,
            [id, name, JSON.stringify(element)]
          )
          .pipe(Effect.mapError(queueError), Effect.asVoid),
      take: ({ maxAttempts, name }) =>
        Effect.uninterruptibleMask((restore) =>
          Effect.gen(function* () {
            const mine = Deferred.makeUnsafe<Taken>()
            waiting.set(name, [...(waiting.get(name) ?? []), mine])
            asked.openUnsafe()
            taker.wake.openUnsafe()
            const leave = Effect.suspend(() => {
              const taken = Deferred.isDoneUnsafe(mine)
              waiting.set(
                name,
                (waiting.get(name) ?? []).filter((one) => one !== mine)
              )
              // It came in the moment in which nobody waited for it any more.
              return taken
                ? Effect.flatMap(Deferred.await(mine), ({ attempt, id }) =>
                    Effect.ignore(patiently(taker.lease)(giveBack(db, { job: id, attempt })))
                  )
                : Effect.void
            })
            const { attempt, element, id } = yield* Effect.onInterrupt(restore(Deferred.await(mine)), () => leave)
            const claim = { job: id, attempt }
            yield* Effect.addFinalizer((exit) => {
              const isSettled = taker.settled.delete(id)
              const settled = Exit.isSuccess(exit)
                ? isSettled
                  ? Effect.void
                  : complete(db, claim)
                : Cause.hasInterruptsOnly(exit.cause)
                  ? giveBack(db, claim)
                  : lose(db, claim, maxAttempts, reasonOf(exit.cause))
              // What cannot be said in time, the end of the lease says.
              return Effect.ignore(patiently(taker.lease)(settled))
            })
            return { id, attempts: attempt, element: JSON.parse(element) as unknown }
          })
        ),
      cleanup: () => Effect.void
    }
  }
)

/** Why a host was lost, in one line. */
const reasonOf = (cause: Cause.Cause<unknown>): string => {
  const squashed = Cause.squash(cause)
  const inner = typeof squashed === "object" && squashed !== null && "error" in squashed ? squashed.error : squashed
  return inner instanceof Error ? inner.message : String(inner)
}
