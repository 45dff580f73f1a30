import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { ActorSystem, ExitReason, GenServer, type Pid, Process, Registry, Supervisor } from "vmtest/actors"

/** Runs a test as a process of an actor system of its own. */
const actor = <A, E>(body: Effect.Effect<A, E, Process.Self | Scope.Scope>) => ActorSystem.scoped(Process.run(body))

const Names = Registry.unique<unknown, unknown>("names")
const Topics = Registry.duplicate<unknown, unknown>("topics")

/** Starts a process that registers itself and stays. */
const other = <K, V, Kind extends Registry.Keys, M>(registry: Registry.Registry<K, V, Kind, M>, key: K, value: V) =>
  Effect.gen(function* () {
    const ready = yield* Deferred.make<void>()
    const register = Registry.register<K, unknown, Kind, M>(
      registry as Registry.Registry<K, unknown, Kind, M>,
      key,
      value
    )
    const pid = yield* Process.spawn(
      Effect.andThen(
        register,
        Effect.andThen(
          Effect.suspend(() => Deferred.succeed(ready, undefined)),
          Effect.never
        )
      )
    )
    yield* Deferred.await(ready)
    return pid
  })

const kill = (pid: Pid.Any) => Effect.andThen(Process.exit(pid, ExitReason.kill), Process.awaitExit(pid))

const pairs = <V>(entries: ReadonlyArray<Registry.Entry<V>>) => entries.map(({ pid, value }) => [pid, value])

const Counter = GenServer.make(GenServer.protocol({ add: GenServer.Call<number, number>() }), {
  init: (start: number) => (start < 0 ? GenServer.initStop(ExitReason.custom("negative")) : GenServer.ok(start)),
  handlers: { add: (by, n) => GenServer.reply(n + by, n + by) }
})

