/**
 * The cases of OTP's own gen_server suite that `GenServer.test.ts` does not hold yet, and what servers make of nonsense:
 * `docs/otp-conformance.md` says which is which.
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
import * as Registry from "../../src/actors/Registry.ts"
import { boom, tagOf } from "./children.ts"
import { actor, fate, flush, quiet } from "./support.ts"

const protocol = GenServer.protocol({
  ping: GenServer.Call<void, string>(),
  hold: GenServer.Call<string, string>(),
  release: GenServer.Cast<string>(),
  nonsense: GenServer.Call<void, string>(),
  castNonsense: GenServer.Cast(),
  lateNonsense: GenServer.Cast(),
  goOn: GenServer.Cast<string>(),
  replyToCast: GenServer.Cast()
})
type Held = Record<string, GenServer.From<string>>

/** A server that keeps callers waiting until they are released, and returns nonsense when asked to. */
const callbacks = {
  init: () => GenServer.ok<Held>({}),
  handlers: {
    ping: (_: unknown, s: Held) => GenServer.reply("pong", s),
    hold: (name: string, s: Held, from: GenServer.From<string>) => GenServer.noReply({ ...s, [name]: from }),
    release: (name: string, s: Held) =>
      Effect.as(GenServer.replyTo(s[name] as GenServer.From<string>, `for ${name}`), GenServer.noReply(s)),
    nonsense: () => "nonsense" as never,
    castNonsense: () => 5 as never,
    lateNonsense: () => Effect.as(Effect.yieldNow, undefined as never),
    goOn: (text: string, s: Held) => GenServer.noReply(s, { continue: text }),
    replyToCast: (_: unknown, s: Held) => GenServer.reply("nobody asked", s) as never
  }
}
const plain = GenServer.make(protocol, callbacks)
const odd = GenServer.make(protocol, {
  ...callbacks,
  info: () => ({ _tag: "NoReply", state: {} }) as never,
  continue: (_: string) => null as never
})
const broken = GenServer.make(protocol, {
  ...callbacks,
  info: () => Effect.die(new Error("bug in info")),
  continue: () => Effect.fail("bug in continue")
})

/** A running server, and how it will end. */
const begin = (server: typeof plain) =>
  Effect.gen(function* () {
    const pid = yield* GenServer.start(server)
    return [pid, yield* Effect.forkChild(Process.awaitExit(pid), { startImmediately: true })] as const
  })

describe("stopping", () => {
  it.effect("by pid: for the reason that was asked for, once", () =>
    actor(
      Effect.gen(function* () {
        for (const reason of [ExitReason.normal, ExitReason.shutdown, boom]) {
          const [pid, end] = yield* begin(plain)
          yield* GenServer.stop(pid, { reason })
          assert.strictEqual(yield* Fiber.join(end), reason)
          assert.strictEqual(yield* tagOf(GenServer.stop(pid)), "NoProcess")
        }
      })
    )
  )

  it.effect("by a local name, and by the name of a registry", () =>
    actor(
      Effect.gen(function* () {
        const registry = Registry.unique<string>("names")
        yield* Registry.startLink(registry)
        for (const value of ["local", Registry.via(registry, "key")]) {
          const name = GenServer.name(plain, value)
          yield* GenServer.start(plain, [], { name: value })
          assert.strictEqual(yield* GenServer.call(name, "ping"), "pong")
          yield* GenServer.stop(name)
          assert.strictEqual(yield* tagOf(GenServer.stop(name)), "NoProcess")
          assert.strictEqual(yield* tagOf(GenServer.call(name, "ping")), "NoProcess")
        }
      })
    )
  )

  it.effect("in a time that makes no sense is a defect of who asks, and the server lives", () =>
    actor(
      Effect.gen(function* () {
        const [pid] = yield* begin(plain)
        const reason = yield* fate(GenServer.stop(pid, { timeout: "soon" as never }))
        assert.strictEqual(reason._tag, "Crashed")
        assert.strictEqual(yield* GenServer.call(pid, "ping"), "pong")
      })
    )
  )

  it.effect("a server without terminate ends with the reason it was given", () =>
    actor(
      Effect.gen(function* () {
        for (const way of ["stop", "crash"]) {
          const [pid, end] = yield* begin(plain)
          if (way === "stop") yield* GenServer.stop(pid, { reason: boom })
          else yield* GenServer.cast(pid, "castNonsense")
          assert.strictEqual((yield* Fiber.join(end))._tag, way === "stop" ? "Custom" : "BadReturn")
        }
      })
    )
  )
})

