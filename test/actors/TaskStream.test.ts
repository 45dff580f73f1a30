import { assert, describe, it } from "@effect/vitest"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import { implOf } from "../../src/actors/internal/process/process.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Task from "../../src/actors/Task.ts"
import * as TaskSupervisor from "../../src/actors/TaskSupervisor.ts"
import { actor, exits, fate, flush, quiet } from "./support.ts"

class Refused extends Data.TaggedError("Refused")<{ readonly n: number }> {}

/** A task that takes `n` milliseconds and gives `n`. */
const sleep = (n: number) => Effect.as(Effect.sleep(n), n)
const exit = (n: number): Effect.Effect<number> => Process.exit(ExitReason.custom(n))
/** Only the first is ever done. */
const onlyZero = (n: number) => (n === 0 ? Effect.succeed(0) : Effect.never)

const show = (outcome: Result.Result<unknown, unknown>): unknown => {
  if (Result.isSuccess(outcome)) return outcome.success
  const { failure } = outcome
  if (failure instanceof Task.TaskExit) {
    const text = `exit ${ExitReason.format(failure.reason)}`
    return failure.input === undefined ? text : [failure.input, text]
  }
  if (!(failure instanceof Task.TaskTimeout)) return failure
  return failure.input === undefined ? "exit timeout" : [failure.input, "exit timeout"]
}

/** What a stream gives while time passes, shown. */
const collect = <E, R>(stream: Stream.Stream<Result.Result<unknown, unknown>, E, R>) =>
  Effect.gen(function* () {
    const running = yield* Effect.forkChild(Stream.runCollect(Stream.map(stream, show)), { startImmediately: true })
    for (let step = 0; step < 400 && running.pollUnsafe() === undefined; step++) yield* TestClock.adjust(1)
    return yield* Fiber.join(running)
  })

/** The processes that this one is linked to, or that run besides it. */
const others = Effect.map(Process.self, (me) => [...implOf(me).system.processes].filter((each) => each !== implOf(me)))

type AnyStream = (
  inputs: Task.Inputs<number>,
  f: (n: number) => Effect.Effect<number, Refused>,
  options?: Task.StreamOptions
) => Stream.Stream<Result.Result<unknown, unknown>, unknown, Process.Self>

/** Runs a body with each kind of stream; `crew` is how many processes there are besides the tasks. */
const flavours: ReadonlyArray<
  readonly [
    name: string,
    linked: boolean,
    use: <A, E>(
      body: (stream: AnyStream, crew: number) => Effect.Effect<A, E, Process.Self>
    ) => Effect.Effect<unknown, unknown, Process.Self>
  ]
> = [
  ["Task.asyncStream", true, (body) => body(Task.asyncStream as AnyStream, 0)],
  [
    "TaskSupervisor.asyncStream",
    true,
    (body) =>
      Effect.flatMap(TaskSupervisor.startLink(), (supervisor) =>
        body(
          (inputs, f, options) => TaskSupervisor.asyncStream(supervisor, inputs, f, options as Task.ExitOnTimeout),
          1
        )
      )
  ],
  [
    "TaskSupervisor.asyncStreamNoLink",
    false,
    (body) =>
      Effect.flatMap(TaskSupervisor.startLink(), (supervisor) =>
        body(
          (inputs, f, options) =>
            TaskSupervisor.asyncStreamNoLink(supervisor, inputs, f, options as Task.ExitOnTimeout),
          1
        )
      )
  ]
]