describe("a registry of either kind", () => {
  for (const registry of [Names, Topics]) {
    describe(registry.keys, () => {
      it.effect("counts 0 keys when it is empty, and finds nothing", () =>
        actor(
          Effect.gen(function* () {
            yield* Registry.startLink(registry)
            assert.strictEqual(yield* Registry.count(registry), 0)
            assert.deepStrictEqual(yield* Registry.lookup(registry, "hello"), [])
            assert.deepStrictEqual(yield* Registry.select(registry, (entry) => entry), [])
            assert.deepStrictEqual(yield* Registry.keys(registry, yield* Process.Self), [])
          })
        )
      )

      it.effect("counts its entries", () =>
        actor(
          Effect.gen(function* () {
            yield* Registry.startLink(registry)
            yield* Registry.register(registry, "hello", "value")
            yield* Registry.register(registry, "world", "value")
            assert.strictEqual(yield* Registry.count(registry), 2)
          })
        )
      )

      it.effect("forgets a process that was killed before anybody can look", () =>
        actor(
          Effect.gen(function* () {
            yield* Registry.startLink(registry)
            const a = yield* other(registry, "hello", "value")
            const b = yield* other(registry, "world", "value")
            const monitor = yield* Process.monitor(a)
            yield* Process.exit(a, ExitReason.kill)
            yield* Process.receive((message) => (Process.isDown(message) ? message.monitor === monitor : undefined))
            assert.deepStrictEqual(yield* Registry.lookup(registry, "hello"), [])
            yield* kill(b)
            assert.strictEqual(yield* Registry.count(registry), 0)
            assert.deepStrictEqual(yield* Registry.keys(registry, a), [])
          })
        )
      )

      it.effect("tells keys apart by their content", () =>
        actor(
          Effect.gen(function* () {
            yield* Registry.startLink(registry)
            const self = yield* Process.Self
            const all: ReadonlyArray<unknown> = [
              1,
              "1",
              true,
              null,
              undefined,
              ["a", 1],
              ["a", "1"],
              { b: "b" },
              { a: "a", b: "b" }
            ]
            for (const key of all) yield* Registry.register(registry, key, key)
            assert.strictEqual(yield* Registry.count(registry), all.length)
            assert.deepStrictEqual(yield* Registry.keys(registry, self), all)
            assert.deepStrictEqual(pairs(yield* Registry.lookup(registry, { b: "b" })), [[self, { b: "b" }]])
            assert.deepStrictEqual(pairs(yield* Registry.lookup(registry, ["a", 1])), [[self, ["a", 1]]])
            assert.deepStrictEqual(yield* Registry.lookup(registry, ["a"]), [])
            yield* Registry.unregister(registry, ["a", 1])
            assert.deepStrictEqual(yield* Registry.lookup(registry, ["a", 1]), [])
            assert.strictEqual(yield* Registry.count(registry), all.length - 1)
          })
        )
      )

      it.effect("links a process with its first entry, and unlinks it with its last", () =>
        actor(
          Effect.gen(function* () {
            const pid = yield* Registry.scoped(registry)
            const ready = yield* Deferred.make<void>()
            const go = yield* Deferred.make<void>()
            const linked = yield* other(registry, "a", "value")
            const unlinked = yield* Process.spawn(
              Effect.gen(function* () {
                yield* Registry.register(registry, "hello", "value")
                yield* Registry.register(registry, "world", "value")
                yield* Registry.unregister(registry, "hello")
                yield* Registry.unregister(registry, "world")
                yield* Deferred.succeed(ready, undefined)
                yield* Deferred.await(go)
              })
            )
            yield* Deferred.await(ready)
            const linkedEnd = yield* Effect.forkChild(Process.awaitExit(linked), { startImmediately: true })
            yield* Process.exit(pid, ExitReason.kill)
            assert.deepStrictEqual(yield* Fiber.join(linkedEnd), ExitReason.killed)
            assert.isTrue(yield* Process.isAlive(unlinked))
            yield* Deferred.succeed(go, undefined)
          })
        )
      )

      it.effect("ends its processes with its own reason when it is stopped", () =>
        actor(
          Effect.gen(function* () {
            yield* Process.trapExit(true)
            const pid = yield* Registry.startLink(registry)
            const owner = yield* other(registry, "hello", "value")
            const ended = yield* Effect.forkChild(Process.awaitExit(owner), { startImmediately: true })
            yield* Process.exit(pid, ExitReason.shutdown)
            assert.deepStrictEqual(yield* Fiber.join(ended), ExitReason.shutdown)
          })
        )
      )

      it.effect("stays linked to the one who started it, whatever that one registers", () =>
        actor(
          Effect.gen(function* () {
            const started = yield* Deferred.make<Pid.Any>()
            const starter = yield* Process.spawn(
              Effect.gen(function* () {
                const pid = yield* Registry.startLink(registry)
                yield* Registry.register(registry, "hello", "value")
                yield* Registry.unregister(registry, "hello")
                yield* Deferred.succeed(started, pid)
                yield* Effect.never
              })
            )
            const pid = yield* Deferred.await(started)
            const ended = yield* Effect.forkChild(Process.awaitExit(pid), { startImmediately: true })
            yield* kill(starter)
            assert.deepStrictEqual(yield* Fiber.join(ended), ExitReason.killed)
          })
        )
      )

      it.effect("only lets a process unregister itself", () =>
        actor(
          Effect.gen(function* () {
            yield* Registry.startLink(registry)
            yield* Registry.unregister(registry, "hello")
            const pid = yield* other(registry, "hello", "value")
            yield* Registry.unregister(registry, "hello")
            assert.deepStrictEqual(pairs(yield* Registry.lookup(registry, "hello")), [[pid, "value"]])
          })
        )
      )

      it.effect("tells its listeners of registrations and of the last entry of a key that is given up", () =>
        actor(
          Effect.gen(function* () {
            const heard = { ...registry, listeners: ["listener", "nobody"] }
            const self = yield* Process.Self
            yield* Process.register("listener", self)
            yield* Registry.startLink(heard)
            const pid = yield* other(heard, "hello", "world")
            yield* Registry.register(heard, "mine", 1)
            yield* Registry.unregisterMatch(heard, "mine", (value) => value === 2)
            yield* Registry.unregister(heard, "mine")
            yield* Registry.unregister(heard, "never")
            yield* kill(pid)
            const news = []
            for (let i = 0; i < 4; i++) news.push(yield* Process.receive())
            assert.deepStrictEqual(news, [
              new Registry.Registered({ registry: heard.name, key: "hello", pid, value: "world" }),
              new Registry.Registered({ registry: heard.name, key: "mine", pid: self, value: 1 }),
              new Registry.Unregistered({ registry: heard.name, key: "mine", pid: self }),
              new Registry.Unregistered({ registry: heard.name, key: "never", pid: self })
            ])
            const more = yield* Effect.result(Process.receiveWithin(0, (message) => message))
            assert.strictEqual(more._tag, "Failure")
          })
        )
      )

      it.effect("filters the entries of a key by their value", () =>
        actor(
          Effect.gen(function* () {
            yield* Registry.startLink(registry)
            const self = yield* Process.Self
            yield* Registry.register(registry, "hello", 1)
            const isNumber = (value: unknown): value is number => typeof value === "number"
            const found: ReadonlyArray<Registry.Entry<number>> = yield* Registry.match(registry, "hello", isNumber)
            assert.deepStrictEqual(pairs(found), [[self, 1]])
            assert.deepStrictEqual(yield* Registry.match(registry, "hello", (value) => value === 2), [])
            assert.strictEqual(yield* Registry.countMatch(registry, "hello", isNumber), 1)
            assert.strictEqual(yield* Registry.countMatch(registry, "world", isNumber), 0)
          })
        )
      )

      it.effect("selects from all entries", () =>
        actor(
          Effect.gen(function* () {
            yield* Registry.startLink(registry)
            const self = yield* Process.Self
            yield* Registry.register(registry, "hello", 1)
            yield* Registry.register(registry, "world", 2)
            const all = yield* Registry.select(registry, ({ key, pid, value }) => [key, pid, value])
            assert.deepStrictEqual(all, [
              ["hello", self, 1],
              ["world", self, 2]
            ])
            assert.deepStrictEqual(
              yield* Registry.select(registry, (entry) => (entry.value === 2 ? entry.key : undefined)),
              ["world"]
            )
            assert.strictEqual(yield* Registry.countSelect(registry, (entry) => entry.key === "hello"), 1)
            assert.strictEqual(yield* Registry.countSelect(registry, (entry) => entry.pid === self), 2)
          })
        )
      )

      it.effect("keeps metadata", () =>
        actor(
          Effect.gen(function* () {
            const named = { ...registry, meta: { color: "red" } }
            yield* Registry.startLink(named)
            assert.strictEqual(yield* Registry.meta(named, "color"), "red")
            assert.strictEqual(yield* Registry.meta(named, "size"), undefined)
            yield* Registry.putMeta(named, "size", 3)
            assert.strictEqual(yield* Registry.meta(named, "size"), 3)
            yield* Registry.deleteMeta(named, "size")
            assert.strictEqual(yield* Registry.meta(named, "size"), undefined)
          })
        )
      )

      it.effect("answers everything with UnknownRegistry when it does not run", () =>
        actor(
          Effect.gen(function* () {
            const self = yield* Process.Self
            const answers = [
              yield* Effect.flip(Registry.register(registry, "hello", "value")),
              yield* Effect.flip(Registry.unregister(registry, "hello")),
              yield* Effect.flip(Registry.lookup(registry, "hello")),
              yield* Effect.flip(Registry.keys(registry, self)),
              yield* Effect.flip(Registry.count(registry)),
              yield* Effect.flip(Registry.dispatch(registry, "hello", () => Effect.void)),
              yield* Effect.flip(Registry.lock(registry, "hello", Effect.void)),
              yield* Effect.flip(Registry.meta(registry, "color"))
            ]
            for (const answer of answers) {
              assert.strictEqual(answer._tag, "UnknownRegistry")
              assert.include(answer.message, registry.name)
            }
          })
        )
      )

      it.effect("is not taken for a registry when something else has its name", () =>
        actor(
          Effect.gen(function* () {
            yield* GenServer.startLink(Counter, [0], { name: registry.name })
            assert.strictEqual((yield* Effect.flip(Registry.count(registry)))._tag, "UnknownRegistry")
            assert.strictEqual((yield* Effect.flip(Registry.startLink(registry)))._tag, "AlreadyStarted")
          })
        )
      )

      it.effect("is empty again after a restart, with its name and its first metadata", () =>
        actor(
          Effect.gen(function* () {
            const named = { ...registry, meta: { color: "red" } }
            yield* Supervisor.startLink({ children: [Registry.childSpec(named)] })
            const owner = yield* other(named, "hello", "value")
            yield* Registry.putMeta(named, "color", "blue")
            const pid = yield* Process.whereis(named.name)
            assert.isDefined(pid)
            yield* kill(pid as Pid.Any)
            yield* Effect.yieldNow
            assert.strictEqual(yield* Registry.count(named), 0)
            assert.strictEqual(yield* Registry.meta(named, "color"), "red")
            assert.isFalse(yield* Process.isAlive(owner))
          })
        )
      )
    })
  }
})

