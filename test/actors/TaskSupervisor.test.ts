import { assert, describe, it } from "@effect/vitest"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import * as DynamicSupervisor from "../../src/actors/DynamicSupervisor.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Supervisor from "../../src/actors/Supervisor.ts"
import * as Task from "../../src/actors/Task.ts"
import * as TaskSupervisor from "../../src/actors/TaskSupervisor.ts"
import { actor, exits, fate, flush, quiet } from "./support.ts"

class Refused extends Data.TaggedError("Refused")<{ readonly why: string }> {}

const oops = ExitReason.custom("oops")
/** Ends by itself only when it is told to. */
const trapping = Effect.andThen(Process.trapExit(true), Effect.never)

describe("a task supervisor", () => {
  it.effect("can be supervised, several of them by their names", () =>
    actor(
      Effect.gen(function* () {
        yield* Supervisor.startLink({
          children: [
            TaskSupervisor.childSpec("left", {}, { name: "left" }),
            TaskSupervisor.childSpec("right", {}, { name: "right" })
          ]
        })
        const task = yield* TaskSupervisor.async("right", Effect.succeed(1))
        assert.strictEqual(yield* Task.await(task), 1)
        const lost = yield* Effect.flip(TaskSupervisor.async("nobody", Effect.succeed(1)))
        assert.strictEqual(lost._tag, "NoProcess")
      })
    )
  )

  it.effect("counts and lists its tasks, and forgets them when they have ended", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* TaskSupervisor.startLink()
        const task = yield* TaskSupervisor.async(supervisor, Process.receive())
        const other = yield* TaskSupervisor.startChild(supervisor, Effect.never)
        const { active, workers } = yield* DynamicSupervisor.countChildren(supervisor)
        assert.deepStrictEqual([active, workers], [2, 2])
        assert.sameMembers([...(yield* TaskSupervisor.children(supervisor))], [task.pid, other])
        yield* Process.send(task.pid as Pid.Any, "end")
        yield* Task.await(task)
        yield* quiet
        assert.deepStrictEqual(yield* TaskSupervisor.children(supervisor), [other])
        yield* TaskSupervisor.terminateChild(supervisor, other)
        assert.deepStrictEqual(yield* TaskSupervisor.children(supervisor), [])
        assert.strictEqual((yield* Effect.flip(TaskSupervisor.terminateChild(supervisor, other)))._tag, "ChildNotFound")
      })
    )
  )

  it.effect("ends its tasks when it ends, each with its own patience", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const supervisor = yield* TaskSupervisor.startLink()
        const fates: Array<string> = []
        const options = [{}, { shutdown: 1000 }, { shutdown: "brutalKill" }] as const
        for (const each of options) {
          const task = yield* TaskSupervisor.asyncNoLink(supervisor, trapping, each)
          yield* Process.spawn(
            Effect.tap(Process.awaitExit(task.pid as Pid.Any), (reason) =>
              Effect.sync(() => fates.push(ExitReason.format(reason)))
            )
          )
        }
        const gentle = yield* TaskSupervisor.asyncNoLink(supervisor, Effect.never)
        yield* quiet
        yield* Process.exit(supervisor, ExitReason.shutdown)
        yield* quiet
        assert.deepStrictEqual(fates, ["killed"])
        yield* TestClock.adjust(1000)
        assert.deepStrictEqual(fates, ["killed", "killed"])
        yield* TestClock.adjust(4000)
        assert.deepStrictEqual(fates, ["killed", "killed", "killed"])
        const end = yield* Effect.flip(Task.await(gentle))
        assert.isTrue(end._tag === "TaskExit" && end.reason._tag === "Shutdown")
      })
    )
  )
})

