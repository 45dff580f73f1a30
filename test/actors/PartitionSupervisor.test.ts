import { availableParallelism } from "node:os"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import {
  ActorSystem,
  DynamicSupervisor,
  ExitReason,
  GenServer,
  PartitionSupervisor,
  type Pid,
  Process,
  Registry,
  Supervisor
} from "vmtest/actors"

/** Runs a test as a process of an actor system of its own. */
const actor = <A, E>(body: Effect.Effect<A, E, Process.Self | Scope.Scope>) => ActorSystem.scoped(Process.run(body))

const Keeper = GenServer.make(GenServer.protocol({ get: GenServer.Call<void, unknown>() }), {
  init: (value: unknown) => GenServer.ok(value),
  handlers: { get: (_, value) => GenServer.reply(value, value) }
})

const keeper = (value: unknown) => Supervisor.server("keeper", Keeper, [value])

/** Asks the partition of a key for what it keeps. */
const get = (name: Process.Name, key: unknown) =>
  GenServer.call(GenServer.name(Keeper, PartitionSupervisor.via(name, key)), "get")

const Names = Registry.unique<string>("names")

describe("starting a partition supervisor", () => {
  it.effect("makes as many partitions as the machine runs threads, and spreads keys over them", () =>
    actor(
      Effect.gen(function* () {
        yield* PartitionSupervisor.startLink({ name: "dynamic", child: DynamicSupervisor.childSpec("dynamic") })
        assert.strictEqual(yield* PartitionSupervisor.partitions("dynamic"), availableParallelism())
        const keys = Array.from({ length: 100 }, (_, i) => ["key", i] as const)
        for (const key of keys) {
          const workers = PartitionSupervisor.via("dynamic", key)
          yield* DynamicSupervisor.startChild(workers, keeper(key))
        }
        const found: Array<unknown> = []
        for (const { child } of yield* PartitionSupervisor.whichChildren("dynamic")) {
          for (const each of yield* DynamicSupervisor.whichChildren(child as Pid.Any)) {
            found.push(yield* GenServer.call(each.child as Pid.Pid<(typeof Keeper)["protocol"]>, "get"))
          }
        }
        assert.sameDeepMembers(found, keys)
      })
    )
  )

  it.effect("takes a name of a registry", () =>
    actor(
      Effect.gen(function* () {
        yield* Registry.startLink(Names)
        const name = Registry.via(Names, "partitions")
        yield* PartitionSupervisor.startLink({ name, child: keeper("hello") })
        assert.strictEqual(yield* PartitionSupervisor.partitions(name), availableParallelism())
        assert.strictEqual(yield* get(name, 0), "hello")
        assert.strictEqual((yield* PartitionSupervisor.countChildren(name)).active, availableParallelism())
        yield* GenServer.stop(name as GenServer.NameOf<unknown>)
        assert.strictEqual(yield* Process.whereis(name), undefined)
      })
    )
  )

  it.effect("tells every child its partition", () =>
    actor(
      Effect.gen(function* () {
        yield* PartitionSupervisor.startLink({ name: "keepers", child: keeper, partitions: 3 })
        assert.strictEqual(yield* PartitionSupervisor.partitions("keepers"), 3)
        for (const [key, partition] of [
          [0, 0],
          [1, 1],
          [2, 2],
          [3, 0],
          [4, 1],
          [-1, 1],
          [-4, 1]
        ] as const) {
          assert.strictEqual(yield* get("keepers", key), partition)
        }
      })
    )
  )

  it.effect("gives equal keys of any kind the same partition, and others others", () =>
    actor(
      Effect.gen(function* () {
        yield* PartitionSupervisor.startLink({ name: "keepers", child: keeper, partitions: 8 })
        for (const make of [() => "a", () => ["a", { b: 1 }], () => 1.5, () => undefined, () => ({ c: true })]) {
          assert.strictEqual(yield* get("keepers", make()), yield* get("keepers", make()))
        }
        const seen = new Set<unknown>()
        for (let i = 0; i < 200; i++) seen.add(yield* get("keepers", `key ${i}`))
        assert.strictEqual(seen.size, 8)
      })
    )
  )

  it.effect("refuses bad options with a reason", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const problem = (options: object) =>
          Effect.map(
            Effect.flip(PartitionSupervisor.startLink(options as PartitionSupervisor.Options<Process.Self>)),
            (error) =>
              error._tag === "InitFailed" &&
              error.reason._tag === "Custom" &&
              error.reason.term instanceof PartitionSupervisor.InvalidSpec
                ? error.reason.term.problem
                : error
          )
        const child = keeper(0)
        assert.strictEqual(yield* problem({ child }), "missingName")
        assert.strictEqual(yield* problem({ name: "a" }), "missingChild")
        assert.strictEqual(yield* problem({ name: "a", child: {} }), "missingStart")
        for (const partitions of [0, -1, 1.5, "many"]) {
          assert.strictEqual(yield* problem({ name: "a", child, partitions }), "invalidPartitions")
        }
        assert.strictEqual(yield* problem({ name: "a", child, autoShutdown: "anySignificant" }), "invalidAutoShutdown")
        assert.strictEqual(yield* problem({ name: "a", child, strategy: "simpleOneForOne" }), "invalidStrategy")
        assert.strictEqual(yield* problem({ name: "a", child, intensity: -1 }), "invalidIntensity")
        assert.strictEqual(yield* Process.whereis("a"), undefined)
      })
    )
  )

  it.effect("can be done by a supervisor", () =>
    actor(
      Effect.gen(function* () {
        const parent = yield* Supervisor.startLink({
          children: [PartitionSupervisor.childSpec("keepers", { name: "keepers", child: keeper, partitions: 2 })]
        })
        assert.strictEqual((yield* Supervisor.countChildren(parent)).supervisors, 1)
        assert.strictEqual(yield* get("keepers", 3), 1)
      })
    )
  )

  it.effect("is a Layer", () =>
    Effect.gen(function* () {
      const keepers = PartitionSupervisor.layer({ name: "keepers", child: keeper, partitions: 2 })
      assert.strictEqual(yield* Effect.provide(get("keepers", 1), keepers), 1)
      assert.strictEqual((yield* Effect.flip(get("keepers", 1)))._tag, "NoProcess")
    }).pipe(ActorSystem.scoped)
  )

  it.effect("restarts its partitions under the same keys, three times in 5 seconds", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const supervisor = yield* PartitionSupervisor.startLink({ name: "keepers", child: keeper, partitions: 2 })
        const crash = Effect.gen(function* () {
          const pid = yield* Process.whereis(PartitionSupervisor.via("keepers", 1))
          if (pid === undefined) return assert.fail("no partition 1")
          const ended = yield* Effect.forkChild(Process.awaitExit(pid), { startImmediately: true })
          yield* Process.exit(pid, ExitReason.kill)
          yield* Fiber.join(ended)
        })
        const ended = yield* Effect.forkChild(Process.awaitExit(supervisor), { startImmediately: true })
        for (let i = 0; i < 3; i++) {
          yield* crash
          yield* PartitionSupervisor.countChildren("keepers")
          assert.strictEqual(yield* get("keepers", 1), 1)
        }
        yield* crash
        assert.deepStrictEqual(yield* Fiber.join(ended), ExitReason.shutdown)
      })
    )
  )

  it.effect("is undone by a stop that waits for all partitions", () =>
    actor(
      Effect.gen(function* () {
        const supervisor = yield* PartitionSupervisor.startLink({ name: "keepers", child: keeper, partitions: 2 })
        const children = (yield* PartitionSupervisor.whichChildren("keepers")).map(({ child }) => child as Pid.Any)
        yield* GenServer.stop(supervisor)
        assert.strictEqual(yield* Process.whereis("keepers"), undefined)
        for (const child of children) assert.isFalse(yield* Process.isAlive(child))
      })
    )
  )
})

