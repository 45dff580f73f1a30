/**
 * One command from its text to its end: a lane, the sending, the input, the deadline, and the clean-up.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { ShellError, ShellNotReady } from "../ShellError.ts"
import type { Job, LaneEnd } from "./lane.ts"
import type { SessionEnded } from "./laneServer.ts"
import type { Lanes } from "./lanes.ts"
import { defaultTimeout, type Request } from "./request.ts"

/** Input goes in frames of at most this many blocks of 64 KiB; a frame that began is sent to its end. */
const block = 65536
const blocksPerFrame = 64

/**
 * How many pieces of a source, of at most a block each, are read ahead while those before them are sent: as much as fits a
 * frame. What has come meanwhile goes as one: a frame costs the guest one or two processes, 20 to 40 ms each under emulation,
 * however little is in it.
 */
const ahead = blocksPerFrame

/** Bytes in pieces of at most a block, so that a bounded number of them is in memory; not copied. */
export const pieces = (bytes: Uint8Array): Arr.NonEmptyReadonlyArray<Uint8Array> =>
  bytes.length <= block
    ? [bytes]
    : Arr.makeBy(Math.ceil(bytes.length / block), (index) => bytes.subarray(index * block, (index + 1) * block))

/** Sends bytes as frames, until all are sent or the command has ended. */
const feedBytes = Effect.fnUntraced(function* (lane: LaneEnd, job: Job, bytes: Uint8Array) {
  for (let at = 0; at < bytes.length && !Deferred.isDoneUnsafe(job.exit); ) {
    const blocks = Math.min(Math.floor((bytes.length - at) / block), blocksPerFrame)
    const size = blocks === 0 ? bytes.length - at : blocks * block
    const head = blocks === 0 ? `${size} 1\n` : `${block} ${blocks}\n`
    yield* Effect.uninterruptible(
      Effect.andThen(lane.ends.input.write(head), lane.ends.input.write(bytes.subarray(at, at + size)))
    )
    at += size
  }
})

/** Sends all input and its end. The worker reads frames to the last one, whether the command reads them or not. */
const feed = (lane: LaneEnd, job: Job, source: Stream.Stream<Uint8Array>): Effect.Effect<void> =>
  source.pipe(
    Stream.mapArray((chunks) => Arr.flatMap(chunks, pieces)),
    Stream.buffer({ capacity: ahead }),
    Stream.runForEachArray((chunks) => feedBytes(lane, job, chunks.length === 1 ? chunks[0] : Buffer.concat(chunks))),
    Effect.raceFirst(Effect.ignore(Deferred.await(job.exit))),
    // A source that dies must not look like the end of the input: the command dies of it.
    Effect.tapCause((cause) =>
      Effect.sync(() => {
        if (Cause.hasDies(cause)) {
          const died = Effect.die(Cause.squash(cause))
          Deferred.doneUnsafe(job.exit, died)
          Deferred.doneUnsafe(job.done, died)
        }
        lane.lose("its input could not be sent to its end")
      })
    ),
    Effect.ensuring(Effect.ignore(lane.ends.input.write("0 0\n"))),
    Effect.ignoreCause,
    Effect.ensuring(
      Effect.sync(() => {
        lane.feeding = false
        lane.settle()
      })
    )
  )

/** When the process group of a command that is ended is killed, after it was asked to end at once: after 250 ms, 750 ms and 1.75 s. */
export const killSchedule = Schedule.upTo(Schedule.exponential("250 millis"), { times: 3 })

/** How long a command may take to be gone after it was killed for the last time. */
const lastGrace = "2 seconds"

/** How long nothing may be heard, on a fast way to the guest, of the last output of a killed command. */
const silence = 2000

/** The longest that a killed command's last output may take to come; a console carries some 100 KiB a second. */
const lastWords = Duration.seconds(30)

/** Ends a command in the guest. A lane that does not notice, and says nothing any more, is replaced. */
const abort = Effect.fnUntraced(function* (lanes: Lanes, lane: LaneEnd, job: Job) {
  lane.ends.output.resume()
  lane.ends.errors.resume()
  const ended = Effect.exit(Deferred.await(job.done))
  let heard = lane.heard
  let signal = "TERM"
  const kill = Effect.suspend(() => {
    const sent = Effect.forkDetach(lanes.signal(lane, job.nonce, signal), { startImmediately: true })
    signal = "KILL"
    return sent
  })
  yield* Effect.repeat(kill, killSchedule).pipe(Effect.andThen(Effect.sleep(lastGrace)), Effect.raceFirst(ended))
  if (Deferred.isDoneUnsafe(job.done)) return
  // What the command had said is on its way, and the end comes after it: as long as something comes.
  const quiet = Effect.sync(() => {
    if (heard === lane.heard) return true
    heard = lane.heard
    return false
  })
  const listening = Schedule.spaced(silence * lanes.slowness)
  yield* Effect.repeat(quiet, { schedule: listening, until: (still) => still }).pipe(
    Effect.raceFirst(ended),
    Effect.timeoutOption(lastWords)
  )
  if (!Deferred.isDoneUnsafe(job.done)) lane.lose("a command could not be killed")
})

