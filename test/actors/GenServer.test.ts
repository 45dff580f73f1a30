import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { TestClock } from "effect/testing"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import * as GenServer from "../../src/actors/GenServer.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import { actor, fate, flush, quiet } from "./support.ts"

class Refused extends Schema.TaggedError<Refused>()("Refused", { why: Schema.String }) {}

const ProbeProtocol = GenServer.protocol({
  ping: GenServer.Call<void, string>(),
  stop: GenServer.Call<ExitReason.ExitReason, string>(),
  stopReply: GenServer.Call<ExitReason.ExitReason, string>(),
  bad: GenServer.Call<void, string>(),
  defer: GenServer.Call<void, string>(),
  slow: GenServer.Call<number, string>(),
  never: GenServer.Call<void, string>(),
  refuse: GenServer.Call({ error: Refused }),
  lie: GenServer.Call({ error: Refused }),
  die: GenServer.Call<void, string>(),
  leave: GenServer.Call<ExitReason.ExitReason, string>(),
  armed: GenServer.Call<number, string>(),
  note: GenServer.Cast<string>(),
  goOn: GenServer.Cast<string>(),
  throw: GenServer.Cast()
})

interface Options {
  readonly trap?: boolean
  readonly terminate?: (reason: ExitReason.ExitReason) => Effect.Effect<unknown, unknown>
  readonly init?: () =>
    | GenServer.InitResult<Array<string>>
    | Effect.Effect<GenServer.InitResult<Array<string>>, unknown>
}

/** A server that does everything wrong when asked, and notes what happens to it in its state, which the test holds. */
const probe = (log: Array<string>, options: Options = {}) =>
  GenServer.make(ProbeProtocol, {
    label: "probe",
    init: () =>
      Effect.gen(function* () {
        if (options.trap === true) yield* Process.trapExit(true)
        const result = options.init?.()
        return result === undefined ? GenServer.ok(log) : Effect.isEffect(result) ? yield* result : result
      }),
    handlers: {
      ping: (_, s) => GenServer.reply("pong", s),
      stop: (reason, s) => GenServer.stopWith(reason, s),
      stopReply: (reason, s) => GenServer.stopReply(reason, "bye", s),
      bad: () => "nonsense" as never,
      defer: (_, s, from) =>
        Effect.as(
          Process.spawn(Effect.andThen(GenServer.replyTo(from, "from another"), GenServer.replyTo(from, "twice"))),
          GenServer.noReply(s)
        ),
      slow: (ms, s) => Effect.as(Effect.sleep(ms), GenServer.reply("late", s)),
      never: (_, s) => GenServer.noReply(s),
      refuse: () => Effect.fail(new Refused({ why: "no" })),
      lie: () => Effect.fail("undeclared" as never),
      die: () => Effect.die(new Error("bug")),
      leave: (reason) => Process.exit(reason),
      armed: (timeout, s) => GenServer.reply("armed", s, { timeout }),
      note: (text, s) => {
        log.push(text)
        return GenServer.noReply(s)
      },
      goOn: (text, s) => GenServer.noReply(s, { continue: text }),
      throw: () => {
        throw new Error("thrown")
      }
    },
    continue: (value: string, s) => {
      log.push(`continue ${value}`)
      return GenServer.noReply(s)
    },
    info: (message, s) => {
      log.push(
        Process.isExit(message)
          ? `exit ${ExitReason.format(message.reason)}`
          : message instanceof GenServer.Timeout
            ? "timeout"
            : `info ${String(message)}`
      )
      return GenServer.noReply(s)
    },
    terminate: (reason) => {
      log.push(`terminate ${ExitReason.format(reason)}`)
      return options.terminate?.(reason) ?? Effect.void
    }
  })

const boom = ExitReason.custom("boom")

