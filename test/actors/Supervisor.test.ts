import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { TestClock } from "effect/testing"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as GenServer from "../../src/actors/GenServer.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Supervisor from "../../src/actors/Supervisor.ts"
import { actor, flush, quiet } from "./support.ts"

const boom = ExitReason.custom("boom")
const EchoProtocol = GenServer.protocol({ ping: GenServer.Call<void, string>(), crash: GenServer.Cast() })
const Echo = GenServer.make(EchoProtocol, {
  init: (text: string) => GenServer.ok(text),
  handlers: {
    ping: (_, text) => GenServer.reply(text, text),
    crash: () => Effect.die(new Error("bug"))
  }
})

const idle = (id: string, options?: Supervisor.ChildOptions) => Supervisor.child(id, Effect.never, options)

const pidOf = (supervisor: Supervisor.Ref, id: string) =>
  Effect.map(
    Supervisor.whichChildren(supervisor),
    (children) => children.find((child) => child.id === id)?.child as Pid.Any
  )

const crash = (supervisor: Supervisor.Ref, id: string) =>
  Effect.gen(function* () {
    yield* Process.exit(yield* pidOf(supervisor, id), boom)
    yield* quiet
  })

describe("specs", () => {
  it.effect("S1: OTP's defaults", () =>
    actor(
      Effect.gen(function* () {
        const sup = yield* Supervisor.startLink({
          children: [idle("a"), Supervisor.supervisor("s", { children: [] })]
        })
        const worker = yield* Supervisor.getChildSpec(sup, "a")
        assert.deepInclude(worker, { restart: "permanent", shutdown: 5000, significant: false, type: "worker" })
        assert.deepInclude(yield* Supervisor.getChildSpec(sup, "s"), { type: "supervisor", shutdown: "infinity" })
        yield* crash(sup, "a")
        const end = yield* Process.monitor(sup)
        yield* Process.trapExit(true)
        yield* crash(sup, "a")
        const down = (yield* flush).filter(Process.isDown)
        assert.deepStrictEqual(
          down.map(({ monitor, reason }) => [monitor === end, reason._tag]),
          [[true, "Shutdown"]]
        )
      })
    )
  )

  it.effect("S2: what is wrong with a spec is said, and nothing is started", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const started: Array<string> = []
        const first = Supervisor.child(
          "first",
          Effect.sync(() => started.push("first"))
        )
        const problem = (options: object) =>
          Effect.map(
            Effect.flip(
              Supervisor.startLink({ children: [first], ...options } as Supervisor.Options<ReadonlyArray<typeof first>>)
            ),
            (error) =>
              error._tag === "InitFailed" && error.reason._tag === "Custom"
                ? (error.reason.term as Supervisor.InvalidSpec).problem
                : error._tag
          )
        const child = (spec: object) => ({ children: [first, { ...idle("x"), ...spec }] })
        const cases: ReadonlyArray<readonly [string, object]> = [
          ["invalidStrategy", { strategy: "all" }],
          ["invalidIntensity", { intensity: -1 }],
          ["invalidIntensity", { intensity: 1.5 }],
          ["invalidPeriod", { period: 0 }],
          ["invalidPeriod", { period: "1500 millis" }],
          ["invalidAutoShutdown", { autoShutdown: "maybe" }],
          ["badStartSpec", { strategy: "simpleOneForOne", children: [] }],
          ["missingId", child({ id: undefined })],
          ["missingStart", child({ start: undefined })],
          ["invalidStart", child({ start: 5 })],
          ["invalidRestart", child({ restart: "often" })],
          ["invalidShutdown", child({ shutdown: "soon" })],
          ["invalidShutdown", child({ shutdown: -1 })],
          ["invalidType", child({ type: "robot" })],
          ["invalidModules", child({ modules: 5 })],
          ["invalidSignificant", child({ significant: "very", restart: "temporary" })],
          ["significantWithoutAutoShutdown", child({ significant: true, restart: "temporary" })],
          ["significantAndPermanent", { autoShutdown: "anySignificant", ...child({ significant: true }) }],
          ["duplicateChildName", child({ id: "first" })],
          ["invalidChildSpec", { children: [first, 5] }]
        ]
        for (const [expected, options] of cases) assert.strictEqual(yield* problem(options), expected)
        assert.deepStrictEqual(started, [])
        const odd = { ...idle("a"), color: "red" }
        yield* Supervisor.startLink({ children: [odd] })
      })
    )
  )
})

