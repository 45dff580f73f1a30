/**
 * The cases of OTP's own supervisor suite about starting, stopping and asking: `docs/otp-conformance.md` says which is which.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as GenServer from "../../src/actors/GenServer.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Supervisor from "../../src/actors/Supervisor.ts"
import { boom, children, counts, end, type Mood, moody, pids, sleeper, startBy, tagOf, worker } from "./children.ts"
import { actor, quiet } from "./support.ts"

const simple = (mood: Mood, options?: Supervisor.ChildOptions) => ({
  strategy: "simpleOneForOne" as const,
  children: [{ ...options, id: "t", start: () => startBy("t", mood) }] as const
})

/** Stops a supervisor as its parent would, and says what its children ended with, in the order of `pids`. */
const stopAndWatch = (sup: Pid.Any, watchedPids: ReadonlyArray<Pid.Any>, millis = 0) =>
  Effect.gen(function* () {
    const ends = yield* Effect.forEach(watchedPids, (pid) =>
      Effect.forkChild(Process.awaitExit(pid), { startImmediately: true })
    )
    const all = yield* Effect.forkChild(Process.awaitExit(sup), { startImmediately: true })
    yield* quiet
    yield* Process.exit(sup, ExitReason.shutdown)
    yield* TestClock.adjust(millis)
    yield* quiet
    const reasons = yield* Effect.forEach(ends, (fiber) => Fiber.join(fiber))
    assert.strictEqual((yield* Fiber.join(all))._tag, "Shutdown")
    return reasons.map(ExitReason.format)
  })

describe("starting a supervisor", () => {
  it.effect("one without children starts, and stops with shutdown", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const sup = yield* Supervisor.startLink({ children: [] })
        assert.deepStrictEqual(yield* stopAndWatch(sup, []), [])
      })
    )
  )

  it.effect("nothing to supervise is Ignored, and leaves no process", () =>
    actor(
      Effect.gen(function* () {
        assert.strictEqual(yield* tagOf(Supervisor.startLink(Effect.succeed(Supervisor.ignore))), "Ignored")
        assert.strictEqual((yield* ActorSystem.ActorSystem).processes.size, 1)
      })
    )
  )

  it.effect("nonsense for options is a bad return value", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        for (const nonsense of [5, "x", null, {}, { children: 5 }]) {
          const error = yield* Effect.flip(Supervisor.startLink(Effect.succeed(nonsense as never)))
          assert.isTrue(error._tag === "InitFailed" && error.reason._tag === "BadReturn")
        }
      })
    )
  )

  it.effect("options that cannot be made crash the start", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        for (const options of [Effect.die(new Error("bug")), Effect.fail("no options")]) {
          const error = yield* Effect.flip(Supervisor.startLink(options))
          assert.isTrue(error._tag === "InitFailed" && error.reason._tag === "Crashed")
        }
      })
    )
  )
})

describe("children that have nothing to do", () => {
  it.effect("are listed without a pid, and counted among the specs, not among the active", () =>
    actor(
      Effect.gen(function* () {
        const sup = yield* Supervisor.startLink({ children: [moody("a", { next: "ignore" }), worker("b")] })
        const [a, b] = yield* children(sup)
        assert.isUndefined(a?.child)
        assert.isDefined(b?.child)
        assert.deepStrictEqual(yield* counts(sup), [2, 1, 0, 2])
      })
    )
  )

  it.effect("leave no spec when they are temporary, at the start, when added, and under simpleOneForOne", () =>
    actor(
      Effect.gen(function* () {
        const ignoring = (id: string) => moody(id, { next: "ignore" }, { restart: "temporary" })
        const sup = yield* Supervisor.startLink({ children: [ignoring("a"), worker("b")] })
        assert.isUndefined((yield* Supervisor.startChild(sup, ignoring("c"))).pid)
        assert.deepStrictEqual(
          (yield* children(sup)).map(({ id }) => id),
          ["b"]
        )
        const dynamic = yield* Supervisor.startLink(simple({ next: "ignore" }, { restart: "temporary" }))
        assert.isUndefined((yield* Supervisor.startDynamic(dynamic)).pid)
        assert.deepStrictEqual(yield* counts(dynamic), [1, 0, 0, 0])
      })
    )
  )

  it.effect("leave nothing under simpleOneForOne when they are permanent either, and it stops cleanly", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const mood: Mood = { next: "ignore" }
        const sup = yield* Supervisor.startLink(simple(mood))
        yield* Supervisor.startDynamic(sup)
        mood.next = "ok"
        const { pid } = yield* Supervisor.startDynamic(sup)
        assert.deepStrictEqual(yield* pids(sup), [pid as Pid.Any])
        assert.deepStrictEqual(yield* stopAndWatch(sup, [pid as Pid.Any]), ["shutdown"])
      })
    )
  )
})

