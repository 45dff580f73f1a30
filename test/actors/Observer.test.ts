import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import {
  ActorSystem,
  DynamicSupervisor,
  ExitReason,
  GenServer,
  Observer,
  type Pid,
  Process,
  Registry,
  Supervisor
} from "vmtest/actors"
import { MessageLoop } from "../../src/actors/internal/process/loop.ts"
import { implOf } from "../../src/actors/internal/process/process.ts"

/** Runs a test as a process of an actor system of its own. */
const actor = <A, E>(body: Effect.Effect<A, E, Process.Self | Scope.Scope>) =>
  ActorSystem.scoped(Process.run(body, { label: "test" }))

const Counter = GenServer.make(
  GenServer.protocol({ add: GenServer.Call<number, number>(), wait: GenServer.Cast<Deferred.Deferred<void>>() }),
  {
    init: () => GenServer.ok(0),
    handlers: {
      add: (by, n) => GenServer.reply(n + by, n + by),
      wait: (until, n) => Effect.as(Deferred.await(until), GenServer.noReply(n))
    }
  }
)

const Names = Registry.unique<string>("names")

const tree = Supervisor.startLink(
  {
    intensity: 10,
    children: [
      Registry.childSpec(Names),
      DynamicSupervisor.childSpec("workers", {}, { name: "workers" }),
      Supervisor.server("counter", Counter, [], { name: "the counter", label: "counter" })
    ]
  },
  { label: "top" }
)

const find = (snapshot: Observer.Snapshot, label: string) =>
  snapshot.processes.find((process) => process.label === label) ?? assert.fail(`no process ${label}`)

const kill = (pid: Pid.Any) => Effect.andThen(Process.exit(pid, ExitReason.kill), Process.awaitExit(pid))

