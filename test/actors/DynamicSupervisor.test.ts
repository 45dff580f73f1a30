import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import {
  ActorSystem,
  DynamicSupervisor,
  ExitReason,
  GenServer,
  Pid,
  Process,
  Registry,
  Report,
  Supervisor
} from "vmtest/actors"

/** Runs a test as a process of an actor system of its own; crashes are not logged. */
const actor = <A, E>(body: Effect.Effect<A, E, Process.Self | Scope.Scope>) =>
  Effect.provideService(ActorSystem.scoped(Process.run(body)), Report.Reports, "quiet")

const sleepy = (options?: Supervisor.ChildOptions) => Supervisor.child("sleepy", Effect.never, options)

/** A child that traps exits and leaves with a reason of its own when it is told to go. */
const stubborn = (
  leave: Effect.Effect<unknown>,
  options?: Supervisor.ChildOptions
): Supervisor.ChildSpec<Process.Self> => {
  const Stubborn = GenServer.make(GenServer.protocol({}), {
    init: () => Effect.as(Process.trapExit(true), GenServer.ok(undefined)),
    handlers: {},
    terminate: () => leave
  })
  return Supervisor.server("stubborn", Stubborn, [], options)
}

/** Starts the first time, and gives what it is told to afterwards. */
const once = (afterwards: Supervisor.ChildSpec<Process.Self>["start"], options?: Supervisor.ChildOptions) => {
  let starts = 0
  const first = sleepy().start
  return {
    ...options,
    id: "once",
    start: Effect.suspend((): Supervisor.ChildSpec<Process.Self>["start"] => (starts++ === 0 ? first : afterwards))
  }
}

const fails = Effect.fail("found")
const ignores = Effect.fail(new GenServer.Ignored({ server: "ignored" }))
/** What only code without types can do. */
const nonsense = Effect.sync(() => "unknown") as Effect.Effect<never>

const start = (supervisor: Pid.Any, spec: Supervisor.ChildSpec<Process.Self, unknown>) =>
  Effect.map(DynamicSupervisor.startChild(supervisor, spec), ({ pid }) => pid ?? assert.fail("ignored"))

const counts = (supervisor: Pid.Any) =>
  Effect.map(DynamicSupervisor.countChildren(supervisor), ({ active, specs }) => [active, specs])

const exit = (pid: Pid.Any, reason: ExitReason.ExitReason) =>
  Effect.gen(function* () {
    const ended = yield* Effect.forkChild(Process.awaitExit(pid), { startImmediately: true })
    yield* Process.exit(pid, reason)
    return yield* Fiber.join(ended)
  })

const oops = ExitReason.custom("oops")

/** Watches children, stops their supervisor and gives the reasons with which they ended. */
const endsOf = (supervisor: Pid.Any, children: ReadonlyArray<Pid.Any>) =>
  Effect.gen(function* () {
    const ends = yield* Effect.forEach(children, (pid) =>
      Effect.forkChild(Process.awaitExit(pid), { startImmediately: true })
    )
    const end = yield* exit(supervisor, ExitReason.shutdown)
    assert.deepStrictEqual(end, ExitReason.shutdown)
    return yield* Effect.forEach(ends, Fiber.join)
  })