describe("start", () => {
  it.effect("G1: returns after init, and says how init failed", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const order: Array<string> = []
        yield* GenServer.startLink(
          probe([], {
            init: () =>
              Effect.as(
                Effect.tap(quiet, () => Effect.sync(() => order.push("init"))),
                GenServer.ok([])
              )
          })
        )
        order.push("started")
        assert.deepStrictEqual(order, ["init", "started"])
        const failure = (init: Options["init"]) =>
          Effect.flip(GenServer.startLink(probe([], init === undefined ? {} : { init })))
        const stopped = yield* failure(() => GenServer.initStop(boom))
        assert.isTrue(stopped._tag === "InitFailed" && stopped.reason === boom)
        const crashed = yield* failure(() => Effect.die(new Error("bug")))
        assert.isTrue(crashed._tag === "InitFailed" && crashed.reason._tag === "Crashed")
        const left = yield* failure(() => Process.exit(boom))
        assert.isTrue(left._tag === "InitFailed" && left.reason === boom)
        const odd = yield* failure(() => 5 as never)
        assert.isTrue(odd._tag === "InitFailed" && odd.reason._tag === "BadReturn")
        assert.strictEqual((yield* failure(() => GenServer.ignore))._tag, "Ignored")
        const thrown = yield* failure(() => {
          throw new Error("in init")
        })
        assert.isTrue(thrown._tag === "InitFailed" && thrown.reason._tag === "Crashed")
      })
    )
  )

  it.effect("G2: a name is taken during init and free when a failed start returns", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        let seen: unknown
        const init = () =>
          Effect.map(Process.whereis("nm"), (pid) => {
            seen = pid
            return GenServer.initStop(boom)
          })
        yield* Effect.flip(GenServer.startLink(probe([], { init }), [], { name: "nm" }))
        assert.isDefined(seen)
        assert.isUndefined(yield* Process.whereis("nm"))
        const pid = yield* GenServer.startLink(probe([]), [], { name: "nm" })
        const again = yield* Effect.flip(GenServer.startLink(probe([]), [], { name: "nm" }))
        assert.isTrue(again._tag === "AlreadyStarted" && again.pid === pid)
      })
    )
  )

  it.effect("G3: a failed start leaves no message to who traps, and ends who does not, unless it was normal", () =>
    actor(
      Effect.gen(function* () {
        const start = (reason: ExitReason.ExitReason) =>
          Effect.exit(GenServer.startLink(probe([], { init: () => GenServer.initStop(reason) })))
        assert.strictEqual(yield* fate(Effect.andThen(start(boom), Effect.never)), boom)
        assert.strictEqual((yield* fate(start(ExitReason.normal)))._tag, "Normal")
        yield* Process.trapExit(true)
        yield* start(boom)
        yield* Effect.exit(GenServer.startLink(probe([], { init: () => GenServer.ignore })))
        assert.deepStrictEqual(yield* flush, [])
      })
    )
  )

  it.effect("G4: an init that takes too long is killed, and leaves nothing", () =>
    actor(
      Effect.gen(function* () {
        const hang = probe([], { init: () => Effect.never })
        const start = yield* Effect.forkChild(
          Effect.flip(GenServer.startLink(hang, [], { timeout: 20, name: "slow" })),
          {
            startImmediately: true
          }
        )
        yield* TestClock.adjust(20)
        assert.strictEqual((yield* Fiber.join(start))._tag, "StartTimeout")
        assert.isUndefined(yield* Process.whereis("slow"))
      })
    )
  )
})

