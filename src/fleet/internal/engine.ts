/**
 * The one module that knows the engines under a fleet: Effect's `PersistedQueue` and SQL client, and the driver of Postgres. Effect marks all of them
 * unstable, so what changes there is changed here.
 *
 * The driver is an optional peer dependency, loaded when a database is first used: who runs tests on one host need not install it.
 */
import { readFileSync } from "node:fs"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as PersistedQueue from "effect/persistence/PersistedQueue"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Schedule from "effect/Schedule"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { DatabaseUrl } from "../DatabaseUrl.ts"
import { DatabaseUnusable } from "../FleetError.ts"
import { problemOf } from "./databaseProblem.ts"

/** What is used of a client of `@effect/sql-pg`, whose types need not be there. */
interface PgClient extends SqlClient.SqlClient {
  readonly listen: (
    channel: string
  ) => Effect.Effect<Queue.Dequeue<{ readonly payload: string }, SqlError>, SqlError, Scope.Scope>
}

interface PgClientModule {
  readonly make: (options: {
    readonly url: Redacted.Redacted
    readonly ssl?: { readonly ca: string } | undefined
    readonly applicationName: string
    readonly maxConnections: number
    readonly connectTimeout: Duration.Input
    readonly keepAlive: Duration.Input
    readonly idleTimeout: Duration.Input
    readonly maxMessageSize: number
  }) => Effect.Effect<PgClient, SqlError, Scope.Scope | Reactivity.Reactivity>
}

/** A row of an answer. */
type Row = Readonly<Record<string, unknown>>

/** A connection to the database of a fleet. */
export interface Database {
  /** The URL without the password. */
  readonly shown: string
  /** Runs one statement; `$1` is the first value. */
  readonly query: <A extends object = Row>(
    statement: string,
    values?: ReadonlyArray<unknown>
  ) => Effect.Effect<ReadonlyArray<A>, DatabaseUnusable>
  /** Runs statements that are all done, or none. */
  readonly transaction: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | DatabaseUnusable, R>
  /** What is notified on a channel, until the scope closes. Fails when the connection is lost. */
  readonly listen: (
    channel: string
  ) => Effect.Effect<Queue.Dequeue<string, DatabaseUnusable>, DatabaseUnusable, Scope.Scope>
}

/** Errors that may be over soon: the server restarts, its disk is cleaned up, two transactions met. */
export const isPassing = ({ problem, reason }: DatabaseUnusable): boolean =>
  problem === "unreachable" || problem === "full" || /deadlock|could not serialize/.test(reason)

/** How often what may pass is tried again: after 0.1 s, 0.2 s … 2 s. */
export const retrySchedule = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("2 seconds")]).pipe(
  Schedule.jittered
)

/** Tries again what fails with something passing, for at most `patience`, and says so once. */
export const patiently =
  (patience: Duration.Input) =>
  <A, E, R>(effect: Effect.Effect<A, E | DatabaseUnusable, R>): Effect.Effect<A, E | DatabaseUnusable, R> =>
    Effect.suspend(() => {
      const passes = (error: E | DatabaseUnusable) => error instanceof DatabaseUnusable && isPassing(error)
      let isSaid = false
      return effect.pipe(
        Effect.tapError((error) => {
          if (isSaid || !(error instanceof DatabaseUnusable) || !isPassing(error)) return Effect.void
          isSaid = true
          const longest = Duration.format(Duration.fromInputUnsafe(patience))
          return Effect.logWarning(`${error.message}; trying again for at most ${longest}`)
        }),
        Effect.retry({ schedule: retrySchedule.pipe(Schedule.upTo({ duration: patience })), while: passes })
      )
    })

const driver = "@effect/sql-pg/PgClient"

