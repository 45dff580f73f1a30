/** The lanes of a guest that comes and goes, and those who wait for one. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { LaneEnd } from "../../src/transport/internal/lane.ts"
import * as Lanes from "../../src/transport/internal/lanes.ts"
import * as Shell from "../../src/transport/Shell.ts"
import type { TransportService } from "../../src/transport/Transport.ts"
import { inVirtualTime, memory, type Peer } from "./memory.ts"

/** A guest in memory with one lane. `frozen` it does not answer, `mute` its worker does not say that it is ready. */
const guest = (leave: Effect.Effect<void> = Effect.void) => {
  const state = { frozen: false, mute: false, bootstrap: memory("none"), output: memory("none") }
  const boot = () => {
    const peer: Peer = memory("bootstrap")
    peer.onWrite = (text) => {
      if (state.frozen) return
      for (const [, token] of text.matchAll(/^echo _vt_([0-9a-f]{32})/gm)) {
        setImmediate(() => peer.say(Buffer.from(`_vt_${token} /run/vmtest sh pipefail = /run/vmtest sh pipefail\n`)))
      }
    }
    state.bootstrap = peer
    return peer.connection
  }
  const transport: TransportService = {
    machine: "vm",
    name: "virtio-port",
    reconnects: true,
    slowness: 1,
    lanes: 1,
    bootstrap: Effect.acquireRelease(Effect.sync(boot), () => leave),
    lane: (_, nonce) =>
      Effect.sync(() => {
        const [input, output, errors] = [memory("input"), memory("output"), memory("errors")]
        state.output = output
        if (!state.mute) for (const peer of [output, errors]) peer.say(Buffer.from(`\x1e${nonce} R\n`))
        return { input: input.connection, output: output.connection, errors: errors.connection }
      })
  }
  const lanes = Lanes.make({
    transport,
    bootTimeout: Duration.minutes(1),
    consoleTail: Effect.succeed(""),
    onProgress: () => Effect.void,
    reboots: false,
    heartbeat: { interval: Duration.hours(1), timeout: Duration.minutes(1) }
  })
  return { state, lanes, transport }
}

const run = <A, E>(program: Effect.Effect<A, E>) => Effect.runPromise(inVirtualTime(program, "5 hours"))

describe("who waits for a lane", () => {
  it("and is told that none comes is not given one when the guest is back", async () => {
    const { lanes, state: box } = guest(Effect.sleep("10 minutes"))
    const state = await run(
      Effect.gen(function* () {
        const { acquire } = yield* lanes
        yield* acquire
        box.bootstrap.close("gone")
        yield* Effect.sleep("1 second")
        const error = yield* Effect.flip(acquire)
        assert.include(error.reason, "the search for the guest's shell timed out")
        yield* Effect.sleep("10 minutes")
        return (yield* Effect.timeout(acquire, "1 minute")).state
      }).pipe(Effect.scoped)
    )
    assert.strictEqual(state, "idle")
  })

  it("is not told that none comes while the guest is found again and again", async () => {
    const { lanes, state: box } = guest()
    const state = await run(
      Effect.gen(function* () {
        const { acquire, reset } = yield* lanes
        yield* acquire
        box.mute = true
        let waiting: Fiber.Fiber<LaneEnd, unknown> | undefined
        // Six minutes are the longest that a search takes: the wait begins in one search and is as old as that in another.
        for (let minute = 0; minute <= 6; minute++) {
          box.frozen = true
          yield* reset("it is frozen")
          yield* Effect.sleep("10 seconds")
          waiting ??= yield* Effect.forkChild(acquire)
          yield* Effect.sleep("20 seconds")
          box.frozen = false
          if (minute === 6) box.mute = false
          yield* Effect.sleep("30 seconds")
        }
        assert(waiting !== undefined)
        return (yield* Effect.timeout(Fiber.join(waiting), "1 minute")).state
      }).pipe(Effect.scoped)
    )
    assert.strictEqual(state, "idle")
  })

  it("of a guest that is lost is told so, and one who waits for the guest is not", async () => {
    const { lanes, state: box } = guest()
    const state = await run(
      Effect.gen(function* () {
        const { acquire, lost, reset } = yield* lanes
        yield* acquire
        const told = yield* Effect.forkChild(lost, { startImmediately: true })
        const queued = yield* Effect.forkChild(Effect.flip(acquire), { startImmediately: true })
        box.frozen = true
        yield* reset("it is frozen")
        assert.strictEqual(yield* Effect.timeout(Fiber.join(told), "1 second"), "it is frozen")
        const error = yield* Effect.timeout(Fiber.join(queued), "1 second")
        assert.deepEqual(error, { _tag: "SessionEnded", reason: "it is frozen" })
        const waiting = yield* Effect.forkChild(acquire, { startImmediately: true })
        yield* reset("it still is")
        yield* Effect.sleep("10 seconds")
        assert.isUndefined(waiting.pollUnsafe())
        box.frozen = false
        return (yield* Effect.timeout(Fiber.join(waiting), "2 minutes")).state
      }).pipe(Effect.scoped)
    )
    assert.strictEqual(state, "idle")
  })
})

describe("a guest that freezes", () => {
  it("is found within one heartbeat, though a lane had just said something", async () => {
    const { state: box, transport } = guest()
    const took = await run(
      Effect.gen(function* () {
        const heartbeat = { interval: "5 seconds", timeout: "30 seconds" } as const
        const shell = yield* Shell.fromTransport(transport, { heartbeat })
        const lost = yield* Effect.forkChild(Effect.flip(shell.execute("a", { timeout: "1 hour" })))
        box.frozen = true
        // It is asked at five seconds.
        yield* Effect.sleep("6 seconds")
        box.output.say(Buffer.from("the last that it says"))
        const since = yield* Clock.currentTimeMillis
        const error = yield* Fiber.join(lost)
        assert(error._tag === "ShellLost")
        assert.strictEqual(error.reason, "the guest has not answered for 30s")
        return (yield* Clock.currentTimeMillis) - since
      }).pipe(Effect.scoped)
    )
    assert.isAtLeast(took, 30_000)
    assert.isAtMost(took, 35_000)
  })
})