describe("starting a dynamic supervisor", () => {
  it.effect("needs no options", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.startLink()
        assert.deepStrictEqual(yield* DynamicSupervisor.whichChildren(supervisor), [])
        assert.deepStrictEqual(yield* DynamicSupervisor.countChildren(supervisor), {
          active: 0,
          specs: 0,
          supervisors: 0,
          workers: 0
        })
      })
    )
  )

  it.effect("refuses bad options with a reason", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const refused = (options: object) =>
          Effect.map(Effect.flip(DynamicSupervisor.startLink(options)), (error) =>
            error._tag === "InitFailed" && error.reason._tag === "Custom" ? error.reason.term : error
          )
        const invalid = (problem: DynamicSupervisor.InvalidSpec["problem"], value: unknown) =>
          new DynamicSupervisor.InvalidSpec({ of: "supervisor", problem, value })
        assert.deepStrictEqual(yield* refused({ strategy: "unknown" }), invalid("invalidStrategy", "unknown"))
        assert.deepStrictEqual(yield* refused({ strategy: "oneForAll" }), invalid("invalidStrategy", "oneForAll"))
        assert.deepStrictEqual(yield* refused({ intensity: -1 }), invalid("invalidIntensity", -1))
        assert.deepStrictEqual(yield* refused({ period: 0 }), invalid("invalidPeriod", 0))
        assert.deepStrictEqual(yield* refused({ maxChildren: -1 }), invalid("invalidMaxChildren", -1))
        assert.deepStrictEqual(yield* refused({ extraArguments: -1 }), invalid("invalidExtraArguments", -1))
        assert.deepStrictEqual(
          yield* refused({ autoShutdown: "anySignificant" }),
          invalid("invalidAutoShutdown", "anySignificant")
        )
      })
    )
  )

  it.effect("can be left to an Effect, which may find that there is nothing to supervise", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const ignored = yield* Effect.flip(DynamicSupervisor.startLink(Effect.succeed(undefined)))
        assert.strictEqual(ignored._tag, "Ignored")
        const failed = yield* Effect.flip(DynamicSupervisor.startLink(Effect.fail("oops")))
        assert.strictEqual(failed._tag, "InitFailed")
        const supervisor = yield* DynamicSupervisor.startLink(Effect.succeed({ maxChildren: 0 }))
        const refused = yield* Effect.flip(DynamicSupervisor.startChild(supervisor, sleepy()))
        assert.strictEqual(refused._tag, "MaxChildren")
      })
    )
  )

  it.effect("links it, names it, and stops it", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.startLink({}, { name: "workers" })
        assert.strictEqual(yield* Process.whereis("workers"), supervisor)
        assert.deepStrictEqual(yield* DynamicSupervisor.whichChildren("workers"), [])
        const taken = yield* Effect.flip(DynamicSupervisor.startLink({}, { name: "workers" }))
        assert.strictEqual(taken._tag, "AlreadyStarted")
        yield* GenServer.stop(supervisor)
        assert.strictEqual(yield* Process.whereis("workers"), undefined)
        yield* Process.trapExit(true)
        const second = yield* DynamicSupervisor.startLink()
        yield* Process.exit(second, ExitReason.kill)
        const news = yield* Process.receive((message) => (Process.isExit(message) ? message : undefined))
        assert.deepStrictEqual(news.reason, ExitReason.killed)
      })
    )
  )

  it.effect("can be done by a supervisor, under any kind of name", () =>
    actor(
      Effect.gen(function* () {
        const Names = Registry.unique<string>("names")
        yield* Registry.startLink(Names)
        const parent = yield* Supervisor.startLink({
          children: [
            DynamicSupervisor.childSpec("a", {}, { name: "simple" }),
            DynamicSupervisor.childSpec("b", {}, { name: Registry.via(Names, "via") }),
            DynamicSupervisor.childSpec("c")
          ]
        })
        assert.deepStrictEqual(yield* DynamicSupervisor.whichChildren("simple"), [])
        assert.deepStrictEqual(yield* DynamicSupervisor.whichChildren(Registry.via(Names, "via")), [])
        const again = yield* Effect.flip(
          Supervisor.startChild(parent, DynamicSupervisor.childSpec("c", { maxChildren: 1 }))
        )
        assert.strictEqual(again._tag, "ChildRunning")
        assert.strictEqual((yield* Supervisor.countChildren(parent)).supervisors, 3)
      })
    )
  )

  it.effect("is a Layer", () =>
    Effect.gen(function* () {
      const child = yield* Effect.provide(
        Effect.map(DynamicSupervisor.startChild("workers", sleepy()), ({ pid }) => pid),
        DynamicSupervisor.layer("workers", { maxChildren: 1 })
      )
      assert.isTrue(Pid.isPid(child))
      assert.isFalse(yield* Process.isAlive(child as Pid.Any))
    }).pipe(ActorSystem.scoped)
  )

  it.effect("ignores casts, plain messages and exits of strangers, but not calls that it does not know", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const supervisor: Pid.Any = yield* DynamicSupervisor.startLink()
        yield* GenServer.cast(supervisor, "junk" as never)
        yield* Process.send(supervisor, "junk")
        const stranger = yield* Process.spawn(Effect.andThen(Process.link(supervisor), Process.exit(oops)))
        yield* Process.awaitExit(stranger)
        assert.deepStrictEqual(yield* counts(supervisor), [0, 0])
        const protocol = GenServer.protocol({ junk: GenServer.Call() })
        const junk = yield* Effect.flip(GenServer.call(supervisor as Pid.Pid<typeof protocol>, "junk"))
        assert.strictEqual(junk._tag, "ServerExit")
      })
    )
  )
})