describe("starting and stopping", () => {
  it.effect("S3: children start one after another, and stop in reverse order", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const child = (id: string): Supervisor.ChildSpec<Process.Self> => {
          const server = GenServer.make(GenServer.protocol({}), {
            init: () =>
              Effect.gen(function* () {
                yield* Process.trapExit(true)
                yield* Effect.yieldNow
                log.push(`start ${id}`)
                return GenServer.ok(0)
              }),
            handlers: {},
            terminate: () => Effect.sync(() => log.push(`stop ${id}`))
          })
          return { id, start: GenServer.startLink(server) }
        }
        yield* Effect.scoped(
          Supervisor.scoped({ children: [child("a"), child("b"), child("c")] })
        ) as Effect.Effect<unknown>
        assert.deepStrictEqual(log, ["start a", "start b", "start c", "stop c", "stop b", "stop a"])
      })
    )
  )

  it.effect("S6: a child that does not start takes the others down, and the start says which and why", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const ended: Array<string> = []
        const release = Effect.sync(() => ended.push("a"))
        const a = Supervisor.child(
          "a",
          Effect.andThen(
            Effect.addFinalizer(() => release),
            Effect.never
          )
        )
        const b: Supervisor.ChildSpec = { id: "b", start: Effect.fail("nope") }
        const error = yield* Effect.flip(Supervisor.startLink({ children: [a, b] }))
        assert.isTrue(error._tag === "InitFailed" && error.reason._tag === "ShutdownWith")
        if (error._tag === "InitFailed" && error.reason._tag === "ShutdownWith") {
          const { detail } = error.reason
          assert.isTrue(detail instanceof Supervisor.FailedToStartChild && detail.id === "b")
        }
        assert.deepStrictEqual(ended, ["a"])
      })
    )
  )

  it.effect("S25: a child that takes too long is killed", () =>
    actor(
      Effect.gen(function* () {
        const stubborn = Supervisor.child("a", Effect.andThen(Process.trapExit(true), Effect.never), {
          shutdown: "2 seconds"
        })
        const sup = yield* Supervisor.startLink({ children: [stubborn] })
        const pid = yield* pidOf(sup, "a")
        yield* quiet
        const stop = yield* Effect.forkChild(Supervisor.terminateChild(sup, "a"), { startImmediately: true })
        const end = yield* Effect.forkChild(Process.awaitExit(pid), { startImmediately: true })
        yield* TestClock.adjust("1999 millis")
        assert.isTrue(yield* Process.isAlive(pid))
        yield* TestClock.adjust("1 millis")
        assert.strictEqual((yield* Fiber.join(end))._tag, "Killed")
        yield* Fiber.join(stop)
      })
    )
  )

  it.effect("S26: a child that unlinked itself can still be stopped", () =>
    actor(
      Effect.gen(function* () {
        const body = Effect.flatMap(Process.self, (me) =>
          Effect.andThen(Process.unlink(Process.ancestors(me)[0] as Pid.Any), Effect.never)
        )
        const sup = yield* Supervisor.startLink({ children: [Supervisor.child("a", body)] })
        yield* quiet
        yield* Supervisor.terminateChild(sup, "a")
        assert.deepStrictEqual(yield* Supervisor.countChildren(sup), {
          specs: 1,
          active: 0,
          supervisors: 0,
          workers: 1
        })
      })
    )
  )

  it.effect("S27: dynamic children are stopped at once, in the time of one", () =>
    actor(
      Effect.gen(function* () {
        const template = {
          id: "t",
          shutdown: "1 second" as const,
          start: () => Supervisor.child("t", Effect.andThen(Process.trapExit(true), Effect.never)).start
        }
        const begin = Supervisor.startLink({ strategy: "simpleOneForOne", children: [template] })
        yield* Process.trapExit(true)
        const sup = yield* begin
        for (let i = 0; i < 10; i++) yield* Supervisor.startDynamic(sup)
        yield* quiet
        yield* Process.exit(sup, ExitReason.shutdown)
        yield* TestClock.adjust("1 second")
        yield* quiet
        assert.isFalse(yield* Process.isAlive(sup))
      })
    )
  )
})