describe("asking a partition supervisor", () => {
  it.effect("lists all partitions, the last one first", () =>
    actor(
      Effect.gen(function* () {
        yield* PartitionSupervisor.startLink({ name: "keepers", child: keeper, partitions: 3 })
        const children = yield* PartitionSupervisor.whichChildren("keepers")
        assert.deepStrictEqual(
          children.map(({ partition, type }) => [partition, type]),
          [
            [2, "worker"],
            [1, "worker"],
            [0, "worker"]
          ]
        )
        for (const { child, partition } of children) {
          assert.strictEqual(yield* Process.whereis(PartitionSupervisor.via("keepers", partition)), child)
        }
      })
    )
  )

  it.effect("counts workers and supervisors", () =>
    actor(
      Effect.gen(function* () {
        yield* PartitionSupervisor.startLink({ name: "workers", child: keeper, partitions: 3 })
        const child = DynamicSupervisor.childSpec("dynamic")
        yield* PartitionSupervisor.startLink({ name: "supervisors", child, partitions: 2 })
        assert.deepStrictEqual(yield* PartitionSupervisor.countChildren("workers"), {
          active: 3,
          specs: 3,
          supervisors: 0,
          workers: 3
        })
        assert.deepStrictEqual(yield* PartitionSupervisor.countChildren("supervisors"), {
          active: 2,
          specs: 2,
          supervisors: 2,
          workers: 0
        })
      })
    )
  )

  it.effect("fails with NoProcess when it does not run, or is something else", () =>
    actor(
      Effect.gen(function* () {
        yield* Registry.startLink(Names)
        yield* GenServer.startLink(Keeper, [0], { name: "keeper" })
        for (const name of ["unknown", "keeper", Registry.via(Names, "unknown")]) {
          assert.strictEqual((yield* Effect.flip(PartitionSupervisor.partitions(name)))._tag, "NoProcess")
          assert.strictEqual((yield* Effect.flip(PartitionSupervisor.countChildren(name)))._tag, "NoProcess")
          assert.strictEqual((yield* Effect.flip(PartitionSupervisor.whichChildren(name)))._tag, "NoProcess")
          assert.strictEqual((yield* Effect.flip(PartitionSupervisor.resize(name, 1)))._tag, "NoProcess")
          assert.strictEqual((yield* Effect.flip(get(name, 0)))._tag, "NoProcess")
        }
      })
    )
  )

  it.effect("starts nobody under a partition's name", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        yield* PartitionSupervisor.startLink({ name: "keepers", child: keeper, partitions: 1 })
        const startAt = (name: string) =>
          Effect.flip(GenServer.startLink(Keeper, [0], { name: PartitionSupervisor.via(name, 0) }))
        assert.strictEqual((yield* startAt("keepers"))._tag, "AlreadyStarted")
        assert.strictEqual((yield* startAt("unknown"))._tag, "InitFailed")
      })
    )
  )
})

