import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import { TestClock } from "effect/testing"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as GenServer from "../../src/actors/GenServer.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Supervisor from "../../src/actors/Supervisor.ts"
import * as Task from "../../src/actors/Task.ts"
import { actor, exits, fate, flush, quiet } from "./support.ts"

class Refused extends Data.TaggedError("Refused")<{ readonly why: string }> {}
class Name extends Context.Service<Name, string>()("test/Name") {}

const oops = ExitReason.custom("oops")
const exit = Process.exit(oops)
const crash = Effect.die(new Error("oops"))
/** A task's Effect that gets its result when it is told to. */
const whenTold = <A>(value: A) => Effect.as(Process.receive(), value)
const tell = (task: Task.Task<unknown, unknown>) => Effect.andThen(Process.send(task.pid as Pid.Any, "now"), quiet)

/** What an outcome says, in short. */
const show = (outcome: Task.Outcome<unknown, unknown> | undefined): unknown => {
  if (outcome === undefined) return "busy"
  if (Result.isSuccess(outcome)) return outcome.success
  return outcome.failure instanceof Task.TaskExit ? ExitReason.format(outcome.failure.reason) : outcome.failure
}

describe("starting tasks", () => {
  it.effect("async links and monitors, and the result is a message to the owner", () =>
    actor(
      Effect.gen(function* () {
        const me = yield* Process.self
        yield* Process.trapExit(true)
        const task = yield* Task.async(Effect.succeed(1))
        assert.strictEqual(task.owner, me)
        const [reply, exited, down] = yield* flush
        assert.deepStrictEqual(reply, new Task.TaskReply({ task: task as never, result: Result.succeed(1) }))
        assert.isTrue(Process.isExit(exited) && exited.from === task.pid && exited.reason._tag === "Normal")
        assert.isTrue(Process.isDown(down) && down.monitor === task.monitor && down.reason._tag === "Normal")
      })
    )
  )

  it.effect("a task crashes its owner over the link, and its owner's end ends it", () =>
    actor(
      Effect.gen(function* () {
        let task: Pid.Any | undefined
        const owner = Effect.gen(function* () {
          task = (yield* Task.async(Effect.never)).pid
          yield* Task.async(exit)
          yield* Effect.never
        })
        assert.deepStrictEqual(yield* fate(owner), oops)
        yield* quiet
        assert.isFalse(yield* Process.isAlive(task as Pid.Any))
      })
    )
  )

  it.effect("a task knows its ancestors and has its owner's services", () =>
    actor(
      Effect.gen(function* () {
        const me = yield* Process.self
        const task = yield* Task.async(Effect.map(Process.self, Process.ancestors))
        assert.strictEqual((yield* Task.await(task))[0], me)
        const named = yield* Task.async(Name).pipe(Effect.provideService(Name, "Ada"))
        assert.strictEqual(yield* Task.await(named), "Ada")
      })
    )
  )

  it.effect("start and startLink run an Effect for its own sake; linked, its failure is a crash", () =>
    actor(
      Effect.gen(function* () {
        const me = yield* Process.self
        yield* Task.start(Process.send(me, "started"))
        assert.deepStrictEqual(yield* flush, ["started"])
        yield* Task.start(exit)
        yield* Process.trapExit(true)
        yield* Task.startLink(Effect.fail(new Refused({ why: "no" })))
        assert.deepStrictEqual(exits(yield* flush), ["crashed: Refused: "])
      })
    )
  )

  it.effect("can be supervised directly, and is temporary then", () =>
    actor(
      Effect.gen(function* () {
        let runs = 0
        const spec = Task.childSpec(
          "job",
          Effect.sync(() => runs++)
        )
        assert.strictEqual(spec.restart, "temporary")
        const sup = yield* Supervisor.startLink({ children: [spec] })
        yield* quiet
        assert.deepStrictEqual(yield* Supervisor.whichChildren(sup), [])
        assert.strictEqual(runs, 1)
      })
    )
  )

  it.effect("completed has its result at once, and no process", () =>
    actor(
      Effect.gen(function* () {
        const task = yield* Task.completed(7)
        assert.isUndefined(task.pid)
        assert.strictEqual(yield* Task.await(task), 7)
        assert.strictEqual(show(yield* Task.ignore(yield* Task.completed(8))), 8)
        const failure = yield* fate(Effect.flatMap(Task.completed(9), Task.shutdown))
        assert.match(ExitReason.format(failure), /has no process to shut down/)
      })
    )
  )
})

