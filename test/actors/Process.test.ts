import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import * as ActorSystem from "../../src/actors/ActorSystem.ts"
import * as ExitReason from "../../src/actors/ExitReason.ts"
import type * as Pid from "../../src/actors/Pid.ts"
import * as Process from "../../src/actors/Process.ts"
import { actor, exits, fate, flush, quiet } from "./support.ts"

const dead = Effect.tap(Process.spawn(Effect.void), Process.awaitExit)
const boom = ExitReason.custom("boom")

/** The Down messages among messages, as reasons. */
const downs = (messages: ReadonlyArray<unknown>) =>
  messages.filter(Process.isDown).map(({ reason }) => ExitReason.format(reason))

describe("exit signals", () => {
  it.effect("P1: normal from another is ignored by who does not trap, and a message for who does", () =>
    actor(
      Effect.gen(function* () {
        const deaf = yield* Process.spawn(Effect.never)
        yield* Process.exit(deaf, ExitReason.normal)
        yield* quiet
        assert.isTrue(yield* Process.isAlive(deaf))
        yield* Process.trapExit(true)
        const me = yield* Process.self
        yield* Process.spawn(Process.exit(me, ExitReason.normal))
        assert.deepStrictEqual(exits(yield* flush), ["normal"])
      })
    )
  )

  it.effect("P1: normal sent to oneself does end", () =>
    actor(
      Effect.gen(function* () {
        let survived = false
        const body = Effect.gen(function* () {
          yield* Process.exit(yield* Process.self, ExitReason.normal)
          survived = true
        })
        assert.strictEqual((yield* fate(body))._tag, "Normal")
        assert.isFalse(survived)
      })
    )
  )

  it.effect("P2: kill from another cannot be trapped, and reads killed", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const [victim] = yield* Process.spawnMonitor(Effect.andThen(Process.trapExit(true), Effect.never))
        yield* Process.link(victim)
        yield* quiet
        yield* Process.exit(victim, ExitReason.kill)
        const messages = yield* flush
        assert.deepStrictEqual(exits(messages), ["killed"])
        assert.deepStrictEqual(downs(messages), ["killed"])
      })
    )
  )

  it.effect("P2: kill as one's own reason goes over links as kill, which can be trapped", () =>
    actor(
      Effect.gen(function* () {
        const linked = Effect.andThen(Process.spawnLink(Process.exit(ExitReason.kill)), Effect.never)
        assert.strictEqual((yield* fate(linked))._tag, "Kill")
        yield* Process.trapExit(true)
        yield* Process.spawnLink(Process.exit(ExitReason.kill))
        assert.deepStrictEqual(exits(yield* flush), ["kill"])
      })
    )
  )

  it.effect("P3: over a link, normal is dropped and everything else ends who does not trap", () =>
    actor(
      Effect.gen(function* () {
        const survives = Effect.andThen(Process.spawnLink(Effect.void), Effect.andThen(quiet, Effect.succeed("alive")))
        assert.strictEqual((yield* fate(survives))._tag, "Normal")
        for (const reason of [ExitReason.shutdown, ExitReason.shutdownWith("x"), boom]) {
          const body = Effect.andThen(Process.spawnLink(Process.exit(reason)), Effect.never)
          assert.strictEqual(yield* fate(body), reason)
        }
      })
    )
  )

  it.effect("P3: who traps always gets the message, normal included", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        yield* Process.spawnLink(Effect.void)
        yield* Process.spawnLink(Process.exit(boom))
        yield* Process.spawnLink(Effect.die(new Error("bug")))
        assert.deepStrictEqual(exits(yield* flush), ["normal", "boom", "crashed: Error: bug"])
      })
    )
  )

  it.effect("P4: two links are one, two monitors are two, and links come first", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const pid = yield* Process.spawn(Effect.andThen(Process.receive(), Process.exit(boom)))
        yield* Process.link(pid)
        yield* Process.link(pid)
        yield* Process.monitor(pid)
        yield* Process.monitor(pid)
        yield* Process.send(pid, "go")
        const messages = yield* flush
        assert.deepStrictEqual(
          messages.map((message) => (message as { _tag: string })._tag),
          ["Exit", "Down", "Down"]
        )
      })
    )
  )

  it.effect("P4: a link to the dead is a message for who traps and an error for who does not", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* dead
        const error = yield* Effect.flip(Process.link(pid))
        assert.strictEqual(error._tag, "LinkFailed")
        yield* Process.trapExit(true)
        yield* Process.link(pid)
        assert.deepStrictEqual(exits(yield* flush), ["no such process"])
      })
    )
  )

  it.effect("P4: a monitor of the dead gives NoProcess, and an exit signal to the dead is nothing", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* dead
        yield* Process.monitor(pid)
        yield* Process.exit(pid, boom)
        assert.deepStrictEqual(downs(yield* flush), ["no such process"])
      })
    )
  )

  it.effect("P5: unlink and demonitor leave what has arrived; demonitor can flush", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const pid = yield* Process.spawnLink(Process.exit(boom))
        const kept = yield* Process.monitor(pid)
        const flushed = yield* Process.monitor(pid)
        yield* quiet
        yield* Process.unlink(pid)
        yield* Process.demonitor(kept)
        yield* Process.demonitor(flushed, { flush: true })
        const messages = yield* flush
        assert.deepStrictEqual(exits(messages), ["boom"])
        assert.strictEqual(downs(messages).length, 1)
      })
    )
  )

  it.effect("P5: unlink before the end means no message", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.trapExit(true)
        const pid = yield* Process.spawnLink(Effect.andThen(Process.receive(), Process.exit(boom)))
        const ref = yield* Process.monitor(pid)
        yield* Process.unlink(pid)
        yield* Process.demonitor(ref)
        yield* Process.send(pid, "go")
        assert.deepStrictEqual(yield* flush, [])
      })
    )
  )

  it.effect("P6: messages of one sender arrive in order", () =>
    actor(
      Effect.gen(function* () {
        const me = yield* Process.self
        yield* Process.spawn(Effect.forEach([1, 2, 3, 4], (n) => Process.send(me, n)))
        assert.deepStrictEqual(yield* flush, [1, 2, 3, 4])
      })
    )
  )

  it.effect("P7: a killed process runs no code of its own, but its scope is closed", () =>
    actor(
      Effect.gen(function* () {
        const events: Array<string> = []
        const pid = yield* Process.spawn(
          Effect.gen(function* () {
            yield* Effect.addFinalizer(() => Effect.sync(() => events.push("released")))
            yield* Effect.never
            events.push("went on")
          })
        )
        yield* quiet
        yield* Process.exit(pid, ExitReason.kill)
        assert.strictEqual((yield* Process.awaitExit(pid))._tag, "Killed")
        assert.deepStrictEqual(events, ["released"])
      })
    )
  )

  it.effect("the first of several signals decides the reason", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* Process.spawn(Effect.never)
        yield* quiet
        yield* Process.exit(pid, ExitReason.shutdown)
        yield* Process.exit(pid, ExitReason.kill)
        assert.strictEqual((yield* Process.awaitExit(pid))._tag, "Shutdown")
      })
    )
  )

  it.effect("a process that is ended before its first turn never runs", () =>
    actor(
      Effect.gen(function* () {
        let ran = false
        const pid = yield* Process.spawn(
          Effect.sync(() => {
            ran = true
          })
        )
        yield* Process.exit(pid, boom)
        assert.strictEqual(yield* Process.awaitExit(pid), boom)
        assert.isFalse(ran)
      })
    )
  )

  it.effect("the dead are told of after their clean-up", () =>
    actor(
      Effect.gen(function* () {
        const events: Array<string> = []
        const [pid] = yield* Process.spawnMonitor(
          Effect.andThen(
            Effect.addFinalizer(() =>
              Effect.andThen(
                Effect.sleep(50),
                Effect.sync(() => events.push("clean"))
              )
            ),
            Effect.never
          )
        )
        yield* quiet
        yield* Process.exit(pid, boom)
        yield* TestClock.adjust(49)
        assert.deepStrictEqual(downs(yield* flush), [])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(downs(yield* flush), ["boom"])
        assert.deepStrictEqual(events, ["clean"])
      })
    )
  )

  it.effect("a killed process whose clean-up hangs is left behind after a while, and counted", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const system = yield* ActorSystem.make({ abandonAfter: "2 seconds" })
        yield* Effect.gen(function* () {
          const pid = yield* Process.spawn(
            Effect.andThen(
              Effect.addFinalizer(() => Effect.never),
              Effect.never
            )
          )
          yield* quiet
          yield* Process.exit(pid, ExitReason.kill)
          const end = yield* Effect.forkChild(Process.awaitExit(pid), { startImmediately: true })
          yield* TestClock.adjust("1999 millis")
          assert.isUndefined(end.pollUnsafe())
          yield* TestClock.adjust("1 millis")
          assert.strictEqual((yield* Fiber.join(end))._tag, "Killed")
          assert.strictEqual(system.abandoned, 1)
        }).pipe(Effect.provideService(ActorSystem.ActorSystem, system))
      })
    )
  )

  it.effect("a kill sent while the clean-up of another end hangs gives it up as well", () =>
    Effect.gen(function* () {
      const body = Effect.gen(function* () {
        const pid = yield* Process.spawn(Effect.addFinalizer(() => Effect.never))
        yield* quiet
        assert.isFalse(yield* Process.isAlive(pid))
        yield* Process.exit(pid, ExitReason.kill)
        const end = yield* Effect.forkChild(Process.awaitExit(pid), { startImmediately: true })
        yield* TestClock.adjust("5 seconds")
        return yield* Fiber.join(end)
      })
      assert.strictEqual((yield* ActorSystem.scoped(body))._tag, "Killed")
    })
  )
})