describe("calls", () => {
  it.effect("G5: a call to nobody, to the dead and to oneself", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* GenServer.start(probe([]))
        yield* GenServer.stop(pid)
        assert.strictEqual((yield* Effect.flip(GenServer.call(pid, "ping")))._tag, "NoProcess")
        const nobody = GenServer.name(ProbeProtocol, "nobody")
        assert.strictEqual((yield* Effect.flip(GenServer.call(nobody, "ping")))._tag, "NoProcess")
        yield* GenServer.cast(nobody, "note", "x")
        const SelfProtocol = GenServer.protocol({ me: GenServer.Call<void, string>() })
        const self = GenServer.make(SelfProtocol, {
          init: () => GenServer.ok(0),
          handlers: {
            me: (_, s) =>
              Effect.map(
                Effect.result(
                  Effect.flatMap(Process.self, (me) => GenServer.call(me as Pid.Pid<typeof SelfProtocol>, "me"))
                ),
                (result) => GenServer.reply(result._tag === "Failure" ? result.failure._tag : "no error", s)
              )
          }
        })
        assert.strictEqual(yield* GenServer.call(yield* GenServer.start(self), "me"), "CallingSelf")
      })
    )
  )

  it.effect("G5: a call gives up after 5 seconds by default; the server lives and the late reply is dropped", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* GenServer.startLink(probe([]))
        const call = yield* Effect.forkChild(Effect.flip(GenServer.call(pid, "slow", 6000)), { startImmediately: true })
        yield* TestClock.adjust(4999)
        assert.isUndefined(call.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* Fiber.join(call))._tag, "CallTimeout")
        yield* TestClock.adjust(2000)
        assert.deepStrictEqual(yield* flush, [])
        assert.strictEqual(yield* GenServer.call(pid, "ping"), "pong")
      })
    )
  )

  it.effect("deadlines of different lengths fire in their order", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* GenServer.startLink(probe([]))
        const order: Array<number> = []
        const calls = [300, 100, 200, 100].map((timeout) =>
          Effect.exit(GenServer.call(pid, "never", undefined, { timeout })).pipe(
            Effect.andThen(Effect.sync(() => order.push(timeout)))
          )
        )
        const all = yield* Effect.forkChild(Effect.all(calls, { concurrency: "unbounded" }), { startImmediately: true })
        yield* TestClock.adjust(150)
        assert.deepStrictEqual(order, [100, 100])
        yield* TestClock.adjust(150)
        yield* Fiber.join(all)
        assert.deepStrictEqual(order, [100, 100, 200, 300])
      })
    )
  )

  it.effect("G5: the server's end is the caller's answer, whatever its reason", () =>
    actor(
      Effect.gen(function* () {
        for (const reason of [boom, ExitReason.normal, ExitReason.shutdown]) {
          const pid = yield* GenServer.start(probe([]))
          const error = yield* Effect.flip(GenServer.call(pid, "stop", reason))
          assert.isTrue(error._tag === "ServerExit" && error.reason === reason)
        }
        const pid = yield* GenServer.start(probe([]))
        const call = yield* Effect.forkChild(Effect.flip(GenServer.call(pid, "never")), { startImmediately: true })
        yield* quiet
        yield* Process.exit(pid, ExitReason.kill)
        const error = yield* Fiber.join(call)
        assert.isTrue(error._tag === "ServerExit" && error.reason._tag === "Killed")
      })
    )
  )

  it.effect("G5: the caller's end changes nothing for the server", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* GenServer.start(probe([]))
        const call = yield* Effect.forkChild(GenServer.call(pid, "slow", 100), { startImmediately: true })
        yield* quiet
        yield* Fiber.interrupt(call)
        yield* TestClock.adjust(100)
        assert.strictEqual(yield* GenServer.call(pid, "ping"), "pong")
      })
    )
  )

  it.effect("G6: anybody may reply, once", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* GenServer.startLink(probe([]))
        assert.strictEqual(yield* GenServer.call(pid, "defer"), "from another")
        yield* quiet
        assert.strictEqual(yield* GenServer.call(pid, "ping"), "pong")
      })
    )
  )

  it.effect("G7: a stop with a reply runs terminate before the reply", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const pid = yield* GenServer.start(probe(log, { terminate: () => Effect.sleep(50) }))
        const call = yield* Effect.forkChild(GenServer.call(pid, "stopReply", ExitReason.normal), {
          startImmediately: true
        })
        yield* TestClock.adjust(49)
        assert.isUndefined(call.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* Fiber.join(call), "bye")
        assert.deepStrictEqual(log, ["terminate normal"])
      })
    )
  )

  it.effect("a declared error is an answer: the server lives", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* GenServer.start(probe([]))
        const error = yield* Effect.flip(GenServer.call(pid, "refuse"))
        assert.instanceOf(error, Refused)
        assert.strictEqual(yield* GenServer.call(pid, "ping"), "pong")
      })
    )
  )

  it.effect("an undeclared failure and a defect crash the server", () =>
    actor(
      Effect.gen(function* () {
        for (const tag of ["lie", "die"] as const) {
          const log: Array<string> = []
          const pid = yield* GenServer.start(probe(log))
          const error = yield* Effect.flip(GenServer.call(pid, tag))
          assert.isTrue(error._tag === "ServerExit" && error.reason._tag === "Crashed")
          assert.strictEqual(log.length, 1)
        }
      })
    )
  )

  it.effect("an unknown message, which only untyped code can send, crashes the server", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* GenServer.start(probe([]))
        const error = yield* Effect.flip(GenServer.call(pid, "unknown" as "ping"))
        assert.strictEqual(error._tag, "ServerExit")
      })
    )
  )
})

