/**
 * The process that runs the jobs of one slot of a worker, so that scripts can neither hold up the worker nor end it.
 *
 * It hears from its worker on descriptor 4. If it hears nothing for a lease, the database gives the job to another host: it ends its machines by
 * itself then, even while the worker is frozen.
 *
 * **Example** (What the process does)
 *
 * ```ts
 * const program = Executor.serve().pipe(Effect.provide(DriverLayer.host))
 * ```
 *
 * @since 0.1.0
 */
import { Socket } from "node:net"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import { Detailed, Reporter } from "../driver/RunEvent.ts"
import * as Runner from "../driver/Runner.ts"
import type { TestCase } from "../driver/TestCase.ts"
import * as Bundle from "./Bundle.ts"
import type { Answer, Order, Task } from "./internal/executorProtocol.ts"
import * as Tracing from "./internal/tracing.ts"
import * as Wire from "./internal/wire.ts"

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
const testsOf = Effect.fnUntraced(function* ({ file, files, module, options, root, tests }: Task) {
  const all = yield* Bundle.load({ file, module, root, files })
  return tests.flatMap(({ folder, index, name }): ReadonlyArray<TestCase> => {
    const test = all[index]
    if (test?.name !== name) return []
    const { timeout = test.timeout, waitTimeout } = options
    return [{ ...test, folder: test.folder ?? folder, timeout, waitTimeout: test.waitTimeout ?? waitTimeout }]
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
    const { capture, evidence, retries, snapshots } = task.options
    const results = yield* Runner.run(tests, {
      output: task.output,
      concurrency: 1,
      evidence,
      snapshots,
      capture,
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

/** What was printed must be on its way before the worker hears that the job is done. */
const flushed = Effect.callback<void>((resume) => {
  process.stdout.write("", () => process.stderr.write("", () => resume(Effect.void)))
})

/** Runs one job after the other until the worker lets go. `onTask` is run before the first line of a script. */
export const serve = (onTask: Effect.Effect<void> = Effect.void): Effect.Effect<void, never, Runner.RunnerServices> =>
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
    // All jobs of this process are of one run, which has one setting.
    let kept: Runner.KeptOfRun | undefined
    const begin = (task: Task) =>
      onTask.pipe(
        Effect.andThen(Effect.sync(() => process.chdir(task.files))),
        Effect.andThen(Effect.raceFirst(perform(task, tell), Effect.as(lapsed(lease), undefined))),
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
    while (true) {
      const line = yield* Queue.take(lines)
      if (line === "") break
      const order: Order = JSON.parse(line)
      switch (order._tag) {
        case "Run":
          yield* extend(order.lease)
          kept ??= yield* Runner.keep(order.task.options.snapshots)
          job = yield* Effect.forkChild(Effect.provideService(begin(order.task), Runner.Kept, kept))
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
