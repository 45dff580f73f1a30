/**
 * The process that runs the jobs of one slot of a worker, so that scripts can neither hold up the worker nor end it.
 *
 * It hears from its worker on descriptor 4. If it hears nothing for a lease, the database gives the job to another host: it ends its machines by
 * itself then, even while the worker is frozen.
 *
 * **Example** (What the process does)
 *
 * ```ts
 * const program = Executor.serve({ backend: () => Effect.service(Backend.Backend) }).pipe(Effect.provide(DriverLayer.host))
 * ```
 *
 * @since 0.1.0
 */
import { Socket } from "node:net"
import * as Clock from "effect/Clock"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import { Backend, type BackendService } from "../backends/Backend.ts"
import { Detailed, Reporter } from "../driver/RunEvent.ts"
import * as Runner from "../driver/Runner.ts"
import type { TestCase } from "../driver/TestCase.ts"
import { Seed } from "../network/Seed.ts"
import * as Bundle from "./Bundle.ts"
import type { Answer, Order, Task } from "./internal/executorProtocol.ts"
import * as Tracing from "./internal/tracing.ts"
import * as Wire from "./internal/wire.ts"
import type { JobOptions } from "./Job.ts"

/** Where the worker's end is. */
const descriptor = 4

/** The lines of a socket; ends with it. */
const linesOf = (socket: Socket, lines: Queue.Queue<string>): void => {
  let rest = ""
  socket.setEncoding("utf8")
  socket.on("data", (text: string) => {
    const parts = (rest + text).split("\n")
    rest = parts.pop() ?? ""
    for (const part of parts) Queue.offerUnsafe(lines, part)
  })
  // The kernel ends this process with its worker; this is for a worker that lets go of it.
  for (const event of ["end", "close", "error"]) socket.on(event, () => Queue.offerUnsafe(lines, ""))
}

/** When the job stops being ours, in milliseconds of this process's clock. */
interface Lease {
  until: number
}

const lapsed = (lease: Lease) =>
  Effect.repeat(
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      now >= lease.until ? Effect.succeed(true) : Effect.as(Effect.sleep(Duration.millis(lease.until - now)), false)
    ),
    { until: (over) => over }
  )

/** The tests of a task: those that were asked for, with the folders that they have in the whole run. */
const testsOf = Effect.fnUntraced(function* ({ file, files, module, root, tests }: Task) {
  const all = yield* Bundle.load({ file, module, root, files })
  return tests.flatMap(({ folder, index, name, repeat, timeout, waitTimeout }): ReadonlyArray<TestCase> => {
    const test = all[index]
    if (test?.name !== name) return []
    return [
      {
        ...{ ...test, folder: test.folder ?? folder, repeat },
        ...{ timeout: timeout ?? test.timeout, waitTimeout: waitTimeout ?? test.waitTimeout }
      }
    ]
  })
})

/** Runs the tests of a task. Whatever comes of them is an outcome. */
const perform = Effect.fnUntraced(function* (task: Task, tell: (answer: Answer) => Effect.Effect<void>) {
  const folders = { root: task.root, output: task.output }
  const outcome = (given: Partial<Wire.Outcome>) =>
    Wire.encodeOutcome({ results: [], artefacts: [], leftOut: [], ...given }, folders)
  return yield* Effect.gen(function* () {
    const tests = yield* testsOf(task)
    if (tests.length < task.tests.length)
      return outcome({ refused: "the file has other tests on the worker than on the client" })
    const { capture, evidence, failFast, retries, snapshots } = task.options
    const results = yield* Runner.run(tests, {
      output: task.output,
      concurrency: 1,
      evidence,
      snapshots,
      capture,
      failFast,
      retries
    })
    return outcome({ results })
  }).pipe(
    Effect.catch(({ message }) => Effect.succeed(outcome({ refused: message }))),
    Effect.provideService(Reporter, (event) =>
      tell({ _tag: "Told", line: Wire.encode({ _tag: "Event", event }, folders) })
    ),
    Effect.provideService(Detailed, task.options.detailed),
    Tracing.under(task.trace)
  )
})