describe("await", () => {
  it.effect("gives the result, and leaves nothing in the mailbox", () =>
    actor(
      Effect.gen(function* () {
        const task = yield* Task.async(whenTold("done"))
        yield* tell(task)
        assert.strictEqual(yield* Task.await(task), "done")
        assert.deepStrictEqual(yield* flush, [])
      })
    )
  )

  it.effect("gives a typed error of the task, which is an answer and no crash", () =>
    actor(
      Effect.gen(function* () {
        const task = yield* Task.async(Effect.fail(new Refused({ why: "no" })))
        assert.deepStrictEqual(yield* Effect.flip(Task.await(task)), new Refused({ why: "no" }))
        assert.deepStrictEqual(yield* flush, [])
      })
    )
  )

  it.effect("fails in time, takes the monitor back and drops the late result", () =>
    actor(
      Effect.gen(function* () {
        const task = yield* Task.async(whenTold("late"))
        const waiting = yield* Effect.forkChild(Effect.flip(Task.await(task)), { startImmediately: true })
        yield* TestClock.adjust("4999 millis")
        assert.isUndefined(waiting.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        const error = yield* Fiber.join(waiting)
        assert.isTrue(error._tag === "TaskTimeout" && Duration.toSeconds(error.timeout) === 5)
        yield* tell(task)
        assert.deepStrictEqual(yield* flush, [])
        assert.strictEqual((yield* Effect.flip(Task.await(task, { timeout: 0 })))._tag, "TaskTimeout")
      })
    )
  )

  it.effect.each([
    ["normal", Process.exit(ExitReason.normal), "normal"],
    ["a chosen reason", exit, "oops"],
    ["a defect", crash, "crashed: Error: oops"]
  ] as const)("fails when the task ends without a result: %s", ([, body, reason]) =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const task = yield* Task.async(body)
        const error = yield* Effect.flip(Task.await(task))
        assert.strictEqual(error._tag === "TaskExit" && ExitReason.format(error.reason), reason)
      })
    )
  )

  it.effect("is for the owner only: every way to ask is a defect for others", () =>
    actor(
      Effect.gen(function* () {
        const task = yield* Task.async(Effect.never)
        const asks: ReadonlyArray<Effect.Effect<unknown, unknown, Process.Self>> = [
          Task.await(task),
          Task.awaitMany([task]),
          Task.yield(task),
          Task.yieldMany([task]),
          Task.ignore(task),
          Task.shutdown(task)
        ]
        for (const ask of asks) assert.match(ExitReason.format(yield* fate(ask)), /only its owner <\d+> can ask/)
        yield* Task.shutdown(task)
      })
    )
  )
})

describe("awaitMany", () => {
  it.effect("gives the results in the order of the tasks, whatever the order of the replies", () =>
    actor(
      Effect.gen(function* () {
        const me = yield* Process.self
        const first = yield* Task.async(whenTold("a"))
        const second = yield* Task.async(whenTold(2))
        yield* Process.send(me, "something else")
        yield* tell(second)
        yield* tell(first)
        const [a, b]: [string, number] = yield* Task.awaitMany([first, second])
        assert.deepStrictEqual([a, b], ["a", 2])
        assert.deepStrictEqual(yield* flush, ["something else"])
        assert.deepStrictEqual(yield* Task.awaitMany([]), [])
      })
    )
  )

  it.effect("has one deadline for all", () =>
    actor(
      Effect.gen(function* () {
        const quick = yield* Task.async(Effect.succeed(1))
        const slow = yield* Task.async(Effect.never)
        const waiting = yield* Effect.forkChild(Effect.flip(Task.awaitMany([quick, slow], { timeout: 50 })), {
          startImmediately: true
        })
        yield* TestClock.adjust(50)
        const error = yield* Fiber.join(waiting)
        assert.isTrue(error._tag === "TaskTimeout" && error.pid === slow.pid)
        yield* Task.shutdown(slow)
        assert.deepStrictEqual(yield* flush, [])
      })
    )
  )

  it.effect.each([
    ["a normal end", Process.exit(ExitReason.normal)],
    ["an exit", exit],
    ["a crash", crash],
    ["a typed error", Effect.fail(new Refused({ why: "no" }))]
  ] as const)("fails at once with the first that fails: %s", ([, body]) =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const busy = yield* Task.async(Effect.never)
        const error = yield* Effect.flip(Task.awaitMany([busy, yield* Task.async<never, Refused, never>(body)]))
        assert.include(["TaskExit", "Refused"], error._tag)
      })
    )
  )
})