describe("mailbox", () => {
  it.effect("receive takes the first message that fits, the others keep their order", () =>
    actor(
      Effect.gen(function* () {
        const me = yield* Process.self
        for (const n of [1, 2, 3, 4]) yield* Process.send(me, n)
        const even = yield* Process.receive((message) => (Number(message) % 2 === 0 ? Number(message) : undefined))
        assert.strictEqual(even, 2)
        assert.deepStrictEqual(yield* flush, [1, 3, 4])
      })
    )
  )

  it.effect("receive waits for a message that fits", () =>
    actor(
      Effect.gen(function* () {
        const me = yield* Process.self
        yield* Process.spawn(Effect.andThen(Process.send(me, "no"), Process.send(me, { yes: 1 })))
        const found = yield* Process.receive((message) => (typeof message === "object" ? message : undefined))
        assert.deepStrictEqual(found, { yes: 1 })
        assert.strictEqual(yield* Process.receive(), "no")
      })
    )
  )

  it.effect("any value is a message, undefined too", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.send(yield* Process.self, undefined)
        assert.isUndefined(yield* Process.receive())
      })
    )
  )

  it.effect("receiveWithin gives up on the Clock", () =>
    actor(
      Effect.gen(function* () {
        const waiting = yield* Effect.forkChild(Effect.exit(Process.receiveWithin("3 seconds", (message) => message)), {
          startImmediately: true
        })
        yield* TestClock.adjust("2999 millis")
        assert.isUndefined(waiting.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        assert.isTrue(Exit.isFailure(yield* Fiber.join(waiting)))
      })
    )
  )

  it.effect("sendUnsafe sends without an Effect", () =>
    actor(
      Effect.gen(function* () {
        Process.sendUnsafe(yield* Process.self, "now")
        assert.strictEqual(yield* Process.receive(), "now")
      })
    )
  )

  it.effect("sending to the dead or to an unknown name succeeds", () =>
    actor(
      Effect.gen(function* () {
        yield* Process.send(yield* dead, "x")
        yield* Process.send("nobody", "x")
      })
    )
  )
})