describe("a snapshot", () => {
  it.effect("shows an empty system", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust(7)
      const snapshot = yield* Observer.snapshot
      assert.deepStrictEqual(snapshot, { at: 7, processes: [], roots: [] })
      assert.strictEqual(Observer.format(snapshot), "0 processes")
    }).pipe(ActorSystem.scoped)
  )

  it.effect("shows every process under the one that started it", () =>
    actor(
      Effect.gen(function* () {
        const top = yield* tree
        yield* DynamicSupervisor.startChild("workers", Supervisor.child("job", Effect.never))
        yield* GenServer.call(GenServer.name(Counter, "the counter"), "add", 1)
        yield* TestClock.adjust("90 seconds")
        const snapshot = yield* Observer.snapshot
        assert.strictEqual(snapshot.at, 90_000)
        const shape = (nodes: ReadonlyArray<Observer.Node>): unknown =>
          nodes.map(({ children, kind, label, name }) => [label, name, kind, shape(children)])
        assert.deepStrictEqual(shape(snapshot.roots), [
          [
            "test",
            undefined,
            "process",
            [
              [
                "top",
                undefined,
                "Supervisor",
                [
                  ["names", "names", "Registry", []],
                  ["workers", "workers", "DynamicSupervisor", [["job", undefined, "process", []]]],
                  ["counter", "the counter", "GenServer", []]
                ]
              ]
            ]
          ]
        ])
        assert.deepStrictEqual(
          snapshot.processes.map(({ label }) => label),
          ["test", "top", "names", "workers", "counter", "job"]
        )
        const counter = find(snapshot, "counter")
        assert.strictEqual(counter.parent, top)
        assert.strictEqual(counter.pid, yield* Process.whereis("the counter"))
        assert.deepInclude(counter, { status: "waiting", mailbox: 0, received: 1, restarts: 0, uptime: 90_000 })
        assert.strictEqual(find(snapshot, "job").status, "running")
        assert.deepStrictEqual(find(snapshot, "names").details, { keys: "unique", entries: 0 })
        assert.deepStrictEqual(find(snapshot, "workers").details, { strategy: "oneForOne", restarts: 0, children: 1 })
      })
    )
  )

  it.effect("shows what waits in a mailbox, and who is busy", () =>
    actor(
      Effect.gen(function* () {
        const counter = yield* GenServer.startLink(Counter, [], { label: "counter" })
        const go = yield* Deferred.make<void>()
        yield* GenServer.cast(counter, "wait", go)
        // It has not had its turn yet, and nothing but that to wait for.
        assert.deepInclude(find(yield* Observer.snapshot, "counter"), { status: "running", mailbox: 1 })
        for (let i = 0; i < 3; i++) yield* Process.send(counter, i)
        yield* Effect.yieldNow
        assert.deepInclude(find(yield* Observer.snapshot, "counter"), { status: "running", mailbox: 3, received: 4 })
        yield* Deferred.succeed(go, undefined)
        yield* GenServer.call(counter, "add", 1)
        assert.deepInclude(find(yield* Observer.snapshot, "counter"), { status: "waiting", mailbox: 0, received: 5 })
      })
    )
  )

  it.effect("shows who is on its way out", () =>
    actor(
      Effect.gen(function* () {
        const ready = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        const tidy = yield* Process.spawn(
          Effect.andThen(
            Effect.addFinalizer(() => Deferred.await(go)),
            Effect.andThen(Deferred.succeed(ready, undefined), Effect.never)
          ),
          { label: "tidy" }
        )
        yield* Deferred.await(ready)
        yield* Process.exit(tidy, ExitReason.shutdown)
        yield* Effect.yieldNow
        assert.strictEqual(find(yield* Observer.snapshot, "tidy").status, "exiting")
        const ended = yield* Effect.forkChild(Process.awaitExit(tidy), { startImmediately: true })
        yield* Deferred.succeed(go, undefined)
        yield* Fiber.join(ended)
        assert.isUndefined((yield* Observer.snapshot).processes.find(({ label }) => label === "tidy"))
        // A server in its terminate has not been interrupted, and yet it is going.
        const Slow = GenServer.make(GenServer.protocol({}), {
          init: () => GenServer.ok(0),
          handlers: {},
          terminate: () => Effect.sleep(100)
        })
        const slow = yield* GenServer.startLink(Slow, [], { label: "slow" })
        const stopped = yield* Effect.forkChild(GenServer.stop(slow), { startImmediately: true })
        yield* Effect.yieldNow
        assert.strictEqual(find(yield* Observer.snapshot, "slow").status, "exiting")
        yield* TestClock.adjust(100)
        yield* Fiber.join(stopped)
      })
    )
  )

  it.effect("shows who was told to leave its messages alone", () =>
    actor(
      Effect.gen(function* () {
        const counter = yield* GenServer.startLink(Counter, [], { label: "counter" })
        const { behaviour } = implOf(counter)
        if (!(behaviour instanceof MessageLoop)) return assert.fail("a server has a loop")
        behaviour.suspend()
        yield* Process.send(counter, "later")
        yield* Effect.yieldNow
        assert.deepInclude(find(yield* Observer.snapshot, "counter"), { status: "suspended", mailbox: 1 })
      })
    )
  )

  it.effect("counts the restarts of supervisors of every kind", () =>
    actor(
      Effect.gen(function* () {
        const top = yield* tree
        const { pid } = yield* DynamicSupervisor.startChild("workers", Supervisor.child("job", Effect.never))
        yield* kill(pid as Pid.Any)
        yield* DynamicSupervisor.countChildren("workers")
        for (let i = 0; i < 2; i++) {
          yield* kill((yield* Process.whereis("the counter")) as Pid.Any)
          yield* Supervisor.countChildren(top)
        }
        const snapshot = yield* Observer.snapshot
        assert.strictEqual(find(snapshot, "top").restarts, 2)
        assert.strictEqual(find(snapshot, "workers").restarts, 1)
      })
    )
  )

  it.effect("makes a process whose parent is gone a root", () =>
    actor(
      Effect.gen(function* () {
        const started = yield* Deferred.make<Pid.Any>()
        const parent = yield* Process.spawn(
          Effect.gen(function* () {
            const child = yield* Process.spawnLink(Effect.never, { label: "orphan" })
            yield* Process.unlink(child)
            yield* Deferred.succeed(started, child)
            yield* Effect.never
          })
        )
        const child = yield* Deferred.await(started)
        yield* kill(parent)
        const snapshot = yield* Observer.snapshot
        assert.deepStrictEqual(
          snapshot.roots.map(({ label }) => label),
          ["test", "orphan"]
        )
        assert.strictEqual(find(snapshot, "orphan").parent, parent)
        yield* kill(child)
      })
    )
  )

  it.effect("is a tree of lines for people", () =>
    Effect.gen(function* () {
      const text = yield* actor(
        Effect.gen(function* () {
          yield* tree
          yield* DynamicSupervisor.startChild("workers", Supervisor.child("job", Effect.never))
          const { pid } = yield* DynamicSupervisor.startChild("workers", Supervisor.child("job", Effect.never))
          yield* kill(pid as Pid.Any)
          yield* GenServer.call(GenServer.name(Counter, "the counter"), "add", 1)
          yield* TestClock.adjust("83 seconds")
          return Observer.format(yield* Observer.snapshot)
        })
      )
      assert.deepStrictEqual(text.split("\n"), [
        "7 processes",
        "└─ <1 test>                         process            running  up 1 min",
        "   └─ <2 top>                       Supervisor         waiting  up 1 min",
        "      ├─ <3 names>                  Registry           waiting  up 1 min",
        "      ├─ <4 workers>                DynamicSupervisor  waiting  up 1 min, received 3, restarts 1",
        "      │  ├─ <6 job>                 process            running  up 1 min",
        "      │  └─ <8 job>                 process            running  up 1 min",
        '      └─ <5 counter> "the counter"  GenServer          waiting  up 1 min, received 1'
      ])
    })
  )
})