describe("yield", () => {
  it.effect("gives the outcome, or nothing for now, any number of times", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const task = yield* Task.async(whenTold("done"))
        assert.isUndefined(yield* Task.yield(task, { timeout: 0 }))
        assert.isUndefined(yield* Task.yield(task, { timeout: 0 }))
        yield* tell(task)
        assert.strictEqual(show(yield* Task.yield(task)), "done")
        assert.strictEqual(show(yield* Task.yield(yield* Task.async(exit))), "oops")
        assert.strictEqual(show(yield* Task.yield(yield* Task.async(Process.exit(ExitReason.normal)))), "normal")
      })
    )
  )

  it.effect("yieldMany gives what there is, in the order of the tasks", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const tasks = [
          yield* Task.async(Effect.succeed(1)),
          yield* Task.async(Effect.never),
          yield* Task.async(exit)
        ] as const
        const waiting = yield* Effect.forkChild(Task.yieldMany(tasks, { timeout: 100 }), { startImmediately: true })
        yield* TestClock.adjust(100)
        assert.deepStrictEqual((yield* Fiber.join(waiting)).map(show), [1, "busy", "oops"])
        // The monitor is still there.
        yield* Process.exit(tasks[1].pid as Pid.Any, ExitReason.kill)
        assert.strictEqual(show(yield* Task.yield(tasks[1])), "killed")
      })
    )
  )

  it.effect("yieldMany stops at its limit, and leaves the others alone", () =>
    actor(
      Effect.gen(function* () {
        const tasks = [yield* Task.async(whenTold(1)), yield* Task.async(whenTold(2)), yield* Task.async(whenTold(3))]
        yield* tell(tasks[2] as Task.Task<number>)
        const some = yield* Task.yieldMany(tasks, { limit: 1, onTimeout: "killTask" })
        assert.deepStrictEqual(some.map(show), ["busy", "busy", 3])
        assert.isTrue(yield* Process.isAlive(tasks[0]?.pid as Pid.Any))
        const none = yield* Task.yieldMany(tasks, { limit: 0 })
        assert.deepStrictEqual(none.map(show), ["busy", "busy", "busy"])
        for (const task of tasks.slice(0, 2)) yield* tell(task)
        const rest = yield* Task.yieldMany(tasks.slice(0, 2), { timeout: "Infinity" })
        assert.deepStrictEqual(rest.map(show), [1, 2])
      })
    )
  )

  it.effect.each([
    ["killTask", false],
    ["ignore", true]
  ] as const)("yieldMany does with the late ones as told: %s", ([onTimeout, alive]) =>
    actor(
      Effect.gen(function* () {
        const task = yield* Task.async(whenTold(1))
        const outcome = yield* Task.yieldMany([task], { timeout: 0, onTimeout })
        assert.deepStrictEqual(outcome.map(show), ["busy"])
        assert.strictEqual(yield* Process.isAlive(task.pid as Pid.Any), alive)
        yield* tell(task)
        assert.deepStrictEqual(yield* flush, [])
      })
    )
  )
})

describe("ignore", () => {
  it.effect("drops late results and late failures, and gives those that are there", () =>
    actor(
      Effect.gen(function* () {
        const late = yield* Task.async(whenTold("late"))
        assert.isUndefined(yield* Task.ignore(late))
        yield* tell(late)
        const failing = yield* Task.async(Effect.andThen(Process.receive(), exit))
        assert.isUndefined(yield* Task.ignore(failing))
        yield* tell(failing)
        assert.deepStrictEqual(yield* flush, [])
        const early = yield* Task.async(Effect.succeed(1))
        yield* quiet
        assert.strictEqual(show(yield* Task.ignore(early)), 1)
        yield* Process.trapExit(true)
        const failed = yield* Task.async(exit)
        yield* quiet
        assert.strictEqual(show(yield* Task.ignore(failed)), "oops")
      })
    )
  )
})