/** What the options change for all that runs. */
const inOptions =
  ({ accel, logLevel = "Info", seed }: Task["options"]) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const config = yield* ConfigProvider.ConfigProvider
      const accelerated =
        accel === undefined
          ? config
          : ConfigProvider.orElse(ConfigProvider.fromUnknown({ VMTEST_ACCEL: accel }), config)
      return yield* effect.pipe(
        Effect.provideService(ConfigProvider.ConfigProvider, accelerated),
        Effect.provideService(Seed, seed),
        Effect.provideService(References.MinimumLogLevel, logLevel)
      )
    })

/** What was printed must be on its way before the worker hears that the job is done. */
const flushed = Effect.callback<void>((resume) => {
  process.stdout.write("", () => process.stderr.write("", () => resume(Effect.void)))
})

/** What the process needs of its host. */
export interface ExecutorOptions<R> {
  /** The hypervisor of machines that declare none, by what the run asks for. `accel` is in `VMTEST_ACCEL` of the Config already. */
  readonly backend: (
    asked: Pick<JobOptions, "accel" | "backend">
  ) => Effect.Effect<BackendService, { readonly message: string }, R>
  /** Is run before the first line of a script. */
  readonly onTask?: Effect.Effect<void> | undefined
}

/** Runs one job after the other until the worker lets go. */
export const serve = <R>({
  backend,
  onTask = Effect.void
}: ExecutorOptions<R>): Effect.Effect<void, never, Exclude<Runner.RunnerServices, Backend> | R> =>
  Effect.gen(function* () {
    const socket = yield* Effect.sync(() => new Socket({ fd: descriptor }))
    const lines = yield* Queue.unbounded<string>()
    linesOf(socket, lines)
    const tell = (answer: Answer) => Effect.sync(() => void socket.write(`${JSON.stringify(answer)}\n`))
    const lease: Lease = { until: 0 }
    const extend = (millis: number) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        lease.until = now + millis
      })
    let job: Fiber.Fiber<void> | undefined
    // All jobs of this process are of one run, which has one setting, and end with this scope.
    const scope = yield* Scope.Scope
    let kept: { readonly backend: BackendService; readonly run: Runner.KeptOfRun } | undefined
    const keep = Effect.fnUntraced(function* (options: Task["options"]) {
      if (kept !== undefined) return kept
      const found = yield* backend(options)
      const run = yield* Runner.keep(options.snapshots).pipe(
        Effect.provideService(Backend, found),
        Scope.provide(scope)
      )
      kept = { backend: found, run }
      return kept
    })
    /** Runs the tests on what is kept; a hypervisor that is not there is what comes of them. */
    const ran = (task: Task) =>
      keep(task.options).pipe(
        Effect.flatMap((mine) =>
          perform(task, tell).pipe(
            Effect.provideService(Runner.Kept, mine.run),
            Effect.provideService(Backend, mine.backend)
          )
        ),
        Effect.catch(({ message }) =>
          Effect.succeed(
            Wire.encodeOutcome(
              { results: [], artefacts: [], leftOut: [], refused: message },
              { root: task.root, output: task.output }
            )
          )
        ),
        inOptions(task.options)
      )
    const begin = (task: Task) =>
      onTask.pipe(
        Effect.andThen(Effect.sync(() => process.chdir(task.cwd))),
        Effect.andThen(Effect.raceFirst(ran(task), Effect.as(lapsed(lease), undefined))),
        Effect.tap(() => flushed),
        Effect.flatMap((outcome) =>
          tell(
            outcome === undefined
              ? { _tag: "Stopped", why: "the worker was silent for longer than its lease" }
              : { _tag: "Done", outcome }
          )
        ),
        Effect.onInterrupt(() => tell({ _tag: "Stopped", why: "the worker stopped it" }))
      )
    yield* tell({ _tag: "Ready" })
    yield* Effect.forkChild(Bundle.preload)
    while (true) {
      const line = yield* Queue.take(lines)
      if (line === "") break
      const order: Order = JSON.parse(line)
      switch (order._tag) {
        case "Run":
          yield* extend(order.lease)
          job = yield* Effect.forkChild(begin(order.task))
          break
        case "Lease":
          yield* extend(order.millis)
          break
        case "Stop":
          if (job !== undefined) yield* Fiber.interrupt(job)
      }
    }
    if (job !== undefined) yield* Fiber.interrupt(job)
  }).pipe(Effect.scoped)