describe("the loop", () => {
  it.effect("G9: continue runs before what is already in the mailbox, after init too", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const init = () =>
          Effect.gen(function* () {
            yield* Process.send(yield* Process.Self.use(Effect.succeed), "queued")
            return GenServer.ok(log, { continue: "init" })
          }) as Effect.Effect<GenServer.InitResult<Array<string>>>
        const pid = yield* GenServer.startLink(probe(log, { init }))
        yield* GenServer.cast(pid, "goOn", "later")
        yield* GenServer.cast(pid, "note", "note")
        yield* quiet
        assert.deepStrictEqual(log, ["continue init", "info queued", "continue later", "note"])
      })
    )
  )

  it.effect("G9: a timeout comes when nothing else does; one message cancels it", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const pid = yield* GenServer.startLink(probe(log))
        yield* GenServer.call(pid, "armed", 30)
        yield* Process.send(pid, "hi")
        yield* quiet
        yield* TestClock.adjust(60)
        assert.deepStrictEqual(log, ["info hi"])
        yield* GenServer.call(pid, "armed", 10)
        yield* TestClock.adjust(10)
        yield* quiet
        assert.deepStrictEqual(log, ["info hi", "timeout"])
      })
    )
  )

  it.effect("G10: terminate runs for stop, for crashes and for nonsense, and for the parent's exit when trapping", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const run = (act: (pid: Pid.Pid<typeof ProbeProtocol>) => Effect.Effect<unknown>, trap = false) =>
          Effect.gen(function* () {
            const log: Array<string> = []
            const pid = yield* GenServer.startLink(probe(log, { trap }))
            yield* act(pid)
            yield* flush
            return log
          })
        assert.deepStrictEqual(yield* run((pid) => Effect.exit(GenServer.stop(pid, { reason: boom }))), [
          "terminate boom"
        ])
        assert.deepStrictEqual(yield* run((pid) => Effect.exit(GenServer.call(pid, "bad"))), [
          "terminate bad return value: nonsense"
        ])
        assert.deepStrictEqual(yield* run((pid) => GenServer.cast(pid, "throw")), ["terminate crashed: Error: thrown"])
        assert.deepStrictEqual(yield* run((pid) => Effect.exit(GenServer.call(pid, "leave", boom))), ["terminate boom"])
        const exit = (reason: ExitReason.ExitReason) => (pid: Pid.Any) => Process.exit(pid, reason)
        assert.deepStrictEqual(yield* run(exit(ExitReason.shutdown), true), ["terminate shutdown"])
        assert.deepStrictEqual(yield* run(exit(ExitReason.normal), true), ["terminate normal"])
        assert.deepStrictEqual(yield* run(exit(ExitReason.shutdown), false), [])
        assert.deepStrictEqual(yield* run(exit(ExitReason.kill), true), [])
      })
    )
  )

  it.effect("G11: the exits of others are messages", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const pid = yield* GenServer.startLink(probe(log, { trap: true }))
        yield* Process.spawn(Process.exit(pid, boom))
        yield* quiet
        assert.deepStrictEqual(log, ["exit boom"])
      })
    )
  )

  it.effect("G12: terminate's own crash replaces the reason, and its result is ignored", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* GenServer.start(probe([], { terminate: () => Process.exit(ExitReason.custom("worse")) }))
        const failed = yield* Effect.flip(GenServer.stop(pid, { reason: boom }))
        assert.isTrue(failed._tag === "StopFailed" && ExitReason.format(failed.reason ?? boom) === "worse")
      })
    )
  )

  it.effect("a kill ends a server whose terminate hangs at once", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* GenServer.start(probe([], { terminate: () => Effect.never }))
        const stop = yield* Effect.forkChild(Effect.flip(GenServer.stop(pid)), { startImmediately: true })
        yield* quiet
        yield* Process.exit(pid, ExitReason.kill)
        const failed = yield* Fiber.join(stop)
        assert.isTrue(failed._tag === "StopFailed" && failed.reason?._tag === "Killed")
      })
    )
  )

  it.effect("G13: stop succeeds with exactly that reason, times out, and knows the dead", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* GenServer.start(probe([]))
        yield* GenServer.stop(pid, { reason: boom })
        assert.strictEqual((yield* Effect.flip(GenServer.stop(pid)))._tag, "NoProcess")
        const slow = yield* GenServer.start(probe([], { terminate: () => Effect.never }))
        const stop = yield* Effect.forkChild(Effect.flip(GenServer.stop(slow, { timeout: 20 })), {
          startImmediately: true
        })
        yield* TestClock.adjust(20)
        const failed = yield* Fiber.join(stop)
        assert.isTrue(failed._tag === "StopFailed" && failed.reason === undefined)
      })
    )
  )

  it.effect("a server without info drops what it does not know", () =>
    actor(
      Effect.gen(function* () {
        const quietServer = GenServer.make(GenServer.protocol({ ping: GenServer.Call<void, number>() }), {
          init: () => GenServer.ok(1),
          handlers: { ping: (_, s) => GenServer.reply(s, s) }
        })
        const pid = yield* GenServer.startLink(quietServer)
        yield* Process.send(pid, "what")
        assert.strictEqual(yield* GenServer.call(pid, "ping"), 1)
      })
    )
  )

  it.effect("messages are handled one after another, in order, while a handler waits", () =>
    actor(
      Effect.gen(function* () {
        const log: Array<string> = []
        const pid = yield* GenServer.startLink(probe(log))
        const slow = yield* Effect.forkChild(GenServer.call(pid, "slow", 10), { startImmediately: true })
        for (let i = 0; i < 1000; i++) yield* GenServer.cast(pid, "note", `${i}`)
        yield* quiet
        assert.deepStrictEqual(log, [])
        yield* TestClock.adjust(10)
        yield* Fiber.join(slow)
        yield* GenServer.call(pid, "ping")
        assert.deepStrictEqual(
          log,
          Array.from({ length: 1000 }, (_, i) => `${i}`)
        )
      })
    )
  )

  it.effect("no call is lost or answered twice when thousands are under way", () =>
    actor(
      Effect.gen(function* () {
        const sum = GenServer.make(GenServer.protocol({ add: GenServer.Call<number, number>() }), {
          init: () => GenServer.ok(0),
          handlers: {
            add: (n, s) =>
              n % 3 === 0
                ? Effect.as(Effect.yieldNow, GenServer.reply(s + n, s + n))
                : n % 3 === 1
                  ? Effect.succeed(GenServer.reply(s + n, s + n))
                  : GenServer.reply(s + n, s + n)
          }
        })
        const pid = yield* GenServer.startLink(sum)
        const numbers = Array.from({ length: 5000 }, (_, i) => i)
        const replies = yield* Effect.forEach(numbers, (n) => GenServer.call(pid, "add", n), {
          concurrency: "unbounded"
        })
        assert.strictEqual(new Set(replies).size, 5000)
        assert.strictEqual(Math.max(...replies), (5000 * 4999) / 2)
      })
    )
  )
})

describe("scoped", () => {
  it.effect("stops the server with shutdown, through terminate, when the scope closes", () =>
    ActorSystem.scoped(
      Effect.gen(function* () {
        const log: Array<string> = []
        const pid = yield* Effect.scoped(GenServer.scoped(probe(log)))
        assert.deepStrictEqual(log, ["terminate shutdown"])
        assert.isFalse(yield* Process.isAlive(pid))
      })
    )
  )

  it.effect("kills a server whose terminate takes longer than 5 seconds", () =>
    ActorSystem.scoped(
      Effect.gen(function* () {
        const closing = yield* Effect.forkChild(
          Effect.scoped(GenServer.scoped(probe([], { terminate: () => Effect.never }))),
          { startImmediately: true }
        )
        yield* quiet
        yield* TestClock.adjust("5 seconds")
        const pid = yield* Fiber.join(closing)
        assert.isFalse(yield* Process.isAlive(pid))
      })
    )
  )
})
