/**
 * The cases of OTP's own supervisor suite about restarts: `docs/otp-conformance.md` says which is which.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Supervisor from "../../src/actors/Supervisor.ts"
import { boom, children, counts, end, type Mood, moody, pids, startBy, tagOf, worker } from "./children.ts"
import { actor, quiet } from "./support.ts"

const often = { intensity: 1000, period: "10 seconds" as const }

/** What the children are: `running`, `restarting` or `none`, by their ids, in start order. */
const states = (supervisor: Supervisor.Ref) =>
  Effect.map(children(supervisor), (all) =>
    all.map(({ id, child }) => `${id} ${child === undefined ? "none" : child === "restarting" ? child : "running"}`)
  )

const isGone = (pid: Pid.Any) => Effect.map(Process.isAlive(pid), (alive) => !alive)

/** Waits for the end of a supervisor that gives up, and asserts that its reason is `Shutdown` and that no child is left. */
const givesUp = (sup: Pid.Any, left: ReadonlyArray<Pid.Any>) =>
  Effect.gen(function* () {
    yield* quiet
    assert.isTrue(yield* isGone(sup))
    for (const pid of left) assert.isTrue(yield* isGone(pid))
  })

describe("how often", () => {
  it.effect("crashes further apart than the period never end the supervisor", () =>
    actor(
      Effect.gen(function* () {
        const sup = yield* Supervisor.startLink({ intensity: 1, period: "1 second", children: [worker("a")] })
        for (let i = 0; i < 10; i++) {
          yield* end((yield* pids(sup))[0])
          yield* TestClock.adjust("2 seconds")
        }
        assert.deepStrictEqual(yield* states(sup), ["a running"])
      })
    )
  )

  it.effect.each(["oneForOne", "oneForAll", "restForOne"] as const)(
    "%s: who falls is replaced with whom the strategy says, and the third fall in the period is the end",
    (strategy) =>
      actor(
        Effect.gen(function* () {
          yield* Process.trapExit(true)
          const sup = yield* Supervisor.startLink({
            strategy,
            intensity: 2,
            children: [worker("a"), worker("b"), worker("c")]
          })
          const watch = yield* Effect.forkChild(Process.awaitExit(sup), { startImmediately: true })
          const before = yield* pids(sup)
          yield* end(before[1])
          const after = yield* pids(sup)
          const replaced = before.map((pid, i) => pid !== after[i])
          assert.deepStrictEqual(
            replaced,
            { oneForOne: [false, true, false], oneForAll: [true, true, true], restForOne: [false, true, true] }[
              strategy
            ]
          )
          for (const pid of before.filter((_, i) => replaced[i])) assert.isTrue(yield* isGone(pid))
          yield* end((yield* pids(sup))[1])
          const last = yield* pids(sup)
          assert.strictEqual(last.length, 3)
          yield* end(last[1])
          yield* givesUp(sup, last)
          assert.strictEqual((yield* Fiber.join(watch))._tag, "Shutdown")
        })
      )
  )

  it.effect.each(["oneForOne", "oneForAll", "restForOne"] as const)(
    "%s: a restart that keeps failing is the end, and takes the sibling down",
    (strategy) =>
      actor(
        Effect.gen(function* () {
          yield* Process.trapExit(true)
          const mood: Mood = { next: "ok" }
          const sup = yield* Supervisor.startLink({
            strategy,
            intensity: 4,
            children: [worker("a"), moody("b", mood)]
          })
          const before = yield* pids(sup)
          mood.next = "fail"
          yield* end(before[1])
          yield* givesUp(sup, before)
        })
      )
  )

  it.effect("simpleOneForOne: who falls is replaced alone, and too many falls or failing restarts are the end", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const mood: Mood = { next: "ok" }
        const template = { id: "t", start: () => startBy("t", mood) }
        for (const way of ["fall", "fail"]) {
          const sup = yield* Supervisor.startLink({
            strategy: "simpleOneForOne",
            intensity: 2,
            children: [template]
          })
          const watch = yield* Effect.forkChild(Process.awaitExit(sup), { startImmediately: true })
          yield* Supervisor.startDynamic(sup)
          yield* Supervisor.startDynamic(sup)
          const [a, b] = yield* pids(sup)
          yield* end(b)
          const after = yield* pids(sup)
          assert.isTrue(after.includes(a as Pid.Any) && !after.includes(b as Pid.Any) && after.length === 2)
          if (way === "fail") mood.next = "fail"
          for (let i = 0; i < (way === "fail" ? 1 : 2); i++) yield* end((yield* pids(sup))[0])
          yield* givesUp(sup, after)
          assert.strictEqual((yield* Fiber.join(watch))._tag, "Shutdown")
          mood.next = "ok"
        }
      })
    )
  )
})