describe("the changes", () => {
  it.effect("tell of starts, ends with their reason, and restarts", () =>
    actor(
      Effect.gen(function* () {
        const seen: Array<Observer.Change> = []
        const watcher = yield* Effect.forkChild(
          Stream.runForEach(Observer.changes(), (change) => Effect.sync(() => seen.push(change))),
          { startImmediately: true }
        )
        yield* TestClock.adjust(5)
        const top = yield* tree
        const first = (yield* Process.whereis("the counter")) as Pid.Any
        yield* TestClock.adjust(10)
        yield* kill(first)
        yield* Supervisor.countChildren(top)
        const second = (yield* Process.whereis("the counter")) as Pid.Any
        yield* GenServer.stop(top)
        yield* TestClock.adjust(0)
        yield* Fiber.interrupt(watcher)
        const said = seen.map((change) => {
          const what = `${change._tag} ${change.label} at ${change.at}`
          return change._tag === "Exited" ? `${what}: ${ExitReason.format(change.reason)}, ${change.uptime}` : what
        })
        assert.deepStrictEqual(said, [
          "Started top at 5",
          "Started names at 5",
          "Started workers at 5",
          "Started counter at 5",
          "Exited counter at 15: killed, 10",
          "Started counter at 15",
          "Restarted counter at 15",
          "Exited counter at 15: shutdown, 0",
          "Exited workers at 15: shutdown, 10",
          "Exited names at 15: shutdown, 10",
          "Exited top at 15: normal, 10"
        ])
        const restarted = seen[6]
        if (restarted?._tag !== "Restarted") return assert.fail("no restart")
        assert.strictEqual(restarted.pid, second)
        assert.strictEqual(restarted.previous, first)
        assert.strictEqual(restarted.supervisor, top)
        assert.deepInclude(seen[3], { name: "the counter", kind: "GenServer", parent: top })
      })
    )
  )

  it.effect("keep only the latest for a slow consumer that asks for it", () =>
    actor(
      Effect.gen(function* () {
        const go = yield* Deferred.make<void>()
        const seen: Array<string | undefined> = []
        const watcher = yield* Effect.forkChild(
          Stream.runForEach(Observer.changes({ capacity: 2 }), (change) =>
            Effect.andThen(
              Deferred.await(go),
              Effect.sync(() => seen.push(change.label))
            )
          ),
          { startImmediately: true }
        )
        yield* Process.spawn(Effect.never, { label: "first" })
        yield* Effect.yieldNow
        for (let i = 0; i < 10; i++) yield* Process.spawn(Effect.never, { label: `${i}` })
        yield* Deferred.succeed(go, undefined)
        yield* TestClock.adjust(0)
        yield* Fiber.interrupt(watcher)
        assert.deepStrictEqual(seen, ["first", "8", "9"])
      })
    )
  )

  it.effect("cost nothing when nobody listens any more", () =>
    Effect.gen(function* () {
      const system = yield* ActorSystem.ActorSystem
      assert.strictEqual(system.observers.size, 0)
      const watcher = yield* Effect.forkChild(Stream.runDrain(Observer.changes()), { startImmediately: true })
      yield* Effect.yieldNow
      assert.strictEqual(system.observers.size, 1)
      yield* Fiber.interrupt(watcher)
      assert.strictEqual(system.observers.size, 0)
      yield* Effect.scoped(Observer.metrics())
      assert.strictEqual(system.observers.size, 0)
    }).pipe(ActorSystem.scoped)
  )
})

describe("the metrics", () => {
  it.effect("count starts, ends and restarts, and sample what lives and waits", () =>
    actor(
      Effect.gen(function* () {
        yield* Observer.metrics({ every: "1 second" })
        const value = (metric: Metric.Counter<number>, attributes: Record<string, string>) =>
          Effect.map(Metric.value(Metric.withAttributes(metric, attributes)), ({ count }) => count)
        const top = yield* tree
        for (let i = 0; i < 2; i++) {
          yield* kill((yield* Process.whereis("the counter")) as Pid.Any)
          yield* Supervisor.countChildren(top)
        }
        assert.strictEqual(yield* value(Observer.started, { kind: "GenServer" }), 3)
        assert.strictEqual(yield* value(Observer.started, { kind: "Supervisor" }), 1)
        assert.strictEqual(yield* value(Observer.exited, { kind: "GenServer", reason: "Killed" }), 2)
        assert.strictEqual(yield* value(Observer.restarted, { supervisor: "top" }), 2)
        const go = yield* Deferred.make<void>()
        const counter = (yield* Process.whereis("the counter")) as Pid.Pid<(typeof Counter)["protocol"]>
        yield* GenServer.cast(counter, "wait", go)
        for (let i = 0; i < 3; i++) yield* Process.send(counter, i)
        yield* Process.send(yield* Process.Self, "mine")
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Metric.value(Observer.alive)).value, 5)
        assert.strictEqual((yield* Metric.value(Observer.mailboxes)).value, 4)
        assert.strictEqual((yield* Metric.value(Observer.fullestMailbox)).value, 3)
        yield* Deferred.succeed(go, undefined)
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Metric.value(Observer.mailboxes)).value, 1)
      })
    ).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )
})
