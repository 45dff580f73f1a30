import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as Application from "../../src/actors/Application.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Supervisor from "../../src/actors/Supervisor.ts"
import { actor, quiet } from "./support.ts"

class Disk extends Context.Service<Disk, string>()("test/Disk") {}

const oops = ExitReason.custom("oops")

/** Three applications, each of which needs the one before, and one that cannot start; everything they do is logged. */
const world = () => {
  const log: Array<string> = []
  const note = (line: string) => Effect.sync(() => void log.push(line))
  const child = (name: string) =>
    Supervisor.child(
      name,
      Effect.acquireRelease(note(`${name} up`), () => note(`${name} down`)).pipe(Effect.andThen(Effect.never))
    )
  const application = <const D extends ReadonlyArray<Application.Application<unknown, unknown>>>(
    name: string,
    dependencies: D
  ) =>
    Application.make({
      name,
      dependencies,
      start: () => Supervisor.startLink({ children: [child(name)] }, { name }),
      prepStop: () => note(`${name} prepares to stop`),
      stop: () => note(`${name} stopped`)
    })
  const a = application("a", [])
  const b = application("b", [a])
  const c = application("c", [b])
  const bad = Application.make({ name: "bad", dependencies: [a], start: () => Process.exit(oops) })
  return { log, a, b, c, bad }
}

/** Runs a body with a controller of its own. */
const controlled = <A, E>(body: Effect.Effect<A, E, Application.Applications | Process.Self | Scope.Scope>) =>
  actor(Effect.provide(body, Application.layerController, { local: true }))

const names = Effect.map(Application.whichApplications, (all) => all.map(({ name }) => name))
const end = (name: string, reason: ExitReason.ExitReason) =>
  Effect.gen(function* () {
    const pid = yield* Process.whereis(name)
    if (pid !== undefined) yield* Process.exit(pid, reason)
    yield* quiet
  })

describe("applications", () => {
  it.effect("start after what they need, and stop in reverse", () =>
    actor(
      Effect.gen(function* () {
        const { log, c } = world()
        const scope = yield* Scope.make()
        yield* Layer.buildWithScope(Application.layer(c), scope)
        yield* quiet
        assert.deepStrictEqual(log, ["a up", "b up", "c up"])
        log.length = 0
        yield* Scope.close(scope, Exit.void)
        const steps = (name: string) => [`${name} prepares to stop`, `${name} down`, `${name} stopped`]
        assert.deepStrictEqual(log, [...steps("c"), ...steps("b"), ...steps("a")])
      })
    )
  )

  it.effect("answer as OTP does", () =>
    controlled(
      Effect.gen(function* () {
        const { a, b, c, bad } = world()
        const alone = yield* Effect.flip(Application.start(c))
        assert.deepStrictEqual(alone, new Application.ApplicationNotStarted({ application: "b" }))
        assert.deepStrictEqual(yield* Application.ensureAllStarted(c), ["a", "b", "c"])
        const twice = yield* Effect.flip(Application.start(c))
        assert.deepStrictEqual(twice, new Application.ApplicationAlreadyStarted({ application: "c" }))
        assert.deepStrictEqual(yield* Application.ensureAllStarted(c), [])
        // Stopping one stops no other.
        yield* Application.stop(a)
        assert.deepStrictEqual(yield* names, ["c", "b"])
        const stopped = yield* Effect.flip(Application.stop(a))
        assert.deepStrictEqual(stopped, new Application.ApplicationNotStarted({ application: "a" }))
        // What was started on the way to a failure is stopped again.
        const failed = yield* Effect.flip(Application.ensureAllStarted(bad))
        assert.deepStrictEqual(failed, new Application.ApplicationStartFailed({ application: "bad", reason: oops }))
        assert.deepStrictEqual(yield* names, ["c", "b"])
        yield* Application.start(a)
        yield* Application.stop(b)
        yield* Application.start(b)
        assert.deepStrictEqual(yield* names, ["b", "a", "c"])
      })
    )
  )

  it.effect("start once when two want them at the same time", () =>
    controlled(
      Effect.gen(function* () {
        let starts = 0
        const slow = Application.make({
          name: "slow",
          start: () =>
            Effect.gen(function* () {
              starts++
              yield* Effect.sleep("1 second")
              return yield* Supervisor.startLink({ children: [] })
            })
        })
        const both = yield* Effect.forkChild(
          Effect.all([Application.start(slow), Application.start(slow)], { concurrency: 2 }),
          { startImmediately: true }
        )
        yield* quiet
        // The controller answers meanwhile.
        assert.deepStrictEqual(yield* names, [])
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(both)
        assert.deepStrictEqual([starts, yield* names], [1, ["slow"]])
      })
    )
  )

  it.effect("run the callbacks also when the tree ends by itself", () =>
    controlled(
      Effect.gen(function* () {
        const { log, a } = world()
        yield* Application.ensureAllStarted(a)
        yield* end("a", ExitReason.kill)
        assert.deepStrictEqual(
          log.filter((line) => line.includes("stop")),
          ["a prepares to stop", "a stopped"]
        )
        assert.deepStrictEqual(yield* names, [])
      })
    )
  )

  it.effect("can start others from their own start", () =>
    controlled(
      Effect.gen(function* () {
        const { a } = world()
        const outer = Application.make({
          name: "outer",
          start: () => Effect.andThen(Application.start(a), Supervisor.startLink({ children: [] }))
        })
        yield* Application.start(outer)
        assert.deepStrictEqual(yield* names, ["outer", "a"])
      })
    )
  )
})

