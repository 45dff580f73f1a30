/** How the input of a command travels: in frames, as few as there can be. */
import { randomBytes } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { type Job, LaneEnd } from "../../src/transport/internal/lane.ts"
import type { Lanes } from "../../src/transport/internal/lanes.ts"
import type { Request } from "../../src/transport/internal/request.ts"
import * as Run from "../../src/transport/internal/run.ts"
import { memory } from "./memory.ts"

/** What `size count` says and the data after it, until `0 0`. */
const framesOf = (sent: Buffer): ReadonlyArray<Buffer> => {
  const frames: Array<Buffer> = []
  for (let at = 0; ; ) {
    const end = sent.indexOf("\n", at)
    const [size = 0, count = 0] = sent.toString("latin1", at, end).split(" ").map(Number)
    if (size === 0) return frames
    frames.push(sent.subarray(end + 1, end + 1 + size * count))
    at = end + 1 + size * count
  }
}

/** The frames that a source goes in to a guest that takes a millisecond for each write. */
const framesFor = Effect.fnUntraced(function* (
  source: Stream.Stream<Uint8Array>,
  onWrite: (text: string) => void = () => {},
  taken: Effect.Effect<void> = Effect.sleep("1 millis")
) {
  const [input, output, errors] = [memory("in"), memory("out"), memory("err")]
  const sent: Array<Buffer> = []
  const ended = Deferred.makeUnsafe<void>()
  input.onWrite = (text) => {
    sent.push(Buffer.from(text, "latin1"))
    onWrite(text)
    if (text === "0 0\n") Deferred.doneUnsafe(ended, Effect.void)
  }
  const { connection } = input
  const slow = {
    ...connection,
    write: (data: string | Uint8Array) =>
      Effect.andThen(connection.write(data), typeof data === "string" ? Effect.void : taken)
  }
  const lane = new LaneEnd(1, { input: slow, output: output.connection, errors: errors.connection }, "n", () => {})
  const request: Request = {
    command: "cat",
    timeout: Duration.infinity,
    asked: Duration.infinity,
    patience: Duration.infinity,
    text: () => "cat",
    spool: undefined,
    input: { mode: "s", bytes: source },
    fault: "f"
  }
  const job: Job = {
    nonce: "n",
    request,
    stdout: () => {},
    stderr: () => {},
    ended: () => {},
    exit: Deferred.makeUnsafe(),
    done: Deferred.makeUnsafe(),
    expired: false,
    lost: (reason) => Effect.die(new Error(reason))
  }
  const lanes: Lanes = {
    guest: () => ({ folder: "/run/vmtest", shell: "sh", pipefail: false }),
    acquire: Effect.succeed(lane),
    most: 1,
    slowness: 1,
    state: () => "full",
    signal: () => Effect.succeed(true),
    awaitIdle: Effect.void,
    lost: Effect.never,
    reset: () => Effect.void
  }
  yield* Run.start(lanes, request, () => job, source)
  yield* Effect.timeout(Deferred.await(ended), "10 seconds")
  // The first is the command.
  return framesOf(Buffer.concat(sent.slice(1)))
})

describe("the input of a command", () => {
  it.live("arrives whole, in few frames however small its pieces are", () =>
    Effect.gen(function* () {
      const content = randomBytes(3 * 1024 * 1024 + 17)
      const pieces = Array.from({ length: Math.ceil(content.length / 10_240) }, (_, index) =>
        content.subarray(index * 10_240, (index + 1) * 10_240)
      )
      // One by one, as a pipe gives them.
      const frames = yield* framesFor(Stream.rechunk(Stream.fromIterable(pieces), 1))
      assert.isTrue(Buffer.concat(frames).equals(content))
      assert.isBelow(frames.length, pieces.length / 8)
    })
  )

  it.live("waits in no more than a few frames for a guest that does not take it, however large its pieces are", () =>
    Effect.gen(function* () {
      let pulled = 0
      const source = Stream.fromEffectRepeat(
        Effect.sync(() => {
          pulled++
          return new Uint8Array(4 * 1024 * 1024)
        })
      )
      yield* Effect.ignoreCause(
        Effect.timeout(
          framesFor(source, () => {}, Effect.never),
          "1 second"
        )
      )
      assert.isAtMost(pulled, 4)
    })
  )

  it.live("does not wait for more when a piece is there", () =>
    Effect.gen(function* () {
      const taken = Deferred.makeUnsafe<void>()
      const pieces = Stream.make("one", "two").pipe(
        Stream.mapEffect((text) =>
          text === "one" ? Effect.succeed(Buffer.from(text)) : Effect.as(Deferred.await(taken), Buffer.from(text))
        )
      )
      // The guest has to see the first piece for the second one to come.
      const frames = yield* framesFor(pieces, (text) => {
        if (text === "one") Deferred.doneUnsafe(taken, Effect.void)
      })
      assert.deepStrictEqual(frames.map(String), ["one", "two"])
    })
  )
})