/** A name in a variable: types of an optional package need not be installed. */
const loadDriver = (shown: string): Effect.Effect<PgClientModule, DatabaseUnusable> =>
  Effect.tryPromise({
    try: (): Promise<PgClientModule> => import(/* @vite-ignore */ driver),
    catch: () =>
      new DatabaseUnusable({
        database: shown,
        problem: "driver",
        reason: "the package @effect/sql-pg is not installed; run: npm install @effect/sql-pg@4.0.5"
      })
  })

/** The certificate authority that a URL names, as libpq's do. */
const authorityOf = (url: DatabaseUrl): Effect.Effect<{ readonly ca: string } | undefined, DatabaseUnusable> => {
  const file = new URL(url.secret).searchParams.get("sslrootcert")
  if (file === null) return Effect.succeed(undefined)
  return Effect.try({
    try: () => ({ ca: readFileSync(file, "utf8") }),
    catch: (error) =>
      new DatabaseUnusable({
        database: url.shown,
        problem: "url",
        reason: `could not read the certificate of sslrootcert: ${error instanceof Error ? error.message : String(error)}`
      })
  })
}

/** Connects; fails at once if that does not work. Connections that break later are made again. */
export const connect: (
  url: DatabaseUrl,
  options: { readonly name: string; readonly connections: number }
) => Effect.Effect<Database, DatabaseUnusable, Scope.Scope> = Effect.fnUntraced(function* (url, options) {
  const module = yield* loadDriver(url.shown)
  const ssl = yield* authorityOf(url)
  const problem = (error: unknown) => problemOf(url.shown, error)
  const client = yield* module
    .make({
      url: Redacted.make(url.secret),
      ...(ssl === undefined ? {} : { ssl }),
      applicationName: options.name,
      maxConnections: options.connections,
      connectTimeout: "5 seconds",
      // A host that is gone without a word is noticed by the deadlines of statements; this finds it while nothing is asked.
      keepAlive: "10 seconds",
      idleTimeout: "1 minute",
      maxMessageSize: 64 * 1024 * 1024
    })
    .pipe(
      Effect.provide(Reactivity.layer),
      Effect.catchCause((cause) => Effect.fail(problem(Cause.squash(cause))))
    )
  const query = <A extends object = Row>(statement: string, values: ReadonlyArray<unknown> = []) =>
    client.unsafe<A>(statement, values).pipe(
      Effect.mapError(problem),
      Effect.timeoutOrElse({
        duration: statementTimeout,
        orElse: () =>
          Effect.fail(
            new DatabaseUnusable({
              database: url.shown,
              problem: "unreachable",
              reason: `it did not answer for ${Duration.format(Duration.fromInputUnsafe(statementTimeout))}`
            })
          )
      })
    )
  yield* query("SELECT 1")
  return {
    shown: url.shown,
    query,
    transaction: <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      client
        .withTransaction(effect)
        .pipe(
          Effect.mapError((error): E | DatabaseUnusable =>
            Predicate.hasProperty(error, "_tag") && error._tag === "SqlError" ? problem(error) : (error as E)
          )
        ),
    listen: (channel) =>
      client.listen(channel).pipe(
        Effect.mapError(problem),
        Effect.flatMap((notes) =>
          Effect.gen(function* () {
            const texts = yield* Queue.unbounded<string, DatabaseUnusable>()
            yield* Queue.take(notes).pipe(
              Effect.flatMap(({ payload }) => Queue.offer(texts, payload)),
              Effect.forever,
              Effect.catch((error) => Queue.fail(texts, problem(error))),
              Effect.forkScoped
            )
            return texts
          })
        )
      )
  } satisfies Database
})

/** How long a statement may take: those of a fleet take milliseconds, so a longer one has lost its server. */
const statementTimeout = "15 seconds"

/** What a store of jobs does, as Effect's queue asks for it. */
export type QueueStore = PersistedQueue.PersistedQueueStore["Service"]

/** A store of jobs in this process. */
export const memoryQueueStore: Effect.Effect<QueueStore, never, Scope.Scope> = Effect.map(
  Layer.build(PersistedQueue.layerStoreMemory),
  (context) => Context.get(context, PersistedQueue.PersistedQueueStore)
)

