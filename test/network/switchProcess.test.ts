import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import { TestClock } from "effect/testing"
import * as Impairment from "../../src/network/Impairment.ts"
import { withHeader } from "../../src/network/internal/frames.ts"
import * as switchProcess from "../../src/network/internal/switchProcess.ts"
import { VlanState } from "../../src/network/internal/vlanState.ts"

const broadcast = 0xffffffffffff

/** A card at a port: what it has got, and what it sends. */
const cardAt = (state: VlanState, name: string, address: number) => {
  state.addPort(name)
  const got: Array<string> = []
  const unplug = state.plug(name, {
    send: (segments) => {
      for (let at = 0; at < segments.length; at += 4 + segments.readUInt32BE(at)) {
        got.push(segments.toString("latin1", at + 18, at + 4 + segments.readUInt32BE(at)))
      }
      return true
    }
  })
  const frame = (to: number, text: string, from = address) => {
    const bytes = Buffer.alloc(14 + text.length)
    bytes.writeUIntBE(to, 0, 6)
    bytes.writeUIntBE(from, 6, 6)
    bytes.write(text, 14)
    return withHeader(bytes)
  }
  const say = (to: number, ...texts: ReadonlyArray<string>) =>
    state.receive(name, Buffer.concat(texts.map((text) => frame(to, text))))
  /** What it has got since it was last asked. */
  const heard = () => got.splice(0)
  return {
    heard,
    say,
    unplug,
    sayAs: (from: number, to: number, text: string) => state.receive(name, frame(to, text, from))
  }
}

const impairment = (options: Impairment.ImpairmentOptions) =>
  Impairment.make(Result.getOrThrow(Impairment.fromOptions(options)))

/** A switch that runs until the test ends, with three cards that it knows. */
const running = Effect.gen(function* () {
  const state = new VlanState()
  const [a, b, c] = [cardAt(state, "a eth1", 2), cardAt(state, "b eth1", 4), cardAt(state, "c eth1", 6)]
  const fiber = yield* Effect.forkScoped(switchProcess.run(state, false), { startImmediately: true })
  for (const card of [a, b, c]) card.say(broadcast, "hello")
  for (const card of [a, b, c]) card.heard()
  return { a, b, c, state, fiber }
})