describe("names", () => {
  it.effect("a name is unique, and free again when its owner ends", () =>
    actor(
      Effect.gen(function* () {
        const pid = yield* Process.spawn(Effect.never)
        yield* Process.register("it", pid)
        assert.strictEqual(yield* Process.whereis("it"), pid)
        assert.strictEqual((yield* Effect.flip(Process.register("it", yield* Process.self)))._tag, "NameTaken")
        assert.strictEqual((yield* Effect.flip(Process.register("other", pid)))._tag, "NameTaken")
        yield* Process.exit(pid, ExitReason.kill)
        yield* Process.awaitExit(pid)
        assert.isUndefined(yield* Process.whereis("it"))
      })
    )
  )
})

describe("run", () => {
  it.effect("gives the result or the failure of the body", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* Process.run(Effect.succeed(1)), 1)
      assert.strictEqual(yield* Effect.flip(Process.run(Effect.fail("no"))), "no")
    })
  )

  it.effect("dies of the exit signal that ended the process", () =>
    Effect.gen(function* () {
      const body = Effect.flatMap(Process.self, (me) =>
        Effect.andThen(Process.spawn(Process.exit(me, boom)), Effect.never)
      )
      const exit = yield* Effect.exit(Process.run(body))
      assert.isTrue(Exit.isFailure(exit))
      if (Exit.isFailure(exit)) assert.strictEqual(ExitReason.fromCause(exit.cause), boom)
    })
  )

  it.effect("kills the process when the fiber is interrupted, and waits", () =>
    Effect.gen(function* () {
      let released = false
      const release = Effect.sync(() => {
        released = true
      })
      const fiber = yield* Effect.forkChild(
        Process.run(
          Effect.andThen(
            Effect.addFinalizer(() => release),
            Effect.never
          )
        ),
        { startImmediately: true }
      )
      yield* quiet
      yield* Fiber.interrupt(fiber)
      assert.isTrue(released)
    })
  )
})

