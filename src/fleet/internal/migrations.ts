/**
 * The tables of a fleet, all in the schema `vmtest`. Whoever connects first makes them, or brings those of an older version up to date; of a newer
 * version they are refused.
 */
import * as Effect from "effect/Effect"
import { type DatabaseProblem, DatabaseUnusable } from "../FleetError.ts"
import type { Database } from "./engine.ts"

/** Any number that other programs are unlikely to take: `vmtest` in ASCII. */
const lockNumber = String(0x766d74657374)

/**
 * Each brings the tables from the version of its index to the next one. Never change one that was released; add one, which only adds to the tables: workers
 * and clients of the version before go on with what they have begun.
 */
export const migrations: ReadonlyArray<ReadonlyArray<string>> = [
  [
    `CREATE TABLE vmtest.run (
       id text PRIMARY KEY, title text NOT NULL, owner text NOT NULL DEFAULT current_user,
       state text NOT NULL DEFAULT 'open', jobs integer NOT NULL, plan text NOT NULL,
       created_at timestamptz NOT NULL DEFAULT now(), ended_at timestamptz)`,
    `CREATE TABLE vmtest.blob (digest text NOT NULL, part integer NOT NULL, bytes bytea NOT NULL, PRIMARY KEY (digest, part))`,
    `ALTER TABLE vmtest.blob ALTER COLUMN bytes SET STORAGE EXTERNAL`,
    `CREATE TABLE vmtest.blob_head (
       digest text PRIMARY KEY, size bigint NOT NULL, parts integer NOT NULL, used_at timestamptz NOT NULL DEFAULT now())`,
    // The state is not indexed by its lease: refreshing that must stay an update in place.
    `CREATE TABLE vmtest.job (
       id text PRIMARY KEY, seq bigserial NOT NULL, run text NOT NULL REFERENCES vmtest.run ON DELETE CASCADE,
       queue text NOT NULL, element text NOT NULL, state text NOT NULL DEFAULT 'pending',
       attempt integer NOT NULL DEFAULT 0, losses integer NOT NULL DEFAULT 0,
       worker text, leased_until timestamptz, events integer NOT NULL DEFAULT 0,
       outcome text, failure text, created_at timestamptz NOT NULL DEFAULT now(), ended_at timestamptz) WITH (fillfactor = 60)`,
    `CREATE INDEX job_next ON vmtest.job (queue, seq) WHERE state = 'pending'`,
    `CREATE INDEX job_running ON vmtest.job (id) WHERE state = 'running'`,
    `CREATE INDEX job_of_run ON vmtest.job (run, state)`,
    `CREATE TABLE vmtest.event (
       job text NOT NULL REFERENCES vmtest.job ON DELETE CASCADE, attempt integer NOT NULL, seq integer NOT NULL, body text NOT NULL,
       PRIMARY KEY (job, attempt, seq))`,
    `CREATE TABLE vmtest.blob_use (
       run text NOT NULL REFERENCES vmtest.run ON DELETE CASCADE, digest text NOT NULL, PRIMARY KEY (run, digest))`,
    `CREATE INDEX blob_use_digest ON vmtest.blob_use (digest)`,
    `CREATE TABLE vmtest.worker (
       id text PRIMARY KEY, name text NOT NULL, role text NOT NULL DEFAULT current_user, facts text NOT NULL,
       queues text[] NOT NULL, state text NOT NULL, busy integer NOT NULL DEFAULT 0,
       started_at timestamptz NOT NULL DEFAULT now(), seen_at timestamptz NOT NULL DEFAULT now()) WITH (fillfactor = 60)`
  ],
  [
    // As the owner: workers may have old runs removed, and no others. Never one that ended within a day, whatever they ask for.
    `CREATE FUNCTION vmtest.expire(older_than interval) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
     DECLARE gone integer;
     BEGIN
       IF NOT pg_try_advisory_xact_lock(${lockNumber}::bigint + 2) THEN RETURN 0; END IF;
       DELETE FROM vmtest.run WHERE coalesce(ended_at, created_at) < now() - greatest(older_than, interval '1 day')
         AND NOT (state = 'open' AND EXISTS (SELECT FROM vmtest.job WHERE job.run = run.id AND job.state = 'running'));
       GET DIAGNOSTICS gone = ROW_COUNT;
       DELETE FROM vmtest.blob_head WHERE used_at < now() - interval '1 hour'
         AND NOT EXISTS (SELECT FROM vmtest.blob_use u WHERE u.digest = blob_head.digest);
       DELETE FROM vmtest.blob WHERE NOT EXISTS (SELECT FROM vmtest.blob_head h WHERE h.digest = blob.digest)
         AND NOT EXISTS (SELECT FROM vmtest.blob_use u WHERE u.digest = blob.digest);
       RETURN gone;
     END $$`,
    `REVOKE ALL ON FUNCTION vmtest.expire(interval) FROM PUBLIC`
  ]
]