describe("the start type", () => {
  it.effect.each([
    // The type, how the application ends by itself, and whether the others may live.
    ["temporary", oops, true],
    ["temporary", ExitReason.kill, true],
    ["transient", ExitReason.normal, true],
    ["transient", ExitReason.shutdown, false],
    ["transient", oops, false],
    ["permanent", ExitReason.normal, false],
    ["permanent", ExitReason.shutdown, false],
    ["permanent", oops, false]
  ] as const)("%s", ([type, reason, others]) =>
    controlled(
      Effect.gen(function* () {
        const { a, log } = world()
        yield* Application.start(a)
        const told = Application.make({
          name: "told",
          start: () =>
            Process.spawnLink(
              Effect.gen(function* () {
                yield* Process.register("told", yield* Process.self)
                yield* Process.exit((yield* Process.receive()) as ExitReason.ExitReason)
              })
            )
        })
        yield* Application.start(told, type)
        const watching = yield* Effect.forkChild(Effect.flip(Application.terminated), { startImmediately: true })
        yield* quiet
        yield* Process.send("told", reason)
        yield* quiet
        if (others) {
          assert.deepStrictEqual(yield* names, ["a"])
          assert.isUndefined(watching.pollUnsafe())
          yield* Fiber.interrupt(watching)
          return
        }
        const expected = { application: "told", type, reason }
        assert.deepStrictEqual(yield* Fiber.join(watching), new Application.ApplicationTerminated(expected))
        assert.strictEqual(log.at(-1), "a stopped")
        assert.strictEqual((yield* Effect.flip(names))._tag, "NoProcess")
      })
    )
  )

  it.effect("a start that fails is such an end, unless it is temporary", () =>
    controlled(
      Effect.gen(function* () {
        const { a, bad } = world()
        yield* Application.start(a)
        yield* Effect.flip(Application.start(bad))
        assert.deepStrictEqual(yield* names, ["a"])
        const failed = yield* Effect.flip(Application.start(bad, "permanent"))
        assert.strictEqual(failed._tag, "ApplicationStartFailed")
        const error = yield* Effect.flip(Application.terminated)
        assert.match(error.message, /permanent application bad ended: oops/)
      })
    )
  )
})

describe("the environment", () => {
  const env = Config.all({ size: Config.Int("size").pipe(Config.withDefault(10)), path: Config.String("path") })
  const seen: Array<unknown> = []
  const store = Application.make({
    name: "store",
    env,
    start: (values) =>
      Effect.andThen(
        Effect.sync(() => seen.push(values)),
        Supervisor.startLink({ children: [] })
      )
  })

  it.effect("is read under the application's name when it starts, and can be changed", () =>
    controlled(
      Effect.gen(function* () {
        const none = yield* Effect.flip(Application.getEnv(store))
        assert.strictEqual(none._tag, "ApplicationNotStarted")
        yield* Application.start(store)
        assert.deepStrictEqual(seen.pop(), { size: 10, path: "/x" })
        const { size, path }: { size: number; path: string } = yield* Application.getEnv(store)
        assert.deepStrictEqual([size, path], [10, "/x"])
        yield* Application.setEnv(store, { size: 3, path: "/y" })
        assert.deepStrictEqual(yield* Application.getEnv(store), { size: 3, path: "/y" })
      })
    ).pipe(Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ store: { path: "/x" } }))))
  )

  it.effect("stops a start when it is not valid", () =>
    controlled(
      Effect.gen(function* () {
        const error = yield* Effect.flip(Application.start(store))
        assert.strictEqual(error._tag, "BadEnvironment")
        assert.deepStrictEqual(yield* names, [])
      })
    ).pipe(Effect.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({ store: { path: "/x", size: "big" } }))))
  )
})

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const isTrue = <T extends true>(_?: T) => {}

describe("types", () => {
  it.effect("an application needs what it and those that it needs need", () =>
    actor(
      Effect.gen(function* () {
        let disk = ""
        const lower = Application.make({
          name: "lower",
          start: () =>
            Effect.gen(function* () {
              disk = yield* Disk
              return yield* Supervisor.startLink({ children: [] })
            })
        })
        const upper = Application.make({
          name: "upper",
          dependencies: [lower],
          start: () => Supervisor.startLink({ children: [] })
        })
        const layer = Application.layer(upper)
        isTrue<Same<Layer.Services<typeof layer>, Disk>>()
        yield* Effect.provide(Effect.void, Layer.provide(layer, Layer.succeed(Disk, "sda")))
        assert.strictEqual(disk, "sda")
      })
    )
  )
})
