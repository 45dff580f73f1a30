import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import { isFailed, type TestResult } from "../../driver/TestResult.ts"
import type { RunOptions } from "../Fleet.ts"
import { HostLost, OtherVersion, RunCancelled } from "../FleetError.ts"
import * as Jobs from "../Job.ts"
import type { Store, StoredJob } from "../Store.ts"
import * as Artefacts from "./artefacts.ts"
import { patiently } from "./engine.ts"
import type { ShownPlan } from "./planning.ts"
import * as Showing from "./showing.ts"
import * as Wire from "./wire.ts"

/** How long a database may be away before the client gives up. The run goes on, and can be attached to. */
const patience = "60 seconds"

/** How often the client looks by itself, in case that a hint was lost. */
const lookInterval = "1 second"

/** After how long without a worker for what waits the user is told, and how often. */
const unservedInterval = Duration.seconds(10)

interface Seen {
  attempt: number
  seq: number
  results: ReadonlyArray<TestResult> | undefined
}

/** Follows a run to its end; events go to the Reporter. */
export const follow = (
  store: Store,
  run: string,
  plan: ShownPlan,
  options: Pick<RunOptions, "failFast" | "output" | "onOutput">
) =>
  Effect.gen(function* () {
    const { emit, files, folders, print, say, skipped, tell, without } = yield* Showing.make(run, plan, options)
    const known = <A>(read: Result.Result<A, number>): Effect.Effect<A, OtherVersion> =>
      Result.isSuccess(read)
        ? Effect.succeed(read.success)
        : new OtherVersion({ run, protocol: read.failure, known: Jobs.protocol })
    const seen = new Map<string, Seen>()
    /** Whether a test has failed that ends the run. */
    let stopped = false
    const kept = <A, E, R>(effect: Effect.Effect<A, E, R>) => patiently(patience)(effect)

    const catchUp = Effect.fnUntraced(function* (job: StoredJob, mine: Seen) {
      while (true) {
        const batches = yield* kept(store.events(job.id, mine.attempt, mine.seq))
        if (batches.length === 0) return
        for (const { attempt, body, seq } of batches) {
          if (Number(attempt) > mine.attempt && mine.seq > 0)
            yield* say(job.id, "its host was lost; it is started again")
          mine.attempt = Number(attempt)
          mine.seq = Number(seq)
          const all = yield* known(Wire.decodeAll(body, folders))
          yield* Effect.forEach(all, (told) => tell(job.id, told), { discard: true })
        }
      }
    })

    const conclude = Effect.fnUntraced(function* (job: StoredJob) {
      const file = files.get(job.id)?.file ?? job.id
      if (job.state === "failed" || job.outcome === undefined) {
        const reason = job.failure ?? "nothing is known of it"
        return yield* without(job, new HostLost({ file, attempts: Number(job.attempt), reason }))
      }
      const outcome = yield* known(Wire.decodeOutcome(job.outcome, folders))
      if (outcome.refused !== undefined) return yield* without(job, { _tag: "Refused", message: outcome.refused })
      const problems = yield* kept(Artefacts.receive(store, outcome.artefacts, folders.output))
      const left = outcome.leftOut.map((one) => `too large to send: ${one}`)
      yield* Effect.forEach([...problems, ...left], (line) => say(job.id, line), { discard: true })
      return outcome.results
    })

    const attend = Effect.fnUntraced(function* (job: StoredJob) {
      const mine = seen.get(job.id) ?? { attempt: 0, seq: 0, results: undefined }
      seen.set(job.id, mine)
      if (mine.results !== undefined) return
      yield* catchUp(job, mine)
      if (job.state === "pending" || job.state === "running") return
      if (job.state === "cancelled" && !stopped) return yield* new RunCancelled({ run })
      mine.results = yield* job.state === "cancelled" ? skipped(job.id) : conclude(job)
      if (options.failFast === true && !stopped && mine.results.some(isFailed)) {
        stopped = true
        yield* kept(store.cancel(run))
      }
      yield* Effect.forEach(mine.results, (result) => emit(job.id, { _tag: "TestEnded", result }), {
        discard: true
      })
    })

    const hints = yield* store.hints(run)
    const open = () => [...files.keys()].filter((id) => seen.get(id)?.results === undefined)
    let toldAt = yield* Clock.currentTimeMillis

    /** Says once in a while what waits for nobody. */
    const warn = Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      if (now - toldAt < Duration.toMillis(unservedInterval)) return
      toldAt = now
      const workers = (yield* store.workers)
        .filter(({ state }) => state === "active")
        .map(({ facts }) => Jobs.factsOf(facts))
      const waiting = (yield* store.demand).filter(
        ({ pending, queue }) => pending > 0 && !workers.some((facts) => Jobs.serves(facts, facts.memory)(queue))
      )
      for (const { pending, queue } of waiting)
        yield* print(
          "stderr",
          `${pending} ${pending === 1 ? "file waits" : "files wait"} for a worker with ${Jobs.describeQueue(queue)}; there is none\n`
        )
    })

    while (open().length > 0) {
      const first = yield* Queue.take(hints).pipe(Effect.timeoutOption(lookInterval))
      const more = yield* Queue.clear(hints)
      const names = new Set([...(first._tag === "Some" ? [first.value] : []), ...more])
      const some = first._tag === "Some" && !names.has("") ? [...names].filter((id) => files.has(id)) : undefined
      const jobs = yield* kept(store.jobs(run, some ?? (first._tag === "Some" ? undefined : open().slice(0, 1000))))
      yield* Effect.forEach(jobs, attend, { discard: true })
      if (first._tag === "None") yield* kept(warn)
    }
    yield* Effect.ignore(store.endRun(run))
    return plan.files.flatMap((_, index) => seen.get(`${run}/${index}`)?.results ?? [])
  }).pipe(Effect.scoped)