describe.each(flavours)("%s", (_, linked, use) => {
  describe.each([4, 2, 8])("with %s at a time", (maxConcurrency) => {
    const options = { maxConcurrency }

    it.effect.each([
      // Inputs, the task of each, how many are taken, and what comes.
      ["in order", [1, 2, 3, 4], sleep, 9, [1, 2, 3, 4]],
      ["slowest first", [4, 3, 2, 1], sleep, 9, [4, 3, 2, 1]],
      ["exits", [1, 2, 3, 4], exit, 9, ["exit 1", "exit 2", "exit 3", "exit 4"]],
      ["outer halt on success", [1, 2, 3, 4, 5, 6, 7, 8], sleep, 4, [1, 2, 3, 4]],
      ["outer halt on failure", [1, 2, 3, 4, 5, 6, 7, 8], exit, 4, ["exit 1", "exit 2", "exit 3", "exit 4"]],
      ["outer halt, slowest first", [8, 7, 6, 5, 4, 3, 2, 1], sleep, 4, [8, 7, 6, 5]],
      ["shuts down unused tasks", [0, 1, 1, 1], onlyZero, 1, [0]]
    ] as const)("%s, and leaves no task, link or message behind", ([, inputs, f, take, expected]) =>
      actor(
        use((stream, crew) =>
          Effect.gen(function* () {
            yield* Process.trapExit(true)
            assert.deepStrictEqual(yield* collect(Stream.take(stream(inputs, f, options), take)), [...expected])
            assert.strictEqual((yield* others).length, crew)
            assert.strictEqual(implOf(yield* Process.self).links.size, crew)
            assert.deepStrictEqual(yield* flush, [])
          })
        )
      )
    )

    it.effect("inner halt: takes no more than the inputs there are, also from a Stream", () =>
      actor(
        use((stream) =>
          Effect.gen(function* () {
            let ended = false
            const inputs = Stream.fromIterable([8, 7, 6, 5, 4, 3]).pipe(
              Stream.take(4),
              Stream.ensuring(Effect.sync(() => (ended = true)))
            )
            assert.deepStrictEqual(yield* collect(stream(inputs, sleep, options)), [8, 7, 6, 5])
            assert.isTrue(ended)
          })
        )
      )
    )

    it.effect("can be pulled side by side with another", () =>
      actor(
        use((stream) =>
          Effect.gen(function* () {
            const tasks = stream([4, 3, 2, 1], sleep, options)
            const both = Stream.zipWith(tasks, tasks, (a, b) => Result.succeed([show(a), show(b)]))
            assert.deepStrictEqual(
              yield* collect(both),
              [4, 3, 2, 1].map((n) => [n, n])
            )
          })
        )
      )
    )

    it.effect("killTask: a late task stands as a timeout, with its input if wanted", () =>
      actor(
        use((stream, crew) =>
          Effect.gen(function* () {
            const late = { ...options, onTimeout: "killTask", timeout: 50 } as const
            const outcomes = yield* collect(stream([100, 1, 100, 1], sleep, late))
            assert.deepStrictEqual(outcomes, ["exit timeout", 1, "exit timeout", 1])
            const zipped = yield* collect(stream([1, 100], sleep, { ...late, zipInputOnExit: true }))
            assert.deepStrictEqual(zipped, [1, [100, "exit timeout"]])
            assert.strictEqual((yield* others).length, crew)
            yield* Process.trapExit(true)
            const exited = yield* collect(Stream.take(stream([1, 2, 3], exit, { ...options, zipInputOnExit: true }), 2))
            assert.deepStrictEqual(exited, [
              [1, "exit 1"],
              [2, "exit 2"]
            ])
            assert.deepStrictEqual(yield* flush, [])
          })
        )
      )
    )
  })

  it.effect("a late task ends the stream, and the others with it", () =>
    actor(
      use((stream, crew) =>
        Effect.gen(function* () {
          const tasks = stream([1, 2], () => Effect.never, { timeout: 0, maxConcurrency: 2 })
          const error = yield* Effect.flip(collect(tasks))
          assert.isTrue(error instanceof Task.TaskTimeout)
          assert.strictEqual((yield* others).length, crew)
          assert.deepStrictEqual(yield* flush, [])
        })
      )
    )
  )

  it.effect("typed errors are outcomes", () =>
    actor(
      use((stream) =>
        Effect.gen(function* () {
          const odd = (n: number) => (n % 2 === 0 ? Effect.fail(new Refused({ n })) : Effect.succeed(n))
          assert.deepStrictEqual(yield* collect(stream([1, 2, 3], odd)), [1, new Refused({ n: 2 }), 3])
        })
      )
    )
  )

  it.effect(linked ? "a crash ends a consumer that does not trap exits" : "a crash touches nobody", () =>
    actor(
      use((stream) =>
        Effect.gen(function* () {
          const reason = yield* fate(Stream.runDrain(stream([1], exit)))
          assert.deepStrictEqual(reason, linked ? ExitReason.custom(1) : ExitReason.normal)
        })
      )
    )
  )

  it.effect("the tasks end with their consumer, however it ends", () =>
    actor(
      use((stream, crew) =>
        Effect.gen(function* () {
          const consumer = yield* Process.spawn(Stream.runDrain(stream([1, 2], () => Effect.never)))
          yield* quiet
          assert.isAbove((yield* others).length, crew + 1)
          yield* Process.exit(consumer, ExitReason.kill)
          yield* quiet
          assert.strictEqual((yield* others).length, crew)
        })
      )
    )
  )

  it.effect("options that make no sense are a defect", () =>
    actor(
      use((stream) =>
        Effect.gen(function* () {
          for (const bad of [{ maxConcurrency: 0 }, { maxConcurrency: 1.5 }, { timeout: -1 }]) {
            const reason = yield* fate(Stream.runDrain(stream([1], sleep, bad)))
            assert.match(ExitReason.format(reason), /BadStreamOptions/)
          }
        })
      )
    )
  )
})