describe("shutdown", () => {
  it.effect.each([
    // The task, how it is shut down after it had time to end, and the outcome.
    ["busy", whenTold(1), "1 second", "busy"],
    ["busy, killed", whenTold(1), "brutalKill", "busy"],
    ["a result is there", Effect.succeed(1), "1 second", 1],
    ["a result is there, killed", Effect.succeed(1), "brutalKill", 1],
    ["ended normally", Process.exit(ExitReason.normal), "1 second", "normal"],
    ["ended normally, killed", Process.exit(ExitReason.normal), "brutalKill", "normal"],
    ["ended abnormally", exit, "1 second", "oops"],
    ["ended abnormally, killed", exit, "brutalKill", "oops"],
    ["ended with shutdown", Process.exit(ExitReason.shutdown), "1 second", "busy"],
    ["ended with shutdown, killed", Process.exit(ExitReason.shutdown), "brutalKill", "shutdown"],
    ["was killed", Process.exit(ExitReason.killed), "1 second", "killed"],
    ["was killed, killed", Process.exit(ExitReason.killed), "brutalKill", "busy"]
  ] as const)("of a task that is or did: %s", ([, body, how, expected]) =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const task = yield* Task.async<number, never, Process.Self>(body)
        yield* quiet
        assert.strictEqual(show(yield* Task.shutdown(task, how)), expected)
        yield* Process.trapExit(false)
        assert.deepStrictEqual(
          (yield* flush).filter((message) => !Process.isExit(message)),
          []
        )
      })
    )
  )

  it.effect("kills a task that takes too long, and says so", () =>
    actor(
      Effect.gen(function* () {
        const stubborn = Effect.andThen(Process.trapExit(true), Effect.never)
        const task = yield* Task.async(stubborn)
        yield* quiet
        const ending = yield* Effect.forkChild(Task.shutdown(task, 10), { startImmediately: true })
        yield* TestClock.adjust(10)
        assert.strictEqual(show(yield* Fiber.join(ending)), "killed")
      })
    )
  )

  it.effect("of a task whose outcome was taken already says noproc", () =>
    actor(
      Effect.gen(function* () {
        const task = yield* Task.async(Effect.succeed(1))
        yield* Task.await(task)
        yield* quiet
        assert.strictEqual(show(yield* Task.shutdown(task)), "no such process")
        assert.strictEqual(show(yield* Task.shutdown(task, "brutalKill")), "no such process")
      })
    )
  )
})

describe("a server that owns a task", () => {
  it.effect("gets its result in info", () =>
    actor(
      Effect.gen(function* () {
        const me = yield* Process.self
        const protocol = GenServer.protocol({ run: GenServer.Cast<number>() })
        const server = GenServer.make(protocol, {
          init: () => GenServer.ok<ReadonlyArray<unknown>>([]),
          handlers: {
            run: (n, state) => Effect.as(Task.asyncNoLink(Effect.succeed(n * 2)), GenServer.noReply(state))
          },
          info: (message, state) =>
            message instanceof Task.TaskReply
              ? Effect.as(Process.send(me, message.result), GenServer.noReply(state))
              : GenServer.noReply(state)
        })
        const pid = yield* GenServer.scoped(server)
        yield* GenServer.cast(pid, "run", 21)
        assert.deepStrictEqual(yield* flush, [Result.succeed(42)])
      })
    )
  )
})

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const isTrue = <T extends true>(_?: T) => {}

describe("types", () => {
  it("an await's error is exactly the task's own and the ways in which a wait can end", () => {
    const awaited = (task: Task.Task<number, Refused>) => Task.await(task)
    isTrue<Same<Effect.Error<ReturnType<typeof awaited>>, Refused | Task.TaskExit | Task.TaskTimeout>>()
    isTrue<Same<Effect.Success<ReturnType<typeof awaited>>, number>>()
    isTrue<Same<Effect.Services<ReturnType<typeof awaited>>, Process.Self>>()
    const started = Task.async(Effect.andThen(Name, Effect.fail(new Refused({ why: "" }))))
    isTrue<Same<Effect.Success<typeof started>, Task.Task<never, Refused>>>()
    isTrue<Same<Effect.Services<typeof started>, Name | Process.Self>>()
    // @ts-expect-error a task has an owner, which is a process
    const _outside: Effect.Effect<unknown> = Task.async(Effect.void)
  })
})
