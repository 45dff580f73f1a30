/** One job on a worker: its folder, its process, what that tells, and what came of it. */
import * as Fs from "node:fs"
import * as NodePath from "node:path"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Bundle from "../Bundle.ts"
import type * as Jobs from "../Job.ts"
import type { Claim, Store } from "../Store.ts"
import type { WorkerOptions } from "../Worker.ts"
import * as Artefacts from "./artefacts.ts"
import { patiently } from "./engine.ts"
import type * as Executors from "./executors.ts"
import * as Tracing from "./tracing.ts"
import * as Wire from "./wire.ts"

/** Another host has the job, or nobody wants it any more. */
export class NotOurs {
  readonly _tag = "NotOurs"
}

/** The host could not run the job: its process ended. */
export class Broken extends Error {
  readonly _tag = "Broken"
}

export interface Running {
  readonly claim: Claim
  readonly job: Jobs.Job
  readonly executor: { current: Executors.Executor | undefined }
  readonly lost: Deferred.Deferred<never, NotOurs>
  readonly memory: number
}

/** How long events are collected before they are sent. */
const batchTime = "50 millis"

export interface State {
  readonly store: Store
  readonly options: WorkerOptions
  readonly lease: Duration.Duration
  readonly running: Set<Running>
  /** Opened when a job begins or ends. */
  readonly changed: Latch.Latch
  draining: boolean
}

export const freeMemory = ({ options, running }: State): number =>
  [...running].reduce((left, { memory }) => left - memory, options.memory)

/** A file by its digest, kept for the next job. */
const cached = Effect.fnUntraced(function* ({ lease, options, store }: State, digest: string) {
  const file = NodePath.join(options.folder, "files", digest)
  if (Fs.existsSync(file)) return Fs.readFileSync(file)
  const bytes = yield* patiently(lease)(store.get(digest))
  if (bytes === undefined) return yield* Effect.fail(new Broken(`the database does not have the file ${digest}`))
  yield* Effect.sync(() => {
    Fs.mkdirSync(NodePath.dirname(file), { recursive: true })
    const draft = `${file}.${process.pid}.${Math.round(performance.now() * 1000)}`
    Fs.writeFileSync(draft, bytes)
    Fs.renameSync(draft, file)
  })
  return Buffer.from(bytes)
})

/** Puts the files of a job into a folder of its own. */
const prepare = Effect.fnUntraced(function* (state: State, { attempt, job: id }: Claim, job: Jobs.Job) {
  const root = NodePath.join(state.options.folder, `job-${id.replaceAll("/", "-")}-${attempt}`)
  const text = (yield* cached(state, job.bundle)).toString("utf8")
  yield* Effect.sync(() => Fs.mkdirSync(root, { recursive: true, mode: 0o700 }))
  for (const { digest, mode, path } of job.files) {
    const bytes = yield* cached(state, digest)
    const target = NodePath.join(root, path)
    if (!target.startsWith(`${root}/`)) return yield* Effect.fail(new Broken(`${path} is outside of the job's folder`))
    yield* Effect.sync(() => {
      Fs.mkdirSync(NodePath.dirname(target), { recursive: true })
      Fs.writeFileSync(target, bytes, { mode })
    })
  }
  const files = state.options.beside === true ? job.root : root
  const module = yield* Bundle.unpack(text, root, files)
  const cwd = NodePath.join(files, job.cwd)
  if (files === root) yield* Effect.sync(() => Fs.mkdirSync(cwd, { recursive: true }))
  return { root, files, cwd, module, output: NodePath.join(root, ".vmtest-output") }
})

/** What is known now, and a little later: events come in bursts. An end ends the wait. */
const gathered = (executor: Executors.Executor): Effect.Effect<ReadonlyArray<Executors.Said>> =>
  Effect.gen(function* () {
    const first = yield* Queue.takeAll(executor.answers)
    // What was printed last is on its way by another pipe.
    const ended = Effect.andThen(executor.ended.await, Effect.sleep("2 millis"))
    yield* Effect.raceFirst(ended, Effect.sleep(batchTime))
    return [...first, ...(yield* Queue.clear(executor.answers))]
  })

/** Takes what the process answers until the job is done, and sends it on in batches; gives the outcome. */
const follow = Effect.fnUntraced(function* (
  { lease, store }: State,
  { claim, job }: Running,
  executor: Executors.Executor,
  folders: Wire.Folders
) {
  let seq = 0
  while (true) {
    const answers = yield* gathered(executor)
    const lines = answers.flatMap((answer) =>
      answer._tag === "Told"
        ? [answer.line]
        : answer._tag === "Printed"
          ? [Wire.encode({ ...answer, _tag: "Output" }, folders)]
          : []
    )
    if (lines.length > 0) {
      seq += 1
      const ours = yield* patiently(lease)(store.append(claim, seq, Wire.encodeAll(lines)))
      if (!ours) return yield* Effect.fail(new NotOurs())
    }
    for (const answer of answers) {
      if (answer._tag === "Done") return answer.outcome
      if (answer._tag === "Stopped") return yield* Effect.fail(new NotOurs())
      if (answer._tag === "Gone")
        return yield* Effect.fail(new Broken(`the process that ran ${job.file} ended with ${answer.how}`))
    }
  }
})

/** Runs a job that was taken, and says what it came to. */
export const perform = Effect.fnUntraced(
  function* (state: State, seat: Executors.Seat, running: Running) {
    const { claim, job } = running
    const { lease, store } = state
    const task = yield* prepare(state, claim, job)
    const executor = yield* Effect.mapError(seat.use(job.run), ({ message }) => new Broken(message))
    running.executor.current = executor
    yield* Queue.clear(executor.answers)
    executor.ended.closeUnsafe()
    const { file, options, tests } = job
    const trace = yield* Tracing.current
    yield* executor.order({
      _tag: "Run",
      lease: Duration.toMillis(lease),
      task: { ...task, file, options, tests, trace }
    })
    const told = yield* follow(state, running, executor, task)
    const { artefacts, leftOut } = yield* patiently(lease)(
      Artefacts.send(store, job.run, task.output, job.artefactLimit)
    )
    const outcome: Wire.Outcome = { ...JSON.parse(told), artefacts, leftOut }
    if (!(yield* patiently(lease)(store.finish(claim, JSON.stringify(outcome)))))
      return yield* Effect.fail(new NotOurs())
    // Its lease is over; that it cannot be kept any more means nothing.
    yield* Effect.sync(() => state.running.delete(running))
    yield* Effect.sync(() => Fs.rmSync(task.root, { recursive: true, force: true, maxRetries: 3 }))
  },
  (performed, _, seat, { lost }) =>
    Effect.raceFirst(performed, Deferred.await(lost)).pipe(
      // Its process may be in any state: it is ended, with all machines.
      Effect.onError(() => seat.discard)
    )
)