describe("children that do not start", () => {
  it.effect("are answered to startChild with their reason, and not kept", () =>
    actor(
      Effect.gen(function* () {
        const sup = yield* Supervisor.startLink({ children: [] })
        const failure = (next: Mood["next"]) =>
          Effect.map(Effect.flip(Supervisor.startChild(sup, moody("a", { next }))), (error) =>
            error._tag === "FailedToStartChild" && error.reason._tag === "Custom"
              ? [error.id, error.reason.term]
              : error._tag
          )
        assert.deepStrictEqual(yield* failure("fail"), ["a", "not today"])
        assert.deepStrictEqual(yield* failure("nonsense"), ["a", "nonsense"])
        const [id, crash] = yield* failure("die")
        assert.strictEqual(id, "a")
        assert.strictEqual((crash as { readonly _tag: string })._tag, "StartCrash")
        assert.deepStrictEqual(yield* counts(sup), [0, 0, 0, 0])
      })
    )
  )

  it.effect("are answered to restartChild likewise, and their spec stays without a pid", () =>
    actor(
      Effect.gen(function* () {
        const mood: Mood = { next: "ok" }
        const sup = yield* Supervisor.startLink({ children: [moody("a", mood)] })
        yield* Supervisor.terminateChild(sup, "a")
        mood.next = "fail"
        const error = yield* Effect.flip(Supervisor.restartChild(sup, "a"))
        assert.isTrue(error._tag === "FailedToStartChild" && ExitReason.format(error.reason) === "not today")
        assert.deepStrictEqual(
          (yield* children(sup)).map(({ id, child }) => [id, child]),
          [["a", undefined]]
        )
        assert.deepStrictEqual(yield* counts(sup), [1, 0, 0, 1])
      })
    )
  )

  it.effect("are answered to startDynamic without an id, and not kept", () =>
    actor(
      Effect.gen(function* () {
        const mood: Mood = { next: "fail" }
        const sup = yield* Supervisor.startLink(simple(mood))
        for (const next of ["fail", "nonsense", "die"] as const) {
          mood.next = next
          const error = yield* Effect.flip(Supervisor.startDynamic(sup))
          assert.isTrue(error._tag === "FailedToStartChild" && error.id === undefined)
        }
        assert.deepStrictEqual(yield* counts(sup), [1, 0, 0, 0])
      })
    )
  )

  it.effect("hand on whom they found running already", () =>
    actor(
      Effect.gen(function* () {
        const Server = GenServer.make(GenServer.protocol({}), { init: () => GenServer.ok(0), handlers: {} })
        const elsewhere = yield* GenServer.startLink(Server, [], { name: "one" })
        const sup = yield* Supervisor.startLink({ children: [] })
        const error = yield* Effect.flip(
          Supervisor.startChild(sup, Supervisor.server("a", Server, [], { name: "one" }))
        )
        const { reason } = error as Supervisor.FailedToStartChild
        const found = (reason as { readonly term: unknown }).term
        assert.isTrue(found instanceof GenServer.AlreadyStarted && found.pid === elsewhere)
      })
    )
  )
})