describe("a switch's process", () => {
  it.effect("delivers what is late when its time has come, by the Clock", () =>
    Effect.gen(function* () {
      const { a, b, state } = yield* running
      state.impair("a eth1", { direction: "out", impairment: impairment({ latency: "100 millis" }) })
      a.say(4, "one", "two")
      yield* TestClock.adjust("60 millis")
      a.say(4, "three")
      yield* TestClock.adjust("39 millis")
      assert.deepStrictEqual(b.heard(), [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(b.heard(), ["one", "two"])
      yield* TestClock.adjust("60 millis")
      assert.deepStrictEqual(b.heard(), ["three"])
    })
  )

  it.effect("wakes up for a frame that is due before the one that it waits for", () =>
    Effect.gen(function* () {
      const { a, b, c, state } = yield* running
      state.impair("a eth1", { direction: "out", impairment: impairment({ latency: "10 seconds" }) })
      state.impair("b eth1", { direction: "out", impairment: impairment({ latency: "1 second" }) })
      a.say(6, "slow")
      yield* TestClock.adjust("100 millis")
      b.say(6, "fast")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(c.heard(), ["fast"])
      yield* TestClock.adjust("9 seconds")
      assert.deepStrictEqual(c.heard(), ["slow"])
    })
  )

  it.effect("adds the latencies of both ends", () =>
    Effect.gen(function* () {
      const { a, b, state } = yield* running
      state.impair("a eth1", { direction: "both", impairment: impairment({ latency: "100 millis" }) })
      state.impair("b eth1", { direction: "in", impairment: impairment({ latency: "50 millis" }) })
      a.say(4, "there")
      b.say(2, "back")
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual([a.heard(), b.heard()], [["back"], []])
      yield* TestClock.adjust("50 millis")
      assert.deepStrictEqual(b.heard(), ["there"])
    })
  )

  it.effect("delivers late what was under way when its link was healed", () =>
    Effect.gen(function* () {
      const { a, b, state } = yield* running
      state.impair("a eth1", { direction: "out", impairment: impairment({ latency: "100 millis", loss: 0 }) })
      a.say(4, "before")
      state.heal("a eth1")
      a.say(4, "after")
      assert.deepStrictEqual(b.heard(), ["after"])
      yield* TestClock.adjust("100 millis")
      assert.deepStrictEqual(b.heard(), ["before"])
    })
  )

  it.effect("leaves its state to its successor, and loses only what was under way", () =>
    Effect.gen(function* () {
      const { a, b, c, fiber, state } = yield* running
      state.impair("a eth1", { direction: "out", impairment: impairment({ latency: "100 millis" }) })
      state.partition([new Set(["b"])])
      a.say(6, "under way")
      yield* Fiber.interrupt(fiber)
      assert.isFalse(a.say(6, "nobody takes it"))
      yield* Effect.forkScoped(switchProcess.run(state, false), { startImmediately: true })
      a.say(broadcast, "again")
      yield* TestClock.adjust("99 millis")
      assert.deepStrictEqual(c.heard(), [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual([b.heard(), c.heard()], [[], ["again"]])
      assert.strictEqual(state.counts("a eth1").sent, 3)
    })
  )

  it.effect("counts what an impairment did after it is healed, once", () =>
    Effect.gen(function* () {
      const { a, state } = yield* running
      for (let time = 0; time < 3; time += 1) {
        const undo = state.impair("a eth1", { direction: "out", impairment: impairment({ loss: 1 }) })
        a.say(4, "lost")
        undo()
        a.say(4, "passed")
      }
      const { lost, received, sent } = state.counts("a eth1")
      assert.deepStrictEqual({ lost, received, sent }, { lost: 3, received: 2, sent: 7 })
      assert.strictEqual(state.counts("b eth1").received, 5)
    })
  )

  it.effect("counts nothing as lost where nothing is plugged in", () =>
    Effect.gen(function* () {
      const { a, b, state } = yield* running
      b.unplug()
      a.say(4, "for a machine that does not run")
      assert.strictEqual(state.counts("b eth1").lost, 0)
    })
  )

  it.effect("takes the last impairment of each direction, and goes back to the one before", () =>
    Effect.gen(function* () {
      const { a, b, state } = yield* running
      const said = (text: string) => {
        a.say(4, text)
        return b.heard().length
      }
      const all = state.impair("a eth1", { direction: "both", impairment: impairment({ loss: 1 }) })
      assert.strictEqual(said("lost"), 0)
      const none = state.impair("a eth1", { direction: "out", impairment: impairment({}) })
      assert.strictEqual(said("passes"), 1)
      b.say(2, "lost on the way in")
      assert.deepStrictEqual(a.heard(), [])
      none()
      assert.strictEqual(said("lost again"), 0)
      all()
      assert.strictEqual(said("passes"), 1)
    })
  )

  it.effect("dies of a frame that breaks it, keeps the others, and loses no other card's frames", () =>
    Effect.gen(function* () {
      const { a, b, c, fiber, state } = yield* running
      const forget = state.listen(() => {
        throw new Error("a listener that is broken")
      })
      assert.isTrue(a.say(6, "breaks it"))
      assert.isTrue(String(yield* Fiber.await(fiber)).includes("a listener that is broken"))
      assert.strictEqual(state.defect, "a listener that is broken")
      // While there is none, cards wait; one that breaks the next switch, too, leaves the others waiting.
      const woken: Array<string> = []
      for (const [name, card] of [
        ["a", a],
        ["b", b]
      ] as const) {
        state.onBegin(() => {
          woken.push(name)
          card.say(6, `from ${name}`)
        })
      }
      const second = yield* Effect.forkScoped(switchProcess.run(state, false), { startImmediately: true })
      yield* Fiber.await(second)
      assert.deepStrictEqual(woken, ["a"])
      forget()
      yield* Effect.forkScoped(switchProcess.run(state, false), { startImmediately: true })
      assert.deepStrictEqual(woken, ["a", "b"])
      assert.deepStrictEqual(c.heard(), ["from b"])
    })
  )
})

describe("a partition", () => {
  it.effect("has an owner on each side for an address that moves", () =>
    Effect.gen(function* () {
      const { a, b, c, state } = yield* running
      const virtual = 8
      const heal = state.partition([new Set(["a eth1", "c eth1"]), new Set(["b eth1"])])
      a.sayAs(virtual, broadcast, "I am the virtual router")
      b.sayAs(virtual, broadcast, "No, I am")
      c.heard()
      c.say(virtual, "to the router")
      assert.deepStrictEqual([a.heard(), b.heard()], [["to the router"], []])
      heal()
      c.say(virtual, "to the last one that spoke")
      assert.deepStrictEqual([a.heard(), b.heard()], [[], ["to the last one that spoke"]])
    })
  )

  it.effect("separates machines with all their cards, also those that are plugged in later", () =>
    Effect.gen(function* () {
      const { a, b, state } = yield* running
      state.partition([new Set(["a"]), new Set(["b"])])
      const late = cardAt(state, "b net-hot1", 10)
      a.say(broadcast, "hear me")
      assert.deepStrictEqual([b.heard(), late.heard()], [[], []])
      late.say(broadcast, "here I am")
      assert.deepStrictEqual([a.heard(), b.heard()], [[], ["here I am"]])
    })
  )
})
