/** Connections whose other end is a test, and a clock that runs as fast as the test does. */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Connection } from "../../src/transport/Connection.ts"
import { TransportError } from "../../src/transport/ShellError.ts"

/** The other end of a connection. */
export interface Peer {
  readonly connection: Connection
  /** what the host wrote; called at once */
  onWrite: (text: string) => void
  /** says something to the host; nothing happens after the end, and a host that paused gets it when it goes on */
  readonly say: (bytes: Buffer) => void
  readonly close: (reason: string) => void
}

/** A connection in memory. */
export const memory = (name: string): Peer => {
  const ended = Deferred.makeUnsafe<string>()
  const waiting: Array<Buffer> = []
  let receive: ((chunk: Buffer) => void) | undefined
  let paused = false
  let reason: string | undefined
  const flow = () => {
    while (!paused && receive !== undefined && waiting.length > 0) receive(waiting.shift() as Buffer)
  }
  const peer: Peer = {
    connection: {
      socket: name,
      write: (data) =>
        Effect.suspend(() => {
          if (reason !== undefined) return Effect.fail(new TransportError({ machine: "vm", socket: name, reason }))
          peer.onWrite(Buffer.from(data).toString("latin1"))
          return Effect.void
        }),
      onData: (next) => {
        receive = next
        flow()
      },
      pause: () => {
        paused = true
      },
      resume: () => {
        paused = false
        flow()
      },
      closed: Deferred.await(ended)
    },
    onWrite: () => {},
    say: (bytes) => {
      if (reason !== undefined) return
      waiting.push(bytes)
      flow()
    },
    close: (why) => {
      reason ??= why
      Deferred.doneUnsafe(ended, Effect.succeed(reason))
    }
  }
  return peer
}

/** The program neither ended nor waits for anything that the clock or its peers could bring about. */
export class Hang extends Error {}

interface Sleeper {
  readonly at: number
  readonly latch: Deferred.Deferred<void>
}

/** Turns of the event loop without work, after which everything is taken to wait for the clock. */
const idleTurns = 4

/**
 * Runs a program that waits for nothing but the clock and peers in memory: when nothing else can happen, the clock jumps to
 * the next time that something is to happen. Dies of {@link Hang} when that is never, or later than `limit`.
 */
export const inVirtualTime = <A, E, R>(
  program: Effect.Effect<A, E, R>,
  limit: Duration.Input
): Effect.Effect<A, E, R> => {
  const last = Duration.toMillis(limit)
  const sleepers: Array<Sleeper> = []
  let now = 0
  const nanos = () => BigInt(Math.round(now * 1e6))
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => now,
    currentTimeMillis: Effect.sync(() => now),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: (duration) =>
      Effect.suspend(() => {
        const sleeper = { at: now + Duration.toMillis(duration), latch: Deferred.makeUnsafe<void>() }
        const after = sleepers.findIndex(({ at }) => at > sleeper.at)
        sleepers.splice(after === -1 ? sleepers.length : after, 0, sleeper)
        return Effect.onInterrupt(Deferred.await(sleeper.latch), () =>
          Effect.sync(() => {
            const at = sleepers.indexOf(sleeper)
            if (at !== -1) sleepers.splice(at, 1)
          })
        )
      })
  }
  const turn = Effect.callback<void>((resume) => {
    const turns = (left: number): void => {
      setImmediate(() => (left === 0 ? resume(Effect.void) : turns(left - 1)))
    }
    turns(idleTurns)
  })
  return Effect.gen(function* () {
    const running = yield* Effect.forkChild(Effect.provideService(program, Clock.Clock, clock), {
      startImmediately: true
    })
    while (running.pollUnsafe() === undefined) {
      yield* turn
      if (running.pollUnsafe() !== undefined) break
      const next = sleepers.shift()
      if (next === undefined || next.at > last) {
        running.interruptUnsafe()
        return yield* Effect.die(new Hang(`nothing more can happen at ${now} ms`))
      }
      now = next.at
      Deferred.doneUnsafe(next.latch, Effect.void)
    }
    return yield* Fiber.join(running)
  })
}