describe("a unique registry", () => {
  it.effect("has one entry a key, also against its own process", () =>
    actor(
      Effect.gen(function* () {
        const registryPid = yield* Registry.startLink(Names)
        const self = yield* Process.Self
        assert.strictEqual(yield* Registry.register(Names, "hello", "value"), registryPid)
        assert.deepStrictEqual(yield* Registry.keys(Names, self), ["hello"])
        assert.deepStrictEqual(yield* Registry.values(Names, "hello", self), ["value"])
        const taken = yield* Effect.flip(Registry.register(Names, "hello", "again"))
        assert.strictEqual(taken._tag, "AlreadyRegistered")
        if (taken._tag === "AlreadyRegistered") assert.strictEqual(taken.pid, self)
        assert.include(taken.message, '"hello" is already registered in "names"')
        assert.deepStrictEqual(yield* Registry.keys(Names, self), ["hello"])
        assert.deepStrictEqual(yield* Registry.values(Names, "hello", self), ["value"])
        yield* Registry.register(Names, "world", "value")
        assert.deepStrictEqual(yield* Registry.keys(Names, self), ["hello", "world"])
      })
    )
  )

  it.effect("has one entry a key among all processes, and keeps nothing of a failed attempt", () =>
    actor(
      Effect.gen(function* () {
        const registry = yield* Registry.scoped(Names)
        const pid = yield* other(Names, "hello", "value")
        const self = yield* Process.Self
        assert.deepStrictEqual(yield* Registry.keys(Names, pid), ["hello"])
        const taken = yield* Effect.flip(Registry.register(Names, "hello", "recent"))
        assert.strictEqual(taken._tag === "AlreadyRegistered" && taken.pid, pid)
        assert.deepStrictEqual(yield* Registry.keys(Names, self), [])
        assert.deepStrictEqual(yield* Registry.values(Names, "hello", self), [])
        assert.strictEqual(yield* Registry.count(Names), 1)
        // Not even a link.
        yield* kill(registry)
        assert.isTrue(yield* Process.isAlive(self))
      })
    )
  )

  it.effect("gives the key of a dead process to the next one at once", () =>
    actor(
      Effect.gen(function* () {
        yield* Registry.startLink(Names)
        const self = yield* Process.Self
        const pid = yield* other(Names, "hello", "value")
        yield* kill(pid)
        yield* Registry.register(Names, "hello", "other")
        assert.deepStrictEqual(pairs(yield* Registry.lookup(Names, "hello")), [[self, "other"]])
      })
    )
  )

  it.effect("gives up keys one by one", () =>
    actor(
      Effect.gen(function* () {
        yield* Registry.startLink(Names)
        const self = yield* Process.Self
        yield* Registry.unregister(Names, "hello")
        yield* Registry.register(Names, "hello", 1)
        yield* Registry.register(Names, "world", 2)
        yield* Registry.unregister(Names, "hello")
        assert.deepStrictEqual(yield* Registry.keys(Names, self), ["world"])
        yield* Registry.unregisterMatch(Names, "world", (value) => value === 1)
        assert.deepStrictEqual(yield* Registry.keys(Names, self), ["world"])
        yield* Registry.unregisterMatch(Names, "world", (value) => value === 2)
        assert.deepStrictEqual(yield* Registry.keys(Names, self), [])
        assert.strictEqual(yield* Registry.count(Names), 0)
      })
    )
  )

  it.effect("changes the value of one's own entry, and of no other", () =>
    actor(
      Effect.gen(function* () {
        const Numbers = Registry.unique<string, number>("numbers")
        yield* Registry.startLink(Numbers)
        const self = yield* Process.Self
        const never = (_: number): number => assert.fail("called")
        const missing = yield* Effect.flip(Registry.updateValue(Numbers, "hello", never))
        assert.strictEqual(missing._tag, "NotRegistered")
        yield* other(Numbers, "hello", 1)
        const foreign = yield* Effect.flip(Registry.updateValue(Numbers, "hello", never))
        assert.strictEqual(foreign._tag, "NotRegistered")
        yield* Registry.register(Numbers, "world", 1)
        assert.deepStrictEqual(yield* Registry.updateValue(Numbers, "world", (n) => n + 1), [2, 1])
        assert.deepStrictEqual(pairs(yield* Registry.lookup(Numbers, "world")), [[self, 2]])
        assert.deepStrictEqual(yield* Registry.values(Numbers, "world", self), [2])
        assert.deepStrictEqual(yield* Registry.keys(Numbers, self), ["world"])
        yield* Registry.unregister(Numbers, "world")
        assert.strictEqual(yield* Registry.count(Numbers), 1)
      })
    )
  )

  it.effect("dispatches to the one entry of a key, and not without one", () =>
    actor(
      Effect.gen(function* () {
        yield* Registry.startLink(Names)
        const self = yield* Process.Self
        yield* Registry.dispatch(Names, "hello", () => Effect.die("called"))
        yield* Registry.register(Names, "hello", "value")
        yield* Registry.dispatch(Names, "hello", ([entry]) =>
          entry === undefined ? Effect.die("empty") : Process.send(entry.pid, ["dispatch", entry.value])
        )
        assert.deepStrictEqual(yield* Process.receive(), ["dispatch", "value"])
        assert.strictEqual(yield* Registry.whereis(Names, "hello"), self)
      })
    )
  )

  it.effect("names servers", () =>
    actor(
      Effect.gen(function* () {
        yield* Registry.startLink(Names)
        const via = Registry.via(Names, "hello", "the value")
        const counter = GenServer.name(Counter, via)
        const pid = yield* GenServer.startLink(Counter, [0], { name: via })
        assert.strictEqual(yield* GenServer.call(counter, "add", 1), 1)
        assert.strictEqual(yield* Process.whereis(via), pid)
        assert.deepStrictEqual(pairs(yield* Registry.lookup(Names, "hello")), [[pid, "the value"]])
        const taken = yield* Effect.flip(GenServer.startLink(Counter, [0], { name: via }))
        assert.strictEqual(taken._tag === "AlreadyStarted" && taken.pid, pid)
        yield* GenServer.stop(counter)
        assert.strictEqual(yield* Process.whereis(via), undefined)
        assert.strictEqual((yield* Effect.flip(GenServer.call(counter, "add", 1)))._tag, "NoProcess")
        yield* GenServer.startLink(Counter, [5], { name: via })
        assert.strictEqual(yield* GenServer.call(counter, "add", 1), 6)
      })
    )
  )

  it.effect("has a free name again when the start of its server has failed", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        yield* Registry.startLink(Names)
        const via = Registry.via(Names, "hello")
        const failed = yield* Effect.flip(GenServer.startLink(Counter, [-1], { name: via }))
        assert.strictEqual(failed._tag, "InitFailed")
        assert.strictEqual(yield* Registry.count(Names), 0)
        yield* GenServer.startLink(Counter, [1], { name: via })
      })
    )
  )

  it.effect("fails to name anything when it does not run, and leaves no process behind", () =>
    Effect.gen(function* () {
      const system = yield* ActorSystem.ActorSystem
      const via = Registry.via(Names, "hello")
      assert.strictEqual(yield* Process.whereis(via), undefined)
      assert.strictEqual((yield* Effect.flip(GenServer.call(GenServer.name(Counter, via), "add", 1)))._tag, "NoProcess")
      const failed = yield* Effect.flip(GenServer.start(Counter, [0], { name: via }))
      assert.strictEqual(failed._tag, "InitFailed")
      if (failed._tag === "InitFailed") assert.deepStrictEqual(failed.reason, ExitReason.noProcess)
      assert.strictEqual(system.processes.size, 0)
    }).pipe(ActorSystem.scoped)
  )

  it.effect("names a restarted child again, also by a key that is a structure", () =>
    actor(
      Effect.gen(function* () {
        yield* Registry.startLink(Names)
        const via = Registry.via(Names, { room: 1 })
        yield* Supervisor.startLink({ children: [Supervisor.server("counter", Counter, [1], { name: via })] })
        const first = yield* Registry.whereis(Names, { room: 1 })
        yield* kill(first as Pid.Any)
        yield* Effect.yieldNow
        const second = yield* Registry.whereis(Names, { room: 1 })
        assert.isDefined(second)
        assert.notStrictEqual(second, first)
        assert.strictEqual(yield* GenServer.call(GenServer.name(Counter, via), "add", 1), 2)
      })
    )
  )

  it.effect("belongs to its actor system", () =>
    Effect.gen(function* () {
      const here = actor(
        Effect.gen(function* () {
          yield* Registry.startLink(Names)
          yield* Registry.register(Names, "hello")
          return yield* Registry.count(Names)
        })
      )
      assert.deepStrictEqual(yield* Effect.all([here, here], { concurrency: 2 }), [1, 1])
    })
  )

  it.effect("is a Layer, which ends what is still registered", () =>
    Effect.gen(function* () {
      const pid = yield* Effect.provide(other(Names, "hello", "value"), Registry.layer(Names))
      assert.isFalse(yield* Process.isAlive(pid))
      assert.strictEqual((yield* Effect.flip(Registry.count(Names)))._tag, "UnknownRegistry")
    }).pipe(ActorSystem.scoped)
  )

  it.effect("finds one of 100,000 keys as fast as one of ten, and forgets them all with their owner", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* Registry.startLink(Names)
        const owner = yield* Process.spawn(
          Effect.gen(function* () {
            for (let i = 0; i < 100_000; i++) yield* Registry.register(Names, i, i)
            yield* Effect.never
          })
        )
        while ((yield* Registry.count(Names)) < 100_000) yield* Effect.yieldNow
        assert.deepStrictEqual(pairs(yield* Registry.lookup(Names, 77_777)), [[owner, 77_777]])
        yield* kill(owner)
        assert.strictEqual(yield* Registry.count(Names), 0)
        assert.isTrue(yield* Process.isAlive(pid))
      })
    )
  )
})