describe("streams of tasks", () => {
  it.effect("give outcomes as they come when they need not be in order", () =>
    actor(
      Effect.gen(function* () {
        const unordered = (inputs: ReadonlyArray<number>, options: Task.ExitOnTimeout) =>
          collect(Task.asyncStream(inputs, sleep, { ordered: false, ...options }))
        assert.deepStrictEqual(yield* unordered([40, 30, 20, 10], { maxConcurrency: 1 }), [40, 30, 20, 10])
        assert.deepStrictEqual(yield* unordered([40, 30, 20, 10], { maxConcurrency: 4 }), [10, 20, 30, 40])
        const late = { maxConcurrency: 4, ordered: false, onTimeout: "killTask", timeout: 50 } as const
        assert.deepStrictEqual(yield* collect(Task.asyncStream([100, 1, 100, 1], sleep, late)), [
          ...[1, 1],
          ...["exit timeout", "exit timeout"]
        ])
      })
    )
  )

  it.effect("take 5 seconds a task at most by default; Infinity is no limit", () =>
    actor(
      Effect.gen(function* () {
        const limited = yield* Effect.forkChild(Stream.runDrain(Task.asyncStream([6000], sleep)), {
          startImmediately: true
        })
        const unlimited = yield* Effect.forkChild(
          Stream.runDrain(Task.asyncStream([6000], sleep, { timeout: "Infinity" })),
          { startImmediately: true }
        )
        yield* TestClock.adjust("4999 millis")
        assert.isUndefined(limited.pollUnsafe())
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Effect.flip(Fiber.join(limited)))._tag, "TaskTimeout")
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(unlimited)
      })
    )
  )

  it.effect("take inputs only as there is room, and close them when they are halted", () =>
    actor(
      Effect.gen(function* () {
        let taken = 0
        let closed = false
        function* inputs() {
          try {
            for (;;) yield ++taken
          } finally {
            closed = true
          }
        }
        yield* collect(Stream.take(Task.asyncStream(inputs(), sleep, { maxConcurrency: 3 }), 2))
        assert.isAtMost(taken, 5)
        assert.isTrue(closed)
      })
    )
  )

  it.effect("are the consumer's, whoever made them, and keep out of its mailbox", () =>
    actor(
      Effect.gen(function* () {
        const me = yield* Process.self
        const stream = Task.asyncStream([1, 2, 3], (n) => Process.send(me, n))
        yield* Process.trapExit(true)
        yield* Process.spawnLink(Stream.runDrain(stream))
        const messages = yield* flush
        assert.deepStrictEqual(messages.slice(0, 3), [1, 2, 3])
        assert.deepStrictEqual(exits(messages), ["normal"])
      })
    )
  )

  it.effect("fail with what the inputs fail with, and stop the tasks", () =>
    actor(
      Effect.gen(function* () {
        const inputs = Stream.concat(Stream.make(1, 2), Stream.fail(new Refused({ n: 0 })))
        const error = yield* Effect.flip(
          Stream.runDrain(Task.asyncStream(inputs, () => Effect.never, { maxConcurrency: 4 }))
        )
        assert.deepStrictEqual(error, new Refused({ n: 0 }))
        assert.deepStrictEqual(yield* others, [])
      })
    )
  )

  it.effect("end cleanly when the supervisor has no room for more tasks", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* TaskSupervisor.startLink({ maxChildren: 1 })
        for (const run of [TaskSupervisor.asyncStream, TaskSupervisor.asyncStreamNoLink]) {
          const tasks = run(supervisor, [1, 2, 3], () => Effect.never, { maxConcurrency: 4 })
          assert.strictEqual((yield* Effect.flip(Stream.runDrain(tasks)))._tag, "MaxChildren")
          assert.deepStrictEqual(yield* TaskSupervisor.children(supervisor), [])
        }
      })
    )
  )
})