describe("resizing a partition supervisor", () => {
  it.effect("stops and starts partitions, and keeps every key routed", () =>
    actor(
      Effect.gen(function* () {
        yield* PartitionSupervisor.startLink({ name: "keepers", child: keeper, partitions: 8 })
        let before = 8
        for (const size of [8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 3, 0, 5, 1, 8, 2]) {
          assert.strictEqual(yield* PartitionSupervisor.resize("keepers", size), before)
          before = size
          assert.strictEqual(yield* PartitionSupervisor.partitions("keepers"), size)
          assert.deepStrictEqual(yield* PartitionSupervisor.countChildren("keepers"), {
            active: size,
            specs: 8,
            supervisors: 0,
            workers: 8
          })
          const routed = new Set<unknown>()
          if (size > 0) for (let key = 0; key < 8; key++) routed.add(yield* get("keepers", key))
          assert.strictEqual(routed.size, size)
        }
      })
    )
  )

  it.effect("leaves nobody to call with no partitions", () =>
    actor(
      Effect.gen(function* () {
        yield* PartitionSupervisor.startLink({ name: "keepers", child: keeper, partitions: 8 })
        assert.strictEqual(yield* PartitionSupervisor.resize("keepers", 0), 8)
        assert.strictEqual((yield* Effect.flip(get("keepers", 0)))._tag, "NoProcess")
        assert.strictEqual(yield* PartitionSupervisor.resize("keepers", 8), 0)
        assert.strictEqual(yield* get("keepers", 9), 1)
      })
    )
  )

  it.effect("cannot make more partitions than there were at the start", () =>
    actor(
      Effect.gen(function* () {
        yield* PartitionSupervisor.startLink({ name: "keepers", child: keeper, partitions: 8 })
        for (const size of [9, -1, 1.5]) {
          const refused = yield* Effect.flip(PartitionSupervisor.resize("keepers", size))
          assert.strictEqual(refused._tag === "InvalidSpec" && refused.problem, "invalidPartitions")
        }
        assert.strictEqual(yield* PartitionSupervisor.partitions("keepers"), 8)
      })
    )
  )

  it.effect("is done by one after another", () =>
    actor(
      Effect.gen(function* () {
        yield* PartitionSupervisor.startLink({ name: "keepers", child: keeper, partitions: 8 })
        const sizes = [2, 6, 3]
        const answers = yield* Effect.forEach(sizes, (size) => PartitionSupervisor.resize("keepers", size), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(answers, [8, 2, 6])
        assert.strictEqual((yield* PartitionSupervisor.countChildren("keepers")).active, 3)
      })
    )
  )
})