describe("a duplicate registry", () => {
  it.effect("has many entries a key, of one process and of many, in their order", () =>
    actor(
      Effect.gen(function* () {
        yield* Registry.startLink(Topics)
        const self = yield* Process.Self
        const pid = yield* other(Topics, "hello", "world")
        assert.deepStrictEqual(yield* Registry.keys(Topics, self), [])
        assert.deepStrictEqual(yield* Registry.values(Topics, "hello", pid), ["world"])
        yield* Registry.register(Topics, "hello", 1)
        yield* Registry.register(Topics, "hello", 1)
        assert.deepStrictEqual(yield* Registry.keys(Topics, self), ["hello", "hello"])
        assert.deepStrictEqual(yield* Registry.values(Topics, "hello", self), [1, 1])
        assert.deepStrictEqual(pairs(yield* Registry.lookup(Topics, "hello")), [
          [pid, "world"],
          [self, 1],
          [self, 1]
        ])
        assert.strictEqual(yield* Registry.count(Topics), 3)
      })
    )
  )

  it.effect("dispatches to all entries of a key", () =>
    actor(
      Effect.gen(function* () {
        yield* Registry.startLink(Topics)
        const send = (entries: ReadonlyArray<Registry.Entry<unknown>>) =>
          Effect.forEach(entries, (entry) => Process.send(entry.pid, entry.value))
        yield* Registry.dispatch(Topics, "hello", () => Effect.die("called"))
        yield* Registry.register(Topics, "hello", 1)
        yield* Registry.register(Topics, "hello", 2)
        yield* Registry.register(Topics, "world", 3)
        yield* Registry.dispatch(Topics, "hello", send)
        yield* Registry.dispatch(Topics, "world", send)
        assert.deepStrictEqual(
          [yield* Process.receive(), yield* Process.receive(), yield* Process.receive()],
          [1, 2, 3]
        )
      })
    )
  )

  it.effect("gives up all entries of a key, or those with a certain value", () =>
    actor(
      Effect.gen(function* () {
        yield* Registry.startLink(Topics)
        const self = yield* Process.Self
        const pid = yield* other(Topics, "hello", 1)
        for (const value of [1, 2, 2]) yield* Registry.register(Topics, "hello", value)
        yield* Registry.register(Topics, "world", 1)
        yield* Registry.unregisterMatch(Topics, "hello", (value) => value === 2)
        assert.deepStrictEqual(pairs(yield* Registry.lookup(Topics, "hello")), [
          [pid, 1],
          [self, 1]
        ])
        assert.deepStrictEqual(yield* Registry.keys(Topics, self), ["hello", "world"])
        yield* Registry.unregister(Topics, "hello")
        assert.deepStrictEqual(yield* Registry.keys(Topics, self), ["world"])
        assert.deepStrictEqual(pairs(yield* Registry.lookup(Topics, "hello")), [[pid, 1]])
      })
    )
  )
})