describe("what a child is", () => {
  it.effect("getChildSpec shows the defaults, by the id, and knows no other", () =>
    actor(
      Effect.gen(function* () {
        const sup = yield* Supervisor.startLink({ children: [worker("a")] })
        const { start, ...rest } = yield* Supervisor.getChildSpec(sup, "a")
        assert.isTrue(Effect.isEffect(start))
        assert.deepStrictEqual(rest, {
          id: "a",
          restart: "permanent",
          shutdown: 5000,
          type: "worker",
          significant: false,
          modules: []
        })
        assert.strictEqual(yield* tagOf(Supervisor.getChildSpec(sup, "b")), "ChildNotFound")
      })
    )
  )

  it.effect("getChildSpec knows dynamic children by their pid and by the template's id", () =>
    actor(
      Effect.gen(function* () {
        const sup = yield* Supervisor.startLink(simple({ next: "ok" }, { shutdown: "brutalKill" }))
        const { pid } = yield* Supervisor.startDynamic(sup)
        assert.strictEqual((yield* Supervisor.getChildSpec(sup, pid as Pid.Any)).shutdown, "brutalKill")
        assert.strictEqual((yield* Supervisor.getChildSpec(sup, "t")).id, "t")
        assert.strictEqual(yield* tagOf(Supervisor.getChildSpec(sup, "u")), "ChildNotFound")
        assert.strictEqual(yield* tagOf(Supervisor.getChildSpec(sup, yield* Process.self)), "ChildNotFound")
      })
    )
  )

  it.effect("what a start tells reaches who asked for it, and the child is restarted all the same", () =>
    actor(
      Effect.gen(function* () {
        const told: Mood = { next: "told" }
        const sup = yield* Supervisor.startLink({ intensity: 5, children: [] })
        const { pid, info } = yield* Supervisor.startChild(sup, moody("a", told))
        assert.strictEqual(info, "info")
        yield* end(pid)
        const [second] = yield* pids(sup)
        assert.notStrictEqual(second, pid)
        yield* Supervisor.terminateChild(sup, "a")
        assert.strictEqual((yield* Supervisor.restartChild(sup, "a")).info, "info")
        const dynamic = yield* Supervisor.startLink(simple(told))
        const first = yield* Supervisor.startDynamic(dynamic)
        assert.strictEqual(first.info, "info")
        yield* end(first.pid)
        assert.strictEqual((yield* pids(dynamic)).length, 1)
      })
    )
  )
})

describe("stopping", () => {
  it.effect("waits as long as it takes for children that have infinity, workers and supervisors", () =>
    actor(
      Effect.gen(function* () {
        const inner = Supervisor.supervisor("s", { children: [sleeper("b", 70_000, { shutdown: "infinity" })] })
        yield* Process.trapExit(true)
        const sup = yield* Supervisor.startLink({ children: [sleeper("a", 60_000, { shutdown: "infinity" }), inner] })
        const running = yield* pids(sup)
        assert.deepStrictEqual(yield* stopAndWatch(sup, running, 130_000), ["shutdown", "shutdown"])
      })
    )
  )

  it.effect("kills who oversleeps its shutdown, and only those", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const sup = yield* Supervisor.startLink({
          children: [sleeper("a", 50, { shutdown: 1000 }), sleeper("b", 1001, { shutdown: 1000 })]
        })
        assert.deepStrictEqual(yield* stopAndWatch(sup, yield* pids(sup), 1050), ["shutdown", "killed"])
        const template = { id: "t", shutdown: 1000, start: (ms: number) => sleeper("t", ms).start }
        const dynamic = yield* Supervisor.startLink({ strategy: "simpleOneForOne", children: [template] })
        for (const millis of [50, 5000, 60]) yield* Supervisor.startDynamic(dynamic, millis)
        const reasons = yield* stopAndWatch(dynamic, yield* pids(dynamic), 1000)
        assert.deepStrictEqual(reasons, ["shutdown", "killed", "shutdown"])
      })
    )
  )

  it.effect("kills who is to be killed at once, all of the dynamic ones", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const sup = yield* Supervisor.startLink({ children: [worker("a"), worker("b", { shutdown: "brutalKill" })] })
        assert.deepStrictEqual(yield* stopAndWatch(sup, yield* pids(sup)), ["shutdown", "killed"])
        const dynamic = yield* Supervisor.startLink(simple({ next: "ok" }, { shutdown: "brutalKill" }))
        for (let i = 0; i < 10; i++) yield* Supervisor.startDynamic(dynamic)
        const reasons = yield* stopAndWatch(dynamic, yield* pids(dynamic))
        assert.deepStrictEqual(reasons, Array(10).fill("killed"))
      })
    )
  )

  it.effect.each(["permanent", "transient", "temporary"] as const)(
    "is not upset by %s children that leave by themselves meanwhile, for any reason",
    (restart) =>
      actor(
        Effect.gen(function* () {
          for (const reason of [ExitReason.normal, ExitReason.shutdown, ExitReason.shutdownWith(1), boom]) {
            const slow = sleeper("z", 500, { shutdown: 1000 })
            yield* Process.trapExit(true)
            const sup = yield* Supervisor.startLink({
              children: [worker("a", { restart }), worker("b", { restart }), slow]
            })
            const [a, b] = (yield* pids(sup)) as [Pid.Any, Pid.Any]
            yield* Process.exit(sup, ExitReason.shutdown)
            yield* quiet
            // The supervisor waits for the last child now; the first two go before it comes to them.
            yield* end(a, reason)
            const last = yield* stopAndWatch(sup, [b], 500)
            assert.deepStrictEqual(last, ["shutdown"])
          }
        })
      )
  )

  it.effect("accepts whatever reason dynamic children leave with", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const reasons = [ExitReason.normal, ExitReason.shutdownWith("x"), boom, ExitReason.shutdown]
        const template = {
          id: "t",
          restart: "temporary" as const,
          start: (reason: ExitReason.ExitReason) => sleeper("t", 0, {}, reason).start
        }
        const sup = yield* Supervisor.startLink({ strategy: "simpleOneForOne", children: [template] })
        for (const reason of reasons) yield* Supervisor.startDynamic(sup, reason)
        assert.deepStrictEqual(
          yield* stopAndWatch(sup, (yield* pids(sup)).toReversed()),
          reasons.map(ExitReason.format)
        )
      })
    )
  )

  it.effect("stops all dynamic children at once, within the time of one", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const template = { id: "t", shutdown: 1000, start: () => sleeper("t", 400).start }
        const sup = yield* Supervisor.startLink({ strategy: "simpleOneForOne", children: [template] })
        for (let i = 0; i < 20; i++) yield* Supervisor.startDynamic(sup)
        const reasons = yield* stopAndWatch(sup, yield* pids(sup), 400)
        assert.deepStrictEqual(reasons, Array(20).fill("shutdown"))
      })
    )
  )
})