describe("starting its children", () => {
  it.effect("takes specs of Effects, of servers, of supervisors and by hand", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.startLink()
        yield* start(supervisor, sleepy())
        yield* start(supervisor, stubborn(Effect.void))
        yield* start(supervisor, DynamicSupervisor.childSpec("nested"))
        yield* start(supervisor, { id: "by hand", start: Process.spawnLink(Effect.never), modules: ["hand"] })
        assert.deepStrictEqual(yield* DynamicSupervisor.countChildren(supervisor), {
          active: 4,
          specs: 4,
          supervisors: 1,
          workers: 3
        })
        const children = yield* DynamicSupervisor.whichChildren(supervisor)
        assert.deepStrictEqual(
          children.map(({ id, type }) => [id, type]),
          [
            [undefined, "worker"],
            [undefined, "worker"],
            [undefined, "supervisor"],
            [undefined, "worker"]
          ]
        )
        assert.deepStrictEqual(children[3]?.modules, ["hand"])
      })
    )
  )

  it.effect("takes Layers, whose resources live as long as the child", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        class Disk extends Context.Service<Disk, { readonly size: number }>()("test/Disk") {}
        const disk = Layer.effect(
          Disk,
          Effect.acquireRelease(
            Effect.sync(() => {
              log.push("opened")
              return { size: 3 }
            }),
            () => Effect.sync(() => log.push("closed"))
          )
        )
        const supervisor = yield* DynamicSupervisor.startLink()
        const pid = yield* start(supervisor, Supervisor.childLayer("disk", disk))
        assert.deepStrictEqual(log, ["opened"])
        yield* exit(pid, oops)
        assert.deepStrictEqual(yield* counts(supervisor), [1, 1])
        assert.deepStrictEqual(log, ["opened", "closed", "opened"])
        yield* GenServer.stop(supervisor)
        assert.deepStrictEqual(log, ["opened", "closed", "opened", "closed"])
      })
    )
  )

  it.effect("gives them what their starter has, at every start", () =>
    actor(
      Effect.gen(function* () {
        class Color extends Context.Service<Color, string>()("test/Color") {}
        const seen: Array<string> = []
        const painter = Supervisor.child(
          "painter",
          Effect.andThen(
            Effect.map(Color, (color) => seen.push(color)),
            Effect.never
          )
        )
        const supervisor = yield* DynamicSupervisor.startLink()
        const startIn = (color: string) =>
          Effect.provideService(DynamicSupervisor.startChild(supervisor, painter), Color, color)
        const { pid } = yield* startIn("red")
        yield* startIn("blue")
        yield* exit(pid as Pid.Any, oops)
        assert.deepStrictEqual(yield* counts(supervisor), [2, 2])
        assert.deepStrictEqual(seen, ["red", "blue", "red"])
      })
    )
  )

  it.effect("keeps what a start itself acquires until the supervisor ends", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const acquire = Effect.acquireRelease(
          Effect.sync(() => log.push("acquired")),
          () => Effect.sync(() => log.push("released"))
        )
        const supervisor = yield* DynamicSupervisor.startLink()
        yield* Effect.scoped(
          DynamicSupervisor.startChild(supervisor, { id: "child", start: Effect.andThen(acquire, sleepy().start) })
        )
        assert.deepStrictEqual(log, ["acquired"])
        yield* GenServer.stop(supervisor)
        assert.deepStrictEqual(log, ["acquired", "released"])
      })
    )
  )

  it.effect("puts the extra arguments before their own, at restarts as well", () =>
    actor(
      Effect.gen(function* () {
        const seen: Array<ReadonlyArray<unknown>> = []
        const supervisor = yield* DynamicSupervisor.startLink({ extraArguments: ["extra", 1] })
        const template = {
          id: "template",
          start: (extra: string, n: number, own: boolean) => {
            seen.push([extra, n, own])
            return sleepy().start
          }
        }
        const { pid } = yield* DynamicSupervisor.startChild(supervisor, template, true)
        yield* exit(pid as Pid.Any, oops)
        assert.deepStrictEqual(yield* counts(supervisor), [1, 1])
        assert.deepStrictEqual(seen, [
          ["extra", 1, true],
          ["extra", 1, true]
        ])
      })
    )
  )

  it.effect("refuses bad specs before the supervisor is asked", () =>
    Effect.gen(function* () {
      const refused = (spec: object) =>
        Effect.map(Effect.flip(DynamicSupervisor.startChild("nobody", spec as Supervisor.ChildSpec)), (error) =>
          error._tag === "InvalidSpec" ? [error.problem, error.value] : error._tag
        )
      const { start } = sleepy()
      assert.deepStrictEqual(yield* refused({}), ["missingId", {}])
      assert.deepStrictEqual(yield* refused({ id: "a" }), ["missingStart", { id: "a" }])
      assert.deepStrictEqual(yield* refused({ id: "a", start: 2 }), ["invalidStart", 2])
      assert.deepStrictEqual(yield* refused({ id: "a", start, shutdown: -1 }), ["invalidShutdown", -1])
      assert.deepStrictEqual(yield* refused({ id: "a", start, restart: "often" }), ["invalidRestart", "often"])
      assert.deepStrictEqual(yield* refused({ id: "a", start, significant: true }), [
        "significantWithoutAutoShutdown",
        "a"
      ])
      assert.deepStrictEqual(yield* refused({ id: "a", start }), "NoProcess")
    }).pipe(ActorSystem.scoped)
  )

  it.effect("accepts any time for the shutdown, also none", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.startLink()
        for (const shutdown of [0, 1, "1 second", "infinity", "brutalKill"] as const) {
          const pid = yield* start(supervisor, sleepy({ shutdown, restart: "temporary" }))
          yield* exit(pid, ExitReason.shutdown)
        }
        assert.deepStrictEqual(yield* counts(supervisor), [0, 0])
      })
    )
  )

  it.effect("answers with what the start gave", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.startLink()
        const child = (start: Supervisor.ChildSpec<Process.Self>["start"]) =>
          DynamicSupervisor.startChild(supervisor, { id: "child", start })
        const extra = Effect.map(Process.spawnLink(Effect.never), (pid) => Supervisor.started(pid, "extra"))
        assert.strictEqual((yield* child(extra)).info, "extra")
        assert.strictEqual((yield* child(sleepy().start)).info, undefined)
        assert.deepStrictEqual(yield* child(ignores), { pid: undefined, info: undefined })
        const reason = (error: DynamicSupervisor.StartChildError) =>
          error._tag === "FailedToStartChild" ? error.reason : error
        assert.deepStrictEqual(yield* Effect.flip(Effect.mapError(child(fails), reason)), ExitReason.custom("found"))
        assert.deepStrictEqual(
          yield* Effect.flip(Effect.mapError(child(nonsense), reason)),
          ExitReason.custom("unknown")
        )
        const exits = yield* Effect.flip(Effect.mapError(child(Process.exit(oops)), reason))
        assert.deepStrictEqual(exits, oops)
        const dies = yield* Effect.flip(Effect.mapError(child(Effect.die("bug")), reason))
        assert.strictEqual("_tag" in dies && dies._tag, "Crashed")
        assert.deepStrictEqual(yield* counts(supervisor), [2, 2])
      })
    )
  )

  /** A server whose init waits, and then does what it is told to. */
  const slowServer = (init: Effect.Effect<unknown>, result: GenServer.InitResult<number> = GenServer.ok(0)) =>
    GenServer.make(GenServer.protocol({}), { init: () => Effect.as(init, result), handlers: {} })

  it.effect("leaves everything else waiting until the child's init is done", () =>
    actor(
      Effect.gen(function* () {
        const go = yield* Deferred.make<void>()
        const supervisor = yield* DynamicSupervisor.startLink()
        const spec = Supervisor.server("slow", slowServer(Deferred.await(go)), [])
        const started = yield* Effect.forkChild(start(supervisor, spec), { startImmediately: true })
        const counted = yield* Effect.forkChild(counts(supervisor), { startImmediately: true })
        const stopped = yield* Effect.forkChild(GenServer.stop(supervisor), { startImmediately: true })
        for (let i = 0; i < 10; i++) yield* Effect.yieldNow
        assert.isUndefined(started.pollUnsafe())
        assert.isUndefined(counted.pollUnsafe())
        yield* Deferred.succeed(go, undefined)
        const pid = yield* Fiber.join(started)
        assert.deepStrictEqual(yield* Fiber.join(counted), [1, 1])
        yield* Fiber.join(stopped)
        assert.isFalse(yield* Process.isAlive(pid))
      })
    )
  )

  it.effect("ends a child in its init when the supervisor is killed, and tells the caller", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const system = yield* ActorSystem.ActorSystem
        const supervisor = yield* DynamicSupervisor.startLink()
        const spec = Supervisor.server("slow", slowServer(Effect.never), [])
        const started = yield* Effect.forkChild(Effect.flip(DynamicSupervisor.startChild(supervisor, spec)), {
          startImmediately: true
        })
        for (let i = 0; i < 3; i++) yield* Effect.yieldNow
        assert.strictEqual(system.processes.size, 3)
        yield* exit(supervisor, ExitReason.kill)
        assert.strictEqual((yield* Fiber.join(started))._tag, "ServerExit")
        for (let i = 0; i < 3; i++) yield* Effect.yieldNow
        assert.strictEqual(system.processes.size, 1)
      })
    )
  )

  it.effect("goes on after a child whose init failed, or said ignore, or whose name is taken", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.startLink()
        const serve = (result: GenServer.InitResult<number>, name?: string) =>
          DynamicSupervisor.startChild(
            supervisor,
            Supervisor.server("child", slowServer(Effect.void, result), [], name === undefined ? {} : { name })
          )
        const failed = yield* Effect.flip(serve(GenServer.initStop(oops)))
        assert.deepStrictEqual(failed._tag === "FailedToStartChild" && failed.reason, oops)
        assert.deepStrictEqual(yield* serve(GenServer.ignore), { pid: undefined, info: undefined })
        const { pid } = yield* serve(GenServer.ok(0), "name")
        const taken = yield* Effect.flip(serve(GenServer.ok(0), "name"))
        const reason = taken._tag === "FailedToStartChild" && taken.reason._tag === "Custom" && taken.reason.term
        assert.strictEqual(reason instanceof GenServer.AlreadyStarted && reason.pid, pid)
        assert.deepStrictEqual(yield* counts(supervisor), [1, 1])
      })
    )
  )

  it.effect("gives up a child whose init takes longer than its own deadline", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.startLink()
        const spec = Supervisor.server("slow", slowServer(Effect.never), [], { timeout: "1 second" })
        const started = yield* Effect.forkChild(Effect.flip(DynamicSupervisor.startChild(supervisor, spec)), {
          startImmediately: true
        })
        for (let i = 0; i < 3; i++) yield* Effect.yieldNow
        yield* TestClock.adjust("1 second")
        const failed = yield* Fiber.join(started)
        const reason = failed._tag === "FailedToStartChild" && failed.reason._tag === "Custom" && failed.reason.term
        assert.instanceOf(reason, GenServer.StartTimeout)
        assert.deepStrictEqual(yield* counts(supervisor), [0, 0])
      })
    )
  )

  it.effect("stops at the highest number of children", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.startLink({ maxChildren: 1 })
        const pid = yield* start(supervisor, sleepy())
        const refused = yield* Effect.flip(DynamicSupervisor.startChild(supervisor, sleepy()))
        assert.deepStrictEqual(refused, new DynamicSupervisor.MaxChildren({ maxChildren: 1 }))
        yield* DynamicSupervisor.terminateChild(supervisor, pid)
        yield* start(supervisor, sleepy())
      })
    )
  )
})

