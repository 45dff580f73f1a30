/** Clients on the store in memory, with what a database does when it is away. */
import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as Fleet from "../../src/fleet/Fleet.ts"
import { DatabaseUnusable } from "../../src/fleet/FleetError.ts"
import * as Jobs from "../../src/fleet/Job.ts"
import * as Store from "../../src/fleet/Store.ts"

const away = new DatabaseUnusable({
  database: "postgres://here/x",
  problem: "unreachable",
  reason: "nothing listens there"
})

const quiet = { output: "out", onOutput: () => Effect.void }

const plan = (protocol: number) =>
  JSON.stringify({ protocol, root: "/", files: [{ file: "a.ts", tests: [{ name: "a", label: "a" }] }] })

const job: Jobs.Job = {
  ...{
    run: "r",
    file: "a.ts",
    path: "a.ts",
    bundle: "",
    root: "/",
    cwd: "",
    files: [],
    tests: [],
    memory: 0,
    artefactLimit: 0
  },
  options: { retries: 0, snapshots: true, evidence: false, capture: false, failFast: false, detailed: false }
}

/** A store with a run that waits. */
const waiting = Effect.fnUntraced(function* (protocol = Jobs.protocol) {
  const store = yield* Store.memory
  yield* store.openRun({ id: "r", title: "a.ts", jobs: 1, plan: plan(protocol) })
  yield* store.queue.offer("q", "r/0", job)
  return store
})

describe("a client of a fleet", () => {
  it.effect("gives up after a minute without its database, and not before", () =>
    Effect.gen(function* () {
      const store = yield* waiting()
      let isAway = false
      const asked = (work: ReturnType<Store.Store["jobs"]>) => Effect.suspend(() => (isAway ? Effect.fail(away) : work))
      const fleet = Fleet.make({ ...store, jobs: (run, ids) => asked(store.jobs(run, ids)) })
      const following = yield* Effect.forkChild(Effect.flip(fleet.attach("r", quiet)))
      yield* TestClock.adjust("10 minutes")
      assert.isUndefined(following.pollUnsafe())
      isAway = true
      // It is away for less than a minute, three times.
      for (const _ of [1, 2, 3]) {
        yield* TestClock.adjust("55 seconds")
        isAway = false
        yield* TestClock.adjust("5 seconds")
        isAway = true
      }
      assert.isUndefined(following.pollUnsafe())
      yield* TestClock.adjust("58 seconds")
      assert.isUndefined(following.pollUnsafe())
      yield* TestClock.adjust("8 seconds")
      assert.strictEqual(yield* Fiber.join(following), away)
    })
  )

  it.effect("fails at once with what does not pass", () =>
    Effect.gen(function* () {
      const store = yield* waiting()
      const forbidden = new DatabaseUnusable({ database: "postgres://here/x", problem: "forbidden", reason: "no" })
      const fleet = Fleet.make({ ...store, jobs: () => Effect.fail(forbidden) })
      assert.strictEqual(yield* Effect.flip(fleet.attach("r", quiet)), forbidden)
    })
  )

  it.effect("does not follow a run of another version", () =>
    Effect.gen(function* () {
      const fleet = Fleet.make(yield* waiting(Jobs.protocol + 1))
      const error = yield* Effect.flip(fleet.attach("r", quiet))
      assert.strictEqual(error._tag, "OtherVersion")
      assert.strictEqual(
        error.message,
        `the run r has version ${Jobs.protocol + 1} of the protocol, and this vmtest knows version ${Jobs.protocol}; use the version of vmtest that offered it`
      )
    })
  )

  it.effect("does not read what a worker of another version has said", () =>
    Effect.gen(function* () {
      const store = yield* waiting()
      yield* store.queue.take(["q"], (_, claim) => store.finish(claim, '{"protocol":1,"results":[]}'))
      const error = yield* Effect.flip(Fleet.make(store).attach("r", quiet))
      assert.strictEqual(error._tag, "OtherVersion")
    })
  )

  it.effect("stops at the first failure if it is asked to, and says what was not run", () =>
    Effect.gen(function* () {
      const store = yield* waiting()
      yield* store.queue.offer("q", "r/1", job)
      const outcome = {
        protocol: Jobs.protocol,
        results: [{ name: "a", status: "failed", subtests: [], machines: [] }]
      }
      const planned: Fleet.Plan = {
        ...{ title: "two", blobs: new Map() },
        jobs: ["a.ts", "b.ts"].map((file) => ({ queue: "q2", job: { ...job, file } })),
        shown: {
          ...{ protocol: Jobs.protocol, root: "/" },
          files: ["a", "b"].map((name) => ({ file: `${name}.ts`, tests: [{ name, label: name }] }))
        }
      }
      yield* Effect.forkChild(
        store.queue.take(["q2"], (_, claim) =>
          store.finish(claim, JSON.stringify({ ...outcome, artefacts: [], leftOut: [] }))
        )
      )
      const results = yield* Effect.forkChild(
        Fleet.make(store).offer(planned, { ...quiet, wait: true, failFast: true })
      )
      yield* TestClock.adjust(Duration.minutes(1))
      assert.deepStrictEqual(
        (yield* Fiber.join(results)).map(({ name, skipped, status }) => [name, status, skipped]),
        [
          ["a", "failed", undefined],
          ["b", "skipped", "not run to its end because another test failed (--fail-fast)"]
        ]
      )
    })
  )
})