describe("requests", () => {
  it.effect("S33 to S36: every answer", () =>
    actor(
      Effect.gen(function* () {
        const sup = yield* Supervisor.startLink({ children: [idle("a")] })
        const tag = <A, E extends { readonly _tag: string }>(effect: Effect.Effect<A, E>) =>
          Effect.map(Effect.result(effect), (result) => (result._tag === "Success" ? "ok" : result.failure._tag))
        assert.strictEqual(yield* tag(Supervisor.startChild(sup, idle("a"))), "ChildRunning")
        assert.strictEqual(yield* tag(Supervisor.restartChild(sup, "a")), "ChildRunning")
        assert.strictEqual(yield* tag(Supervisor.deleteChild(sup, "a")), "ChildRunning")
        assert.strictEqual(yield* tag(Supervisor.terminateChild(sup, "z")), "ChildNotFound")
        assert.strictEqual(yield* tag(Supervisor.terminateChild(sup, yield* pidOf(sup, "a"))), "ChildNotFound")
        assert.strictEqual(yield* tag(Supervisor.terminateChild(sup, "a")), "ok")
        assert.strictEqual(yield* tag(Supervisor.terminateChild(sup, "a")), "ok")
        assert.strictEqual(yield* tag(Supervisor.startChild(sup, idle("a"))), "AlreadyPresent")
        assert.strictEqual(yield* tag(Supervisor.restartChild(sup, "a")), "ok")
        yield* Supervisor.terminateChild(sup, "a")
        assert.strictEqual(yield* tag(Supervisor.deleteChild(sup, "a")), "ok")
        assert.strictEqual(yield* tag(Supervisor.getChildSpec(sup, "a")), "ChildNotFound")
        assert.strictEqual(
          yield* tag(Supervisor.startChild(sup, { ...idle("b"), restart: "often" as never })),
          "InvalidSpec"
        )
        assert.strictEqual(
          yield* tag(Supervisor.startChild(sup, { id: "f", start: Effect.fail(1) })),
          "FailedToStartChild"
        )
        const ignoring = { id: "i", start: Effect.fail(new GenServer.Ignored({ server: "i" })) }
        assert.deepStrictEqual(yield* Supervisor.startChild(sup, ignoring), { pid: undefined, info: undefined })
        const told = {
          id: "t",
          start: Effect.map(idle("t").start, (each) => Supervisor.started((each as { pid: Pid.Any }).pid, "info"))
        }
        assert.strictEqual((yield* Supervisor.startChild(sup, told)).info, "info")
        assert.deepStrictEqual(
          (yield* Supervisor.whichChildren(sup)).map(({ id }) => id),
          ["t", "i"]
        )
      })
    )
  )

  it.effect("S38: an unknown request crashes the supervisor, and its children with it", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const sup = yield* Supervisor.startLink({ children: [idle("a")] })
        const child = yield* pidOf(sup, "a")
        const error = yield* Effect.flip(GenServer.call(sup as Pid.Any as Pid.Pid<typeof EchoProtocol>, "ping"))
        assert.strictEqual(error._tag, "ServerExit")
        assert.isFalse(yield* Process.isAlive(child))
      })
    )
  )

  it.effect("a dead supervisor is NoProcess", () =>
    actor(
      Effect.gen(function* () {
        const sup = yield* Effect.scoped(Supervisor.scoped({ children: [] }))
        assert.strictEqual((yield* Effect.flip(Supervisor.whichChildren(sup)))._tag, "NoProcess")
        assert.strictEqual((yield* Effect.flip(Supervisor.whichChildren("nobody")))._tag, "NoProcess")
      })
    )
  )

  it.effect("servers as children, found by name, are restarted under it", () =>
    actor(
      Effect.gen(function* () {
        yield* Supervisor.startLink({
          intensity: 2,
          children: [Supervisor.server("echo", Echo, ["hi"], { name: "echo" })]
        })
        const echo = GenServer.name(Echo, "echo")
        assert.strictEqual(yield* GenServer.call(echo, "ping"), "hi")
        const before = yield* Process.whereis("echo")
        yield* GenServer.cast(echo, "crash")
        yield* quiet
        assert.notStrictEqual(yield* Process.whereis("echo"), before)
        assert.strictEqual(yield* GenServer.call(echo, "ping"), "hi")
      })
    )
  )

  it.effect("S18: a restart exactly a period old still counts, on Effect's Clock", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const sup = yield* Supervisor.startLink({ intensity: 1, period: "5 seconds", children: [idle("a")] })
        yield* crash(sup, "a")
        yield* TestClock.adjust("6 seconds")
        yield* crash(sup, "a")
        assert.isTrue(yield* Process.isAlive(sup))
        yield* TestClock.adjust("5 seconds")
        yield* crash(sup, "a")
        assert.isFalse(yield* Process.isAlive(sup))
      })
    )
  )
})