describe("when another child fails in the restart", () => {
  /** Two children, the second of which fails to start once when the first falls. */
  const half = (strategy: "oneForAll" | "restForOne") =>
    Effect.gen(function* () {
      const failing: Mood = { next: "ok" }
      let starts = 0
      const b: Supervisor.ChildSpec<Process.Self> = {
        id: "b",
        start: Effect.suspend(() => {
          starts++
          const result = startBy("b", { ...failing })
          failing.next = "ok"
          return result
        })
      }
      const started: Array<string> = []
      const a: Supervisor.ChildSpec<Process.Self> = {
        id: "a",
        start: Effect.suspend(() => {
          started.push("a")
          return worker("a").start
        })
      }
      const sup = yield* Supervisor.startLink({ strategy, ...often, children: [a, b, worker("c")] })
      failing.next = "fail"
      yield* end((yield* pids(sup))[0])
      yield* quiet
      assert.deepStrictEqual(yield* states(sup), ["a running", "b running", "c running"])
      assert.strictEqual(starts, 3)
      return started.length
    })

  it.effect("oneForAll: those restarted before it are stopped again before the next try", () =>
    actor(Effect.map(half("oneForAll"), (starts) => assert.strictEqual(starts, 3)))
  )

  it.effect("restForOne: the next try begins with it, and those restarted before it stay", () =>
    actor(Effect.map(half("restForOne"), (starts) => assert.strictEqual(starts, 2)))
  )
})

const reasons = {
  normal: [ExitReason.normal],
  shutdown: [ExitReason.shutdown, ExitReason.shutdownWith("why")],
  abnormal: [boom, ExitReason.killed, ExitReason.custom(["normal", 1])]
}
const ways = Object.keys(reasons) as Array<keyof typeof reasons>

describe("who is restarted", () => {
  it.effect.each(ways)("a permanent child, after an end that is %s", (way) =>
    actor(
      Effect.gen(function* () {
        const sup = yield* Supervisor.startLink({ ...often, children: [worker("a")] })
        for (const reason of reasons[way]) {
          const [pid] = yield* pids(sup)
          yield* end(pid, reason)
          const [next] = yield* pids(sup)
          assert.isDefined(next)
          assert.notStrictEqual(next, pid)
        }
        assert.deepStrictEqual(yield* counts(sup), [1, 1, 0, 1])
      })
    )
  )

  it.effect.each(ways)("a transient child, only after an end that is abnormal; after %s it can be restarted", (way) =>
    actor(
      Effect.gen(function* () {
        const sup = yield* Supervisor.startLink({ ...often, children: [worker("a", { restart: "transient" })] })
        for (const reason of reasons[way]) {
          yield* end((yield* pids(sup))[0], reason)
          assert.deepStrictEqual(yield* states(sup), [way === "abnormal" ? "a running" : "a none"])
          assert.strictEqual(
            yield* tagOf(Supervisor.restartChild(sup, "a")),
            way === "abnormal" ? "ChildRunning" : "ok"
          )
        }
      })
    )
  )

  it.effect.each(ways)("no temporary child, after an end that is %s; its id is free again", (way) =>
    actor(
      Effect.gen(function* () {
        const temporary = worker("a", { restart: "temporary" })
        const sup = yield* Supervisor.startLink({ ...often, children: [temporary] })
        for (const reason of reasons[way]) {
          yield* end((yield* pids(sup))[0], reason)
          assert.deepStrictEqual(yield* counts(sup), [0, 0, 0, 0])
          assert.strictEqual(yield* tagOf(Supervisor.startChild(sup, temporary)), "ok")
        }
      })
    )
  )

  it.effect.each(["oneForAll", "restForOne"] as const)("%s: no temporary sibling of who falls", (strategy) =>
    actor(
      Effect.gen(function* () {
        const sup = yield* Supervisor.startLink({
          strategy,
          ...often,
          children: [worker("a"), worker("b", { restart: "temporary" })]
        })
        const [a, b] = (yield* pids(sup)) as [Pid.Any, Pid.Any]
        yield* end(a)
        assert.isTrue(yield* isGone(b))
        assert.deepStrictEqual(yield* states(sup), ["a running"])
      })
    )
  )

  it.effect("the spec of a temporary child is forgotten however it goes, and that of the others is kept", () =>
    actor(
      Effect.gen(function* () {
        const spec = (id: string) => Effect.map(children(sup), (all) => all.some((child) => child.id === id))
        const sup = yield* Supervisor.startLink({ ...often, children: [] })
        for (const restart of ["permanent", "transient", "temporary"] as const) {
          const kept = restart !== "temporary"
          for (const way of ["terminate", "normal", "crash", "kill"]) {
            const id = `${restart} ${way}`
            const { pid } = yield* Supervisor.startChild(sup, worker(id, { restart }))
            if (way === "terminate") yield* Supervisor.terminateChild(sup, id)
            else if (way === "kill") yield* Process.exit(pid as Pid.Any, ExitReason.kill)
            else yield* end(pid, way === "normal" ? ExitReason.normal : boom)
            yield* quiet
            assert.strictEqual(yield* spec(id), kept, id)
          }
        }
      })
    )
  )
})