describe("restarting children", () => {
  const restartsOf = (reasons: ReadonlyArray<ExitReason.ExitReason>, restart: Supervisor.Restart) =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.startLink({ intensity: 100_000 })
        return yield* Effect.forEach(reasons, (reason) =>
          Effect.gen(function* () {
            const before = yield* counts(supervisor)
            const pid = yield* start(supervisor, sleepy({ restart }))
            yield* exit(pid, reason)
            const now = yield* counts(supervisor)
            return (now[0] ?? 0) - (before[0] ?? 0) === 1
          })
        )
      })
    )
  const reasons = [
    ExitReason.shutdown,
    ExitReason.shutdownWith("signal"),
    ExitReason.custom("whatever"),
    ExitReason.kill
  ]

  it.effect("is not done for temporary ones, whatever the reason", () =>
    Effect.map(restartsOf(reasons, "temporary"), (restarted) =>
      assert.deepStrictEqual(restarted, [false, false, false, false])
    )
  )

  it.effect("is done for transient ones unless they ended normally", () =>
    Effect.map(restartsOf(reasons, "transient"), (restarted) =>
      assert.deepStrictEqual(restarted, [false, false, true, true])
    )
  )

  it.effect("is done for permanent ones, whatever the reason", () =>
    Effect.map(restartsOf(reasons, "permanent"), (restarted) =>
      assert.deepStrictEqual(restarted, [true, true, true, true])
    )
  )

  it.effect("is done for a body that ends by itself", () =>
    actor(
      Effect.gen(function* () {
        let runs = 0
        const brief = Supervisor.child(
          "brief",
          Effect.suspend(() => (runs++ === 0 ? Effect.void : Effect.never))
        )
        const supervisor = yield* DynamicSupervisor.startLink()
        const pid = yield* start(supervisor, brief)
        yield* Process.awaitExit(pid)
        assert.deepStrictEqual(yield* counts(supervisor), [1, 1])
        assert.strictEqual(runs, 2)
      })
    )
  )

  it.effect("copes with a start that gives something else than before", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.startLink({ intensity: 100_000 })
        const restartWith = (afterwards: Supervisor.ChildSpec<Process.Self>["start"]) =>
          Effect.gen(function* () {
            const pid = yield* start(supervisor, once(afterwards))
            yield* exit(pid, ExitReason.shutdown)
            return yield* counts(supervisor)
          })
        const extra = Effect.map(Process.spawnLink(Effect.never), (pid) => Supervisor.started(pid, "extra"))
        assert.deepStrictEqual(yield* restartWith(sleepy().start), [1, 1])
        assert.deepStrictEqual(yield* restartWith(extra), [2, 2])
        assert.deepStrictEqual(yield* restartWith(ignores), [2, 2])
        // These go on failing.
        assert.deepStrictEqual(yield* restartWith(fails), [2, 3])
        assert.deepStrictEqual(yield* restartWith(nonsense), [2, 4])
        const shown = (yield* DynamicSupervisor.whichChildren(supervisor)).map(({ child }) => child)
        assert.strictEqual(shown.filter((child) => child === "restarting").length, 2)
      })
    )
  )

  it.effect("keeps the place of a child that is being restarted", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.startLink({ intensity: 100_000, maxChildren: 1 })
        const pid = yield* start(supervisor, once(fails))
        yield* exit(pid, ExitReason.shutdown)
        assert.deepStrictEqual(yield* counts(supervisor), [0, 1])
        const refused = yield* Effect.flip(DynamicSupervisor.startChild(supervisor, sleepy()))
        assert.strictEqual(refused._tag, "MaxChildren")
      })
    )
  )

  it.effect("keeps the place of a child that was restarted", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.startLink({ maxChildren: 1 })
        const pid = yield* start(supervisor, sleepy())
        yield* exit(pid, ExitReason.shutdown)
        assert.deepStrictEqual(yield* counts(supervisor), [1, 1])
        const refused = yield* Effect.flip(DynamicSupervisor.startChild(supervisor, sleepy()))
        assert.strictEqual(refused._tag, "MaxChildren")
      })
    )
  )

  it.effect("is tried again after a failed start, each try for one of the restarts", () =>
    actor(
      Effect.gen(function* () {
        let starts = 0
        const flaky = {
          id: "flaky",
          start: Effect.suspend((): Supervisor.ChildSpec<Process.Self>["start"] =>
            ++starts === 2 ? fails : sleepy().start
          )
        }
        const supervisor = yield* DynamicSupervisor.startLink({ intensity: 2 })
        const pid = yield* start(supervisor, flaky)
        yield* exit(pid, ExitReason.shutdown)
        while (starts < 3) yield* Effect.yieldNow
        assert.deepStrictEqual(yield* counts(supervisor), [1, 1])
      })
    )
  )

  it.effect("is given up, with all children, after three in the time by default", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const supervisor = yield* DynamicSupervisor.startLink()
        const bystander = yield* start(supervisor, sleepy())
        const bystanders = yield* Effect.forkChild(Process.awaitExit(bystander), { startImmediately: true })
        const crash = Effect.gen(function* () {
          const children = yield* DynamicSupervisor.whichChildren(supervisor)
          const victim = children.find(({ child }) => child !== bystander)?.child
          if (!Pid.isPid(victim)) return assert.fail("no child to crash")
          yield* exit(victim, oops)
        })
        yield* start(supervisor, sleepy())
        for (let i = 0; i < 3; i++) yield* crash
        // Five seconds old still counts, six do not.
        yield* TestClock.adjust("6 seconds")
        for (let i = 0; i < 3; i++) yield* crash
        assert.deepStrictEqual(yield* counts(supervisor), [2, 2])
        yield* TestClock.adjust("5 seconds")
        const ended = yield* Effect.forkChild(Process.awaitExit(supervisor), { startImmediately: true })
        yield* crash
        assert.deepStrictEqual(yield* Fiber.join(ended), ExitReason.shutdown)
        assert.deepStrictEqual(yield* Fiber.join(bystanders), ExitReason.shutdown)
      })
    )
  )

  it.effect("is given up when tries after a failed start are too many", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        for (const intensity of [1, 10]) {
          let starts = 0
          const supervisor = yield* DynamicSupervisor.startLink({ intensity })
          const failing = Effect.suspend(() => {
            starts++
            return fails
          })
          const pid = yield* start(supervisor, once(failing))
          const ended = yield* Effect.forkChild(Process.awaitExit(supervisor), { startImmediately: true })
          yield* Process.exit(pid, ExitReason.shutdown)
          assert.deepStrictEqual(yield* Fiber.join(ended), ExitReason.shutdown)
          assert.strictEqual(starts, intensity)
        }
      })
    )
  )
})