describe("the locks of a registry", () => {
  const started = <A, E>(body: Effect.Effect<A, E, Process.Self | Scope.Scope>) =>
    actor(Effect.andThen(Registry.startLink(Names), body))

  /** Holds a lock until told to let go. */
  const holder = (key: unknown, end: Effect.Effect<void> = Effect.void) =>
    Effect.gen(function* () {
      const locked = yield* Deferred.make<void>()
      const go = yield* Deferred.make<void>()
      const pid = yield* Process.spawn(
        Registry.lock(
          Names,
          key,
          Effect.gen(function* () {
            yield* Deferred.succeed(locked, undefined)
            yield* Deferred.await(go)
            yield* end
          })
        )
      )
      const isLocked = Effect.map(Effect.yieldNow, () => Deferred.isDoneUnsafe(locked))
      return { pid, isLocked, locked: Deferred.await(locked), release: Deferred.succeed(go, undefined) }
    })

  it.effect("are free for different keys", () =>
    started(
      Effect.gen(function* () {
        const one = yield* holder(1)
        const two = yield* holder(2)
        yield* one.locked
        yield* two.locked
        yield* one.release
        yield* two.release
        assert.strictEqual(yield* Registry.lock(Names, 1, Effect.succeed("done")), "done")
      })
    )
  )

  it.effect("make others with the same key wait", () =>
    started(
      Effect.gen(function* () {
        const one = yield* holder(["a"])
        yield* one.locked
        const two = yield* holder(["a"])
        assert.isFalse(yield* two.isLocked)
        yield* one.release
        yield* two.locked
        yield* two.release
        assert.strictEqual(yield* Registry.lock(Names, ["a"], Effect.succeed("done")), "done")
      })
    )
  )

  it.effect("are free again when the holder fails, or is killed", () =>
    started(
      Effect.gen(function* () {
        const one = yield* holder("key", Effect.die("oops"))
        yield* one.locked
        const two = yield* holder("key")
        yield* one.release
        yield* two.locked
        yield* kill(two.pid)
        assert.strictEqual(yield* Registry.lock(Names, "key", Effect.succeed("done")), "done")
      })
    )
  )

  it.effect("skip one that died while it waited", () =>
    started(
      Effect.gen(function* () {
        const one = yield* holder("key")
        yield* one.locked
        const two = yield* holder("key")
        assert.isFalse(yield* two.isLocked)
        yield* kill(two.pid)
        const three = yield* holder("key")
        assert.isFalse(yield* three.isLocked)
        yield* one.release
        yield* three.locked
        yield* three.release
        assert.strictEqual(yield* Registry.lock(Names, "key", Effect.succeed("done")), "done")
        assert.isFalse(yield* two.isLocked)
      })
    )
  )

  it.effect("are not held by one who was interrupted", () =>
    started(
      Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(Registry.lock(Names, "key", Effect.never), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        assert.isTrue(Exit.isSuccess(yield* Effect.exit(Registry.lock(Names, "key", Effect.void))))
      })
    )
  )
})
