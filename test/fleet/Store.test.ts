import { spawnSync } from "node:child_process"
import { chownSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as DatabaseUrl from "../../src/fleet/DatabaseUrl.ts"
import * as Engine from "../../src/fleet/internal/engine.ts"
import * as Migrations from "../../src/fleet/internal/migrations.ts"
import type { Job } from "../../src/fleet/Job.ts"
import * as Store from "../../src/fleet/Store.ts"
import * as Digest from "../../src/host/Digest.ts"
import { titled } from "../needs.ts"
import { type Cluster, missing, startCluster } from "./postgres.ts"

const job = (run: string, file: string): Job => ({
  ...{ run, file, path: file, bundle: "", root: "/", cwd: "", files: [], tests: [], memory: 0, artefactLimit: 0 },
  options: { retries: 0, snapshots: true, evidence: false, capture: false, failFast: false, detailed: false }
})

const open = (url: string, worker?: string, lease: Duration.Input = "2 seconds") =>
  Effect.flatMap(DatabaseUrl.parse(url), (parsed) =>
    Store.postgres(parsed, { worker, lease: Duration.fromInputUnsafe(lease) })
  )

const offer = Effect.fnUntraced(function* (store: Store.Store, run: string, count: number, queue = "q") {
  yield* store.openRun({ id: run, title: run, jobs: count, plan: "{}" })
  yield* Effect.forEach(
    Array.from({ length: count }, (_, index) => index),
    (index) => store.queue.offer(queue, `${run}/${index}`, job(run, `${index}.ts`)),
    { discard: true }
  )
})

/** What every store does. */
const behaves = (name: string, make: (worker?: string) => ReturnType<typeof open>) =>
  describe(`a store in ${name}`, () => {
    it.live("gives each job once, from several queues, in their order", () =>
      Effect.gen(function* () {
        const store = yield* make("w1")
        yield* offer(store, "once", 5, "a")
        const taken: Array<string> = []
        yield* Effect.forEach(
          Array.from({ length: 5 }),
          () =>
            store.queue.take(["b", "a", "c"], (one, claim) =>
              Effect.gen(function* () {
                taken.push(one.file)
                assert.isTrue(yield* store.finish(claim, one.file))
              })
            ),
          { discard: true }
        )
        assert.deepStrictEqual(taken, ["0.ts", "1.ts", "2.ts", "3.ts", "4.ts"])
        const jobs = yield* store.jobs("once")
        assert.deepStrictEqual(
          jobs.map(({ outcome, state }) => [state, outcome]),
          taken.map((file) => ["done", file])
        )
      })
    )

    it.live("keeps what happens for those who come later, and tells of it", () =>
      Effect.gen(function* () {
        const store = yield* make("w1")
        const hints = yield* store.hints("told")
        yield* offer(store, "told", 1)
        yield* store.queue.take(["q"], (_, claim) =>
          Effect.gen(function* () {
            assert.isTrue(yield* store.append(claim, 1, "one"))
            assert.isTrue(yield* store.append(claim, 2, "two"))
            // Written twice because an answer was lost: once is kept.
            assert.isTrue(yield* store.append(claim, 2, "two"))
            yield* store.finish(claim, "{}")
            assert.isFalse(yield* store.append({ ...claim, attempt: claim.attempt + 1 }, 3, "late"))
          })
        )
        const batches = yield* store.events("told/0", 0, 0)
        assert.deepStrictEqual(
          batches.map(({ body, seq }) => [Number(seq), body]),
          [
            [1, "one"],
            [2, "two"]
          ]
        )
        assert.lengthOf(yield* store.events("told/0", 1, 1), 1)
        const told = yield* Effect.repeat(Queue.take(hints), { until: (one) => one === "told/0" })
        assert.strictEqual(told, "told/0")
      })
    )

    it.live("starts a job again whose host is lost, once", () =>
      Effect.gen(function* () {
        const store = yield* make("w1")
        yield* offer(store, "lost", 1, "l")
        const attempts: Array<number> = []
        const lose = store.queue
          .take(["l"], (_, { attempt }) => {
            attempts.push(attempt)
            return Effect.fail(new Error("it is gone"))
          })
          .pipe(Effect.ignore)
        yield* lose
        yield* lose
        assert.deepStrictEqual(attempts, [1, 2])
        const [left] = yield* store.jobs("lost")
        assert.deepStrictEqual([left?.state, left?.failure], ["failed", "it is gone"])
      })
    )

    it.live("has nobody take a job that was cancelled, nor report of it", () =>
      Effect.gen(function* () {
        const store = yield* make("w1")
        yield* offer(store, "cancelled", 2, "x")
        yield* store.queue.take(["x"], (_, claim) =>
          Effect.gen(function* () {
            assert.isTrue(yield* store.cancel("cancelled"))
            assert.deepStrictEqual(yield* store.renew([claim], Duration.seconds(1)), [claim])
            assert.isFalse(yield* store.finish(claim, "late"))
          })
        )
        assert.isFalse(yield* store.cancel("cancelled"))
        const more = yield* store.queue.take(["x"], () => Effect.void).pipe(Effect.timeoutOption("1500 millis"))
        assert.strictEqual(more._tag, "None")
        assert.deepStrictEqual(
          (yield* store.jobs("cancelled")).map(({ state }) => state),
          ["cancelled", "cancelled"]
        )
      })
    )

    it.live("keeps files by their digest", () =>
      Effect.gen(function* () {
        const store = yield* make()
        yield* store.openRun({ id: "files", title: "", jobs: 0, plan: "{}" })
        const bytes = Buffer.alloc(600_000, 7)
        const digest = Digest.of(bytes)
        assert.deepStrictEqual(yield* store.missing([digest]), [digest])
        yield* store.put("files", digest, bytes)
        yield* store.put("files", digest, bytes)
        assert.deepStrictEqual(yield* store.missing([digest]), [])
        assert.deepStrictEqual(Buffer.from((yield* store.get(digest)) ?? []), bytes)
        assert.isUndefined(yield* store.get("other"))
      })
    )
  })

behaves("the memory of this process", () => Store.memory)

describe.skipIf(missing !== undefined)(titled("Postgres", missing), () => {
  let cluster: Cluster
  let url = ""
  beforeAll(async () => {
    cluster = await startCluster()
    url = cluster.createDatabase("fleet")
  }, 60_000)
  afterAll(() => cluster?.remove())

  behaves("Postgres", (worker) => open(url, worker))

  it.live("gives each of 60 jobs once to three workers at a time", () =>
    Effect.gen(function* () {
      const client = yield* open(url)
      const taken: Array<string> = []
      const workers = yield* Effect.forEach(["a", "b", "c"], (name) => open(url, name))
      const fibers = yield* Effect.forEach(workers, (store) =>
        store.queue
          .take(["many", "none"], (one, claim) =>
            Effect.andThen(
              Effect.sync(() => taken.push(one.file)),
              store.finish(claim, "")
            )
          )
          .pipe(Effect.forever, Effect.forkChild)
      )
      yield* offer(client, "many", 60, "many")
      yield* Effect.repeat(Effect.sleep("20 millis"), { until: () => taken.length >= 60 })
      yield* Effect.sleep("100 millis")
      yield* Fiber.interruptAll(fibers)
      assert.lengthOf(taken, 60)
      assert.lengthOf(new Set(taken), 60)
    })
  )

  it.live("gives a job back with another attempt, and refuses what the first one says", () =>
    Effect.gen(function* () {
      const store = yield* open(url, "w1")
      yield* offer(store, "back", 1, "back")
      const claims: Array<Store.Claim> = []
      const hold = store.queue.take(["back"], (_, claim) =>
        Effect.andThen(
          Effect.sync(() => claims.push(claim)),
          Effect.never
        )
      )
      const fiber = yield* Effect.forkChild(hold)
      yield* Effect.repeat(Effect.sleep("20 millis"), { until: () => claims.length === 1 })
      yield* Fiber.interrupt(fiber)
      yield* store.queue.take(["back"], (_, claim) => Effect.sync(() => claims.push(claim)))
      assert.deepStrictEqual(
        claims.map(({ attempt }) => attempt),
        [1, 2]
      )
      assert.isFalse(yield* store.finish(claims[0]!, "late"))
    })
  )

  it.live("has the job of a worker that is not heard of taken over, as attempt 2", () =>
    Effect.gen(function* () {
      const lost = yield* open(url, "frozen", "500 millis")
      const other = yield* open(url, "w2", "2 seconds")
      yield* offer(other, "frozen", 1, "frozen")
      const claims: Array<Store.Claim> = []
      yield* Effect.forkChild(
        lost.queue.take(["frozen"], (_, claim) =>
          Effect.andThen(
            Effect.sync(() => claims.push(claim)),
            Effect.never
          )
        )
      )
      yield* Effect.repeat(Effect.sleep("20 millis"), { until: () => claims.length === 1 })
      yield* Effect.forkChild(Effect.forever(Effect.andThen(other.tidy, Effect.sleep("100 millis"))))
      yield* other.queue.take(["frozen"], (_, claim) =>
        Effect.gen(function* () {
          assert.strictEqual(claim.attempt, 2)
          assert.deepStrictEqual(yield* lost.renew(claims, Duration.seconds(1)), claims)
          assert.isFalse(yield* lost.append(claims[0]!, 1, "late"))
          assert.isFalse(yield* lost.finish(claims[0]!, "late"))
          assert.isTrue(yield* other.finish(claim, "mine"))
        })
      )
    })
  )

  it.live("prunes runs that ended, and their files", () =>
    Effect.gen(function* () {
      const store = yield* open(url, "w1")
      yield* offer(store, "old", 1, "old")
      yield* store.put("old", Digest.of("old"), Buffer.from("old"))
      yield* store.cancel("old")
      cluster.sql("UPDATE vmtest.run SET ended_at = now() - interval '2 days' WHERE id = 'old'", "fleet")
      cluster.sql("UPDATE vmtest.blob_head SET used_at = now() - interval '2 days'", "fleet")
      assert.strictEqual(yield* store.prune(Duration.days(1)), 1)
      assert.isUndefined(yield* store.run("old"))
      assert.isUndefined(yield* store.get(Digest.of("old")))
    })
  )

  it.live("has workers remove old runs, and none that ended within a day, whatever they ask for", () =>
    Effect.gen(function* () {
      const store = yield* open(url, "w1")
      for (const [run, ended] of [
        ["ancient", "15 days"],
        ["recent", "13 days"],
        ["fresh", "23 hours"]
      ]) {
        yield* offer(store, run ?? "", 1, "old")
        yield* store.cancel(run ?? "")
        cluster.sql(`UPDATE vmtest.run SET ended_at = now() - interval '${ended}' WHERE id = '${run}'`, "fleet")
      }
      assert.strictEqual(yield* store.expire(Duration.days(14)), 1)
      assert.isUndefined(yield* store.run("ancient"))
      assert.strictEqual(yield* store.expire(Duration.zero), 1)
      assert.isUndefined(yield* store.run("recent"))
      assert.isDefined(yield* store.run("fresh"))
    })
  )

  it.live("tells workers of the queues that have jobs: those from before, and new ones", () =>
    Effect.gen(function* () {
      const client = yield* open(url)
      yield* offer(client, "before", 3, "known.before")
      const worker = yield* open(url, "w1")
      yield* Effect.repeat(Effect.sleep("20 millis"), { until: () => worker.known.has("known.before") })
      worker.grown.closeUnsafe()
      yield* offer(client, "after", 1, "known.after")
      yield* worker.grown.await
      assert.isTrue(worker.known.has("known.after"))
      assert.strictEqual(client.known.size, 0)
      for (const run of ["before", "after"]) yield* client.cancel(run)
    })
  )

  const refused = (target: string, problem: string, reason: RegExp) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Effect.scoped(open(target)))
      assert.strictEqual(error.problem, problem, error.message)
      assert.match(error.message, reason)
      assert.notInclude(error.message, "secret")
    })

  it.live("says clearly why a database cannot be used", () =>
    Effect.gen(function* () {
      yield* refused("mysql://127.0.0.1/x", "url", /must begin with postgres:\/\//)
      yield* refused("nothing", "url", /the URL must be such as postgres:/)
      yield* refused("postgres://a:secret@192.0.2.1/x", "url", /must be encrypted: add \?sslmode=require/)
      yield* refused(
        "postgres://a:secret@no.such.host.invalid/x?sslmode=require",
        "unreachable",
        /no such host|looked up/
      )
      yield* refused("postgres://a:secret@127.0.0.1:1/x", "unreachable", /nothing listens there/)
      yield* refused(cluster.url("fleet", "root", "secret"), "refused", /the user or the password is wrong/)
      yield* refused(cluster.url("nowhere"), "refused", /there is no such database/)
      cluster.createDatabase("other")
      cluster.sql("CREATE TABLE customers (id int)", "other")
      yield* refused(cluster.url("other"), "foreign", /tables of something else, such as public\.customers/)
      cluster.createDatabase("schemas")
      cluster.sql("CREATE SCHEMA vmtest", "schemas")
      yield* refused(cluster.url("schemas"), "foreign", /a schema vmtest that vmtest did not make/)
      yield* Effect.scoped(open(cluster.createDatabase("newer")))
      cluster.sql("UPDATE vmtest.meta SET version = 99", "newer")
      yield* refused(cluster.url("newer"), "newer", /have version 99, and this vmtest knows them up to/)
      yield* refused(`${url}?sslmode=require`, "unreachable", /./)
    })
  )

  it.live("updates the tables of the version before, keeps what is in them, and lets nobody but the owner do it", () =>
    Effect.gen(function* () {
      const target = cluster.createDatabase("older")
      const before = Migrations.migrations.slice(0, -1)
      const parsed = yield* DatabaseUrl.parse(target)
      yield* Effect.scoped(
        Effect.flatMap(Engine.connect(parsed, { name: "old", connections: 1 }), (db) => Migrations.migrate(db, before))
      )
      cluster.sql("INSERT INTO vmtest.run (id, title, jobs, plan) VALUES ('kept', 'a.ts', 1, '{}')", "older")
      cluster.sql("CREATE ROLE older_role LOGIN PASSWORD 'a'; GRANT CONNECT ON DATABASE older TO older_role")
      cluster.sql(
        "GRANT USAGE ON SCHEMA vmtest TO older_role; GRANT SELECT ON ALL TABLES IN SCHEMA vmtest TO older_role",
        "older"
      )
      yield* refused(cluster.url("older", "older_role", "a"), "forbidden", /must be made or updated by the owner/)
      assert.strictEqual(cluster.sql("SELECT version FROM vmtest.meta", "older"), String(before.length))
      const store = yield* open(target)
      assert.strictEqual((yield* store.run("kept"))?.title, "a.ts")
      assert.strictEqual(cluster.sql("SELECT version FROM vmtest.meta", "older"), String(before.length + 1))
    })
  )

  it.live("goes on with what it has begun when another version updates the tables, and does not begin anew", () =>
    Effect.gen(function* () {
      const target = cluster.createDatabase("later")
      const parsed = yield* DatabaseUrl.parse(target)
      const [client, worker] = [yield* open(target), yield* open(target, "w1")]
      yield* offer(client, "a", 1)
      yield* worker.queue.take(["q"], (_, claim) =>
        Effect.gen(function* () {
          const later = [...Migrations.migrations, ["ALTER TABLE vmtest.job ADD COLUMN later text"]]
          yield* Effect.scoped(
            Effect.flatMap(Engine.connect(parsed, { name: "new", connections: 1 }), (db) =>
              Migrations.migrate(db, later)
            )
          )
          assert.isTrue(yield* worker.append(claim, 1, "[]"))
          assert.isTrue(yield* worker.finish(claim, "{}"))
        })
      )
      yield* worker.report({ id: "w1", name: "w1", state: "active", facts: "{}", busy: 0 })
      yield* offer(client, "b", 1)
      yield* worker.queue.take(["q"], (_, claim) => worker.finish(claim, "{}"))
      assert.deepStrictEqual(
        (yield* client.jobs("b")).map(({ state }) => state),
        ["done"]
      )
      yield* refused(target, "newer", /this vmtest knows them up to \d+; update vmtest on this host/)
    })
  )

  it.live("makes its tables once when several come at the same time", () =>
    Effect.gen(function* () {
      const fresh = cluster.createDatabase("fresh")
      yield* Effect.all(
        Array.from({ length: 5 }, () => Effect.scoped(open(fresh))),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(cluster.sql("SELECT count(*) FROM vmtest.meta", "fresh"), "1")
    })
  )

  it.live("lets roles do their part and nothing else, and strangers nothing", () =>
    Effect.gen(function* () {
      const owner = cluster.createDatabase("roles")
      yield* Effect.scoped(open(owner))
      const file = fileURLToPath(new URL("../../docs/fleet-roles.sql", import.meta.url))
      cluster.sql(readFileSync(file, "utf8"), "roles")
      cluster.sql("CREATE USER ci PASSWORD 'a' IN ROLE vmtest_submit; CREATE USER w PASSWORD 'a' IN ROLE vmtest_work")
      cluster.sql("CREATE USER stranger PASSWORD 'a'")
      const client = yield* open(cluster.url("roles", "ci", "a"))
      const worker = yield* open(cluster.url("roles", "w", "a"), "w")
      yield* offer(client, "r", 2)
      yield* client.put("r", Digest.of("x"), Buffer.from("x"))
      yield* worker.report({ id: "w", name: "w", state: "active", facts: "{}", busy: 0 })
      yield* worker.queue.take(["q"], (_, claim) =>
        Effect.gen(function* () {
          yield* worker.append(claim, 1, "[]")
          yield* worker.renew([claim], Duration.seconds(1))
          yield* worker.put("r", Digest.of("y"), Buffer.from("y"))
          const forged = yield* Effect.flip(client.finish(claim, "passed"))
          assert.strictEqual(forged.problem, "forbidden")
          yield* worker.finish(claim, "passed")
        })
      )
      yield* worker.tidy
      assert.strictEqual(yield* worker.expire(Duration.zero), 0)
      assert.strictEqual((yield* Effect.flip(client.expire(Duration.zero))).problem, "forbidden")
      assert.strictEqual((yield* Effect.flip(offer(worker, "forged", 1))).problem, "forbidden")
      assert.strictEqual(
        (yield* Effect.flip(client.report({ id: "x", name: "x", state: "active", facts: "", busy: 0 }))).problem,
        "forbidden"
      )
      assert.isTrue(yield* client.cancel("r"))
      assert.lengthOf(yield* client.workers, 1)
      assert.strictEqual((yield* Effect.flip(client.prune(Duration.zero))).problem, "forbidden")
      yield* refused(cluster.url("roles", "stranger", "a"), "forbidden", /the role may not do this/)
      // Where everybody may connect, the tables are still closed.
      cluster.sql("GRANT CONNECT ON DATABASE roles TO PUBLIC")
      yield* refused(cluster.url("roles", "stranger", "a"), "forbidden", /grant it vmtest_submit or vmtest_work/)
      const tried = [
        "SELECT * FROM vmtest.job",
        "INSERT INTO vmtest.run (id, title, jobs, plan) VALUES ('a', '', 0, '')",
        "CREATE TABLE vmtest.x (a int)"
      ]
      for (const statement of tried)
        assert.throws(() => cluster.sql(statement, "roles", cluster.url("roles", "stranger", "a")), /permission denied/)
      cluster.sql("UPDATE vmtest.meta SET version = 0", "roles")
      yield* refused(cluster.url("roles", "ci", "a"), "forbidden", /must be made or updated by the owner/)
    })
  )

  it.live("connects over TLS to a server whose certificate it can check, and to no other", () =>
    Effect.gen(function* () {
      const [key, certificate] = [join(cluster.folder, "key.pem"), join(cluster.folder, "certificate.pem")]
      const made = spawnSync("openssl", [
        ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
        ...["-keyout", key, "-out", certificate, "-subj", "/CN=fleet", "-addext", "subjectAltName=IP:127.0.0.1"]
      ])
      assert.strictEqual(made.status, 0, String(made.stderr))
      const { gid, uid } = statSync(join(cluster.folder, "data"))
      for (const file of [key, certificate]) chownSync(file, uid, gid)
      cluster.sql(`ALTER SYSTEM SET ssl_cert_file = '${certificate}'`)
      cluster.sql(`ALTER SYSTEM SET ssl_key_file = '${key}'`)
      cluster.sql("ALTER SYSTEM SET ssl = on")
      cluster.sql("SELECT pg_reload_conf()")
      yield* Effect.sleep("300 millis")
      const store = yield* open(`${url}?sslmode=require&sslrootcert=${encodeURIComponent(certificate)}`)
      yield* store.workers
      const encrypted =
        "SELECT bool_or(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'vmtest client'"
      assert.strictEqual(cluster.sql(encrypted), "t")
      yield* refused(`${url}?sslmode=require`, "unreachable", /certificate/)
      yield* refused(`${url}?sslmode=require&sslrootcert=/nowhere.pem`, "url", /could not read the certificate/)
    })
  )
})