class Hypervisor extends Context.Service<Hypervisor, { readonly generation: number }>()("test/Hypervisor") {}
class Control extends Context.Service<Control, { readonly of: number; readonly fail: Effect.Effect<void> }>()(
  "test/Control"
) {}

describe("Layers as children", () => {
  const tree = (log: Array<string>) => {
    let generation = 0
    const hypervisor = Layer.effect(
      Hypervisor,
      Effect.gen(function* () {
        const own = ++generation
        log.push(`hypervisor ${own} up`)
        yield* Effect.addFinalizer(() => Effect.sync(() => log.push(`hypervisor ${own} down`)))
        return { generation: own }
      })
    )
    const control = Layer.effect(
      Control,
      Effect.gen(function* () {
        const below = yield* Hypervisor
        const me = yield* Process.Self
        yield* Effect.addFinalizer(() => Effect.sync(() => log.push(`control of ${below.generation} down`)))
        return { of: below.generation, fail: Process.exit(me, boom) }
      })
    )
    return {
      strategy: "restForOne" as const,
      intensity: 5,
      children: [Supervisor.childLayer("hypervisor", hypervisor), Supervisor.childLayer("control", control)] as const
    }
  }

  it.effect("are built in order, see their elder siblings, and are released in reverse order", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      yield* ActorSystem.scoped(
        Effect.scoped(
          Effect.gen(function* () {
            const sup = yield* Supervisor.scoped(tree(log))
            assert.strictEqual((yield* Supervisor.service(sup, Control)).of, 1)
          })
        )
      )
      assert.deepStrictEqual(log, ["hypervisor 1 up", "control of 1 down", "hypervisor 1 down"])
    })
  )

  it.effect("are built anew when restarted, and the younger see the new services", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const sup = yield* Supervisor.startLink(tree(log))
        const control = yield* Supervisor.service(sup, Control)
        yield* control.fail
        yield* quiet
        assert.strictEqual((yield* Supervisor.service(sup, Hypervisor)).generation, 1)
        assert.notStrictEqual(yield* Supervisor.service(sup, Control), control)
        yield* crash(sup, "hypervisor")
        assert.strictEqual((yield* Supervisor.service(sup, Control)).of, 2)
      })
    )
  )

  it.effect("one that fails to build is a child that failed to start", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const bad = Supervisor.childLayer("bad", Layer.effect(Hypervisor, Effect.fail("no hypervisor")))
        const error = yield* Effect.flip(Supervisor.startLink({ children: [bad] }))
        assert.include(error.message, "no hypervisor")
      })
    )
  )

  it.effect("Supervisor.layer provides what they built", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const program = Effect.gen(function* () {
        return [(yield* Hypervisor).generation, (yield* Control).of]
      })
      assert.deepStrictEqual(yield* Effect.provide(program, Supervisor.layer(tree(log))), [1, 1])
      assert.strictEqual(log.at(-1), "hypervisor 1 down")
    })
  )
})