/** A command under way. */
export interface Running {
  readonly lane: LaneEnd
  readonly job: Job
  /** Aborts the command unless it ended, and waits for that. */
  readonly finish: Effect.Effect<void>
}

/** No lane became free in time. */
export interface NoLane {
  readonly _tag: "NoLane"
  readonly most: number
}

/**
 * When a command whose time to wait is over looks again whether a lane starts or the guest boots: every second. Lanes that start are waited
 * for two minutes more, as long as two attempts take.
 */
export const awaitStart = Schedule.spaced("1 second")
const startingLanes = 120

/** Takes a lane. Only lanes in use run out of patience: one that starts soon, or a guest that boots, is worth the wait. */
const acquire = (
  lanes: Lanes,
  patience: Duration.Duration
): Effect.Effect<LaneEnd, ShellNotReady | SessionEnded | NoLane> => {
  let looks = 0
  const late = Effect.sync(() => {
    const state = lanes.state()
    return state === "full" || (state === "starting" && looks++ >= startingLanes)
  }).pipe(
    Effect.repeat({ schedule: awaitStart, until: (busy) => busy }),
    Effect.delay(patience),
    Effect.andThen(Effect.fail<NoLane>({ _tag: "NoLane", most: lanes.most }))
  )
  return Duration.isFinite(patience) ? Effect.raceFirst(lanes.acquire, late) : lanes.acquire
}

/** The lane on the span of the command or method that runs it: one more for each would only say the same. A span of the caller's own stays as it is. */
const noteLane = (number: number): Effect.Effect<void> =>
  Effect.flatMap(Effect.option(Effect.currentSpan), (span) =>
    Effect.sync(() => {
      if (Option.isSome(span) && span.value.name.startsWith("vmtest.")) span.value.attribute("vmtest.lane", number)
    })
  )

/** Takes a lane, sends a command and starts its input. The caller must run `finish` in the end. */
export const start = (
  lanes: Lanes,
  request: Request,
  makeJob: (lane: LaneEnd) => Job,
  source: Stream.Stream<Uint8Array> | undefined
): Effect.Effect<Running, ShellNotReady | SessionEnded | NoLane> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      let lane = yield* restore(acquire(lanes, request.patience))
      while (lane.state === "broken") lane = yield* restore(acquire(lanes, request.patience))
      yield* noteLane(lane.number)
      const job = makeJob(lane)
      lane.feeding = source !== undefined
      const limit = Duration.min(request.timeout, defaultTimeout)
      yield* restore(
        Effect.raceFirst(
          lane.send(job),
          Effect.map(Effect.sleep(limit), () => lane.lose(`the guest did not take it within ${Duration.format(limit)}`))
        )
      ).pipe(Effect.catch((error) => Effect.sync(() => lane.lose(`the guest's connection closed: ${error.reason}`))))
      if (source !== undefined) {
        // Not a child: what is on its way must arrive to its end even when the caller has gone.
        yield* Effect.forkDetach(feed(lane, job, source), { startImmediately: true })
      }
      return {
        lane,
        job,
        // In a fiber of its own, since an interrupted one can no longer wait for a time.
        finish: Effect.suspend(() =>
          Deferred.isDoneUnsafe(job.done)
            ? Effect.void
            : Effect.flatMap(Effect.forkDetach(abort(lanes, lane, job)), Fiber.await)
        )
      }
    })
  )

/** Runs a command to its end or its timeout. */
export const complete = <E>(
  running: Effect.Effect<Running, E>,
  timeout: Duration.Duration,
  timedOut: Effect.Effect<ShellError>
): Effect.Effect<number, ShellError | E> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const { finish, job } = yield* restore(running)
      const done = Deferred.await(job.done)
      const limited = Duration.isFinite(timeout)
        ? Effect.timeoutOrElse(done, {
            duration: timeout,
            orElse: () =>
              Effect.suspend(() => {
                job.expired = !Deferred.isDoneUnsafe(job.exit)
                // What it says while it is being ended belongs to it.
                return Effect.flatMap(Effect.andThen(finish, timedOut), Effect.fail)
              })
          })
        : done
      return yield* restore(limited).pipe(Effect.ensuring(finish))
    })
  )
