/**
 * The cases of OTP's own supervisor suite about significant children: `docs/otp-conformance.md` says which is which.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import * as Supervisor from "../../src/actors/Supervisor.ts"
import { boom, end, type Mood, moody, pids, startBy, worker } from "./children.ts"
import { actor, quiet } from "./support.ts"

type Auto = "anySignificant" | "allSignificant"
const often = { intensity: 100_000, period: "10 seconds" as const }
const temporary = { restart: "temporary" as const, significant: true }
const transient = { restart: "transient" as const, significant: true }

const begin = (autoShutdown: Supervisor.AutoShutdown, children: ReadonlyArray<Supervisor.ChildSpec<Process.Self>>) =>
  Effect.gen(function* () {
    yield* Process.trapExit(true)
    return yield* Supervisor.startLink({ ...often, autoShutdown, children })
  })

const runs = (sup: Pid.Any) => Effect.andThen(quiet, Process.isAlive(sup))

/** The supervisor ended by itself, with `Shutdown`, and nobody is left. */
const ended = (sup: Pid.Any, watch: Fiber.Fiber<ExitReason.ExitReason>, left: ReadonlyArray<Pid.Any>) =>
  Effect.gen(function* () {
    assert.isFalse(yield* runs(sup))
    assert.strictEqual((yield* Fiber.join(watch))._tag, "Shutdown")
    for (const pid of left) assert.isFalse(yield* Process.isAlive(pid))
  })

const watch = (sup: Pid.Any) => Effect.forkChild(Process.awaitExit(sup), { startImmediately: true })

describe("children that are not significant", () => {
  it.effect.each([
    ["never", "temporary"],
    ["anySignificant", "temporary"],
    ["allSignificant", "temporary"],
    ["never", "transient"],
    ["anySignificant", "transient"],
    ["allSignificant", "transient"]
  ] as const)("never end a supervisor with %s: %s", ([autoShutdown, restart]) =>
    actor(
      Effect.gen(function* () {
        const sup = yield* begin(autoShutdown, [worker("a", { restart }), worker("b", { restart })])
        for (const reason of [ExitReason.normal, ExitReason.shutdown]) yield* end((yield* pids(sup))[0], reason)
        assert.isTrue(yield* runs(sup))
      })
    )
  )
})

describe("significant children", () => {
  it.effect.each(["anySignificant", "allSignificant"] as const)("temporary, %s: any end by themselves counts", (auto) =>
    actor(
      Effect.gen(function* () {
        for (const reason of [ExitReason.normal, ExitReason.shutdown, boom]) {
          const sup = yield* begin(auto, [worker("a", temporary), worker("b", temporary), worker("c")])
          const seen = yield* watch(sup)
          const [a, b, c] = (yield* pids(sup)) as [Pid.Any, Pid.Any, Pid.Any]
          yield* end(a, reason)
          if (auto === "allSignificant") {
            assert.isTrue(yield* runs(sup))
            yield* end(b, reason)
          }
          yield* ended(sup, seen, [a, b, c])
        }
      })
    )
  )

  it.effect("temporary: being stopped by request does not count", () =>
    actor(
      Effect.gen(function* () {
        for (const auto of ["anySignificant", "allSignificant"] satisfies ReadonlyArray<Auto>) {
          const sup = yield* begin(auto, [worker("a", temporary), worker("b")])
          yield* Supervisor.terminateChild(sup, "a")
          assert.isTrue(yield* runs(sup))
        }
      })
    )
  )

  it.effect.each(["anySignificant", "allSignificant"] as const)(
    "transient, %s: only a normal end counts, and a crash is a restart",
    (auto) =>
      actor(
        Effect.gen(function* () {
          for (const reason of [ExitReason.normal, ExitReason.shutdown, ExitReason.shutdownWith(1)]) {
            const sup = yield* begin(auto, [worker("a", transient), worker("b", transient)])
            const seen = yield* watch(sup)
            yield* end((yield* pids(sup))[0], boom)
            assert.strictEqual((yield* pids(sup)).length, 2)
            yield* end((yield* pids(sup))[0], reason)
            if (auto === "allSignificant") {
              assert.strictEqual((yield* pids(sup)).length, 1)
              yield* end((yield* pids(sup))[0], reason)
            }
            yield* ended(sup, seen, [])
          }
        })
      )
  )

  it.effect.each(["anySignificant", "allSignificant"] as const)("under simpleOneForOne, %s", (autoShutdown) =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const template = { ...temporary, id: "t", start: () => startBy("t", { next: "ok" }) }
        const sup = yield* Supervisor.startLink({ strategy: "simpleOneForOne", autoShutdown, children: [template] })
        const seen = yield* watch(sup)
        for (let i = 0; i < 3; i++) yield* Supervisor.startDynamic(sup)
        const all = yield* pids(sup)
        yield* end(all[0], ExitReason.normal)
        if (autoShutdown === "allSignificant") {
          assert.isTrue(yield* runs(sup))
          yield* end(all[1], boom)
          assert.isTrue(yield* runs(sup))
          yield* end(all[2], ExitReason.normal)
        }
        yield* ended(sup, seen, all)
      })
    )
  )

  it.effect("that go down for a sibling do not count", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        for (const autoShutdown of ["anySignificant", "allSignificant"] satisfies ReadonlyArray<Auto>) {
          for (const strategy of ["oneForAll", "restForOne"] as const) {
            const sup = yield* Supervisor.startLink({
              ...often,
              strategy,
              autoShutdown,
              children: [worker("a"), worker("b", temporary), worker("c", transient)]
            })
            yield* end((yield* pids(sup))[0])
            assert.isTrue(yield* runs(sup))
            // The temporary one is gone, the transient one is back.
            assert.strictEqual((yield* pids(sup)).length, 2)
          }
        }
      })
    )
  )

  it.effect("that are being restarted still count as alive", () =>
    actor(
      Effect.gen(function* () {
        const mood: Mood = { next: "ok" }
        const sup = yield* begin("allSignificant", [moody("a", mood, transient), worker("b", temporary)])
        const [a, b] = (yield* pids(sup)) as [Pid.Any, Pid.Any]
        mood.next = "fail"
        // In one breath: the restart of the first has failed once when the second one's end is looked at.
        yield* Process.send(a, boom)
        yield* end(b, ExitReason.normal)
        assert.isTrue(yield* Process.isAlive(sup))
        mood.next = "ok"
        assert.isTrue(yield* runs(sup))
        assert.strictEqual((yield* pids(sup)).length, 1)
      })
    )
  )

  it.effect("pass the end on upwards when they are supervisors, and only then", () =>
    actor(
      Effect.gen(function* () {
        for (const significant of [true, false]) {
          const inner = Supervisor.supervisor(
            "s",
            { autoShutdown: "anySignificant", children: [worker("x", transient)] },
            { restart: "transient", significant }
          )
          const sup = yield* begin("anySignificant", [inner, worker("b")])
          const seen = yield* watch(sup)
          const [below, b] = (yield* pids(sup)) as [Supervisor.SupervisorPid, Pid.Any]
          yield* end((yield* pids(below))[0], ExitReason.normal)
          assert.isFalse(yield* Process.isAlive(below))
          if (significant) yield* ended(sup, seen, [b])
          else assert.isTrue((yield* runs(sup)) && (yield* Process.isAlive(b)))
        }
      })
    )
  )
})