describe("Layers that are built after their start", () => {
  class Link extends Context.Service<Link, { readonly number: number }>()("test/Link") {}

  /** Builds when it is told to, by a gate of its own each time; says what it did. */
  const slow = (log: Array<string>, gates: ReadonlyArray<Deferred.Deferred<void, string>>) => {
    let count = 0
    return Layer.effect(
      Link,
      Effect.gen(function* () {
        const number = ++count
        log.push(`build ${number}`)
        yield* Effect.addFinalizer(() => Effect.sync(() => log.push(`release ${number}`)))
        const gate = gates[number - 1]
        if (gate !== undefined) yield* Deferred.await(gate)
        log.push(`built ${number}`)
        return { number }
      }).pipe(Effect.onInterrupt(() => Effect.sync(() => log.push("interrupted"))))
    )
  }
  const gate = Deferred.make<void, string>()
  const continued = (layer: Layer.Layer<Link, string>, options?: Supervisor.ChildOptions) =>
    Supervisor.childLayer("link", layer, { ...options, build: "continue" })
  const number = (sup: Supervisor.Ref) =>
    Effect.match(Supervisor.service(sup, Link), { onFailure: ({ _tag }) => _tag, onSuccess: (link) => link.number })

  it.effect("count as started at once, run without services, and have them when they are built", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const open = yield* gate
        const sup = yield* Supervisor.startLink({ children: [continued(slow(log, [open])), idle("next")] })
        const pid = yield* pidOf(sup, "link")
        assert.strictEqual((yield* Supervisor.countChildren(sup)).active, 2)
        yield* quiet
        assert.deepStrictEqual(log, ["build 1"])
        assert.strictEqual(yield* number(sup), "NoProcess")
        yield* Deferred.succeed(open, undefined)
        yield* quiet
        assert.strictEqual(yield* number(sup), 1)
        assert.strictEqual(yield* pidOf(sup, "link"), pid)
      })
    )
  )

  it.effect("crash when their build fails, with its cause, and are restarted like every child", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const first = yield* gate
        const sup = yield* Supervisor.startLink({ children: [continued(slow(log, [first]))] })
        const ended = yield* Effect.forkChild(Process.awaitExit(yield* pidOf(sup, "link")), { startImmediately: true })
        yield* quiet
        yield* Deferred.fail(first, "no link")
        const reason = yield* Fiber.join(ended)
        assert.strictEqual(ExitReason.format(reason), "crashed: no link")
        yield* quiet
        assert.strictEqual(yield* number(sup), 2)
        assert.deepStrictEqual(log, ["build 1", "release 1", "build 2", "built 2"])
      })
    )
  )

  it.effect.each([
    ["permanent", "restarted"],
    ["transient", "kept"],
    ["temporary", "forgotten"]
  ] as const)("end in order when their build ends the process with shutdown: %s is %s", ([restart, fate]) =>
    actor(
      Effect.gen(function* () {
        let builds = 0
        const layer = Layer.effect(
          Link,
          Effect.suspend(() =>
            ++builds === 1 ? Process.exit(ExitReason.shutdown) : Effect.succeed({ number: builds })
          )
        )
        const sup = yield* Supervisor.startLink({ children: [continued(layer, { restart })] })
        yield* quiet
        const children = yield* Supervisor.whichChildren(sup)
        assert.strictEqual(builds, fate === "restarted" ? 2 : 1)
        assert.deepStrictEqual(
          children.map(({ child }) => child === undefined),
          fate === "forgotten" ? [] : [fate === "kept"]
        )
      })
    )
  )

  it.effect("are interrupted by a stop while they are built, and release what they have", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const sup = yield* Supervisor.startLink({
          children: [continued(slow(log, [yield* gate]))]
        })
        const ended = yield* Effect.forkChild(Process.awaitExit(yield* pidOf(sup, "link")), { startImmediately: true })
        yield* quiet
        yield* Supervisor.terminateChild(sup, "link")
        assert.strictEqual((yield* Fiber.join(ended))._tag, "Shutdown")
        assert.deepStrictEqual(log, ["build 1", "interrupted", "release 1"])
        assert.strictEqual(yield* number(sup), "NoProcess")
      })
    )
  )

  it.effect("have no services from the end of one process until the next has built its own", () =>
    actor(
      Effect.gen(function* () {
        const open = yield* gate
        yield* Deferred.succeed(open, undefined)
        const second = yield* gate
        const sup = yield* Supervisor.startLink({
          children: [continued(slow([], [open, second]))]
        })
        yield* quiet
        assert.strictEqual(yield* number(sup), 1)
        yield* Process.exit(yield* pidOf(sup, "link"), boom)
        assert.strictEqual(yield* number(sup), "NoProcess")
        yield* quiet
        assert.strictEqual(yield* number(sup), "NoProcess")
        yield* Deferred.succeed(second, undefined)
        yield* quiet
        assert.strictEqual(yield* number(sup), 2)
      })
    )
  )

  it.effect("give their services to no sibling and not to Supervisor.layer, also when they have them by then", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const user = Supervisor.child(
        "user",
        Effect.flatMap(Link, (link) => {
          seen.push(link.number)
          return Effect.never
        })
      )
      const tree = Supervisor.layer({
        strategy: "restForOne",
        children: [continued(Layer.succeed(Link, { number: 1 })), user]
      })
      yield* Link.pipe(
        Effect.tap((link) => Effect.sync(() => seen.push(link.number))),
        Effect.andThen(quiet),
        Effect.provide(tree),
        Effect.provideService(Link, { number: 7 })
      )
      assert.deepStrictEqual(seen, [7, 7])
    })
  )
})