/** An error of a store of jobs. */
export const queueError = (cause: unknown): PersistedQueue.PersistedQueueError =>
  new PersistedQueue.PersistedQueueError({ message: "the queue's database failed", cause })

/** The queue of a name: jobs of a schema, on any store. */
export interface JobQueue<A> {
  /** Offers a job; one that the queue has already, by its id, stays as it is. */
  readonly offer: (queue: string, id: string, job: A) => Effect.Effect<void, DatabaseUnusable>
  /**
   * Takes the next job of any of the queues and runs `f` on it, whose success ends the job, whose failure is the loss of its host, and whose
   * interruption gives it back.
   */
  readonly take: <B, E, R>(
    queues: ReadonlyArray<string>,
    f: (job: A, claim: Claim) => Effect.Effect<B, E, R>
  ) => Effect.Effect<B, E | DatabaseUnusable, R>
}

/** Who may report about a job: only its newest attempt. */
export interface Claim {
  readonly job: string
  /** From 1; never used twice. */
  readonly attempt: number
}

const unusable = (error: unknown): DatabaseUnusable => {
  const cause = Predicate.hasProperty(error, "cause") ? error.cause : error
  return cause instanceof DatabaseUnusable
    ? cause
    : new DatabaseUnusable({ database: "in memory", problem: "other", reason: String(cause) })
}

/** Marks errors of the job's own, so that those of the queue can be told from them. */
class Own<E> {
  readonly error: E
  constructor(error: E) {
    this.error = error
  }
}

/** The queues of a store. `attempts` is how often a job may be started. */
export const jobQueue = <A, I>(
  store: QueueStore,
  schema: Schema.Codec<A, I>,
  attempts: number
): Effect.Effect<JobQueue<A>> =>
  Effect.gen(function* () {
    const factory = yield* Effect.provideService(PersistedQueue.makeFactory, PersistedQueue.PersistedQueueStore, store)
    const open = new Map<string, PersistedQueue.PersistedQueue<A>>()
    const queueOf = (name: string) =>
      Effect.gen(function* () {
        const known = open.get(name)
        if (known !== undefined) return known
        const made = yield* factory.make({
          name,
          schema,
          maxAttempts: attempts,
          // What lost its host is not to blame for it.
          retrySchedule: Schedule.recurs(0)
        })
        open.set(name, made)
        return made
      })
    const take: JobQueue<A>["take"] = (queues, f) =>
      Effect.gen(function* () {
        type B = Effect.Success<ReturnType<typeof f>>
        type E = Effect.Error<ReturnType<typeof f>>
        const ended = yield* Deferred.make<B, E | DatabaseUnusable>()
        const waits: Array<Fiber.Fiber<void, never>> = []
        let winner: string | undefined
        const from = (name: string) =>
          Effect.flatMap(queueOf(name), (queue) =>
            queue.take((job, { attempts: attempt, id }) => {
              // Two queues may have answered in one moment: the second gives its job back.
              if (winner !== undefined) return Effect.interrupt
              winner = name
              const others = waits.filter((_, index) => queues[index] !== name)
              return Effect.andThen(Fiber.interruptAll(others), f(job, { job: id, attempt })).pipe(
                Effect.mapError((error) => new Own(error))
              )
            })
          ).pipe(
            Effect.mapError((error) => (error instanceof Own ? (error.error as E) : unusable(error))),
            Effect.exit,
            Effect.flatMap((exit) =>
              winner === undefined || winner === name ? Deferred.done(ended, exit) : Effect.void
            ),
            Effect.asVoid
          )
        for (const name of queues) waits.push(yield* Effect.forkChild(from(name)))
        return yield* Deferred.await(ended)
      })
    return {
      offer: (name, id, job) =>
        Effect.flatMap(queueOf(name), (queue) => Effect.mapError(Effect.asVoid(queue.offer(job, { id })), unusable)),
      take
    }
  })
