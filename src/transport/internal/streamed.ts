/**
 * Commands whose output is read while they run: as a stream of events, or through a handle.
 */
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CommandEvent, ExecuteOptions, GuestProcess, Signal } from "../Shell.ts"
import { CommandRejected, type ShellError } from "../ShellError.ts"
import { Flow } from "./flow.ts"
import * as Jobs from "./jobs.ts"
import type { Job, LaneEnd } from "./lane.ts"
import { nonce } from "./nonce.ts"
import * as Request from "./request.ts"
import * as Run from "./run.ts"
import { Said } from "./said.ts"

/** How often, and how long, a signal is sent to a command that the guest has not started yet. */
export const retrySignal = Schedule.upTo(Schedule.spaced("50 millis"), { duration: "10 seconds" })

/**
 * Starts a command whose output goes to a reader. `watch` tells how it ended: an exit code as soon as one stream has
 * it, or the error.
 */
const open = Effect.fnUntraced(function* (
  jobs: Jobs.Jobs,
  command: string,
  execute: ExecuteOptions,
  writable: boolean,
  connect: (lane: LaneEnd) => Pick<Job, "stdout" | "stderr" | "ended">
) {
  const request = yield* jobs.prepare(command, execute, writable)
  const token = yield* nonce
  const said = new Said(64 * 1024, true)
  const faults = [request.fault, token].map((mark) => Buffer.from(`\x1e${mark} `))
  const withoutFault = (bytes: Buffer) => {
    const at = faults.map((fault) => bytes.indexOf(fault)).find((index) => index !== -1)
    return at === undefined ? bytes : bytes.subarray(0, at)
  }
  const open = request.input.mode === "s" && request.input.bytes === undefined
  const input = open ? yield* Queue.bounded<Uint8Array, Cause.Done>(4) : undefined
  const running = yield* Effect.acquireRelease(
    jobs.begin(
      request,
      said,
      (lane) => {
        const sink = connect(lane)
        return jobs.job(request, token, said, {
          stdout: (bytes) => {
            said.add("stdout", bytes)
            sink.stdout(bytes)
          },
          stderr: (bytes) => {
            said.add("stderr", bytes)
            const shown = withoutFault(bytes)
            if (shown.length > 0) sink.stderr(shown)
          },
          ended: sink.ended
        })
      },
      input === undefined ? Jobs.source(request) : Stream.fromQueue(input)
    ),
    ({ finish }) => finish,
    { interruptible: true }
  )
  const ended = Effect.gen(function* () {
    const exitCode = yield* Run.complete(Effect.succeed(running), request.timeout, jobs.timedOut(request, said))
    if (exitCode !== Request.notRun) return exitCode
    const error = Request.refused(jobs.machine, request, token, said.text().stderr, execute)
    return error === undefined ? exitCode : yield* error
  })
  return { running, input, ended, late: jobs.timedOut(request, said), timeout: request.timeout }
})

/** What a command says. `late` fails when its time is up, even when nobody reads. */
export const streaming = (
  jobs: Jobs.Jobs,
  command: string,
  execute: ExecuteOptions,
  late: Deferred.Deferred<never, ShellError>
): Stream.Stream<CommandEvent, ShellError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const flow = yield* Flow.make<CommandEvent>((event) => (event._tag === "Exit" ? 0 : event.bytes.length))
      // Before the command's own clean-up in the order of finalizers: what is not read must not hold that up.
      const opened = yield* open(jobs, command, execute, false, (lane) => {
        const { errors, output } = lane.ends
        return {
          stdout: (bytes) => flow.push({ _tag: "Stdout", bytes }, output),
          stderr: (bytes) => flow.push({ _tag: "Stderr", bytes }, errors),
          ended: () => flow.detach()
        }
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => flow.drop()))
      if (Duration.isFinite(opened.timeout)) {
        yield* Effect.sleep(opened.timeout).pipe(
          Effect.andThen(opened.late),
          Effect.flatMap((error) => Deferred.fail(late, error)),
          Effect.forkScoped
        )
      }
      yield* opened.ended.pipe(
        Effect.matchEffect({
          onSuccess: (exitCode) =>
            Effect.sync(() => {
              flow.end({ _tag: "Exit", exitCode })
            }),
          onFailure: (error) => flow.fail(error)
        }),
        Effect.forkScoped
      )
      return flow.stream
    })
  )

/** Starts a command and gives a handle on it. */
export const spawn = Effect.fnUntraced(function* (
  jobs: Jobs.Jobs,
  command: string,
  execute: ExecuteOptions = {}
): Effect.fn.Return<GuestProcess, ShellError, Scope.Scope> {
  const size = (bytes: Uint8Array) => bytes.length
  const flows = { stdout: yield* Flow.make<Uint8Array>(size), stderr: yield* Flow.make<Uint8Array>(size) }
  const limits = { ...execute, timeout: execute.timeout ?? "Infinity" }
  const { ended, input, running } = yield* open(jobs, command, limits, true, (lane) => {
    const { errors, output } = lane.ends
    return {
      stdout: (bytes) => flows.stdout.push(bytes, output),
      stderr: (bytes) => flows.stderr.push(bytes, errors),
      ended: (stream, expired) => {
        flows.stdout.detach()
        flows.stderr.detach()
        if (!expired) flows[stream].end()
      }
    }
  })
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      flows.stdout.drop()
      flows.stderr.drop()
    })
  )
  const { job, lane } = running
  const finished = Deferred.makeUnsafe<number, ShellError>()
  yield* ended.pipe(
    Effect.tapError((error) => Effect.andThen(flows.stdout.fail(error), flows.stderr.fail(error))),
    Effect.onExit((exit) => Effect.sync(() => Deferred.doneUnsafe(finished, exit))),
    Effect.ignore,
    Effect.forkScoped
  )
  return {
    command,
    stdout: flows.stdout.stream,
    stderr: flows.stderr.stream,
    write: (data) =>
      (input === undefined
        ? Effect.succeed(false)
        : Effect.raceFirst(
            Effect.map(
              Queue.offerAll(input, Run.pieces(typeof data === "string" ? Buffer.from(data) : data)),
              (left) => left.length === 0
            ),
            Effect.as(Effect.exit(Deferred.await(job.exit)), true)
          )
      ).pipe(
        Effect.flatMap((taken) =>
          taken || Deferred.isDoneUnsafe(job.exit)
            ? Effect.void
            : Effect.fail(
                new CommandRejected({
                  machine: jobs.machine,
                  command,
                  reason: "Closed",
                  detail: "its standard input was closed"
                })
              )
        )
      ),
    end: input === undefined ? Effect.void : Effect.asVoid(Queue.end(input)),
    signal: (signal: Signal) =>
      Effect.suspend(() =>
        Deferred.isDoneUnsafe(job.exit) ? Effect.succeed(true) : jobs.lanes.signal(lane, job.nonce, signal)
      ).pipe(
        // A guest that is busy may not have started the command yet. One that has ended may be unable to say so to a reader
        // that pauses, so not for ever.
        Effect.repeat({ until: (sent) => sent, schedule: retrySignal, times: 100 }),
        Effect.asVoid
      ),
    // The code of a command that was not run needs the other stream to be understood, and that of one whose
    // time was up is that of its killer.
    wait: Effect.raceFirst(
      Effect.flatMap(Deferred.await(job.exit), (code) =>
        code === Request.notRun || job.expired ? Deferred.await(finished) : Effect.succeed(code)
      ),
      Deferred.await(finished)
    )
  }
})