describe("scale", () => {
  it.live("a tree crashed and restarted 2,000 times loses nothing", () =>
    actor(
      Effect.gen(function* () {
        const sup = yield* Supervisor.startLink({
          strategy: "oneForAll",
          intensity: 1_000_000,
          children: [idle("a"), idle("b")]
        })
        for (let i = 0; i < 2000; i++) {
          yield* Process.exit(yield* pidOf(sup, "a"), boom)
        }
        yield* quiet
        assert.strictEqual((yield* Supervisor.countChildren(sup)).active, 2)
        const me = yield* Process.self
        const { processes } = yield* ActorSystem.ActorSystem
        assert.strictEqual(processes.size, 4)
        assert.isTrue(processes.has(me as never))
      })
    )
  )

  it.live("10,000 dynamic children are started, counted and stopped", () =>
    actor(
      Effect.gen(function* () {
        const template = { id: "t", restart: "temporary" as const, start: () => idle("t").start }
        const exit = yield* Effect.exit(
          Effect.scoped(
            Effect.gen(function* () {
              const sup = yield* Supervisor.scoped({ strategy: "simpleOneForOne", children: [template] })
              for (let i = 0; i < 10_000; i++) yield* Supervisor.startDynamic(sup)
              assert.strictEqual((yield* Supervisor.countChildren(sup)).active, 10_000)
            })
          )
        )
        assert.isTrue(Exit.isSuccess(exit))
        assert.strictEqual((yield* ActorSystem.ActorSystem).processes.size, 1)
      })
    )
  )
})