const versionIn = Effect.fnUntraced(function* (db: Database, version: number) {
  const [found] = yield* db.query<{ schema: boolean; meta: boolean; usable: boolean; others: string | null }>(
    `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'vmtest') AS schema,
            EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE n.nspname = 'vmtest' AND c.relname = 'meta') AS meta,
            coalesce((SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = 'vmtest'), false) AS usable,
            (SELECT min(quote_ident(n.nspname) || '.' || quote_ident(c.relname)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'vmtest' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema') AS others`
  )
  const fail = (problem: DatabaseProblem, reason: string) =>
    new DatabaseUnusable({ database: db.shown, problem, reason })
  if (found?.meta !== true) {
    if (found?.schema === true)
      return yield* fail("foreign", "it has a schema vmtest that vmtest did not make; use another database")
    if (found?.others != null)
      return yield* fail(
        "foreign",
        `it has tables of something else, such as ${found.others}; make a database for vmtest: createdb vmtest`
      )
    return undefined
  }
  if (!found.usable)
    return yield* fail(
      "forbidden",
      "the role may not use it; grant it vmtest_submit or vmtest_work (docs/fleet-roles.sql)"
    )
  const [meta] = yield* db.query<{ version: number }>(`SELECT version FROM vmtest.meta`)
  const there = meta?.version ?? 0
  if (there > version) {
    const reason = `its tables have version ${there}, and this vmtest knows them up to ${version}; update vmtest on this host`
    return yield* fail("newer", reason)
  }
  return there
})

/** Makes the tables, or brings them up to date; checks whose they are first. `steps` are those of another version in tests. */
export const migrate: (
  db: Database,
  steps?: ReadonlyArray<ReadonlyArray<string>>
) => Effect.Effect<void, DatabaseUnusable> = Effect.fnUntraced(function* (db, steps = migrations) {
  const version = steps.length
  if ((yield* versionIn(db, version)) === version) return
  yield* db
    .transaction(
      Effect.gen(function* () {
        // One at a time; who waited finds the work done.
        yield* db.query(`SELECT pg_advisory_xact_lock(${lockNumber})`)
        const before = yield* versionIn(db, version)
        if (before === version) return
        if (before === undefined) {
          yield* db.query(`CREATE SCHEMA vmtest`)
          yield* db.query(`CREATE TABLE vmtest.meta (version integer NOT NULL)`)
          yield* db.query(`INSERT INTO vmtest.meta VALUES (0)`)
        }
        for (const statement of steps.slice(before ?? 0).flat()) yield* db.query(statement)
        yield* db.query(`UPDATE vmtest.meta SET version = ${version}`)
      })
    )
    .pipe(
      Effect.catchIf(
        ({ problem }) => problem === "forbidden",
        ({ reason }) =>
          Effect.fail(
            new DatabaseUnusable({
              database: db.shown,
              problem: "forbidden",
              reason: `its tables must be made or updated by the owner of the database; run "vmtest fleet status" once as that role (${reason})`
            })
          )
      )
    )
})