describe("trees", () => {
  it.effect("a supervisor that is restarted has its first children again, and no dynamic ones", () =>
    actor(
      Effect.gen(function* () {
        const inner = Supervisor.supervisor("s", { ...often, children: [worker("x")] })
        const sup = yield* Supervisor.startLink({ strategy: "restForOne", ...often, children: [worker("a"), inner] })
        const below = Effect.map(pids(sup), ([, pid]) => pid as Supervisor.SupervisorPid)
        yield* Supervisor.startChild(yield* below, worker("y"))
        assert.deepStrictEqual(yield* states(yield* below), ["x running", "y running"])
        yield* Supervisor.terminateChild(yield* below, "x")
        yield* end((yield* pids(sup))[0])
        assert.deepStrictEqual(yield* states(yield* below), ["x running"])
        assert.deepStrictEqual(yield* counts(sup), [2, 2, 1, 1])
      })
    )
  )

  it.effect("children start in order and stop in reverse order, after a crash and at the end", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const noisy = (id: string) =>
          Supervisor.child(
            id,
            Effect.gen(function* () {
              log.push(`+${id}`)
              yield* Effect.addFinalizer(() => Effect.sync(() => log.push(`-${id}`)))
              return yield* Process.exit(yield* Process.receive((message) => message as ExitReason.ExitReason))
            })
          )
        yield* Effect.scoped(
          Effect.gen(function* () {
            const sup = yield* Supervisor.scoped({
              strategy: "oneForAll",
              ...often,
              children: [noisy("a"), noisy("b"), noisy("c")]
            })
            yield* quiet
            yield* end((yield* pids(sup))[1])
          })
        )
        const up = ["+a", "+b", "+c"]
        assert.deepStrictEqual(log, [...up, "-b", "-c", "-a", ...up, "-c", "-b", "-a"])
      })
    )
  )

  it.effect("children that are being restarted count as children, not as active ones", () =>
    actor(
      Effect.gen(function* () {
        const mood: Mood = { next: "ok" }
        const sup = yield* Supervisor.startLink({
          intensity: 1_000_000,
          children: [moody("a", mood), moody("b", mood), worker("c")]
        })
        mood.next = "fail"
        for (const pid of (yield* pids(sup)).slice(0, 2)) yield* end(pid)
        assert.deepStrictEqual(yield* states(sup), ["a restarting", "b restarting", "c running"])
        assert.deepStrictEqual(yield* counts(sup), [3, 1, 0, 3])
        mood.next = "ok"
        yield* quiet
        assert.deepStrictEqual(yield* counts(sup), [3, 3, 0, 3])
      })
    )
  )

  it.effect.each(["worker", "supervisor"] as const)("a thousand dynamic children of type %s are counted", (type) =>
    actor(
      Effect.gen(function* () {
        const template = {
          id: "t",
          type,
          restart: "temporary" as const,
          start: () => startBy("t", { next: "ok" })
        }
        const sup = yield* Supervisor.startLink({ strategy: "simpleOneForOne", children: [template] })
        for (let i = 0; i < 1000; i++) yield* Supervisor.startDynamic(sup)
        assert.deepStrictEqual(yield* counts(sup), type === "worker" ? [1, 1000, 0, 1000] : [1, 1000, 1000, 0])
        for (const pid of yield* pids(sup)) yield* Supervisor.terminateChild(sup, pid)
        assert.deepStrictEqual(yield* counts(sup), [1, 0, 0, 0])
      })
    )
  )

  it.effect("an ended temporary child leaves nothing of its start behind", () =>
    actor(
      Effect.gen(function* () {
        const template = { id: "t", restart: "temporary" as const, start: (_: unknown) => startBy("t", { next: "ok" }) }
        const sup = yield* Supervisor.startLink({ strategy: "simpleOneForOne", children: [template] })
        const { behaviour } = [...(yield* ActorSystem.ActorSystem).processes].find((each) => each === sup) as never as {
          readonly behaviour: {
            readonly children: { readonly all: ReadonlyArray<unknown>; readonly byPid: Map<unknown, unknown> }
          }
        }
        for (let i = 0; i < 10; i++) yield* Supervisor.startDynamic(sup, { large: i })
        assert.strictEqual(behaviour.children.byPid.size, 10)
        for (const pid of yield* pids(sup)) yield* end(pid)
        assert.strictEqual(behaviour.children.all.length + behaviour.children.byPid.size, 0)
      })
    )
  )
})