describe("async", () => {
  it.effect("links the task to the supervisor and to its owner", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* TaskSupervisor.startLink()
        const me = yield* Process.self
        const owner = Effect.gen(function* () {
          yield* TaskSupervisor.async(supervisor, Effect.andThen(Process.receive(), Process.exit(oops)), {
            label: "job"
          })
          yield* Process.send(me, "started")
          yield* Effect.never
        })
        const pid = yield* Process.spawn(owner)
        yield* quiet
        const [task] = yield* TaskSupervisor.children(supervisor)
        assert.deepStrictEqual(Process.ancestors(task as Pid.Any), [supervisor, me])
        yield* Process.send(task as Pid.Any, "crash")
        assert.deepStrictEqual(yield* Process.awaitExit(pid), oops)
        assert.isTrue(yield* Process.isAlive(supervisor))
        // And the other way round.
        const second = yield* Process.spawn(owner)
        yield* quiet
        yield* Process.exit(second, oops)
        yield* quiet
        assert.deepStrictEqual(yield* TaskSupervisor.children(supervisor), [])
      })
    )
  )

  it.effect("without the link a crash is an outcome, and the owner's end is none of the task's", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* TaskSupervisor.startLink()
        const task = yield* TaskSupervisor.asyncNoLink(supervisor, Process.exit(oops))
        const error = yield* Effect.flip(Task.await(task))
        assert.isTrue(error._tag === "TaskExit" && ExitReason.equals(error.reason, oops))
        const owner = Effect.andThen(TaskSupervisor.asyncNoLink(supervisor, Effect.never), Process.exit(oops))
        yield* fate(owner)
        yield* quiet
        assert.strictEqual((yield* TaskSupervisor.children(supervisor)).length, 1)
      })
    )
  )

  it.effect("await: the result, the typed error, the end without either, the deadline", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const supervisor = yield* TaskSupervisor.startLink()
        const outcome = (body: Effect.Effect<number, Refused, Process.Provided>) =>
          Effect.gen(function* () {
            const task = yield* TaskSupervisor.async(supervisor, body)
            const waiting = yield* Effect.forkChild(Effect.result(Task.await(task, { timeout: 10 })), {
              startImmediately: true
            })
            yield* TestClock.adjust(10)
            const result = yield* Fiber.join(waiting)
            return result._tag === "Success" ? result.success : result.failure._tag
          })
        assert.strictEqual(yield* outcome(Effect.succeed(1)), 1)
        assert.strictEqual(yield* outcome(Effect.fail(new Refused({ why: "no" }))), "Refused")
        assert.strictEqual(yield* outcome(Process.exit(oops)), "TaskExit")
        assert.strictEqual(yield* outcome(Effect.die("oops")), "TaskExit")
        assert.strictEqual(yield* outcome(Effect.never), "TaskTimeout")
        assert.deepStrictEqual(
          (yield* flush).filter((message) => !Process.isExit(message)),
          []
        )
      })
    )
  )

  it.effect("fails when there are as many tasks as there may be", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* TaskSupervisor.startLink({ maxChildren: 1 })
        yield* TaskSupervisor.startChild(supervisor, Effect.never)
        const refused = [
          Effect.asVoid(TaskSupervisor.async(supervisor, Effect.void)),
          Effect.asVoid(TaskSupervisor.asyncNoLink(supervisor, Effect.void)),
          Effect.asVoid(TaskSupervisor.startChild(supervisor, Effect.void))
        ]
        for (const start of refused) assert.strictEqual((yield* Effect.flip(start))._tag, "MaxChildren")
      })
    )
  )
})

describe("startChild", () => {
  it.effect("runs an Effect nobody waits for, once; with a restart type, again", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const supervisor = yield* TaskSupervisor.startLink()
        let runs = 0
        const body = Effect.suspend(() => (runs++ < 2 ? Process.exit(oops) : Effect.never))
        yield* TaskSupervisor.startChild(supervisor, body)
        yield* quiet
        assert.strictEqual(runs, 1)
        yield* TaskSupervisor.startChild(supervisor, body, { restart: "transient" })
        yield* quiet
        assert.strictEqual(runs, 3)
        assert.strictEqual((yield* TaskSupervisor.children(supervisor)).length, 1)
        assert.deepStrictEqual(exits(yield* flush), [])
      })
    )
  )
})