describe("ActorSystem", () => {
  it.effect("closing it kills every process that is left, and waits for them", () =>
    Effect.gen(function* () {
      const ended: Array<number> = []
      yield* ActorSystem.scoped(
        Effect.gen(function* () {
          for (const n of [1, 2, 3]) {
            const release = Effect.sync(() => ended.push(n))
            yield* Process.spawn(
              Effect.gen(function* () {
                yield* Process.trapExit(true)
                yield* Effect.addFinalizer(() => release)
                yield* Effect.never
              })
            )
          }
          yield* quiet
        })
      )
      assert.deepStrictEqual(ended.sort(), [1, 2, 3])
    })
  )

  it.effect("systems do not share names", () =>
    Effect.gen(function* () {
      const inner = Effect.gen(function* () {
        const pid = yield* Process.spawn(Effect.never)
        yield* Process.register("same", pid)
        return pid as Pid.Any
      })
      const both = Effect.flatMap(inner, (outer) => Effect.map(ActorSystem.scoped(inner), (other) => [outer, other]))
      const [a, b] = yield* ActorSystem.scoped(both)
      assert.notStrictEqual(a, b)
    })
  )
})

describe("scheduling", () => {
  it.effect("nobody runs in the stack of who wakes them: a ring of 10,000 is no deeper than one of two", () =>
    actor(
      Effect.gen(function* () {
        const me: Pid.Any = yield* Process.self
        const forward = (next: Pid.Any) => Effect.flatMap(Process.receive(), (message) => Process.send(next, message))
        let next = me
        for (let i = 0; i < 10_000; i++) next = yield* Process.spawn(forward(next))
        yield* Process.send(next, "token")
        assert.strictEqual(yield* Process.receive(), "token")
      })
    )
  )

  it.effect("a spawned process begins after its spawner's turn", () =>
    actor(
      Effect.gen(function* () {
        const order: Array<string> = []
        yield* Process.spawn(Effect.sync(() => order.push("child")))
        order.push("parent")
        yield* quiet
        assert.deepStrictEqual(order, ["parent", "child"])
      })
    )
  )
})