describe("while a child cannot be restarted", () => {
  it.effect.each(["oneForOne", "restForOne"] as const)("%s: the supervisor answers, and can be stopped", (strategy) =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const mood: Mood = { next: "ok" }
        const sup = yield* Supervisor.startLink({
          strategy,
          intensity: 1_000_000,
          children: [worker("a"), moody("b", mood), worker("c")]
        })
        mood.next = "fail"
        const rest = strategy === "restForOne" ? "none" : "running"
        yield* end((yield* pids(sup))[1])
        assert.deepStrictEqual(yield* states(sup), ["a running", "b restarting", `c ${rest}`])
        assert.strictEqual(yield* tagOf(Supervisor.startChild(sup, worker("b"))), "AlreadyPresent")
        assert.strictEqual(yield* tagOf(Supervisor.restartChild(sup, "b")), "ChildRestarting")
        assert.strictEqual(yield* tagOf(Supervisor.deleteChild(sup, "b")), "ChildRestarting")
        assert.strictEqual(yield* tagOf(Supervisor.terminateChild(sup, "b")), "ok")
        assert.deepStrictEqual(yield* states(sup), ["a running", "b none", `c ${rest}`])
        mood.next = "ok"
        assert.strictEqual(yield* tagOf(Supervisor.restartChild(sup, "b")), "ok")
        mood.next = "fail"
        yield* end((yield* pids(sup))[1])
        const left = yield* pids(sup)
        yield* Process.exit(sup, ExitReason.shutdown)
        yield* givesUp(sup, left)
      })
    )
  )

  it.effect("simpleOneForOne: the child is listed, and can be stopped by its last pid", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const mood: Mood = { next: "ok" }
        const template = { id: "t", start: () => startBy("t", mood) }
        const sup = yield* Supervisor.startLink({
          strategy: "simpleOneForOne",
          intensity: 1_000_000,
          children: [template]
        })
        const { pid } = yield* Supervisor.startDynamic(sup)
        yield* Supervisor.startDynamic(sup)
        mood.next = "fail"
        yield* end(pid)
        assert.deepStrictEqual((yield* states(sup)).sort(), ["undefined restarting", "undefined running"])
        assert.strictEqual(yield* tagOf(Supervisor.terminateChild(sup, pid as Pid.Any)), "ok")
        assert.deepStrictEqual(yield* states(sup), ["undefined running"])
        const [other] = yield* pids(sup)
        yield* end(other)
        yield* Process.exit(sup, ExitReason.shutdown)
        yield* givesUp(sup, [])
      })
    )
  )
})