describe("stopping children", () => {
  const stopping = (spec: Supervisor.ChildSpec<Process.Self>, count = 3) =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const supervisor = yield* DynamicSupervisor.startLink()
        const children = yield* Effect.forEach(Array.from({ length: count }), () => start(supervisor, spec))
        return yield* endsOf(supervisor, children)
      })
    )
  const thrice = (reason: ExitReason.ExitReason) => [reason, reason, reason]

  it.effect("kills those that are to be killed", () =>
    Effect.map(stopping(sleepy({ shutdown: "brutalKill" })), (ends) =>
      assert.deepStrictEqual(ends, thrice(ExitReason.killed))
    )
  )

  it.effect("waits for ever for those that may take for ever", () =>
    Effect.map(stopping(sleepy({ shutdown: "infinity" })), (ends) =>
      assert.deepStrictEqual(ends, thrice(ExitReason.shutdown))
    )
  )

  it.effect("waits a time for those that have one", () =>
    Effect.map(stopping(sleepy({ shutdown: 1000 })), (ends) =>
      assert.deepStrictEqual(ends, thrice(ExitReason.shutdown))
    )
  )

  it.effect("accepts any reason they leave with", () =>
    Effect.gen(function* () {
      for (const shutdown of ["infinity", 1000] as const) {
        const reason = ExitReason.shutdownWith("oops")
        const ends = yield* stopping(stubborn(Process.exit(reason), { shutdown }))
        assert.deepStrictEqual(ends, thrice(reason))
      }
      const ends = yield* stopping(stubborn(Process.exit(ExitReason.normal), { restart: "permanent" }))
      assert.deepStrictEqual(ends, thrice(ExitReason.normal))
    })
  )

  it.effect("kills those that take too long, and only those", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const supervisor = yield* DynamicSupervisor.startLink()
        const quick = yield* start(supervisor, sleepy({ shutdown: 1 }))
        const slow = yield* start(supervisor, stubborn(Effect.never, { shutdown: 1 }))
        const ends = yield* Effect.forkChild(endsOf(supervisor, [quick, slow]), { startImmediately: true })
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* Fiber.join(ends), [ExitReason.shutdown, ExitReason.killed])
      })
    )
  )

  it.effect("stops all at once, each within its own time", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const supervisor = yield* DynamicSupervisor.startLink()
        const slow = (shutdown: Supervisor.Shutdown, takes: number) => stubborn(Effect.sleep(takes), { shutdown })
        const children = [
          yield* start(supervisor, slow(1000, 5000)),
          yield* start(supervisor, slow(3000, 2000)),
          yield* start(supervisor, slow(1000, 500)),
          yield* start(supervisor, sleepy({ shutdown: "brutalKill" })),
          yield* start(supervisor, slow("infinity", 4000)),
          yield* start(supervisor, slow(3000, 3500))
        ]
        const ends = yield* Effect.forkChild(endsOf(supervisor, children), { startImmediately: true })
        const alive = Effect.map(Effect.forEach(children, Process.isAlive), (all) => all.filter(Boolean).length)
        yield* TestClock.adjust(999)
        assert.strictEqual(yield* alive, 4)
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* alive, 3)
        yield* TestClock.adjust(1000)
        assert.strictEqual(yield* alive, 2)
        yield* TestClock.adjust(1000)
        assert.strictEqual(yield* alive, 1)
        yield* TestClock.adjust(1000)
        assert.deepStrictEqual(yield* Fiber.join(ends), [
          ExitReason.killed,
          ExitReason.shutdown,
          ExitReason.shutdown,
          ExitReason.killed,
          ExitReason.shutdown,
          ExitReason.killed
        ])
      })
    )
  )

  it.effect("stops one child by its pid, and does not know it any more", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* DynamicSupervisor.startLink()
        for (const [shutdown, reason] of [
          ["brutalKill", ExitReason.killed],
          [1000, ExitReason.shutdown]
        ] as const) {
          const pid = yield* start(supervisor, sleepy({ shutdown }))
          const ended = yield* Effect.forkChild(Process.awaitExit(pid), { startImmediately: true })
          yield* DynamicSupervisor.terminateChild(supervisor, pid)
          assert.deepStrictEqual(yield* Fiber.join(ended), reason)
          const unknown = yield* Effect.flip(DynamicSupervisor.terminateChild(supervisor, pid))
          assert.strictEqual(unknown._tag, "ChildNotFound")
        }
        const stranger = yield* Effect.flip(DynamicSupervisor.terminateChild(supervisor, yield* Process.Self))
        assert.strictEqual(stranger._tag, "ChildNotFound")
        assert.deepStrictEqual(yield* counts(supervisor), [0, 0])
      })
    )
  )

  it.effect("stops the tries to restart a child, which is known by its last pid", () =>
    actor(
      Effect.gen(function* () {
        let starts = 0
        const failing = Effect.suspend(() => {
          starts++
          return fails
        })
        const supervisor = yield* DynamicSupervisor.startLink({ intensity: 100_000 })
        const pid = yield* start(supervisor, once(failing))
        yield* exit(pid, ExitReason.shutdown)
        while (starts < 3) yield* Effect.yieldNow
        yield* DynamicSupervisor.terminateChild(supervisor, pid)
        const unknown = yield* Effect.flip(DynamicSupervisor.terminateChild(supervisor, pid))
        assert.strictEqual(unknown._tag, "ChildNotFound")
        assert.deepStrictEqual(yield* counts(supervisor), [0, 0])
        const seen = starts
        for (let i = 0; i < 10; i++) yield* Effect.yieldNow
        assert.strictEqual(starts, seen)
      })
    )
  )

  it.effect("waits for the clean-up of their scopes", () =>
    actor(
      Effect.gen(function* () {
        const release = yield* Deferred.make<void>()
        const body = Effect.andThen(
          Effect.addFinalizer(() => Deferred.await(release)),
          Effect.never
        )
        const supervisor = yield* DynamicSupervisor.startLink()
        yield* start(supervisor, Supervisor.child("tidy", body))
        const stopped = yield* Effect.forkChild(GenServer.stop(supervisor), { startImmediately: true })
        for (let i = 0; i < 10; i++) yield* Effect.yieldNow
        assert.isUndefined(stopped.pollUnsafe())
        yield* Deferred.succeed(release, undefined)
        yield* Fiber.join(stopped)
      })
    )
  )
})

describe("100,000 children", () => {
  it.live(
    "are started, lost and stopped in time that grows with their number only",
    () =>
      actor(
        Effect.gen(function* () {
          const n = 100_000
          const system = yield* ActorSystem.ActorSystem
          const supervisor = yield* DynamicSupervisor.startLink({ intensity: n })
          const children: Array<Pid.Any> = []
          const spec = sleepy({ restart: "transient" })
          for (let i = 0; i < n; i++) children.push(yield* start(supervisor, spec))
          assert.deepStrictEqual(yield* counts(supervisor), [n, n])
          for (let i = 0; i < n; i += 2)
            yield* Process.exit(children[i] as Pid.Any, i % 4 === 0 ? oops : ExitReason.shutdown)
          yield* Process.awaitExit(children[n - 2] as Pid.Any)
          assert.deepStrictEqual(yield* counts(supervisor), [(n * 3) / 4, (n * 3) / 4])
          yield* GenServer.stop(supervisor)
          assert.isAtMost(system.processes.size, 1)
        })
      ),
    60_000
  )
})