describe("requests under way", () => {
  it.effect("any number at a time, each gets its own reply, in whatever order they come", () =>
    actor(
      Effect.gen(function* () {
        const [pid] = yield* begin(plain)
        const names = Array.from({ length: 50 }, (_, i) => `r${i}`)
        const calls = yield* Effect.forEach(names, (name) =>
          Effect.forkChild(GenServer.call(pid, "hold", name), { startImmediately: true })
        )
        yield* quiet
        for (const name of names.toReversed()) yield* GenServer.cast(pid, "release", name)
        const replies = yield* Effect.forEach(calls, (call) => Fiber.join(call))
        assert.deepStrictEqual(
          replies,
          names.map((name) => `for ${name}`)
        )
      })
    )
  )

  it.effect("one that is given up, or too late, leaves nothing in the mailbox, also when it is answered later", () =>
    actor(
      Effect.gen(function* () {
        const [pid] = yield* begin(plain)
        const given = yield* Effect.forkChild(GenServer.call(pid, "hold", "a"), { startImmediately: true })
        const late = yield* Effect.forkChild(Effect.flip(GenServer.call(pid, "hold", "b", { timeout: 10 })), {
          startImmediately: true
        })
        yield* quiet
        yield* Fiber.interrupt(given)
        yield* TestClock.adjust(10)
        assert.strictEqual((yield* Fiber.join(late))._tag, "CallTimeout")
        for (const name of ["a", "b", "a"]) yield* GenServer.cast(pid, "release", name)
        assert.deepStrictEqual(yield* flush, [])
        assert.strictEqual(yield* GenServer.call(pid, "ping"), "pong")
      })
    )
  )

  it.effect("a reply finds its caller beside 100,000 messages, and leaves them alone", () =>
    actor(
      Effect.gen(function* () {
        const [pid] = yield* begin(plain)
        const me = yield* Process.self
        for (let i = 0; i < 100_000; i++) Process.sendUnsafe(me, i)
        for (let i = 0; i < 100; i++) assert.strictEqual(yield* GenServer.call(pid, "ping"), "pong")
        assert.strictEqual(yield* Process.receive(), 0)
        assert.strictEqual(yield* Process.receive(), 1)
      })
    )
  )
})

describe("nonsense", () => {
  it.effect("of a handler, of info, of continue or of an Effect ends the server with BadReturn", () =>
    actor(
      Effect.gen(function* () {
        const ways = [
          ["nonsense", (pid) => Effect.exit(GenServer.call(pid, "nonsense"))],
          [5, (pid) => GenServer.cast(pid, "castNonsense")],
          [undefined, (pid) => GenServer.cast(pid, "lateNonsense")],
          [null, (pid) => GenServer.cast(pid, "goOn", "x")]
        ] as ReadonlyArray<
          readonly [unknown, (pid: Effect.Success<ReturnType<typeof begin>>[0]) => Effect.Effect<unknown>]
        >
        for (const [value, cause] of ways) {
          const [pid, end] = yield* begin(odd)
          yield* cause(pid)
          const reason = yield* Fiber.join(end)
          assert.isTrue(reason._tag === "BadReturn" && reason.value === value)
        }
        const [pid, end] = yield* begin(odd)
        yield* Process.send(pid, "anything")
        assert.strictEqual((yield* Fiber.join(end))._tag, "BadReturn")
        const [other, otherEnd] = yield* begin(odd)
        yield* GenServer.cast(other, "replyToCast")
        assert.strictEqual((yield* Fiber.join(otherEnd))._tag, "BadReturn")
      })
    )
  )

  it.effect("the caller of a handler that returns nonsense gets ServerExit, never a hang or a throw", () =>
    actor(
      Effect.gen(function* () {
        const [pid] = yield* begin(odd)
        const error = yield* Effect.flip(GenServer.call(pid, "nonsense"))
        assert.isTrue(error._tag === "ServerExit" && error.reason._tag === "BadReturn")
      })
    )
  )

  it.effect("a bug in info or in continue crashes the server, and so does a continue that nobody handles", () =>
    actor(
      Effect.gen(function* () {
        const [first, firstEnd] = yield* begin(broken)
        yield* Process.send(first, "x")
        assert.strictEqual((yield* Fiber.join(firstEnd))._tag, "Crashed")
        for (const server of [broken, plain]) {
          const [pid, end] = yield* begin(server)
          yield* GenServer.cast(pid, "goOn", "x")
          assert.strictEqual((yield* Fiber.join(end))._tag, "Crashed")
        }
      })
    )
  )

  it.effect("what is no pid is a defect of who uses it, and of nobody else", () =>
    actor(
      Effect.gen(function* () {
        for (const nonsense of [5, null, {}, { id: 1 }]) {
          const pid = nonsense as never as Pid.Pid<typeof protocol>
          assert.strictEqual((yield* fate(GenServer.call(pid, "ping")))._tag, "Crashed")
          assert.strictEqual((yield* fate(Process.send(pid, "x")))._tag, "Crashed")
          assert.strictEqual((yield* fate(Process.monitor(pid)))._tag, "Crashed")
        }
        assert.strictEqual((yield* ActorSystem.ActorSystem).processes.size, 1)
      })
    )
  )

  it.effect("messages to a server that stopped, by pid and by name, are dropped without a word", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* GenServer.start(plain, [], { name: "gone" })
        yield* GenServer.stop(pid)
        for (const to of [pid, GenServer.name(plain, "gone")]) {
          yield* GenServer.cast(to, "goOn", "x")
          yield* Process.send(to, "x")
          assert.strictEqual(yield* tagOf(GenServer.call(to, "ping")), "NoProcess")
        }
        yield* Process.exit(pid, ExitReason.kill)
        assert.deepStrictEqual(yield* flush, [])
      })
    )
  )
})