describe("asking a simpleOneForOne supervisor", () => {
  it.effect("goes by pid, and every answer is OTP's", () =>
    actor(
      Effect.gen(function* () {
        const sup = yield* Supervisor.startLink(simple({ next: "ok" }))
        assert.deepStrictEqual(yield* counts(sup), [1, 0, 0, 0])
        const { pid } = yield* Supervisor.startDynamic(sup)
        assert.deepStrictEqual(
          (yield* children(sup)).map(({ id, child }) => [id, child]),
          [[undefined, pid]]
        )
        const other = yield* Supervisor.startDynamic(sup)
        assert.deepStrictEqual(yield* counts(sup), [1, 2, 0, 2])
        assert.strictEqual(yield* tagOf(Supervisor.terminateChild(sup, "t")), "SimpleOneForOne")
        assert.strictEqual(yield* tagOf(Supervisor.restartChild(sup, "t")), "SimpleOneForOne")
        assert.strictEqual(yield* tagOf(Supervisor.deleteChild(sup, "t")), "SimpleOneForOne")
        assert.strictEqual(yield* tagOf(Supervisor.terminateChild(sup, pid as Pid.Any)), "ok")
        assert.strictEqual(yield* tagOf(Supervisor.terminateChild(sup, pid as Pid.Any)), "ok")
        assert.strictEqual(yield* tagOf(Supervisor.terminateChild(sup, yield* Process.self)), "ChildNotFound")
        assert.deepStrictEqual(yield* pids(sup), [other.pid as Pid.Any])
      })
    )
  )

  it.effect("a spec instead of arguments is refused, and so are arguments instead of a spec", () =>
    actor(
      Effect.gen(function* () {
        const dynamic = yield* Supervisor.startLink(simple({ next: "ok" }))
        assert.strictEqual(yield* tagOf(Supervisor.startChild(dynamic, worker("a"))), "InvalidSpec")
        assert.deepStrictEqual(yield* counts(dynamic), [1, 0, 0, 0])
        const sup = yield* Supervisor.startLink({ children: [] })
        const error: { readonly _tag: string } = yield* Effect.flip(Supervisor.startDynamic(sup, 1))
        assert.strictEqual(error._tag, "InvalidSpec")
      })
    )
  )
})
